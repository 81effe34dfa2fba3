//! A user without rights, with `ulimit -l 64`.

use crate::support::{Rig, file_spec, in_memory, is_root, layout};
use holdfast_daemon::arena::Arena;
use holdfast_daemon::device::{Backing, Disk, DiskOptions, Fallback, Reaped};
use holdfast_engine::{Io, IoKind, OpId, Segment, SlotId, VolumeId};
use rustix::process::{Resource, Rlimit};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

const CHILD: &str = "HOLDFAST_TEST_LOCKED_MEMORY";
const NOBODY: u32 = 65_534;

/// The limit binds a process for good and root not at all, so that this is played by a second process: this test again,
/// as nobody.
#[test]
fn without_locked_memory_buffers_are_not_registered_and_all_works() {
    if std::env::var_os(CHILD).is_some() {
        return with_little_locked_memory();
    }
    let told = as_nobody("limits::without_locked_memory_buffers_are_not_registered_and_all_works", NOBODY);
    assert!(told.contains("played with plain buffers"), "{told}");
}

/// Several daemons of one user that start while others end: the kernel gives the memory of rings back some time after
/// their end, and a daemon used to wait for 200 ms only.
#[test]
fn a_ring_is_waited_for_while_others_of_the_user_end() {
    if std::env::var_os(CHILD).is_some() {
        return with_no_memory_for_a_while();
    }
    // A user of its own: what others have locked would count, too.
    let told = as_nobody("limits::a_ring_is_waited_for_while_others_of_the_user_end", NOBODY - 1);
    assert!(told.contains("got a ring in the end"), "{told}");
}

/// What this test says as a user without rights.
fn as_nobody(name: &str, uid: u32) -> String {
    // Where it was built may be out of reach for others.
    let reachable = tempfile::tempdir().expect("a folder for temporary files");
    let program = reachable.path().join("storage");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("room for the program");
    for path in [reachable.path(), &program] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
    }
    let mut command = Command::new(program);
    command.args(["--exact", "--nocapture", name]).env(CHILD, "1").current_dir("/");
    if is_root() {
        command.uid(uid).gid(uid);
    }
    let output = command.output().expect("nobody may run it");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    told.into_owned()
}

fn allow_64_kib() {
    let limit = Rlimit { current: Some(65_536), maximum: Some(65_536) };
    rustix::process::setrlimit(Resource::Memlock, limit).expect("less is always allowed");
}

fn with_no_memory_for_a_while() {
    allow_64_kib();
    let (taken, is_taken) = std::sync::mpsc::channel();
    let others = std::thread::spawn(move || {
        // A kernel that does not count rings gives as many as one likes.
        let rings: Vec<_> = (0..64).map_while(|_| io_uring::IoUring::new(64).ok()).collect();
        taken.send(rings.len()).expect("somebody waits");
        std::thread::sleep(Duration::from_millis(500));
        drop(rings);
    });
    let count = is_taken.recv().expect("the thread says so");
    println!("{count} rings took all of 64 KiB");
    let rig = Rig::new();
    others.join().expect("it only waits");
    drop(rig);
    println!("got a ring in the end");
}

fn with_little_locked_memory() {
    allow_64_kib();
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
    drop(rig);
    with_short_queues(&backing);
    println!("played with plain buffers");
}

/// Where queues count as locked memory they are shorter than what is in flight: everything ends all the same.
fn with_short_queues(backing: &Backing) {
    const OPS: u32 = 1500;
    let mut arena = Arena::create(&layout(in_memory().path()), &mut |_, _| {}).expect("an arena in memory");
    let shard = arena.take_shards().remove(0);
    let options = DiskOptions {
        ops_max: 4096,
        segments_max: 1,
        volumes_max: 1,
        watches_max: 0,
        workers_max: 8,
        reactor_cores: &[],
    };
    let (mut disk, fallbacks) = Disk::new(&options, shard.slots.addresses()).expect("some ring");
    if let Some(short) = fallbacks.iter().find(|fallback| matches!(fallback, Fallback::ShortQueues { .. })) {
        println!("{short}");
    }
    disk.attach(VolumeId(0), backing, None).expect("attached");
    for number in 0..OPS {
        let segment = Segment { slot: SlotId(number % 64), at: 0, length: 4096 };
        let offset = u64::from(number % 256) * 4096;
        let op = OpId(number);
        let volume = VolumeId(0);
        let io = Io { op, volume, kind: IoKind::Read, offset, length: 4096, first_segment: 0, segments: 1 };
        disk.submit(&io, &[segment]);
    }
    let mut ended = 0;
    for _ in 0..1000 {
        disk.sleep(Some(Duration::from_millis(100))).expect("the ring lives");
        disk.reap(|reaped| {
            assert!(matches!(reaped, Reaped::Completed { result: 4096, .. }), "{reaped:?}");
            ended += 1;
        });
        if disk.in_flight() == 0 {
            break;
        }
    }
    assert_eq!((ended, disk.in_flight()), (OPS, 0));
}
