//! Faults on demand.

use crate::support::{Rig, file_spec, in_memory};
use holdfast_daemon::device::{Backing, FaultOperation, FaultSpec, Reaped};
use holdfast_engine::{ByteRange, IoKind};
use std::path::PathBuf;
use tempfile::TempDir;

const EIO: u16 = 5;

fn spec(operation: FaultOperation, sequence: &str) -> FaultSpec {
    FaultSpec { operation, errno: EIO, range: None, sequence: sequence.parse().expect("a good word") }
}

fn scene() -> (Rig, Backing, PathBuf, TempDir) {
    let memory = in_memory();
    let path = memory.path().join("volume");
    let backing = Backing::open(&file_spec(&path)).expect("opened");
    (Rig::new(), backing, path, memory)
}

fn byte_at(path: &std::path::Path, offset: usize) -> u8 {
    std::fs::read(path).expect("read")[offset]
}

#[test]
fn a_sequence_fails_and_passes_and_never_touches_the_disk_when_it_fails() {
    let (mut rig, backing, path, _memory) = scene();
    let faults = rig.attach(0, &backing);
    faults.add(spec(FaultOperation::Write, "xxwX"));
    let fails = -i32::from(EIO);
    for (number, expected) in [fails, fails, 4096, fails, fails].into_iter().enumerate() {
        rig.fill(1, number as u8 + 1);
        let before = byte_at(&path, 0);
        assert_eq!(rig.write(0, 0, 1), expected, "write {number}");
        let after = if expected < 0 { before } else { number as u8 + 1 };
        assert_eq!(byte_at(&path, 0), after, "write {number}");
    }
    assert_eq!(rig.range(IoKind::Zero, 0, 0, 4096), fails, "zeroes are writes");
    assert_eq!(rig.range(IoKind::Discard, 0, 0, 4096), fails, "discards are writes");
    assert_eq!((rig.read(0, 0, 2), rig.flush(0)), (4096, 0));
    let status = faults.list();
    assert_eq!((status[0].matched, status[0].acted), (7, 6));
    assert_eq!(faults.clear(), 1);
    assert_eq!(rig.write(0, 0, 1), 4096);
}

#[test]
fn rules_are_about_their_operation_and_range_only() {
    let (mut rig, backing, _path, _memory) = scene();
    let faults = rig.attach(0, &backing);
    let range = Some(ByteRange { offset: 8192, length: 4096 });
    faults.add(FaultSpec { range, errno: 28, ..spec(FaultOperation::Write, "X") });
    assert_eq!((rig.write(0, 4096, 1), rig.write(0, 8192, 1), rig.write(0, 12288, 1)), (4096, -28, 4096));
    assert_eq!(rig.read(0, 8192, 1), 4096);
    let any = faults.add(FaultSpec { range, ..spec(FaultOperation::Any, "X") });
    assert_eq!((rig.read(0, 8192, 1), rig.flush(0)), (-5, 0), "a range says nothing of flushes");
    let flush = faults.add(FaultSpec { range, errno: 28, ..spec(FaultOperation::Flush, "wX") });
    assert_eq!((rig.flush(0), rig.flush(0)), (0, -28));
    assert!(faults.remove(any) && faults.remove(flush) && !faults.remove(any));
    assert_eq!((rig.read(0, 8192, 1), rig.flush(0), rig.write(0, 8192, 1)), (4096, 0, -28));
}

#[test]
fn what_hangs_is_carried_out_when_its_rule_goes() {
    let (mut rig, backing, path, _memory) = scene();
    let faults = rig.attach(0, &backing);
    let id = faults.add(spec(FaultOperation::Write, "h"));
    rig.fill(1, 0x21);
    rig.fill(2, 0x22);
    let hung = rig.start(IoKind::Write, 0, 0, &[(1, 0, 4096)]);
    assert_eq!((rig.disk.hung(), rig.disk.in_flight()), (1, 1));
    assert_eq!(rig.write(0, 4096, 2), 4096, "the next one passes");
    assert_eq!(rig.flush(0), 0);
    assert_eq!((byte_at(&path, 0), byte_at(&path, 4096)), (0, 0x22));
    assert_eq!(rig.disk.in_flight(), 1);
    faults.add(spec(FaultOperation::Read, "X"));
    rig.disk.enter().expect("entered");
    assert_eq!(rig.disk.hung(), 1, "another rule's coming or going does not free it");
    assert!(faults.remove(id));
    rig.disk.enter().expect("entered");
    assert_eq!(rig.result_of(hung), 4096);
    assert_eq!((byte_at(&path, 0), rig.disk.hung(), rig.disk.in_flight()), (0x21, 0, 0));
}

#[test]
fn reactors_count_a_rule_together_and_volumes_do_not() {
    let (mut rig, backing, _path, memory) = scene();
    let faults = rig.attach(0, &backing);
    let other = Backing::open(&file_spec(&memory.path().join("other"))).expect("opened");
    rig.attach(1, &other);
    faults.add(spec(FaultOperation::Any, "xX"));
    let shared = std::sync::Arc::clone(&faults);
    let second = std::thread::spawn(move || {
        let mut rig = Rig::new();
        rig.disk.attach(holdfast_engine::VolumeId(0), &backing, Some(shared)).expect("attached");
        rig.flush(0)
    });
    assert_eq!(second.join().expect("a reactor of its own"), -5);
    assert_eq!((rig.flush(0), rig.flush(1)), (-5, 0));
    assert_eq!(faults.list()[0].matched, 2);
}

#[test]
fn results_without_the_device_wait_for_the_next_reap() {
    let (mut rig, backing, _path, _memory) = scene();
    let faults = rig.attach(0, &backing);
    faults.add(spec(FaultOperation::Flush, "x"));
    let op = rig.start_range(IoKind::Flush, 0, 0, 0, &[]);
    assert_eq!(rig.disk.in_flight(), 1);
    rig.disk.sleep(None).expect("does not sleep over what has ended");
    let mut seen = Vec::new();
    rig.disk.reap(|reaped| seen.push(reaped));
    assert_eq!(seen, [Reaped::Completed { op, result: -5 }]);
}
