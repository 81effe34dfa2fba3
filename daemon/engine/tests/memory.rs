//! What a cache costs beside the bytes it caches, on a day without failures: 4 GiB of lines of 4 KiB over 40 GiB.
#![allow(unsafe_code, reason = "zeroed memory that nobody touches cannot be had without it")]

use holdfast_engine::*;
use holdfast_policy::*;
use std::alloc::{Layout, alloc_zeroed};
use std::sync::atomic::AtomicU64;

const SLOTS: u64 = (4 << 30) / 4096;
const RESERVE: u32 = 1024;
const VOLUME_BYTES: u64 = 40 << 30;

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Zeroed memory as a mapping gives it: pages appear when they are touched.
fn zeroed<T>(count: usize) -> &'static [T] {
    let layout = Layout::array::<T>(count).unwrap();
    // SAFETY: the layout is not empty; `T` is `Header` or `AtomicU64`, for both of which zeroes are a value; the memory is
    // never freed, and nobody else has it.
    unsafe { std::slice::from_raw_parts(alloc_zeroed(layout).cast::<T>(), count) }
}

fn setup<'a>(index: &'a [AtomicU64], share: &'a Share) -> VolumeSetup<'a> {
    let policy = Policy::HoldForever(HoldForever::default());
    let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
    VolumeSetup {
        id: VolumeId(0),
        geometry: Geometry {
            volume_bytes: VOLUME_BYTES,
            block_bytes: 512,
            line_bytes: 4096,
            stripe_bytes: 1 << 20,
            reactors: 1,
            reactor: 0,
        },
        domain: DomainId(0),
        domain_owner: 0,
        mode: Mode::WriteBack,
        budget_slots: SLOTS,
        room_slots: SLOTS - RESERVE as u64,
        share,
        rules: Rules::new(&[rule]).unwrap(),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 16,
        io_timeout_ms: 30_000,
        write_back_from: 100,
        write_back_after_ms: 0,
        index_lines: VOLUME_BYTES / 4096,
        index,
    }
}

/// One turn over a disk that does everything at once.
fn turn(engine: &mut Engine<'_>, out: &mut Actions, line: u64, done: &mut Vec<Event>) {
    for event in done.drain(..) {
        engine.apply(Instant(1), event, out);
    }
    for step in 0..16 {
        let request = Request {
            session: SessionId(1),
            tag: 0,
            sequence: 0,
            volume: VolumeId(0),
            operation: Operation::Write { fua: false },
            offset: (line + step * 10) * 4096 % VOLUME_BYTES,
            length: 4096,
            buffer: 0,
            replay: 0,
            timeout_ms: 0,
        };
        engine.apply(Instant(1), Event::Request(request), out);
    }
    engine.tick(Instant(1), out);
    engine.commit();
    done.extend(out.ios.iter().map(|io| {
        let result = i32::try_from(io.length).unwrap();
        Event::Completed { op: io.op, result }
    }));
    out.clear();
}

/// Headers, map, links, marks, queues and the index, all that is touched when every slot has been dirty and clean, is at
/// most 1.25 % of what is cached.
#[test]
fn a_cache_costs_little_beside_what_it_caches() {
    let limits = Limits { reserve_slots: RESERVE, ops_max: 128, ..Limits::small(0, 1) };
    let before = resident();
    let headers: &[Header] = zeroed(usize::try_from(SLOTS).unwrap());
    let index: &[AtomicU64] = zeroed(DirtyIndex::words_needed(VOLUME_BYTES / 4096));
    let mut engine = Engine::new(limits, headers, Instant(0));
    let shared = Share::new(1);
    engine.add_volume(setup(index, &shared));
    let mut out = Actions::with_capacity(&limits);
    let mut done = Vec::new();
    for number in 0..SLOTS / 16 {
        turn(&mut engine, &mut out, number * 160, &mut done);
    }
    let used = engine.cache_stats().slots - engine.cache_stats().free;
    assert!(used >= SLOTS - 2048, "{used} of {SLOTS} slots are in use");
    let bytes = resident() - before;
    let share = bytes as f64 / (SLOTS * 4096) as f64;
    println!("{bytes} bytes beside {}: {:.3} %", SLOTS * 4096, share * 100.0);
    assert!(share <= 0.0125, "{bytes} bytes are {:.3} % of the cache", share * 100.0);
}
