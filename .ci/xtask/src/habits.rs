//! The habits: what each one runs, and in which order.

use crate::count::{count, is_installed};
use crate::install::install;
use crate::mutants::mutants;
use crate::rules;
use crate::sanitize;
use crate::step::{Failed, Step};

/// One thing that is done to this repository.
pub(crate) struct Habit {
    /// What is typed.
    pub(crate) name: &'static str,
    /// What it does, in one line.
    pub(crate) summary: &'static str,
    /// Whether what follows the name is passed on.
    pub(crate) takes_arguments: bool,
    /// Does it, and stops at the first step that fails.
    pub(crate) run: fn(&[String]) -> Result<(), Failed>,
}

/// In the order of the help page.
pub(crate) const HABITS: &[Habit] = &[
    Habit {
        name: "check",
        summary: "file rules, formatting, lints and documentation; nothing may warn",
        takes_arguments: false,
        run: check,
    },
    Habit { name: "test", summary: "cargo test --workspace [ARGUMENTS]", takes_arguments: true, run: test },
    Habit {
        name: "sim",
        summary: "the simulator on 1000 seeds, or with your ARGUMENTS (try --help)",
        takes_arguments: true,
        run: sim,
    },
    Habit {
        name: "loom",
        summary: "the lock-free parts in every interleaving of the memory model",
        takes_arguments: false,
        run: loom,
    },
    Habit {
        name: "tsan",
        summary: "rings and dirty index on real threads under ThreadSanitizer, with and without their orderings",
        takes_arguments: false,
        run: sanitize::tsan,
    },
    Habit {
        name: "shuttle",
        summary: "larger scenes of rings, index and sleepers in random schedules, or [SCHEDULES] of each kind",
        takes_arguments: true,
        run: shuttle,
    },
    Habit {
        name: "miri",
        summary: "the cores of rings and index under Miri, where there is one",
        takes_arguments: false,
        run: sanitize::miri,
    },
    Habit {
        name: "fuzz",
        summary: "libFuzzer on all that strangers write: a minute in all, or [SECONDS] for each of 8 targets",
        takes_arguments: true,
        run: sanitize::fuzz,
    },
    Habit {
        name: "mutants",
        summary: "deliberate bugs, and which suite kills each: [--only NAME]... [--quick] [--save]",
        takes_arguments: true,
        run: mutants,
    },
    Habit {
        name: "bench",
        summary: "the stopwatch with your ARGUMENTS (try --help), optimised",
        takes_arguments: true,
        run: bench,
    },
    Habit {
        name: "install-capi",
        summary: "the C library: --prefix DIR [--libdir DIR] [--destdir DIR] [--profile NAME]",
        takes_arguments: true,
        run: install,
    },
    Habit {
        name: "count",
        summary: "instructions of requests, against their baseline (needs valgrind, gungraun-runner)",
        takes_arguments: true,
        run: count,
    },
    Habit {
        name: "deny",
        summary: "licences, bans and sources of all dependencies (needs cargo-deny)",
        takes_arguments: false,
        run: deny,
    },
    Habit {
        name: "package",
        summary: "the Debian package: built, installed, started, removed (needs root, cargo-deb, systemd)",
        takes_arguments: false,
        run: package,
    },
    Habit {
        name: "ci",
        summary: "everything that has to pass, in CI's order",
        takes_arguments: false,
        run: ci,
    },
];

fn check(_: &[String]) -> Result<(), Failed> {
    rules::check()?;
    Step::cargo("fmt --all --check").advise("run `cargo fmt --all`").run()?;
    Step::cargo("clippy --workspace --all-targets --locked -- -D warnings")
        .advise("mend what clippy names; an `#[allow]` needs a reason beside it")
        .run()?;
    Step::cargo("doc --workspace --no-deps --locked")
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .advise("mend the comment that rustdoc names; most often a link to what is private or renamed")
        .run()
}

fn test(arguments: &[String]) -> Result<(), Failed> {
    Step::cargo("test --workspace")
        .arguments(arguments)
        .advise("run the failing test alone: cargo test -p PACKAGE TEST -- --nocapture")
        .run()
}

fn sim(arguments: &[String]) -> Result<(), Failed> {
    let thousand = ["--seeds".to_string(), "1000".to_string()];
    Step::cargo("run --release --package holdfast-sim --")
        .arguments(if arguments.is_empty() { &thousand } else { arguments })
        .advise("the last line above repeats the failing seed; make it a named test before you mend it")
        .run()
}

/// The rings' model is part of the library's own tests, the index's is a test beside it; nothing else compiles to much
/// under loom. In a folder of its own: the flag changes every crate, and each habit would throw the other's builds away.
fn loom(_: &[String]) -> Result<(), Failed> {
    for tests in ["--package holdfast-ringbuf --lib", "--package holdfast-policy --test loom"] {
        Step::cargo(&format!("test --profile proof {tests}"))
            .env("RUSTFLAGS", "--cfg loom -Dwarnings")
            .target_folder("loom")
            .advise("loom prints the interleaving; LOOM_LOG=trace and LOOM_LOCATION=1 tell more")
            .run()?;
    }
    Ok(())
}

/// As loom, for scenes that are too large for every interleaving.
fn shuttle(arguments: &[String]) -> Result<(), Failed> {
    let step = Step::cargo("test --profile proof --package holdfast-ringbuf --lib shuttle_scenes");
    let step = match arguments.first() {
        Some(schedules) => step.env("HOLDFAST_SHUTTLE_SCHEDULES", schedules),
        None => step,
    };
    step.env("RUSTFLAGS", "--cfg shuttle -Dwarnings")
        .target_folder("shuttle")
        .advise("shuttle prints the schedule that failed, and how to replay it")
        .run()
}

fn bench(arguments: &[String]) -> Result<(), Failed> {
    Step::cargo("run --release --package holdfast-perf --")
        .arguments(arguments)
        .advise("what it printed above says what it needs")
        .run()
}

/// Without its advisories, which change from day to day: the same commit has the same answer.
fn deny(_: &[String]) -> Result<(), Failed> {
    Step::cargo("deny --config .ci/deny.toml check --hide-inclusion-graph licenses bans sources")
        .advise("no cargo-deny? `cargo install cargo-deny --locked`. Else: drop the crate, or argue for it in .ci/deny.toml")
        .run()
}

/// Of the binaries that the tests use: what a package of an optimised build has besides is speed.
fn package(_: &[String]) -> Result<(), Failed> {
    Step::cargo("build --locked --package holdfast-daemon --package holdfast-ctl")
        .advise("mend what the compiler names")
        .run()?;
    Step::script(".ci/package").advise("the line with !!! says what is wrong; daemon/packaging/ has it").run()
}

/// Cheap first, and the tests last, where their lines are seen.
fn ci(_: &[String]) -> Result<(), Failed> {
    check(&[])?;
    deny(&[])?;
    loom(&[])?;
    shuttle(&[])?;
    sanitize::tsan(&[])?;
    sanitize::miri(&[])?;
    sanitize::fuzz(&[])?;
    sim(&[])?;
    mutants(&["--quick".to_owned()])?;
    package(&[])?;
    if is_installed() {
        count(&[])?;
    } else {
        println!(
            "\n==> NOT DONE: cargo xtask count (instructions a request); it needs valgrind and gungraun-runner"
        );
    }
    test(&[])
}
