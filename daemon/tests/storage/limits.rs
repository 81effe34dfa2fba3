//! A user without rights, with `ulimit -l 64`.

use crate::support::{Rig, file_spec, in_memory, is_root, skipped};
use holdfast_daemon::device::{Backing, Fallback};
use rustix::process::{Resource, Rlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;

const CHILD: &str = "HOLDFAST_TEST_LOCKED_MEMORY";
const NOBODY: u32 = 65_534;

/// The limit binds a process for good and root not at all, so that this is played by a second process: this test again,
/// as nobody.
#[test]
fn without_locked_memory_buffers_are_not_registered_and_all_works() {
    if std::env::var_os(CHILD).is_some() {
        return with_little_locked_memory();
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args([
        "--exact",
        "--nocapture",
        "limits::without_locked_memory_buffers_are_not_registered_and_all_works",
    ]);
    command.env(CHILD, "1").current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return skipped(&format!("nobody may not run this program: {error}")),
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("played with plain buffers"), "{told}");
}

fn with_little_locked_memory() {
    let limit = Rlimit { current: Some(65_536), maximum: Some(65_536) };
    rustix::process::setrlimit(Resource::Memlock, limit).expect("less is always allowed");
    let memory = in_memory();
    let backing = Backing::open(&file_spec(&memory.path().join("volume"))).expect("opened");
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    let plain = rig.fallbacks.iter().find(|fallback| matches!(fallback, Fallback::PlainBuffers { .. }));
    let plain = plain.expect("64 KiB cannot hold the arena");
    assert!(plain.to_string().contains("RLIMIT_MEMLOCK is 65536 bytes"), "{plain}");
    rig.fill(1, 0x42);
    assert_eq!((rig.write(0, 4096, 1), rig.flush(0), rig.read(0, 4096, 2)), (4096, 0, 4096));
    assert_eq!(rig.slot(2), rig.slot(1));
    println!("played with plain buffers");
}
