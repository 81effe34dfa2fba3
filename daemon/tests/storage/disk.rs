//! Operations through io_uring, and being woken by descriptors.

use crate::needs::can_use;
use crate::support::{LINE, MIB, Rig, file_spec, in_memory, on_disk};
use holdfast_daemon::device::{Backing, BackingSpec, Fallback, Reaped};
use holdfast_engine::IoKind;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn rig(path: &std::path::Path) -> (Rig, Backing) {
    let mut rig = Rig::new();
    let backing = Backing::open(&file_spec(path)).expect("opened");
    rig.attach(0, &backing);
    (rig, backing)
}

#[test]
fn what_is_written_is_on_the_disk_and_read_back() {
    let disk = on_disk();
    let path = disk.path().join("volume");
    let (mut rig, _backing) = rig(&path);
    rig.fill(3, 0xab);
    assert_eq!(rig.write(0, 16384, 3), 4096);
    assert_eq!(rig.flush(0), 0);
    let bytes = std::fs::read(&path).expect("read");
    assert!(bytes[16384..20480].iter().all(|byte| *byte == 0xab));
    assert!(bytes[..16384].iter().chain(&bytes[20480..]).all(|byte| *byte == 0));
    assert_eq!(rig.read(0, 16384, 4), 4096);
    assert_eq!(rig.slot(4), rig.slot(3));
    assert_eq!(rig.disk.in_flight(), 0);
}

/// Neighbouring slots are one part, the others are not, and slots come in any order: the bytes must, too.
#[test]
fn runs_of_slots_in_any_order_arrive_in_order() {
    let disk = on_disk();
    let path = disk.path().join("volume");
    let (mut rig, backing) = rig(&path);
    let block = backing.block_bytes();
    let shapes: [&[(u32, u32, u32)]; 5] = [
        &[(1, 0, LINE), (2, 0, LINE), (3, 0, LINE)],
        &[(9, 0, LINE), (7, 0, LINE), (8, 0, LINE), (1, 0, LINE)],
        &[(5, LINE - block, block), (6, 0, LINE), (2, 0, block)],
        &[(4, 0, block)],
        &[(8, 0, LINE), (5, 0, LINE), (8, 0, LINE)],
    ];
    for slot in 1..=9 {
        rig.fill(slot, slot as u8);
    }
    for (number, parts) in shapes.iter().enumerate() {
        let offset = number as u64 * 65536;
        let length: u32 = parts.iter().map(|(_, _, length)| length).sum();
        let op = rig.start(IoKind::Write, 0, offset, parts);
        assert_eq!(rig.result_of(op), length as i32);
        let expected: Vec<u8> =
            parts.iter().flat_map(|(slot, _, length)| vec![*slot as u8; *length as usize]).collect();
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes[offset as usize..][..expected.len()], expected, "shape {number}");

        // Back into other slots, of the same shape.
        let into: Vec<(u32, u32, u32)> =
            (0..).zip(*parts).map(|(n, &(_, at, length))| (20 + 2 * n, at, length)).collect();
        let op = rig.start(IoKind::Read, 0, offset, &into);
        assert_eq!(rig.result_of(op), length as i32);
        for (&(target, at, length), (source, _, _)) in into.iter().zip(*parts) {
            let got = &rig.slot(target)[at as usize..][..length as usize];
            assert!(got.iter().all(|byte| *byte == *source as u8), "shape {number}, slot {source}");
        }
    }
}

/// Root may lock memory without limit.
#[test]
fn memory_that_may_be_locked_is_registered() {
    if !can_use(&[]) {
        return;
    }
    let rig = Rig::new();
    let plain = rig.fallbacks.iter().find(|fallback| matches!(fallback, Fallback::PlainBuffers { .. }));
    assert_eq!(plain, None);
}

#[test]
fn many_operations_of_several_volumes_are_in_flight_together() {
    let (disk, memory) = (on_disk(), in_memory());
    let (mut rig, _first) = rig(&disk.path().join("one"));
    let second = Backing::open(&file_spec(&memory.path().join("two"))).expect("opened");
    rig.attach(1, &second);
    for slot in 0..crate::support::OPS as u32 {
        rig.fill(slot, slot as u8 + 1);
        rig.start(IoKind::Write, (slot % 2) as u16, u64::from(slot) * 4096, &[(slot, 0, LINE)]);
    }
    let mut ended = 0;
    while ended < crate::support::OPS {
        for reaped in rig.wait() {
            assert!(matches!(reaped, Reaped::Completed { result: 4096, .. }), "{reaped:?}");
            ended += 1;
        }
    }
    assert_eq!(rig.disk.in_flight(), 0);
    for (volume, path) in [(0, disk.path().join("one")), (1, memory.path().join("two"))] {
        let bytes = std::fs::read(path).expect("read");
        for slot in 0..crate::support::OPS {
            let expected = if slot % 2 == volume { slot as u8 + 1 } else { 0 };
            assert_eq!(bytes[slot * 4096], expected, "volume {volume}, slot {slot}");
        }
    }
}

#[test]
fn zeroes_and_discards_read_as_zeroes_and_free_space() {
    use std::os::unix::fs::MetadataExt;
    let disk = on_disk();
    let path = disk.path().join("volume");
    let (mut rig, _backing) = rig(&path);
    for line in 0..4 {
        rig.fill(1, 0x11 + line as u8);
        assert_eq!(rig.write(0, line * 4096, 1), 4096);
    }
    assert_eq!(rig.flush(0), 0);
    let before = std::fs::metadata(&path).expect("there").blocks();
    for (kind, line) in [(IoKind::Zero, 1), (IoKind::Discard, 2)] {
        assert_eq!(rig.range(kind, 0, line * 4096, 4096), 0);
        assert_eq!(rig.read(0, line * 4096, 2), 4096);
        assert!(rig.slot(2).iter().all(|byte| *byte == 0), "{kind:?}");
    }
    assert_eq!(rig.read(0, 3 * 4096, 2), 4096);
    assert!(rig.slot(2).iter().all(|byte| *byte == 0x14), "the neighbour stays");
    let metadata = std::fs::metadata(&path).expect("there");
    assert!(metadata.blocks() < before && metadata.len() == MIB, "{} of {before} blocks", metadata.blocks());
}

#[test]
fn the_kernels_refusals_come_back_as_they_are() {
    let disk = on_disk();
    let path = disk.path().join("volume");
    let (mut rig, _backing) = rig(&path);
    let spec = BackingSpec { read_only: true, ..file_spec(&disk.path().join("other")) };
    drop(Backing::open(&BackingSpec { read_only: false, ..spec.clone() }).expect("made"));
    let frozen = Backing::open(&spec).expect("opened for reading");
    rig.attach(1, &frozen);
    assert_eq!(rig.write(1, 0, 1), -libc::EBADF);
    assert_eq!(rig.read(1, 0, 1), 4096);

    // A file that was cut behind our back: what is left, then nothing. Never an invented zero.
    std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(4096)).expect("cut");
    let op = rig.start(IoKind::Read, 0, 0, &[(1, 0, LINE), (3, 0, LINE)]);
    assert_eq!(rig.result_of(op), 4096);
    assert_eq!(rig.read(0, 8192, 1), 0);
}

#[test]
#[should_panic(expected = "operation 0 is in flight")]
fn an_operation_cannot_be_in_flight_twice() {
    use holdfast_engine::{Io, OpId, VolumeId};
    let memory = in_memory();
    let (mut rig, _backing) = rig(&memory.path().join("volume"));
    let io = Io {
        op: OpId(0),
        volume: VolumeId(0),
        kind: IoKind::Flush,
        offset: 0,
        length: 0,
        first_segment: 0,
        segments: 0,
    };
    rig.disk.submit(&io, &[]);
    rig.disk.submit(&io, &[]);
}

#[test]
fn a_sleeper_is_woken_by_each_change_of_what_it_watches() {
    let mut rig = Rig::new();
    let (mut near, far) = UnixStream::pair().expect("a pair");
    rig.disk.watch(far.as_fd(), 77).expect("watched");
    rig.disk.sleep(Some(Duration::from_millis(1))).expect("slept");
    assert_eq!(rig.disk.reap(|reaped| panic!("{reaped:?} out of nothing")), 0);
    for _ in 0..3 {
        near.write_all(b"x").expect("sent");
        assert_eq!(rig.wait(), [Reaped::Wake { key: 77 }]);
        (&far).read_exact(&mut [0]).expect("received");
    }
    drop(near);
    let mut wakes = rig.wait().len();
    for _ in 0..50 {
        rig.disk.sleep(Some(Duration::from_millis(1))).expect("slept");
        wakes += rig.disk.reap(|reaped| assert_eq!(reaped, Reaped::Wake { key: 77 }));
    }
    assert!(
        (1..=3).contains(&wakes),
        "{wakes} wakes for the end of a peer: it is told, and not again and again"
    );
}

#[test]
fn an_ended_watch_says_nothing_more_and_its_place_is_free() {
    let mut rig = Rig::new();
    for round in 0..20 {
        let (mut near, far) = UnixStream::pair().expect("a pair");
        rig.disk.watch(far.as_fd(), round).expect("a place");
        near.write_all(b"x").expect("sent");
        assert_eq!(rig.wait(), [Reaped::Wake { key: round }]);
        rig.disk.unwatch(round).expect("unwatched");
        near.write_all(b"y").expect("sent");
        rig.disk.sleep(Some(Duration::from_millis(1))).expect("slept");
        rig.disk.reap(|reaped| panic!("{reaped:?} after the end"));
    }
    let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().expect("a pair")).collect();
    for (key, (near, _)) in (100..).zip(&pairs[..4]) {
        rig.disk.watch(near.as_fd(), key).expect("four places");
    }
    assert!(rig.disk.watch(pairs[4].0.as_fd(), 200).is_err(), "there are four places");
}
