//! holdfastctl: see the library of this package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_ctl::run("holdfastctl", std::env::args_os().skip(1))
}
