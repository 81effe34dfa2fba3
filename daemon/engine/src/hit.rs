//! Hits: what the cache answers by itself, at once, without a look at anything that is going on.
//!
//! A read hits if its lines are there. A write hits if its volume is *calm*: it is in write-back mode and nothing is under
//! way that a write has to heed. The general way in `write.rs` asks for each of these things; a hit asks for all of them
//! with one comparison, and they are looked at anew only after something else than a hit has happened ([`Calm`]). What is
//! then done with a line is the same for both, `accept_line`, or its short form for a dirty line (`cache/overwrite.rs`). A
//! test at the end plays the same turns with hits and without and compares headers, counters and actions.

use crate::cache::Overwrite;
use crate::engine::{Engine, Staged, answer};
use crate::part::Part;
use crate::read::copy_out;
use crate::{Actions, Begun, Copy, Operation, Request, VolumeId};
use core::ops::Range;

/// What a write has to know of its volume, as a number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calm {
    /// The engine's count of facts that this was found under; it says nothing under another.
    as_of: u64,
    /// How many slots of the volume may be not clean for writes to be admitted without a further question; 0 if there
    /// is one to ask.
    slots_max: u64,
}

impl Engine<'_> {
    /// Answers a read or write that needs nothing but the cache. `false`, and nothing has happened, for all others.
    #[inline(always)]
    pub(crate) fn hit(&mut self, request: &Request, out: &mut Actions) -> bool {
        #[cfg(test)]
        if self.always_the_long_way {
            return false;
        }
        match request.operation {
            Operation::Read => self.read_hit(request, out),
            // What an earlier life may have taken in is the long way's.
            Operation::Write { fua: false } if request.replay == 0 => self.write_hit(request, out),
            _ => false,
        }
    }

    /// Brings near what requests at these offsets of a volume will need, for a shell that knows of some that are to come:
    /// waiting for memory is most of what a hit costs, and for several at once takes no longer than for one. Changes nothing;
    /// any volume and any offset will do.
    #[inline]
    pub fn bring_near(&self, volume: VolumeId, offsets: impl Iterator<Item = u64>) {
        if let Some(state) = self.volumes.get(usize::from(volume.0)) {
            self.cache.bring_near(volume.0, offsets.map(|offset| state.line_of(offset)));
        }
    }

    fn read_hit(&mut self, request: &Request, out: &mut Actions) -> bool {
        let index = usize::from(request.volume.0);
        let Some(volume) = self.volumes.get(index) else { return false };
        let Some((first, end)) = volume.lines_of(request.offset, request.length) else { return false };
        let part = Part::first(request, volume.line_bytes());
        let all_there = if end.wrapping_sub(first) == 1 {
            self.read_line(request, first, part, out)
        } else {
            self.read_lines(request, first..end, out)
        };
        if !all_there {
            return false;
        }
        self.volumes[index].stats.read_hits += 1;
        answer(request, 0, 0, out);
        true
    }

    /// `false`, and no copies, if one of the lines is not there.
    #[inline(never)]
    fn read_lines(&mut self, request: &Request, lines: Range<u64>, out: &mut Actions) -> bool {
        let line_bytes = self.volumes[usize::from(request.volume.0)].line_bytes();
        let (first, copies) = (lines.start, out.copies.len());
        if lines.end - first > self.limits.request_lines_max as u64 {
            return false;
        }
        let mut part = Part::first(request, line_bytes);
        for line in lines {
            if line > first {
                part = part.following(request, line_bytes);
            }
            if !self.read_line(request, line, part, out) {
                out.copies.truncate(copies);
                return false;
            }
        }
        true
    }

    #[inline(always)]
    fn read_line(&mut self, request: &Request, line: u64, part: Part, out: &mut Actions) -> bool {
        let Some(slot) = self.cache.find(request.volume.0, line) else { return false };
        if self.cache.header(slot).valid() & part.mask != part.mask {
            return false;
        }
        self.cache.touch(slot);
        copy_out(request, slot, part, out);
        true
    }

    fn write_hit(&mut self, request: &Request, out: &mut Actions) -> bool {
        let index = usize::from(request.volume.0);
        let Some(volume) = self.volumes.get(index) else { return false };
        let Some((first, end)) = volume.lines_of(request.offset, request.length) else { return false };
        let (lines, line_bytes) = (end.wrapping_sub(first), volume.line_bytes());
        if volume.calm.as_of != self.facts {
            self.look_around(index);
        }
        if lines == 1 {
            if !self.admits(index, 1) {
                return false;
            }
            self.begin(request, out);
            let part = Part::first(request, line_bytes);
            self.write_line(request, index, first, part, out);
        } else {
            if lines > self.limits.request_lines_max as u64 || !self.admits(index, lines) {
                return false;
            }
            self.begin(request, out);
            self.write_lines(request, first..end, out);
        }
        answer(request, 0, 0, out);
        true
    }

    /// Notes a write before its first generation is taken.
    #[inline(always)]
    pub(crate) fn begin(&self, request: &Request, out: &mut Actions) {
        let generation = self.cache.next_generation();
        let Request { session, tag, sequence, .. } = *request;
        out.begun.push(Begun { session, tag, sequence, generation });
    }

    /// Whether a volume takes in so many lines more without a further question; if so, it has one write more.
    #[inline(always)]
    fn admits(&mut self, index: usize, lines: u64) -> bool {
        let volume = &mut self.volumes[index];
        // Slots in memory and lines of one request: the sums are far below 2^64.
        let room = volume.counts.not_clean().wrapping_add(lines) <= volume.calm.slots_max;
        let admitted = room && lines <= self.cache.free();
        if admitted {
            // Counts one a request: 64 bits outlast the machine.
            volume.stats.writes = volume.stats.writes.wrapping_add(1);
        }
        admitted
    }

    #[inline(never)]
    fn write_lines(&mut self, request: &Request, lines: Range<u64>, out: &mut Actions) {
        let index = usize::from(request.volume.0);
        let (first, line_bytes) = (lines.start, self.volumes[index].line_bytes());
        let mut part = Part::first(request, line_bytes);
        for line in lines {
            if line > first {
                part = part.following(request, line_bytes);
            }
            self.write_line(request, index, line, part, out);
        }
    }

    /// Gives a line its fresh slot, in the short way if that is open, and has it filled.
    #[inline(always)]
    fn write_line(&mut self, request: &Request, index: usize, line: u64, part: Part, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        let slot = match self.cache.overwrite(&mut volume.counts, request.volume.0, line, part.mask) {
            Some(Overwrite { before, slot, kept }) => {
                if kept != 0 {
                    out.copies.push(Copy::Merge { from: before, to: slot, mask: kept });
                }
                self.staged.push(Staged::Overwrite { before, slot });
                slot
            }
            None => self.accept_line(index, line, part.mask, out),
        };
        let (session, buffer, at, length) = (request.session, part.buffer, part.at, part.length);
        out.copies.push(Copy::In { session, buffer, slot, at, length });
    }

    /// Finds out whether a volume is calm.
    #[cold]
    fn look_around(&mut self, index: usize) {
        let volume = &self.volumes[index];
        let calm = !volume.writes_through()
            // Operations of an earlier life may be in flight.
            && volume.settled
            && !volume.closing
            && volume.gate.is_none()
            && self.pressing_class(index).is_none()
            // Zeroes in flight, or to be done again, keep writes out.
            && volume.fences == 0
            // Writes and zeroes that came before have a right to what room there is, and zeroes to their lines.
            && volume.stalled.is_empty()
            && volume.short_zeroes.is_none()
            && volume.bar.is_none()
            // Who waits for a line gets it written before it is overwritten.
            && volume.flushes.is_empty()
            && volume.tasks.is_empty()
            && self.waits.is_empty();
        let slots_max = if calm { volume.allowance.limit } else { 0 };
        self.volumes[index].calm = Calm { as_of: self.facts, slots_max };
    }
}

#[cfg(test)]
mod tests {
    use crate::*;
    use alloc::vec::Vec;
    use holdfast_policy::{ClassSet, HoldUntilPressure, Policy, Retry, Rule, Rules, State};
    use proptest::prelude::*;

    /// One turn: how many answers of the device come first, then requests, and the milliseconds until the next turn.
    type Turn = (usize, Vec<(u8, u64, u64)>, u64);

    const LINES: u64 = 24;

    fn operation(kind: u8) -> Operation {
        match kind {
            0..5 => Operation::Write { fua: false },
            5..10 => Operation::Read,
            10 => Operation::Write { fua: true },
            11 => Operation::Flush,
            12 => Operation::WriteZeroes { fua: false },
            _ => Operation::Discard,
        }
    }

    /// All that can be seen of a run: what it wants done, the headers, the counters.
    #[derive(Default, PartialEq, Debug)]
    struct Seen {
        begun: Vec<Vec<Begun>>,
        copies: Vec<Vec<Copy>>,
        ios: Vec<Vec<Io>>,
        completions: Vec<Vec<Completion>>,
        headers: Vec<Vec<[u64; 4]>>,
        stats: Vec<(VolumeStats, VolumeStats, CacheStats)>,
    }

    /// Plays the turns over a device of which each `refuses`-th operation fails, if it is not 0.
    fn play(turns: &[Turn], refuses: usize, long_way: bool) -> (Seen, u64) {
        let limits = Limits { reserve_slots: 16, ..Limits::small(0, 1) };
        let headers = fixture::headers(48);
        let shared = Geometry { reactors: 2, ..fixture::geometry(2 * 256 + LINES) };
        let geometries = [fixture::geometry(LINES), shared];
        let indices = geometries.map(fixture::index);
        let shares = geometries.map(|geometry| Share::new(geometry.reactors));
        let mut engine = Engine::new(limits, &headers, Instant(0));
        for (id, ((geometry, index), share)) in (0..).zip(geometries.into_iter().zip(&indices).zip(&shares)) {
            let setup = fixture::setup(id, geometry, index, share);
            let (budget_slots, room_slots) = (20, 16);
            // A policy that has a say in what a failing volume takes in.
            let policy = Policy::HoldUntilPressure(HoldUntilPressure { pressure: 300, stall_timeout_ms: 50 });
            let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
            let rules = Rules::new(&[rule]).expect("one rule for every class");
            engine.add_volume(VolumeSetup { budget_slots, room_slots, write_back_from: 400, rules, ..setup });
        }
        engine.always_the_long_way = long_way;
        let mut out = Actions::with_capacity(&limits);
        let (mut seen, mut done, mut now, mut number) = (Seen::default(), Vec::new(), Instant(1), 0);
        for (answers, requests, pause) in turns {
            let answered: Vec<Event> = done.drain(..done.len().min(*answers)).collect();
            answered.into_iter().for_each(|event| engine.apply(now, event, &mut out));
            for &(kind, at, length) in requests {
                let operation = operation(kind);
                let (offset, length) =
                    if operation == Operation::Flush { (0, 0) } else { (at * 512, length * 512) };
                let volume = u16::try_from(at % 2).expect("0 or 1");
                engine.apply(
                    now,
                    Event::Request(fixture::request(volume, operation, offset, length)),
                    &mut out,
                );
            }
            engine.tick(now, &mut out);
            engine.commit();
            for io in &out.ios {
                number += 1;
                let refused = refuses > 0 && number % refuses == 0;
                let result = if refused { -28 } else { i32::try_from(io.length).expect("short") };
                done.push(Event::Completed { op: io.op, result });
            }
            now = now.after_ms(*pause);
            seen.begun.push(core::mem::take(&mut out.begun));
            seen.copies.push(core::mem::take(&mut out.copies));
            seen.ios.push(core::mem::take(&mut out.ios));
            seen.completions.push(core::mem::take(&mut out.completions));
            seen.headers.push(headers.iter().map(Header::words).collect());
            seen.stats.push((engine.stats(VolumeId(0)), engine.stats(VolumeId(1)), engine.cache_stats()));
            out.clear();
        }
        (seen, engine.hits)
    }

    /// A hit does what the long way does: the same copies, answers and headers, slot by slot and word by word, whatever
    /// else is going on, on a device that accepts and on one that does not.
    #[test]
    fn a_hit_is_the_long_way_made_short() {
        let request = (0u8..14, 0u64..(LINES + 2) * 8, 1u64..40);
        let plain = (0u8..10, 0u64..LINES).prop_map(|(kind, line)| (kind, line * 8, 8));
        let requests = proptest::collection::vec(prop_oneof![plain, request], 0..8);
        let turns = proptest::collection::vec((0usize..6, requests, 0u64..40), 1..60);
        let hits = core::cell::Cell::new(0);
        proptest!(|(turns in turns, refuses in 0usize..6)| {
            let ((short, taken), (long, none)) = (play(&turns, refuses, false), play(&turns, refuses, true));
            prop_assert_eq!(none, 0);
            prop_assert_eq!(short, long);
            hits.set(hits.get() + taken);
        });
        assert!(hits.get() > 1000, "{} hits", hits.get());
    }

    /// Nothing that a client can ask for is a place that may not be looked at.
    #[test]
    fn any_offset_may_be_brought_near() {
        let (limits, headers) = (Limits::small(0, 1), fixture::headers(256));
        let shared = Geometry { reactors: 2, ..fixture::geometry(2 * 256 + LINES) };
        let geometries = [fixture::geometry(LINES), shared];
        let (indices, shares) = (geometries.map(fixture::index), [Share::new(1), Share::new(2)]);
        let mut engine = Engine::new(limits, &headers, Instant(0));
        for (id, (geometry, (index, share))) in
            (0..).zip(geometries.into_iter().zip(indices.iter().zip(&shares)))
        {
            engine.add_volume(fixture::setup(id, geometry, index, share));
        }
        let write = fixture::request(0, Operation::Write { fua: false }, 4096, 4096);
        engine.apply(Instant(1), Event::Request(write), &mut Actions::with_capacity(&limits));
        for volume in [0, 1, 2, u16::MAX] {
            let offsets = (0..64).map(|bit| u64::MAX << bit).chain((0..64).map(|bit| 1 << bit));
            engine.bring_near(VolumeId(volume), offsets.chain([0, LINES * 4096]));
        }
        let headers: Vec<State> = headers.iter().map(Header::state).collect();
        assert_eq!(headers.iter().filter(|&&state| state != State::Free).count(), 1, "nothing has changed");
    }

    /// A shell that prepares the memory of the next slots prepares the right ones: those of the next turn's writes, in their
    /// order, of overwrites and of first writes.
    #[test]
    fn the_next_slots_are_the_ones_that_writes_take() {
        let (limits, headers) = (Limits::small(0, 1), fixture::headers(128));
        let geometry = fixture::geometry(LINES);
        let (index, share) = (fixture::index(geometry), Share::new(1));
        let mut engine = Engine::new(limits, &headers, Instant(0));
        engine.add_volume(fixture::setup(0, geometry, &index, &share));
        let mut out = Actions::with_capacity(&limits);
        for lines in [[0, 1, 2], [1, 0, 5], [5, 1, 7]] {
            let expected: Vec<SlotId> = engine.next_slots().take(lines.len()).collect();
            assert_eq!(engine.next_slots().count() as u64, engine.cache_stats().free, "all that are free");
            for line in lines {
                let write = fixture::request(0, Operation::Write { fua: false }, line * 4096, 4096);
                engine.apply(Instant(1), Event::Request(write), &mut out);
            }
            let taken = out.copies.iter().map(|copy| match *copy {
                Copy::In { slot, .. } => slot,
                ref other => panic!("a whole line is written: {other:?}"),
            });
            assert!(taken.eq(expected), "{:?}", out.copies);
            engine.commit();
            out.clear();
        }
    }
}
