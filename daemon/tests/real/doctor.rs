//! `holdfastd doctor` as a process: its exit code is the worst of what it found, and it changes nothing.

use crate::hanging::Stopped;
use crate::needs::can_use;
use crate::place::{MIB, Place, Volume};
use crate::running::Daemon;
use crate::world::Fuse;
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn doctor(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
    let output = command.arg("doctor").arg("--config").arg(config).args(arguments).output();
    let output = output.expect("the daemon's program");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The level of a check, of one among several if it says which.
fn level(report: &Value, check: &str, of: &str) -> String {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|finding| finding["check"] == check && finding["of"] == of);
    let found = found.unwrap_or_else(|| panic!("no {check} of {of:?} in {report:#}"));
    found["level"].as_str().expect("a level").to_owned()
}

#[test]
fn the_doctor_sees_a_daemon_that_runs_and_one_that_was_killed() {
    let place = Place::serving(&[Volume::file("vm", &Place::new().disk.path().join("gone/vm"), MIB)]);
    let admin = place.admin().display().to_string();
    let (code, out) = doctor(&place.configure(), &["--json"]);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let codes = [("ok", 0), ("warn", 1), ("fail", 2)];
    let worst = codes.iter().find(|(level, _)| report["worst"] == *level).expect("a level");
    assert_eq!(code, Some(worst.1), "{report:#}");
    assert_eq!(level(&report, "hugepages", ""), "warn", "the arena of the tests is on tmpfs");
    assert_eq!(level(&report, "socket", &admin), "ok", "no daemon has run");
    assert!(!place.file("vm").exists() && !place.arena().exists(), "nothing was made");

    let place = Place::serving(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let admin = place.admin().display().to_string();
    let mut daemon = Daemon::start(&place);
    let report = |place: &Place| -> Value {
        serde_json::from_str(&doctor(&place.configure(), &["--json"]).1).expect("JSON")
    };
    assert_eq!(level(&report(&place), "socket", &admin), "ok");
    let clients = place.clients().display().to_string();
    assert_eq!(level(&report(&place), "socket", &clients), "ok", "'rm' would be bad advice: it listens");
    daemon.client("vm").flush().expect("a look harms nobody");
    daemon.kill();
    for socket in [&admin, &clients] {
        assert_eq!(level(&report(&place), "socket", socket), "warn", "it was left over");
    }
}

#[test]
fn without_a_configuration_the_doctor_looks_at_the_host() {
    let place = Place::new();
    let (code, out) = doctor(&place.file("nothing.toml"), &[]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("FAIL  configuration") && out.contains("holdfastd check"), "{out}");
    assert!(out.contains("kernel (io_uring)"), "the host is looked at: {out}");
}

/// A disk that does not answer is one finding among others, not the end of the look.
#[test]
fn the_doctor_does_not_wait_for_a_disk_that_does_not_answer() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").expect("a place");
    let fuse = Fuse::start(directory.path(), 8 * MIB, &["memory", "8M"]);
    let mut place = Place::new();
    place.add(&[Volume::existing("ill", &fuse.file), Volume::file("well", &place.file("well"), MIB)]);
    fuse.signal(Signal::STOP);
    let _stopped = Stopped(&fuse);
    let (code, out) = doctor(&place.configure(), &["--json"]);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, Some(2), "{report:#}");
    assert_eq!(level(&report, "backing", "ill"), "fail");
    assert_eq!(level(&report, "direct", "well"), "ok");
    assert!(out.contains("does not answer within 3 s"), "{out}");
}
