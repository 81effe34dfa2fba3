//! Habits that build with what the compiler keeps behind a switch: sanitizers, coverage, Miri. The stable compiler has the
//! first two, if it is told that it may (`RUSTC_BOOTSTRAP`).

use crate::step::{Failed, Step, root};
use std::process::Command;

/// The only target whose runtimes come with every toolchain of ours.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Seconds that each target of the fuzzer gets: seven take a minute.
const FUZZ_SECONDS: u64 = 9;

/// Tests with real threads in the lock-free parts. The standard library is not instrumented: its own channels and scopes are
/// named in a file of suppressions, and nothing else is.
pub(crate) fn sanitize(_: &[String]) -> Result<(), Failed> {
    let suppressions = root().join(".ci/tsan-suppressions.txt");
    // A test of the rings goes through the standard library's locks, which would be called races.
    Step::cargo(&format!("test --package holdfast-policy --test concurrent --target {TARGET}"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer")
        .env("TSAN_OPTIONS", &format!("suppressions={}", suppressions.display()))
        .target_folder("tsan")
        .advise(
            "the first stack is the access that came second; each Release names its Acquire by a SYNC POINT",
        )
        .run()?;
    miri()
}

/// Only a nightly toolchain has it.
fn miri() -> Result<(), Failed> {
    let there = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    if !there.is_ok_and(|told| told.status.success()) {
        println!("\n!!! NOT DONE: Miri over policy; `rustup +nightly component add miri` brings it");
        return Ok(());
    }
    let index = "+nightly miri test --package holdfast-policy --test plane_oracle";
    Step::cargo(index).target_folder("miri").advise("Miri names the access and what it broke").run()
}

/// Every target in turn. Instrumented without LTO, in a folder of its own.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), Failed> {
    let seconds = match arguments.first().map(|text| text.parse::<u64>()) {
        None => FUZZ_SECONDS,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => {
            let what = format!("{:?} is no number of seconds", arguments[0]);
            return Err(Failed { what, way_out: "cargo xtask fuzz [SECONDS a target]".into() });
        }
    };
    let corpora = root().join("daemon/fuzz/corpus");
    let mut targets: Vec<String> = std::fs::read_dir(&corpora)
        .map_err(|error| Failed {
            what: format!("{}: {error}", corpora.display()),
            way_out: "run it inside a whole checkout".into(),
        })?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    targets.sort();
    for target in targets {
        // What is found goes below the target folder: a corpus of the repository is changed by hand only.
        let found = crate::step::target_folder().join("fuzz").join("found").join(&target);
        std::fs::create_dir_all(&found).map_err(|error| Failed {
            what: format!("{}: {error}", found.display()),
            way_out: "make room for what the fuzzer finds".into(),
        })?;
        let corpus = corpora.join(&target);
        let run = format!(
            "run --release --manifest-path daemon/fuzz/Cargo.toml --target {TARGET} -- {} {} -max_total_time={seconds} \
             -print_final_stats=1 -timeout=20 -rss_limit_mb=4096 -artifact_prefix={}/",
            found.display(),
            corpus.display(),
            found.display()
        );
        Step::cargo(&run)
            .env("HOLDFAST_FUZZ_TARGET", &target)
            .env("RUSTC_BOOTSTRAP", "1")
            .env(
                "RUSTFLAGS",
                "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                 -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1 \
                 -Cunsafe-allow-abi-mismatch=sanitizer",
            )
            .target_folder("fuzz")
            .advise("the last line names the file that broke it: make a named test of it, then put it into the corpus")
            .run()?;
    }
    Ok(())
}
