//! `holdfastd doctor`: looks at the host and the configuration, and says what is wrong and which command mends it.
//!
//! Everything in `/proc` and `/sys` is read below a root that tests choose; what only the kernel can answer (whether
//! io_uring works, whether a file is direct, how much room there is) comes in as a function. It changes nothing.

mod cores;
mod disks;
mod finding;
mod host;
mod kernel;
mod look;
mod memory;
mod places;
#[cfg(test)]
mod tests;

use crate::config::{self, Settings};
use finding::{Finding, Level};
use host::Host;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to look at.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The configuration that the daemon is to run with.
    #[arg(long, default_value = "/etc/holdfast/holdfast.toml")]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Look at the files of another host, below this directory.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Only look at one device, for the doctor that sends this process.
    #[arg(long, hide = true, value_name = "PATH")]
    look: Option<PathBuf>,
}

/// Runs it. Exit code 0: all is well; 1: the daemon runs, but something could be better; 2: it would not start, or a
/// promise would not hold.
pub fn run(options: &Options) -> ExitCode {
    if let Some(path) = &options.look {
        return look::here(path);
    }
    let host = Host::at(&options.root);
    let mut findings = Vec::new();
    let settings = match config::load(&options.config) {
        Ok(settings) => {
            findings.push(Finding::ok("configuration", options.config.display().to_string()));
            Some(settings)
        }
        Err(error) => {
            let means = "the daemon does not start; only the host was looked at";
            let mend = format!("$EDITOR {0}, then: holdfastd check {0}", options.config.display());
            findings.push(Finding::fail("configuration", error.to_string(), means, mend));
            None
        }
    };
    findings.extend(examine(&host, settings.as_ref()));
    if options.json {
        let report =
            serde_json::json!({ "version": 1, "worst": finding::worst(&findings), "findings": findings });
        println!("{report:#}");
    } else {
        print!("{}", finding::to_text(&findings));
    }
    ExitCode::from(match finding::worst(&findings) {
        Level::Ok => 0,
        Level::Warn => 1,
        Level::Fail => 2,
    })
}

fn examine(host: &Host, settings: Option<&Settings>) -> Vec<Finding> {
    let mut findings = if host.is_here() { kernel::probed() } else { Vec::new() };
    findings.push(kernel::io_uring_switch(host));
    findings.push(kernel::clock(host));
    findings.push(memory::memlock(host, settings));
    let Some(settings) = settings else { return findings };
    findings.push(memory::files(host, settings));
    findings.push(memory::arena(host, settings));
    findings.extend(cores::check(host, settings));
    findings.extend(places::state(host, settings, free_bytes));
    findings.extend(places::sockets(host, settings));
    for volume in &settings.volumes {
        findings.extend(disks::check(host, volume, look::elsewhere));
    }
    findings
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
