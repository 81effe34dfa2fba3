//! How many instructions a hit costs: a deterministic run, to be counted by a tool that counts.
//!
//! ```text
//! valgrind --tool=callgrind count write 0        and        count write 100000
//! ```
//! The difference of the two totals, divided by 100000, is the cost of one `apply` of a hit of 4 KiB with its share of
//! the turn: 16 requests, then `tick`, `commit` and `clear`. With `read`, `apply` alone has no copies to publish.
//! Overwrites of lines that are dirty are the hits of a write; nothing is written back, so that the number is the
//! engine's and not the disk's.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of this program are small")]

use holdfast_engine::*;
use holdfast_policy::*;
use std::sync::atomic::AtomicU64;

const LINES: u64 = 4096;
const A_TURN: u64 = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "count read|write|empty NUMBER";
    let kind = arguments.get(1).expect(usage);
    let number: u64 = arguments.get(2).expect(usage).parse().expect(usage);
    let limits = Limits { reserve_slots: RESERVE, ops_max: 64, ..Limits::small(0, 1) };
    let headers: Vec<Header> = (0..2 * LINES).map(|_| Header::default()).collect();
    let words: Vec<AtomicU64> = (0..DirtyIndex::words_needed(LINES)).map(|_| AtomicU64::new(0)).collect();
    let mut engine = Engine::new(limits, &headers, Instant(0));
    let share = Share::new(1);
    engine.add_volume(setup(&words, &share));
    let mut out = Actions::with_capacity(&limits);
    let write = Operation::Write { fua: false };
    (0..LINES / A_TURN).for_each(|turn| run(&mut engine, &mut out, write, turn * A_TURN, A_TURN));
    let (operation, requests) = match kind.as_str() {
        "read" => (Operation::Read, A_TURN),
        "write" => (write, A_TURN),
        "empty" => (Operation::Read, 0),
        _ => panic!("{usage}"),
    };
    // Lines in an order that no prefetcher and no neighbour helps.
    (0..number / A_TURN).for_each(|turn| run(&mut engine, &mut out, operation, turn * 2654435761, requests));
    println!("{:?}", engine.stats(VolumeId(0)).writes + engine.stats(VolumeId(0)).read_hits);
}

/// Slots that no write takes.
const RESERVE: u32 = 64;

fn setup<'a>(words: &'a [AtomicU64], share: &'a Share) -> VolumeSetup<'a> {
    let policy = Policy::HoldForever(HoldForever::default());
    let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
    VolumeSetup {
        id: VolumeId(0),
        geometry: Geometry {
            volume_bytes: LINES * 4096,
            block_bytes: 512,
            line_bytes: 4096,
            stripe_bytes: 1 << 20,
            reactors: 1,
            reactor: 0,
        },
        domain: DomainId(0),
        domain_owner: 0,
        mode: Mode::WriteBack,
        budget_slots: 2 * LINES,
        room_slots: 2 * LINES - u64::from(RESERVE),
        share,
        rules: Rules::new(&[rule]).expect("one rule for every class"),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 1,
        io_timeout_ms: 30_000,
        write_back_from: 1000,
        write_back_after_ms: u64::MAX,
        index: words,
    }
}

/// One turn. Time stands still: nothing ages, nothing is written back.
fn run(engine: &mut Engine<'_>, out: &mut Actions, operation: Operation, first: u64, requests: u64) {
    for step in 0..requests {
        let line = (first + step * 7) % LINES;
        let request = Request {
            session: SessionId(1),
            tag: step as u32,
            sequence: step,
            volume: VolumeId(0),
            operation,
            offset: line * 4096,
            length: 4096,
            buffer: step * 4096,
            timeout_ms: 0,
        };
        engine.apply(Instant(1), Event::Request(request), out);
    }
    engine.tick(Instant(1), out);
    engine.commit();
    assert!(out.ios.is_empty() && out.completions.len() as u64 == requests, "every request is a hit");
    out.clear();
}
