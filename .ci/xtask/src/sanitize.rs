//! Habits that build with what the compiler keeps behind a switch: sanitizers, coverage, Miri. The stable compiler has the
//! first two, if it is told that it may (`RUSTC_BOOTSTRAP`).

use crate::step::{Failed, Step, root};
use std::process::Command;

/// The only target whose runtimes come with every toolchain of ours.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Seconds that each target of the fuzzer gets: eight take a minute.
const FUZZ_SECONDS: u64 = 7;

/// What has an ordering to lose: a test with real threads, and the mutants that take an ordering from what it tests.
const ORDERED: [(&str, &[&str]); 3] = [
    ("--package holdfast-ringbuf --lib real_threads", &["PublishedRelaxed", "ReleasedRelaxed"]),
    ("--package holdfast-policy --test published", &["MarkIsRelaxed"]),
    ("--package holdfast-policy --test concurrent", &[]),
];

/// Tests with real threads in the lock-free parts, and the same with an ordering taken out, which ThreadSanitizer must see.
/// The standard library is not instrumented (that needs its source, which not every toolchain has): these tests share
/// nothing through it, and what is left of it is named in a file of suppressions.
pub(crate) fn tsan(_: &[String]) -> Result<(), Failed> {
    let suppressions = root().join(".ci/tsan-suppressions.txt");
    let step = |tests: &str| {
        Step::cargo(&format!("test --target {TARGET} {tests}"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg mutants")
            .env("TSAN_OPTIONS", &format!("halt_on_error=1 suppressions={}", suppressions.display()))
            .target_folder("tsan")
    };
    for (tests, mutants) in ORDERED {
        step(tests)
            .advise(
                "the first stack is the access that came second; each Release names its Acquire by a SYNC POINT",
            )
            .run()?;
        for mutant in mutants {
            step(tests)
                .env(holdfast_mutants::VARIABLE, mutant)
                .advise(
                    "the test no longer sees an ordering that is gone: give it back plain memory to watch",
                )
                .must_fail("ThreadSanitizer: data race")?;
        }
    }
    Ok(())
}

/// Only a nightly toolchain has it. The rings live in shared memory and system calls, which it does not know: it reads the
/// core of the rings, the plane of the index against its oracle, and the headers.
pub(crate) fn miri(_: &[String]) -> Result<(), Failed> {
    let there = Command::new("rustup").args(["run", "nightly", "cargo", "miri", "--version"]).output();
    if !there.is_ok_and(|told| told.status.success()) {
        println!("\n!!! NOT DONE: cargo xtask miri; `rustup +nightly component add miri` brings it");
        return Ok(());
    }
    for tests in ["holdfast-policy --test plane_oracle", "holdfast-ringbuf --lib index::"] {
        Step::nightly(&format!("miri test --package {tests}"))
            .target_folder("miri")
            .advise("Miri names the access and what it broke")
            .run()?;
    }
    Ok(())
}

/// Every target in turn. Instrumented without LTO, in a folder of its own. Leaks are not looked for: that takes ptrace, which
/// containers forbid, and then hangs.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), Failed> {
    let seconds = match arguments.first().map(|text| text.parse::<u64>()) {
        None => FUZZ_SECONDS,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => {
            let what = format!("{:?} is no number of seconds", arguments[0]);
            return Err(Failed { what, way_out: "cargo xtask fuzz [SECONDS a target]".into() });
        }
    };
    if !Command::new("c++").arg("--version").output().is_ok_and(|told| told.status.success()) {
        println!("\n!!! NOT DONE: cargo xtask fuzz; there is no C++ compiler for libFuzzer (Debian: g++)");
        return Ok(());
    }
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
             -print_final_stats=1 -detect_leaks=0 -timeout=20 -rss_limit_mb=4096 -artifact_prefix={}/",
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
                 -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address \
                 -Cunsafe-allow-abi-mismatch=sanitizer",
            )
            .target_folder("fuzz")
            .advise("the last line names the file that broke it: make a named test of it, then put it into the corpus")
            .run()?;
    }
    Ok(())
}
