//! `holdfastd quickstart`, as whoever runs the tests and as somebody without any rights.
//!
//! The program itself is the judge of each step: it prints MISMATCH for what does not hold. These tests hold it to that, and to
//! having played all of it, leaving nothing behind.

mod full_disks;
#[path = "../../../ringbuf/tests/needs/mod.rs"]
mod needs;
mod serving;

use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `nobody`.
const NOBODY: u32 = 65534;

/// What an ordinary login may lock on an old distribution.
const LOCKED_BYTES: u64 = 64 << 10;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).expect("it is ours");
    folder
}

/// Runs it with its temporary files in `folder`.
fn quickstart(program: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("quickstart").args(arguments).env("TMPDIR", folder).env_remove("RUST_LOG");
    command
}

fn built() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_holdfastd"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// All was played, all held, and nothing is left.
fn assert_played(output: &Output, folder: &Path) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("MISMATCH"), "{said}");
    for policy in ["hold-forever", "hold-until-pressure", "evict-immediately"] {
        assert!(said.contains(&format!("\n{policy}: ")), "{policy} was not played:\n{said}");
        assert!(said.contains(&format!("  end C1     {policy}")), "{policy} was not compared:\n{said}");
    }
    for moment in ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"] {
        let times = said.lines().filter(|line| line.trim_start().starts_with(moment)).count();
        assert!(times >= 3, "{moment} came {times} times:\n{said}");
    }
    let left = std::fs::read_dir(folder).expect("it is there").count();
    assert_eq!(left, 0, "files were left in {}", folder.display());
}

#[test]
fn all_policies_keep_their_promises_for_whoever_runs_this() {
    let folder = folder();
    let output = quickstart(&built(), folder.path(), &[]).output().expect("the daemon was built");
    assert_played(&output, folder.path());
}

#[test]
fn all_policies_keep_their_promises_for_nobody_who_may_lock_next_to_nothing() {
    // The test beside this one ran as whoever this is.
    if !needs::can_use(&[]) {
        return;
    }
    let folder = folder();
    // Where it was built may be out of reach for others.
    let program = folder.path().join("holdfastd");
    std::fs::copy(built(), &program).expect("there is room for the program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).expect("it is ours");
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let mut command = quickstart(&program, &temporary, &[]);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    let limit = Rlimit { current: Some(LOCKED_BYTES), maximum: Some(LOCKED_BYTES) };
    // SAFETY: between fork and exec the closure makes one system call, prlimit64, on a value that it owns; it neither
    // allocates nor takes a lock.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::Memlock, limit)?));
    }
    assert_played(&command.output().expect("the daemon was built"), &temporary);
}

/// A disk that is not full must not be taken for one that is: there would be nothing to see, and nothing to prove.
#[test]
fn a_disk_of_yours_that_has_room_is_no_place_to_play() {
    let folder = folder();
    let disk = folder.path().join("disk");
    std::fs::File::create(&disk).and_then(|file| file.set_len(8 << 20)).expect("it can be sparse");
    let backing = ["--backing", disk.to_str().expect("a plain path")];
    let careless = quickstart(&built(), folder.path(), &backing).output().expect("the daemon was built");
    assert_eq!(careless.status.code(), Some(2), "{}", said(&careless));
    assert!(said(&careless).contains("--yes"), "{}", said(&careless));
    assert_eq!(std::fs::read(&disk).expect("it is ours"), vec![0; 8 << 20], "it was changed without a yes");
    let confirmed = quickstart(&built(), folder.path(), &[backing[0], backing[1], "--yes"]).output();
    let confirmed = confirmed.expect("the daemon was built");
    assert_ne!(confirmed.status.code(), Some(0), "{}", said(&confirmed));
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is ours").count(), 1, "only the disk is left");
}
