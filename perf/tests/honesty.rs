//! The honesty table with the real program, the real kernel and the real daemon, as far as this machine has them.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

/// How long anything may take that will come.
const PATIENCE: Duration = Duration::from_secs(60);

fn honesty(directory: &Path, systems: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"));
    command.args(["honesty", "--scene", "update-data", "--directory"]).arg(directory);
    command.args(systems.iter().flat_map(|system| ["--system", system]));
    command
}

/// Whether this machine has what the plays need; where that is not demanded, the test is skipped, and says so.
fn can_play() -> bool {
    let daemon = PathBuf::from(env!("CARGO_BIN_EXE_holdfast-perf")).with_file_name("holdfastd");
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("root".to_owned());
    }
    if !daemon.is_file() {
        missing.push(format!("{}: cargo build -p holdfast-daemon", daemon.display()));
    }
    for program in ["nbdkit", "nbdfuse", "losetup", "mkfs.ext4"] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            missing.push(program.to_owned());
        }
    }
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("HOLDFAST_REQUIRE_REAL").is_none(), "there is no {}", missing.join(", no "));
    eprintln!("!!! SKIPPED: there is no {}", missing.join(", no "));
    false
}

/// A folder on a disk: an image on tmpfs cannot be behind a direct loop device everywhere.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a disk to write to")
}

fn check(output: &Output, code: i32) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}\n{}", String::from_utf8_lossy(&output.stdout));
}

fn seen<'a>(play: &'a Value, step: &str) -> &'a str {
    let steps = play["steps"].as_array().expect("steps");
    let found = steps.iter().find(|one| one["what"] == step);
    found.unwrap_or_else(|| panic!("no {step} in {play}"))["seen"].as_str().expect("words")
}

/// What stays of a run in its folder, in the table of mounts, or under a loop device.
fn remains(directory: &Path) -> Vec<String> {
    let name = directory.to_str().expect("plain");
    let mut remains: Vec<String> = std::fs::read_dir(directory)
        .expect("ours")
        .map(|entry| entry.expect("ours").path().display().to_string())
        .collect();
    let mounts = read_to_string("/proc/self/mounts").expect("mounts");
    remains.extend(mounts.lines().filter(|line| line.contains(name)).map(str::to_owned));
    let loops = std::fs::read_dir("/sys/block").expect("block devices").filter_map(|entry| {
        let file = entry.ok()?.path().join("loop/backing_file");
        read_to_string(file).ok().filter(|backing| backing.contains(name))
    });
    remains.extend(loops);
    remains
}

#[test]
fn the_table_is_filled_with_what_was_seen_and_holdfast_keeps_its_promises() {
    if !can_play() {
        return;
    }
    let (directory, report) = (folder(), folder());
    let mut command = honesty(directory.path(), &["ext4", "hold-forever"]);
    let output =
        command.arg("--json").arg("--report").arg(report.path()).output().expect("the program starts");
    check(&output, 0);
    let table: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(table["not_played"], Value::Array(Vec::new()));
    let plays = table["plays"].as_array().expect("plays");
    let names: Vec<_> = plays.iter().map(|play| play["system"].as_str().expect("a name")).collect();
    assert_eq!(names, ["ext4", "hold-forever"]);

    let kept = &plays[1];
    let expected = [
        ("write", "ok"),
        ("flush", "EIO"),
        ("flush again", "EIO"),
        ("read", "B"),
        ("a second session flushes", "EIO"),
        ("read after eviction", "B"),
        ("an operator can list", "failed 4096+4096 EIO"),
        ("restart", "killed, started"),
        ("read after restart", "B"),
        ("flush after restart", "EIO"),
        ("listed after restart", "failed 4096+4096 EIO"),
        ("disk well, operator", "retry: ok"),
        ("flush after that", "ok"),
        ("read after that", "B"),
        ("on the disk at the end", "B"),
    ];
    for (step, promised) in expected {
        assert_eq!(seen(kept, step), promised, "{step}: {kept}");
    }
    assert_eq!(kept["broken"], Value::Array(Vec::new()));

    // What a kernel answers is its own affair; that it was asked, and judged by what it said, is ours.
    let kernel = &plays[0];
    assert_eq!(kernel["steps"].as_array().expect("steps").len(), expected.len());
    assert!(kernel["steps"].as_array().expect("steps").iter().all(|step| step["seen"] != ""), "{kernel}");
    for play in plays {
        assert!(play["refused_writes"].as_u64().expect("a number") > 0, "{play}");
        let promises: Vec<_> =
            play["broken"].as_array().expect("a list").iter().map(|broken| &broken["promise"]).collect();
        let lied = seen(play, "flush after that") == "ok" && seen(play, "on the disk at the end") != "B";
        assert_eq!(
            promises.iter().any(|promise| **promise == "C1"),
            lied || seen(play, "flush again") == "ok",
            "{play}"
        );
    }
    let page = read_to_string(report.path().join("honesty.md")).expect("the report");
    let rows: Vec<Vec<&str>> =
        page.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    for step in kept["steps"].as_array().expect("steps") {
        let what = step["what"].as_str().expect("words");
        let row = rows.iter().find(|row| row[0] == what).unwrap_or_else(|| panic!("no {what} in {page}"));
        assert_eq!(row[1..], [seen(kernel, what), seen(kept, what)], "{what}");
    }
    let json = std::fs::read(report.path().join("honesty.json")).expect("the report");
    assert_eq!(serde_json::from_slice::<Value>(&json).expect("JSON"), table);
    assert_eq!(remains(directory.path()), Vec::<String>::new());
}

/// C2: what was given up fails flushes, also in another process, after a crash, and once the disk is well; until an operator
/// accepts the loss.
#[test]
fn a_flush_fails_over_a_loss_until_it_is_accepted() {
    if !can_play() {
        return;
    }
    let directory = folder();
    let mut command = honesty(directory.path(), &["evict-immediately"]);
    let output = command.arg("--json").output().expect("the program starts");
    check(&output, 0);
    let table: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let play = &table["plays"][0];
    let expected = [
        ("flush", "EIO"),
        ("a second session flushes", "EIO"),
        ("an operator can list", "lost 4096+4096 EIO"),
        ("restart", "killed, started"),
        ("flush after restart", "EIO"),
        ("flush after that", "EIO"),
        ("read after that", "EIO"),
        ("the loss is accepted", "ack-loss: ok"),
        ("flush after acceptance", "ok"),
        ("read after acceptance", "A"),
        ("on the disk at the end", "A"),
    ];
    for (step, promised) in expected {
        assert_eq!(seen(play, step), promised, "{step}: {play}");
    }
    assert_eq!(play["broken"], Value::Array(Vec::new()));
}

/// Waits for the end of a child that was told to end.
fn end(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("our child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("our child");
    panic!("it does not end");
}

#[test]
fn an_interrupted_run_unmounts_and_detaches_everything() {
    if !can_play() {
        return;
    }
    for system in ["ext4", "hold-forever"] {
        let directory = folder();
        let mut command = honesty(directory.path(), &[system]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let until = Instant::now() + PATIENCE;
        // The disk has refused: it is in the middle of it.
        while !remains(directory.path()).iter().any(|path| {
            std::fs::metadata(Path::new(path).join("refusals")).is_ok_and(|refusals| refusals.len() > 0)
        }) {
            assert!(Instant::now() < until && child.try_wait().expect("our child").is_none(), "{system}");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(remains(directory.path()).len() > 1, "{system}: it is mounted");
        kill_process(Pid::from_child(&child), Signal::INT).expect("it lives");
        assert_eq!(end(&mut child), Some(1), "{system}");
        assert_eq!(remains(directory.path()), Vec::<String>::new(), "{system}");
    }
}

#[test]
fn what_is_missing_is_said_with_the_way_to_get_it() {
    let directory = folder();
    let output = honesty(directory.path(), &["xfs"]).env("PATH", "/nonexistent").output().expect("it starts");
    check(&output, 3);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    for package in ["nbdkit: `apt-get install nbdkit`", "mkfs.xfs: `apt-get install xfsprogs`"] {
        assert!(words.contains("* not played: xfs: it needs") && words.contains(package), "{words}");
    }
    assert_eq!(remains(directory.path()), Vec::<String>::new());
}

#[test]
fn a_system_that_nobody_knows_is_refused_with_those_that_there_are() {
    let output = honesty(Path::new("/nonexistent"), &["zfs"]).output().expect("it starts");
    check(&output, 2);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("zfs") && words.contains("btrfs, evict-immediately"), "{words}");
}

#[test]
fn the_readme_shows_the_last_run() {
    let (readme, page) = (include_str!("../../README.md"), include_str!("../../docs/honesty.md"));
    let shown: Vec<&str> = page
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with('|') || line.starts_with("Seen on "))
        .collect();
    assert!(shown.len() > 3, "{page}");
    for line in shown {
        assert!(readme.lines().any(|other| other == line), "README.md should have: {line}");
    }
}
