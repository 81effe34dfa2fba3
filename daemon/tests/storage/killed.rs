//! A daemon that is killed while its disk has an operation.

use crate::support::{Fuse, MIB, Rig, file_spec, on_disk};
use holdfast_daemon::device::{Backing, BackingSpec};
use holdfast_engine::IoKind;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CHILD: &str = "HOLDFAST_TEST_KILLED";
const AT_ONCE: &str = "HOLDFAST_TEST_KILLED_AT_ONCE";
const NAME: &str = "killed::an_operation_of_a_killed_daemon_has_ended_when_its_lock_is_free";
/// How long the disk takes over a write, seconds.
const DELAY: u64 = 1;

fn spec(file: &Path) -> BackingSpec {
    BackingSpec { size: Some(MIB), create: false, buffered_allowed: false, ..file_spec(file) }
}

/// M1: a disk carries a write out a second after its daemon was killed. Who gets the lock after that must not see it
/// land later, over what he wrote himself.
#[test]
fn an_operation_of_a_killed_daemon_has_ended_when_its_lock_is_free() {
    if let Some(file) = std::env::var_os(CHILD) {
        return submit_and_stay(Path::new(&file));
    }
    let disk = on_disk();
    let seen = disk.path().join("seen-by-the-disk");
    let Some(fuse) = Fuse::start(disk.path(), &slow(&seen)) else { return };
    let mut daemon = second_process(&fuse.file).spawn().expect("a second process");
    let lines = BufReader::new(daemon.stdout.take().expect("piped")).lines();
    let told = lines.map_while(Result::ok).any(|line| line.contains("submitted"));
    assert!(told, "the second process got as far as its write");
    let arrived = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        has_a_write(&seen)
    });
    kill(&mut daemon);
    assert!(arrived, "the disk got the write");

    let backing = Backing::open(&spec(&fuse.file)).expect("the lock goes with the last operation");
    assert_eq!(first_byte(&fuse.file), 0x99, "the lock was free while the write was still on its way");
    drop(backing);
}

/// One that no worker thread of the kernel had begun when its daemon died may be dropped, but not be carried out later.
#[test]
fn an_operation_not_begun_when_its_daemon_was_killed_never_lands_after_its_lock() {
    let disk = on_disk();
    let seen = disk.path().join("seen-by-the-disk");
    let Some(fuse) = Fuse::start(disk.path(), &slow(&seen)) else { return };
    let mut daemon = second_process(&fuse.file).env(AT_ONCE, "1").spawn().expect("a second process");
    let status = daemon.wait().expect("gone");
    assert_eq!(status.signal(), Some(9), "it got as far as its write: {status}");

    let backing = Backing::open(&spec(&fuse.file)).expect("the lock goes with the last operation");
    let found = first_byte(&fuse.file);
    std::thread::sleep(Duration::from_secs(2 * DELAY));
    assert_eq!(first_byte(&fuse.file), found, "a write landed after the lock was free");
    assert_eq!(has_a_write(&seen), found == 0x99, "what the disk was told and what it holds");
    drop(backing);
}

/// nbdkit's arguments for a disk whose writes take [`DELAY`] and are noted in `seen` when they come.
fn slow(seen: &Path) -> [String; 6] {
    let log = format!("logfile={}", seen.display());
    let arguments = ["--filter=log", "--filter=delay", "memory", "1M", &log, &format!("wdelay={DELAY}")];
    arguments.map(str::to_owned)
}

fn has_a_write(seen: &Path) -> bool {
    std::fs::read_to_string(seen).is_ok_and(|log| log.contains(" Write "))
}

fn first_byte(file: &Path) -> u8 {
    let mut byte = [0];
    std::fs::File::open(file).and_then(|file| file.read_exact_at(&mut byte, 0)).expect("read");
    byte[0]
}

/// This program again, as a daemon with one write on its way.
fn second_process(file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--nocapture", NAME]).env(CHILD, file).stdout(Stdio::piped());
    command
}

fn kill(daemon: &mut Child) {
    daemon.kill().expect("killed");
    daemon.wait().expect("gone");
}

fn submit_and_stay(file: &Path) {
    let backing = Backing::open(&spec(file)).expect("opened");
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    // Nobody cleans up after a process that is killed.
    rig.remove_directory();
    rig.fill(1, 0x99);
    rig.start(IoKind::Write, 0, 0, &[(1, 0, 4096)]);
    if std::env::var_os(AT_ONCE).is_some() {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    println!("submitted");
    loop {
        std::thread::park();
    }
}
