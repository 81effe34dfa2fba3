//! An arena's headers and notes, as memory that anybody may have written: an engine refuses them, or serves what it can.

use holdfast_engine::{
    Actions, DomainId, Engine, Event, FlushOnFailure, Geometry, Header, Instant, Limits, Mode, Notes,
    Operation, Request, SessionId, Share, VolumeId, VolumeSetup,
};
use holdfast_policy::{ClassSet, DirtyIndex, HoldForever, Policy, Retry, Rule, Rules};
use std::sync::atomic::AtomicU64;

const SLOTS: usize = 64;
const LINES: u64 = 256;

/// Headers, then notes; what is missing is zeroes.
pub(super) fn arena_headers(data: &[u8]) {
    let mut words = data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    let mut word = || AtomicU64::new(words.next().unwrap_or(0));
    let headers: Vec<Header> =
        (0..SLOTS).map(|_| Header::from_words([word(), word(), word(), word()])).collect();
    let notes: Vec<AtomicU64> = (0..Notes::words_needed(1)).map(|_| word()).collect();
    let index: Vec<AtomicU64> = (0..DirtyIndex::words_needed(LINES)).map(|_| AtomicU64::new(0)).collect();
    let (limits, share) = (Limits::small(0, 1), Share::new(1));
    let before: Vec<[u64; 4]> = headers.iter().map(Header::words).collect();
    let mut engine = Engine::resume(limits, &headers, Notes::over(&notes), Instant(0));
    engine.add_volume(setup(&index, &share));
    let mut actions = Actions::with_capacity(&limits);
    let Ok(rebuilt) = engine.rebuild(Instant(1), &mut actions) else {
        assert!(headers.iter().map(Header::words).eq(before), "what is refused is left alone");
        return;
    };
    assert!(rebuilt.not_clean <= rebuilt.lines && rebuilt.lines <= SLOTS as u64);
    let lost = engine.stats(VolumeId(0)).lost;
    assert_eq!(rebuilt.damaged > 0, lost > 0, "what is lost is listed");
    engine.apply(Instant(2), Event::Settled { volume: VolumeId(0) }, &mut actions);
    serve(&mut engine, &mut actions, &limits);
}

/// A few turns with a flush: nothing that an arena says makes an engine panic later.
fn serve(engine: &mut Engine<'_>, actions: &mut Actions, limits: &Limits) {
    let flush = Request {
        session: SessionId(1),
        tag: 1,
        sequence: 1,
        volume: VolumeId(0),
        operation: Operation::Flush,
        offset: 0,
        length: 0,
        buffer: 0,
        replay: 0,
        timeout_ms: 0,
    };
    engine.apply(Instant(3), Event::Request(flush), actions);
    for turn in 0..50 {
        let now = Instant(4 + turn);
        engine.tick(now, actions);
        engine.commit();
        let done: Vec<Event> =
            actions.ios.iter().map(|io| Event::Completed { op: io.op, result: done(io) }).collect();
        let durable = actions.ledger.last().map(|&(up_to, _)| Event::LedgerDurable { up_to });
        actions.clear();
        for event in done.into_iter().chain(durable) {
            if actions.has_room(limits) {
                engine.apply(now, event, actions);
            }
        }
    }
}

fn done(io: &holdfast_engine::Io) -> i32 {
    match io.kind {
        holdfast_engine::IoKind::Read | holdfast_engine::IoKind::Write => {
            i32::try_from(io.length).expect("a run is short")
        }
        _ => 0,
    }
}

fn setup<'a>(index: &'a [AtomicU64], share: &'a Share) -> VolumeSetup<'a> {
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
        budget_slots: 32,
        room_slots: 32,
        share,
        rules: Rules::new(&[rule]).expect("one rule for every class"),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 1,
        io_timeout_ms: 1_000,
        write_back_from: 1000,
        write_back_after_ms: 1_000,
        index_lines: LINES,
        index,
    }
}
