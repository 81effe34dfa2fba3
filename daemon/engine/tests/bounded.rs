//! However many extents have failed, a turn looks up a bounded number of lines: counted, not timed.

#[path = "../examples/million/world.rs"]
mod world;

use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;
use world::{LINE, Mood, World, memory};

const MILLION: u64 = 1 << 20;

impl World<'_> {
    /// One turn.
    fn turn(&mut self) {
        self.think();
        self.act();
    }

    /// Writes `bytes` of each line, at its fourth sector if it is one, and lets turns pass until the engine has done with
    /// them what it will: `settled` says so.
    fn write_all(&mut self, lines: u64, bytes: u64, settled: impl Fn(&VolumeStats) -> bool) {
        let at = if bytes == 512 { 1536 } else { 0 };
        for line in 0..lines {
            self.ask(Operation::Write { fua: false }, line * LINE + at, bytes);
            if line % 64 == 63 {
                self.turn();
            }
        }
        let begun = self.now_ms;
        while !settled(&self.stats()) {
            self.now_ms += 1;
            self.turn();
            assert!(self.now_ms - begun < lines, "{:?}", self.stats());
        }
    }

    /// One page of a list, and where the next begins.
    fn page(&mut self, state: ListState, from: u64) -> (Vec<Extent>, Option<u64>) {
        self.command(Command::List { state, from });
        while self.answers.is_empty() {
            self.turn();
        }
        match self.answers.remove(0) {
            Answer::Listed { extents, next } => (extents, next),
            other => panic!("a list is answered by {other:?}"),
        }
    }
}

/// Events, the tick, and the last step of each of its parts, which may be a run of lines.
fn steps_a_turn_max(world: &World<'_>) -> usize {
    3 * world.limits.steps_max()
}

fn hold_forever() -> Policy {
    Policy::HoldForever(HoldForever::default())
}

/// Issue: "listing or retrying a million extents never makes a turn longer than 1 ms". A million failed extents that cannot
/// be joined are listed page by page and tried again; clients are served in every turn meanwhile.
#[test]
fn a_million_failed_extents_are_listed_and_retried_in_short_turns() {
    let (headers, index) = memory(MILLION);
    let mut world = World::new(MILLION, hold_forever(), &headers, &index);
    world.mood = Mood::Refuses(EIO);
    world.write_all(MILLION, 512, |stats| stats.failed == MILLION);
    assert!(world.most_steps <= steps_a_turn_max(&world), "{} steps to fail", world.most_steps);
    world.most_steps = 0;

    let (mut from, mut listed) = (Some(0), 0);
    while let Some(begin) = from {
        let (extents, next) = world.page(ListState::Failed, begin);
        assert!(next.is_none_or(|next| next > begin) && extents.len() <= LIST_PAGE);
        assert!(extents.iter().all(|extent| extent.range.length == 512 && extent.errno == EIO));
        listed += extents.len() as u64;
        from = next;
    }
    assert_eq!(listed, MILLION);
    assert!((LIST_PAGE..=1024).contains(&world.most_steps), "{} steps to list", world.most_steps);
    world.most_steps = 0;

    world.mood = Mood::Well;
    world.command(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    world.answered = (0, 0);
    let mut turns = 0;
    while world.answers.is_empty() {
        world.ask(Operation::Read, turns % MILLION * LINE + 1536, 512);
        world.ask(Operation::Write { fua: false }, turns * 7 % MILLION * LINE + 1536, 512);
        world.now_ms += 1;
        world.turn();
        turns += 1;
        let owed = 2 * turns - world.answered.0;
        assert!(owed <= 4 && world.answered.1 == 0, "{owed} of {turns} requests wait");
    }
    let [Answer::Retried { tried, failed: 0 }] = world.answers[..] else { panic!("{:?}", world.answers) };
    // What was overwritten meanwhile may have gone out by itself.
    assert!((MILLION - 1_000..=MILLION).contains(&tried), "{tried} lines were tried");
    assert_eq!((world.stats().failed, world.stats().lost), (0, 0));
    assert!(turns > 1_000, "{turns} turns");
    assert!(world.most_steps <= steps_a_turn_max(&world), "{} steps to retry", world.most_steps);
}

/// What is written and awaits a device flush is listed without a look at all of it for every extent.
#[test]
fn what_awaits_a_device_flush_is_listed_in_short_turns() {
    let (headers, index) = memory(60_000);
    let mut world = World::new(60_000, hold_forever(), &headers, &index);
    world.holds_flushes = true;
    world.write_all(60_000, 512, |stats| stats.unstable == 32_768);
    world.most_steps = 0;
    let (mut from, mut listed) = (Some(0), 0);
    while let Some(begin) = from {
        let (extents, next) = world.page(ListState::Unstable, begin);
        listed += extents.len();
        from = next;
    }
    assert_eq!(listed, 32_768);
    assert!(world.most_steps <= 1_024, "{} steps to list", world.most_steps);
}

/// Neighbours that were lost alike are one extent, however many: a page is no longer for that.
#[test]
fn a_long_lost_extent_is_listed_in_short_turns() {
    let lines = 100_000;
    let (headers, index) = memory(lines);
    let mut world = World::new(lines, hold_forever(), &headers, &index);
    world.mood = Mood::Refuses(EIO);
    world.write_all(lines, LINE, |stats| stats.failed == lines);
    world.command(Command::Drop { range: ByteRange::ALL });
    while world.answers.is_empty() {
        world.turn();
    }
    assert_eq!(world.answers.remove(0), Answer::Dropped { bytes: lines * LINE });
    assert!(world.most_steps <= steps_a_turn_max(&world), "{} steps to lose", world.most_steps);
    world.most_steps = 0;
    let (mut from, mut listed) = (Some(0), 0);
    while let Some(begin) = from {
        let (extents, next) = world.page(ListState::Lost, begin);
        listed += extents.iter().map(|extent| extent.range.length).sum::<u64>();
        from = next;
    }
    assert_eq!(listed, lines * LINE);
    assert!(world.most_steps <= 1_024, "{} steps to list", world.most_steps);
}

/// A flush that fails puts everything that is not stable on record, some of it each turn.
#[test]
fn a_failed_flush_records_a_million_lines_in_short_turns() {
    let lines = MILLION / 4;
    let (headers, index) = memory(lines);
    let mut world = World::new(lines, hold_forever(), &headers, &index);
    world.mood = Mood::Refuses(ENOSPC);
    world.write_all(lines, LINE, |stats| stats.gate_class != 0 && stats.writing == 0);
    world.most_steps = 0;
    world.ask(Operation::Flush, 0, 0);
    world.answered = (0, 0);
    while world.answered == (0, 0) {
        world.now_ms += 1;
        world.turn();
    }
    assert_eq!(world.answered, (0, 1));
    assert_eq!(world.stats().reported, lines);
    assert!(world.most_steps <= steps_a_turn_max(&world), "{} steps to record", world.most_steps);
}
