//! A daemon that is killed while its disk has an operation.

use crate::support::{Fuse, MIB, Rig, file_spec, on_disk};
use holdfast_daemon::device::{Backing, BackingSpec};
use holdfast_engine::IoKind;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "HOLDFAST_TEST_KILLED";
const NAME: &str = "killed::an_operation_of_a_killed_daemon_has_ended_when_its_lock_is_free";

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
    let slow = ["--filter=delay", "memory", "1M", "wdelay=1"];
    let Some(fuse) = Fuse::start(disk.path(), &slow) else { return };
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "--nocapture", NAME]).env(CHILD, &fuse.file).stdout(Stdio::piped());
    let mut daemon = command.spawn().expect("a second process");
    let lines = BufReader::new(daemon.stdout.take().expect("piped")).lines();
    let told = lines.map_while(Result::ok).any(|line| line.contains("submitted"));
    daemon.kill().expect("killed");
    daemon.wait().expect("gone");
    assert!(told, "the second process got as far as its write");

    let backing = Backing::open(&spec(&fuse.file)).expect("the lock goes with the last operation");
    let mut byte = [0];
    std::fs::File::open(&fuse.file).and_then(|file| file.read_exact_at(&mut byte, 0)).expect("read");
    assert_eq!(byte, [0x99], "the lock was free while the write was still on its way");
    drop(backing);
}

fn submit_and_stay(file: &Path) {
    let backing = Backing::open(&spec(file)).expect("opened");
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    // Nobody cleans up after a process that is killed.
    rig.remove_directory();
    rig.fill(1, 0x99);
    rig.start(IoKind::Write, 0, 0, &[(1, 0, 4096)]);
    println!("submitted");
    loop {
        std::thread::park();
    }
}
