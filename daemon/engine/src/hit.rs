//! Hits: what the cache answers by itself, at once, without a look at anything that is going on.
//!
//! A read hits if its lines are there. A write hits if its volume is *calm*: it is in write-back mode and nothing is under
//! way that a write has to heed. The general way in `write.rs` asks for each of these things; a hit asks for all of them
//! with one comparison, and they are looked at anew only after something else than a hit has happened ([`Calm`]). What is
//! then done with a line is the same for both: `accept_line`.

use crate::cache::Overwrite;
use crate::engine::{Engine, Staged, answer};
use crate::read::{Part, copy_out};
use crate::{Actions, Copy, Mode, Operation, Request, SlotId};

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
        match request.operation {
            Operation::Read => self.read_hit(request, out),
            Operation::Write { fua: false } => self.write_hit(request, out),
            _ => false,
        }
    }

    fn read_hit(&mut self, request: &Request, out: &mut Actions) -> bool {
        let Some(volume) = self.volumes.get_mut(usize::from(request.volume.0)) else { return false };
        let Some((first, end)) = volume.lines_of(request.offset, request.length) else { return false };
        if end.wrapping_sub(first) > self.limits.request_lines_max as u64 {
            return false;
        }
        let (id, line_bytes, copies) = (volume.id(), volume.line_bytes(), out.copies.len());
        let mut part = Part::first(request, line_bytes);
        let mut line = first;
        loop {
            let slot = self.cache.find(id, line);
            let Some(slot) = slot.filter(|&slot| self.cache.header(slot).valid() & part.mask == part.mask)
            else {
                out.copies.truncate(copies);
                return false;
            };
            self.cache.touch(slot);
            copy_out(request, slot, part, out);
            line = line.wrapping_add(1);
            if line == end {
                break;
            }
            part = part.following(request, line_bytes);
        }
        volume.stats.read_hits += 1;
        answer(request, 0, 0, out);
        true
    }

    fn write_hit(&mut self, request: &Request, out: &mut Actions) -> bool {
        let index = usize::from(request.volume.0);
        let Some(volume) = self.volumes.get(index) else { return false };
        let Some((first, end)) = volume.lines_of(request.offset, request.length) else { return false };
        // Far below 2^64, all of the sums here: lines of one request and slots in memory.
        let lines = end.wrapping_sub(first);
        if lines > self.limits.request_lines_max as u64 {
            return false;
        }
        if volume.calm.as_of != self.facts {
            self.look_around(index);
        }
        let volume = &mut self.volumes[index];
        let room = volume.counts.not_clean().wrapping_add(lines) <= volume.calm.slots_max
            && self.cache.not_clean().wrapping_add(lines) <= self.room
            && lines <= self.cache.free();
        if !room {
            return false;
        }
        volume.stats.writes += 1;
        let line_bytes = volume.line_bytes();
        let mut part = Part::first(request, line_bytes);
        let mut line = first;
        loop {
            let slot = self.write_line(index, line, part.mask, out);
            let (session, buffer, at, length) = (request.session, part.buffer, part.at, part.length);
            out.copies.push(Copy::In { session, buffer, slot, at, length });
            line = line.wrapping_add(1);
            if line == end {
                break;
            }
            part = part.following(request, line_bytes);
        }
        answer(request, 0, 0, out);
        true
    }

    /// Gives a line its fresh slot, in the short way if that is open.
    #[inline(always)]
    fn write_line(&mut self, index: usize, line: u64, mask: u32, out: &mut Actions) -> SlotId {
        let volume = &mut self.volumes[index];
        let Some(taken) = self.cache.overwrite(&mut volume.counts, volume.setup.id.0, line, mask) else {
            return self.accept_line(index, line, mask, out);
        };
        let Overwrite { before, slot, kept } = taken;
        if kept != 0 {
            out.copies.push(Copy::Merge { from: before, to: slot, mask: kept });
        }
        self.staged.push(Staged::Overwrite { before, slot });
        slot
    }

    /// Finds out whether a volume is calm.
    #[cold]
    fn look_around(&mut self, index: usize) {
        let volume = &self.volumes[index];
        let calm = volume.setup.mode == Mode::WriteBack
            && volume.gate.is_none()
            && volume.failure_class().is_none()
            // Zeroes in flight, or to be done again, keep writes out.
            && volume.fences == 0
            // Writes that came before have a right to what room there is.
            && volume.stalled.is_empty()
            // Who waits for a line gets it written before it is overwritten.
            && volume.flushes.is_empty()
            && volume.tasks.is_empty()
            && self.waits.is_empty();
        let slots_max = if calm { volume.setup.budget_slots } else { 0 };
        self.volumes[index].calm = Calm { as_of: self.facts, slots_max };
    }
}
