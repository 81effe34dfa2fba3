//! Reads: hits from the slots, misses through fills.

use crate::engine::{Engine, Staged};
use crate::ops::{Op, Purpose, Waiter};
use crate::part::Part;
use crate::requests::{Pending, RequestId};
use crate::{
    Actions, Copy, Identity, Instant, IoKind, OpId, Operation, RUN_LINES_MAX, Request, SlotId, Status,
    sector_mask,
};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, State, errno};

/// What looking up a line for a read says.
enum Look {
    Hit(SlotId),
    Lost,
    /// An operation on the line is in flight.
    Busy,
    /// The device was to zero the line and may forget that until a flush: what is not in the cache is zeroes, whatever
    /// it says.
    Zeroed,
    Miss,
}

impl Engine<'_> {
    /// A read that needs the device, or that cannot be.
    pub(crate) fn read(&mut self, now: Instant, id: RequestId, lines: (u64, u64), out: &mut Actions) {
        let pending = self.requests.get_mut(id);
        (pending.cursor, pending.end) = lines;
        if !self.advance_read(now, id, out) {
            self.parked.push_back(id);
        }
    }

    /// Looks up the lines of a read from its cursor on. `false` if it has to wait for a slot or an operation.
    fn advance_read(&mut self, now: Instant, id: RequestId, out: &mut Actions) -> bool {
        let pending = *self.requests.get(id);
        let request = pending.request;
        let index = usize::from(request.volume.0);
        let line_bytes = self.volumes[index].line_bytes();
        let first = self.volumes[index].line_of(request.offset);
        let mut line = pending.cursor;
        let mut waits = 0;
        let mut errno = pending.errno;
        let mut stuck = false;
        while line < pending.end {
            let part = Part::of(&request, line_bytes, first, line);
            match self.look(index, line, part.mask) {
                Look::Hit(slot) => {
                    self.cache.touch(slot);
                    copy_out(&request, slot, part, out);
                    line += 1;
                }
                Look::Lost => {
                    errno = errno::EIO;
                    line += 1;
                }
                Look::Busy => {
                    if !self.join_fill(index, line, id) {
                        stuck = true;
                        break;
                    }
                    waits += 1;
                    line += 1;
                }
                Look::Zeroed => {
                    let Some(slot) = self.fill_with_zeroes(index, line, out) else {
                        stuck = true;
                        break;
                    };
                    copy_out(&request, slot, part, out);
                    line += 1;
                }
                Look::Miss => {
                    let count = self.start_fill(now, index, line, pending.end, id, out);
                    if count == 0 {
                        stuck = true;
                        break;
                    }
                    waits += u32::try_from(count).expect("a run is short");
                    line += count as u64;
                }
            }
        }
        let stats = &mut self.volumes[index].stats;
        let pending = self.requests.get_mut(id);
        out.count(usize::try_from(line - pending.cursor).expect("a request is short") + 1);
        pending.cursor = line;
        pending.remaining += waits;
        pending.errno = errno;
        if !stuck && pending.remaining == 0 {
            if waits == 0 {
                stats.read_hits += 1;
            }
            self.complete(id, errno, 0, out);
        } else if waits > 0 {
            stats.read_misses += 1;
        }
        !stuck
    }

    /// Goes on with what was parked, oldest first.
    pub(crate) fn retry_parked(&mut self, now: Instant, out: &mut Actions) {
        for _ in 0..self.parked.len().min(self.limits.requests_a_turn) {
            if !out.has_room(&self.limits) {
                return;
            }
            let Some(id) = self.parked.pop_front() else { return };
            let Pending { request, orphan, remaining, cursor, end, .. } = *self.requests.get(id);
            if orphan && remaining == 0 {
                self.requests.remove(id);
            } else if matches!(request.operation, Operation::Write { .. }) {
                self.replay(id, (cursor, end), out);
            } else if orphan || !self.advance_read(now, id, out) {
                self.parked.push_back(id);
            }
        }
    }

    fn look(&self, volume: usize, line: u64, mask: u32) -> Look {
        let state = &self.volumes[volume];
        let newest = self.cache.newest(state.id(), line);
        let valid = newest.map_or(0, |slot| self.cache.header(slot).valid());
        if valid & mask == mask
            && let Some(slot) = newest
        {
            return Look::Hit(slot);
        }
        if state.losses.unreadable(line) & mask & !valid != 0 {
            return Look::Lost;
        }
        if state.zeroed_overlaps(line, line + 1) {
            let used = newest.map(|slot| self.cache.header(slot).state());
            return if matches!(used, Some(State::Filling | State::Writing)) {
                Look::Busy
            } else {
                Look::Zeroed
            };
        }
        let busy = state.index.busy.reader().get(line) && !mutant!(LineIsFilledTwice);
        let busy = busy || state.is_barred(line, line + 1);
        if busy { Look::Busy } else { Look::Miss }
    }

    /// Waits with the fill that is in flight for the line. `false` if what is in flight is no fill, or too many wait.
    fn join_fill(&mut self, volume: usize, line: u64, id: RequestId) -> bool {
        let volume = self.volumes[volume].id();
        let Some(op) = self.ops.on(volume, line, line + 1).next() else { return false };
        let op = self.ops.get_mut(op);
        if op.purpose != Purpose::Fill || op.is_settled(line) {
            return false;
        }
        for waiter in &mut op.waiters {
            match waiter {
                Some(Waiter { request, end, .. }) if *request == id && *end == line => {
                    *end = line + 1;
                    return true;
                }
                Some(_) => {}
                None => {
                    *waiter = Some(Waiter { request: id, first: line, end: line + 1 });
                    return true;
                }
            }
        }
        false
    }

    /// Begins to read a run of missing lines, `line` first, none at or after `end`. Returns its length; 0 if there is no
    /// slot or operation for it.
    fn start_fill(
        &mut self,
        now: Instant,
        volume: usize,
        line: u64,
        end: u64,
        id: RequestId,
        out: &mut Actions,
    ) -> usize {
        let max =
            (RUN_LINES_MAX.min(self.limits.run_lines_max) as u64).min(self.cache.free()).min(end - line);
        let max = max.min(self.volumes[volume].geometry().contiguous_from(line));
        let max = max.min(self.fills_max.saturating_sub(self.volumes[volume].counts.of(State::Filling)));
        if max == 0 || self.ops.free() <= 1 || !self.may_submit(volume) {
            return 0;
        }
        let mut op = Op::new(Purpose::Fill, self.volumes[volume].id(), line, 0, now);
        while (op.count as u64) < max {
            let next = line + op.count as u64;
            // The first line is known to be missing. A partly valid neighbour is left to its own turn.
            if op.count > 0 && !self.is_absent(volume, next) {
                break;
            }
            let slot = self.take_fill_slot(volume, next);
            op.slots[op.count] = slot.0;
            op.count += 1;
        }
        op.length = op.count;
        let count = op.count;
        op.waiters[0] = Some(Waiter { request: id, first: line, end: line + count as u64 });
        let op = self.ops.insert(op);
        let state = &mut self.volumes[volume];
        state.index.busy.set_range(line, count as u64);
        state.ops += 1;
        self.submit_fill(now, op, out);
        count
    }

    fn is_absent(&self, volume: usize, line: u64) -> bool {
        let state = &self.volumes[volume];
        self.cache.newest(state.id(), line).is_none()
            && state.losses.unreadable(line) == 0
            && !state.index.busy.reader().get(line)
            && !state.zeroed_overlaps(line, line + 1)
            && !state.is_barred(line, line + 1)
    }

    fn take_fill_slot(&mut self, volume: usize, line: u64) -> SlotId {
        let generation = self.cache.take_generation();
        let state = &mut self.volumes[volume];
        let identity = Identity { volume: state.id(), line, generation, dirty: 0 };
        let slot = self.cache.allocate(identity);
        self.cache.publish(&mut state.counts, slot, Cause::FillStarted, Status::new(State::Filling, 0));
        if self.cache.newest(state.id(), line).is_none() {
            self.cache.map(slot);
        }
        slot
    }

    fn submit_fill(&mut self, now: Instant, id: OpId, out: &mut Actions) {
        let op = self.ops.get_mut(id);
        let geometry = *self.volumes[usize::from(op.volume)].geometry();
        let begin = op.first + op.position as u64;
        let slots = &op.slots[op.position..op.position + op.length];
        let sectors = (begin..)
            .zip(slots)
            .map(|(line, &slot)| (SlotId(slot), 0, geometry.existing_mask(line).count_ones()));
        op.bytes = crate::submit::push(id, op.volume, IoKind::Read, geometry.offset_of(begin), sectors, out);
        op.submitted = now;
        self.volumes[usize::from(op.volume)].stats.device_reads += 1;
    }

    /// Makes what the cache does not hold of a line zeroes, but for what was written after the zeroes and is lost. `None` if
    /// there is no slot for it.
    fn fill_with_zeroes(&mut self, volume: usize, line: u64, out: &mut Actions) -> Option<SlotId> {
        let state = &self.volumes[volume];
        let existing = state.geometry().existing_mask(line);
        let lost = if mutant!(FillShowsLost) { 0 } else { state.losses.unreadable(line) };
        let readable = existing & !lost;
        let Some(newest) = self.cache.newest(state.id(), line) else {
            if self.cache.free() == 0 {
                return None;
            }
            let slot = self.take_fill_slot(volume, line);
            let generation = self.cache.header(slot).generation();
            out.copies.push(Copy::Zero { slot, at: 0, length: existing.count_ones() * 512 });
            self.staged.push(Staged::Filled { slot, generation, mask: readable });
            return Some(slot);
        };
        let header = self.cache.header(newest);
        let missing = readable & !header.valid();
        let mut left = missing;
        while left != 0 {
            let (first, count) = crate::settle::group(left);
            left &= !sector_mask(first, count);
            out.copies.push(Copy::Zero { slot: newest, at: first * 512, length: count * 512 });
        }
        let generation = header.generation();
        self.staged.push(Staged::Widen { slot: newest, generation, mask: missing });
        Some(newest)
    }

    /// A fill, or a part of it, ended.
    pub(crate) fn fill_completed(&mut self, now: Instant, id: OpId, result: i32, out: &mut Actions) {
        let op = self.ops.get(id).clone();
        let index = usize::from(op.volume);
        let done = u64::try_from(result.max(0)).unwrap_or(0) / self.volumes[index].line_bytes();
        let whole = u64::try_from(result.max(0)).unwrap_or(0) >= op.bytes;
        let done = if whole { op.length } else { usize::try_from(done).unwrap_or(0).min(op.length) };
        out.count(done.max(1));
        for offset in 0..done {
            let at = op.position + offset;
            self.line_filled(index, op.first + at as u64, SlotId(op.slots[at]), &op, out);
        }
        let mut position = op.position + done;
        let mut length = (op.length - done).max(1);
        if done == 0 {
            self.volumes[index].stats.device_reads_refused += 1;
            if op.length == 1 {
                let errno = crate::domain::errno_of(result);
                let errno = if errno == 0 { errno::EIO } else { errno };
                self.line_not_filled(
                    index,
                    op.first + position as u64,
                    SlotId(op.slots[position]),
                    errno,
                    &op,
                    out,
                );
                position += 1;
                length = 1;
            } else {
                length = op.length / 2;
            }
        } else if whole {
            length = 2 * op.length;
        }
        let state = self.ops.get_mut(id);
        state.position = position;
        if position == op.count {
            self.ops.remove(id);
            if !mutant!(FillStaysBusy) {
                self.volumes[index].index.busy.clear_range(op.first, op.count as u64);
            }
            self.volumes[index].ops -= 1;
        } else {
            state.length = length.min(op.count - position);
            self.submit_fill(now, id, out);
        }
    }

    /// The device's data of a line is in `slot`: it becomes the line, or completes a newer, partial one.
    fn line_filled(&mut self, volume: usize, line: u64, slot: SlotId, op: &Op, out: &mut Actions) {
        let state = &mut self.volumes[volume];
        let existing = state.geometry().existing_mask(line);
        let lost = if mutant!(FillShowsLost) { 0 } else { state.losses.unreadable(line) };
        let readable = existing & !lost;
        let zeroed = state.zeroed_overlaps(line, line + 1);
        if !zeroed && state.torn.contains(line) && !mutant!(TornIsKept) {
            return self.line_passes(volume, line, slot, readable, op, out);
        }
        if zeroed {
            // The device has forgotten the line's zeroes since the read began.
            out.copies.push(Copy::Zero { slot, at: 0, length: existing.count_ones() * 512 });
        }
        // A newer slot that became clean meanwhile may have been evicted, or given up: the fill takes its place.
        let newest = self.cache.newest(state.id(), line).unwrap_or_else(|| {
            self.cache.map(slot);
            slot
        });
        let mut valid = readable;
        if newest == slot && zeroed {
            let generation = self.cache.header(slot).generation();
            self.staged.push(Staged::Filled { slot, generation, mask: readable });
        } else if newest == slot {
            self.cache.publish(&mut state.counts, slot, Cause::Filled, Status::new(State::Clean, readable));
        } else {
            let header = self.cache.header(newest);
            let missing = if mutant!(FillCoversNewer) { readable } else { readable & !header.valid() };
            if missing != 0 {
                out.copies.push(Copy::Merge { from: slot, to: newest, mask: missing });
                self.staged.push(Staged::Widen {
                    slot: newest,
                    generation: header.generation(),
                    mask: missing,
                });
            }
            let generation = self.cache.header(slot).generation();
            self.staged.push(Staged::Free { slot, generation });
            valid |= header.valid();
        }
        self.each_waiter(volume, line, op, out, |engine, request, part, out| {
            if valid & part.mask != part.mask {
                return errno::EIO;
            }
            copy_out(&request, newest, part, out);
            engine.cache.touch(newest);
            0
        });
    }

    /// What the device has of a torn line goes to those who wait for it and not into the cache.
    fn line_passes(
        &mut self,
        volume: usize,
        line: u64,
        slot: SlotId,
        readable: u32,
        op: &Op,
        out: &mut Actions,
    ) {
        let mut valid = readable;
        self.cache.unmap(slot);
        if let Some(newest) = self.cache.newest(self.volumes[volume].id(), line) {
            let held = self.cache.header(newest).valid();
            out.copies.push(Copy::Merge { from: newest, to: slot, mask: held });
            valid |= held;
        }
        self.staged.push(Staged::Free { slot, generation: self.cache.header(slot).generation() });
        self.each_waiter(volume, line, op, out, |_, request, part, out| {
            if valid & part.mask != part.mask {
                return errno::EIO;
            }
            copy_out(&request, slot, part, out);
            0
        });
    }

    fn line_not_filled(
        &mut self,
        volume: usize,
        line: u64,
        slot: SlotId,
        errno: u16,
        op: &Op,
        out: &mut Actions,
    ) {
        self.cache.unmap(slot);
        self.cache.pass(&mut self.volumes[volume].counts, slot, Cause::FillRefused);
        self.each_waiter(volume, line, op, out, |_, _, _, _| errno);
    }

    fn each_waiter(
        &mut self,
        volume: usize,
        line: u64,
        op: &Op,
        out: &mut Actions,
        mut serve: impl FnMut(&mut Self, Request, Part, &mut Actions) -> u16,
    ) {
        let line_bytes = self.volumes[volume].line_bytes();
        for waiter in op.waiters.iter().flatten().filter(|waiter| (waiter.first..waiter.end).contains(&line))
        {
            let pending = self.requests.get(waiter.request);
            // The payload of a session that is over is gone.
            if pending.orphan {
                self.settle_part(waiter.request, errno::EIO, out);
                continue;
            }
            let request = pending.request;
            let first = self.volumes[volume].line_of(request.offset);
            let part = Part::of(&request, line_bytes, first, line);
            let errno = serve(self, request, part, out);
            self.settle_part(waiter.request, errno, out);
        }
    }
}

#[inline]
pub(crate) fn copy_out(request: &Request, slot: SlotId, part: Part, out: &mut Actions) {
    out.copies.push(Copy::Out {
        session: request.session,
        buffer: part.buffer,
        slot,
        at: part.at,
        length: part.length,
    });
}
