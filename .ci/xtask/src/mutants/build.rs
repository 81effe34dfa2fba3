//! The one build that has all mutants in it.
//!
//! Only the workspace's own crates are compiled with `--cfg mutants`: cargo hands them to a wrapper of rustc, which is this
//! very program. So the dependencies are those of every other build, and what is built here is kept apart by name.

use super::concerns;
use super::suite::LIMIT;
use crate::step::{Failed, root, target_folder};
use holdfast_mutants::{Mutant, Place};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Set where this program is to be a wrapper of rustc.
const WRAPS: &str = "HOLDFAST_XTASK_WRAPS_RUSTC";

/// What was built.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// The simulator.
    pub(crate) simulator: PathBuf,
    /// Test programs: of which package, its name, and where.
    pub(crate) tests: Vec<Program>,
    /// Those that run under loom.
    pub(crate) loom: Vec<Program>,
}

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What it tests.
    pub(crate) place: Place,
    /// `engine promises`, for instance.
    pub(crate) name: String,
    /// Where its tests expect to be run.
    pub(crate) folder: PathBuf,
    pub(crate) path: PathBuf,
    /// Which of its tests are run; all, if none is named.
    pub(crate) filters: &'static [&'static str],
    /// How long it may take.
    pub(crate) limit: Duration,
}

/// A package with its folder and what of its tests is run; those left out take minutes, or a whole machine.
struct Package {
    place: Place,
    name: &'static str,
    folder: &'static str,
    tests: &'static [&'static str],
    /// Which of them, where all would take minutes.
    filters: &'static [&'static str],
}

const PACKAGES: &[Package] = &[
    Package {
        place: Place::Engine,
        name: "holdfast-policy",
        folder: "policy",
        tests: &[
            "--lib",
            "--test=classes",
            "--test=index_oracle",
            "--test=plane_oracle",
            "--test=policies",
            "--test=state_table",
        ],
        filters: &[],
    },
    Package {
        place: Place::Engine,
        name: "holdfast-engine",
        folder: "daemon/engine",
        tests: &["--lib", "--test=promises", "--test=header", "--test=geometry"],
        filters: &[],
    },
    Package {
        place: Place::Engine,
        name: "holdfast-sim",
        folder: "daemon/sim",
        tests: &[
            "--bin=holdfast-sim",
            "--test=flush_failure",
            "--test=full_cache_failing_device",
            "--test=hung_device",
            "--test=kept_seeds",
            "--test=no_flush_starvation",
            "--test=one_bad_line",
            "--test=timeline",
        ],
        filters: &[],
    },
    Package {
        place: Place::Rings,
        name: "holdfast-ringbuf",
        folder: "ringbuf",
        tests: &["--lib", "--test=door", "--test=foreign_daemon", "--test=hostile"],
        filters: &[],
    },
    Package {
        place: Place::Daemon,
        name: "holdfast-daemon",
        folder: "daemon",
        tests: &["--lib", "--test=storage"],
        filters: &["registry::", "start::", "backing::", "killed::"],
    },
];

/// What runs under loom.
const LOOM: &[Package] = &[
    Package {
        place: Place::Engine,
        name: "holdfast-policy",
        folder: "policy",
        tests: &["--test=loom"],
        filters: &[],
    },
    Package {
        place: Place::Rings,
        name: "holdfast-ringbuf",
        folder: "ringbuf",
        tests: &["--lib"],
        filters: &[],
    },
];

/// This process was started by cargo in the place of rustc: runs that, with the flag.
pub(crate) fn wrapped_rustc() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut words = std::env::args_os().skip(1);
    let rustc = words.next()?;
    let status = Command::new(rustc).args(words).args(["--cfg", "mutants"]).status();
    let code = status.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Some(ExitCode::from(code.unwrap_or(101)))
}

/// Builds what the chosen mutants are tried on.
pub(crate) fn build(chosen: &[Mutant]) -> Result<Built, Failed> {
    let mut built = Built::default();
    for package in PACKAGES.iter().filter(|package| concerns(chosen, package.place)) {
        let log = cargo(package, &[], None)?;
        built.tests.extend(programs(package, &log));
    }
    if concerns(chosen, Place::Engine) {
        // A copy: the next build of the ordinary kind puts its own in the same place.
        let (from, to) =
            (target_folder().join("debug/holdfast-sim"), target_folder().join("holdfast-sim-mutants"));
        std::fs::copy(&from, &to).map_err(|error| Failed {
            what: format!("{} could not be copied: {error}", from.display()),
            way_out: "is the disk full?".into(),
        })?;
        built.simulator = to;
    }
    for package in LOOM.iter().filter(|package| concerns(chosen, package.place)) {
        let flags = OsString::from("--cfg loom -Dwarnings");
        let log = cargo(package, &["--profile", "proof"], Some(flags))?;
        built.loom.extend(programs(package, &log));
    }
    Ok(built)
}

/// Builds a package's tests and returns what cargo said.
fn cargo(package: &Package, more: &[&str], loom: Option<OsString>) -> Result<String, Failed> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).stdin(Stdio::null());
    command.args(["test", "--no-run", "--locked", "--package", package.name]).args(package.tests).args(more);
    command.env(WRAPS, "1").env("CARGO_TERM_COLOR", "never");
    command.env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe().unwrap_or_else(|_| "xtask".into()));
    if let Some(flags) = loom {
        command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", target_folder().join("loom"));
    }
    println!("==> building {} with mutants", package.name);
    let failed = |what: String| Failed {
        what,
        way_out: "mend what the compiler names; it was built with `--cfg mutants`".into(),
    };
    let output = command.output().map_err(|error| failed(format!("cargo could not be started: {error}")))?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(log) } else { Err(failed(log)) }
}

/// `  Executable tests/promises/main.rs (target/debug/deps/promises-6b540c0150012705)`
fn programs(package: &Package, log: &str) -> Vec<Program> {
    let lines = log.lines().filter_map(|line| line.trim().strip_prefix("Executable "));
    let parsed = lines.filter_map(|line| {
        let path = line.rsplit_once('(')?.1.strip_suffix(')')?;
        let file = path.rsplit('/').next()?;
        let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
        let short = package.name.trim_start_matches("holdfast-");
        let name = if name.starts_with("holdfast_") { short.to_owned() } else { format!("{short} {name}") };
        Some(Program {
            place: package.place,
            name,
            folder: root().join(package.folder),
            path: root().join(path),
            filters: package.filters,
            limit: LIMIT,
        })
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_says() {
        let log = "   Compiling x v0.1.0\n  Executable unittests src/lib.rs (/t/debug/deps/holdfast_engine-11)\n  \
                   Executable tests/promises/main.rs (/t/debug/deps/promises-6b)\n";
        let found = programs(&PACKAGES[1], log);
        let names: Vec<&str> = found.iter().map(|program| program.name.as_str()).collect();
        assert_eq!(names, ["engine", "engine promises"]);
        assert_eq!(found[1].path, PathBuf::from("/t/debug/deps/promises-6b"));
    }
}
