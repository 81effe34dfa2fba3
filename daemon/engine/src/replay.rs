//! Writes that an earlier life took in and did not answer (M9): only what it had not published is done again.

use crate::engine::Engine;
use crate::notes::Fate;
use crate::part::Part;
use crate::requests::RequestId;
use crate::waits::Until;
use crate::{Actions, Operation};
use holdfast_mutants::mutant;
use holdfast_policy::{State, errno};

impl Engine<'_> {
    /// Takes in a write of lines `first..end` again. Headers are published in the order of generations, so that what was
    /// published of it is its beginning.
    pub(crate) fn replay(&mut self, id: RequestId, (first, end): (u64, u64), out: &mut Actions) {
        let replay = self.requests.get(id).request.replay;
        let mut done = 0;
        while first + done < end {
            match self.fate(replay.saturating_add(done)) {
                Fate::Published => done += 1,
                Fate::Unpublished => break,
                // After so many lives nobody can say whether it happened.
                Fate::Forgotten => return self.complete(id, errno::EIO, 0, out),
            }
        }
        let index = usize::from(self.requests.get(id).request.volume.0);
        // What has happened is not withdrawn.
        self.requests.get_mut(id).begun |= done > 0;
        if !self.waits.has_room(index, usize::try_from(done).expect("a request is short")) {
            let pending = self.requests.get_mut(id);
            (pending.cursor, pending.end) = (first, end);
            self.parked.push_back(id);
            return;
        }
        self.await_published(id, first, first + done);
        let pending = self.requests.get_mut(id);
        if first + done == end {
            (pending.cursor, pending.end) = (end, end);
            // One part is this function's own.
            pending.remaining += 1;
            let errno = pending.errno;
            return self.settle_part(id, errno, out);
        }
        if done > 0 {
            pending.taken_before = u32::try_from(done).expect("a request is short");
            let request = &mut pending.request;
            let line_bytes = u64::from(self.volumes[usize::from(request.volume.0)].geometry().line_bytes);
            let skipped = (request.offset / line_bytes + done) * line_bytes - request.offset;
            request.offset += skipped;
            request.length -= skipped;
            request.buffer += skipped;
        }
        self.write(id, (first + done, end), out);
    }

    fn fate(&self, generation: u64) -> Fate {
        if mutant!(ReplayDoesAllAgain) {
            return Fate::Unpublished;
        }
        if mutant!(ReplayBelievesAll) {
            return Fate::Published;
        }
        if generation >= self.first_generation {
            // Its session ended and came back within this life.
            return if generation <= self.published { Fate::Published } else { Fate::Unpublished };
        }
        self.notes.fate(generation)
    }

    /// A write whose answer must wait for the device waits for what is published of it, too.
    fn await_published(&mut self, id: RequestId, first: u64, end: u64) {
        let request = self.requests.get(id).request;
        let index = usize::from(request.volume.0);
        let Some(until) = self.waits_until(index, request.operation) else { return };
        debug_assert!(matches!(request.operation, Operation::Write { .. }), "only writes are replayed");
        for line in first..end {
            let volume = &self.volumes[index];
            let newest = self.cache.newest(volume.id(), line);
            let held = newest.map_or(0, |slot| self.cache.header(slot).valid());
            let own = Part::of(&request, volume.line_bytes(), first, line).mask;
            if volume.losses.unreadable(line) & own & !held != 0 {
                // It was given up. What the cache has of the line is of other sectors.
                self.requests.get_mut(id).errno = errno::EIO;
                continue;
            }
            let waiting = newest.filter(|&slot| {
                let state = self.cache.header(slot).state();
                let written = until == Until::Written && state == State::Unstable;
                state.holds_unstable_data() && !written
            });
            if let Some(slot) = waiting {
                self.wait_for_line(id, index, line, slot, until);
            } else if until == Until::Stable && volume.zeroed_overlaps(line, line + 1) {
                // Zeroes that came later have taken its place, and no device flush has covered them.
                self.waits.add(id, volume.id(), line, 0, until);
                self.requests.get_mut(id).remaining += 1;
            }
        }
    }
}
