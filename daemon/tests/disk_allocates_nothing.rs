//! Submitting, entering and reaping allocate nothing, refusals and full files included.
#![allow(unsafe_code, reason = "a global allocator is unsafe to write")]

use holdfast_daemon::arena::{Arena, ArenaLayout};
use holdfast_daemon::device::{
    Backing, BackingKind, BackingSpec, Disk, DiskOptions, FaultOperation, FaultSpec, Faults, Reaped,
};
use holdfast_engine::{Io, IoKind, OpId, Segment, SlotId, VolumeId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// Counts what the threads that want it allocate.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting in a const-initialised thread local allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; what we gave out is the system allocator's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const OPS: u32 = 16;

fn io(op: u32, kind: IoKind, offset: u64, length: u64, segments: u32) -> Io {
    Io { op: OpId(op), volume: VolumeId(0), kind, offset, length, first_segment: 0, segments }
}

/// A turn's worth of everything, to its end; counts results of each kind: good, EIO, ENOSPC.
fn play(disk: &mut Disk) -> [u32; 3] {
    let parts = [9, 4, 5].map(|slot| Segment { slot: SlotId(slot), at: 0, length: 4096 });
    disk.submit(&io(0, IoKind::Write, 0, 12288, 3), &parts);
    disk.submit(&io(1, IoKind::Read, 65536, 8192, 2), &parts[1..]);
    disk.submit(&io(2, IoKind::Flush, 0, 0, 0), &[]);
    disk.submit(&io(3, IoKind::Zero, 131_072, 4096, 0), &[]);
    for op in 4..OPS {
        disk.submit(&io(op, IoKind::Write, 262_144 + u64::from(op) * 4096, 4096, 1), &parts[..1]);
    }
    let mut results = [0; 3];
    while disk.in_flight() > 0 {
        disk.sleep(None).expect("the ring lives");
        disk.reap(|reaped| {
            let Reaped::Completed { result, .. } = reaped else { panic!("{reaped:?}") };
            let kind = [result >= 0, result == -5, result == -28].iter().position(|is| *is);
            results[kind.expect("one of these")] += 1;
        });
    }
    results
}

#[test]
fn a_turn_of_a_disk_allocates_nothing() {
    let memory = tempfile::TempDir::new_in("/dev/shm").expect("memory");
    let layout = ArenaLayout {
        path: memory.path().join("arena"),
        size_bytes: 1 << 20,
        reactors: 1,
        line_bytes: 4096,
        stripe_bytes: 1 << 20,
        prefault: true,
        lock_memory: false,
        discard_existing: false,
        volumes: Vec::new(),
    };
    let mut arena = Arena::create(&layout, &mut |_, _| {}).expect("an arena");
    let shard = arena.take_shards().remove(0);
    let spec = BackingSpec {
        kind: BackingKind::File,
        path: memory.path().join("volume"),
        size: Some(1 << 20),
        create: true,
        buffered_allowed: true,
        thin_limit: Some(8 * 4096),
        read_only: false,
    };
    let backing = Backing::open(&spec).expect("a file");
    let options = DiskOptions {
        ops_max: 16,
        segments_max: 4,
        volumes_max: 1,
        watches_max: 1,
        workers_max: 8,
        reactor_cores: &[],
    };
    let (mut disk, _) = Disk::new(&options, shard.slots.addresses()).expect("io_uring");
    let faults = Faults::new();
    disk.attach(VolumeId(0), &backing, Some(Arc::clone(&faults))).expect("attached");
    let sequence = "wwwxwX".parse().expect("a good word");
    faults.add(FaultSpec { operation: FaultOperation::Write, errno: 5, range: None, sequence });
    // The rules are fetched once after they have changed; what follows is the hot path.
    disk.submit(&io(0, IoKind::Write, 0, 4096, 1), &[Segment { slot: SlotId(1), at: 0, length: 4096 }]);
    while disk.in_flight() > 0 {
        disk.sleep(None).expect("the ring lives");
        disk.reap(|_| {});
    }

    let before = ALLOCATIONS.get();
    let refusing = play(&mut disk);
    let during = ALLOCATIONS.get();
    // One write and the zeroes pass, the next write fails, one passes, all others fail; read and flush pass.
    assert_eq!((refusing, during - before), ([5, 11, 0], 0));

    faults.clear();
    let before = ALLOCATIONS.get();
    let full = play(&mut disk);
    let during = ALLOCATIONS.get();
    // Eight blocks: three of the run (there already), one of the write that passed above, four more.
    assert_eq!((full, during - before), ([9, 0, 7], 0));
    assert!(ALLOCATIONS.get() > 0, "something has counted");
}
