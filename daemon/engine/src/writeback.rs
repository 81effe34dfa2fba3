//! Write-back: runs of dirty lines go out in LBA order, refused runs are cut until the line is found (M12).

use crate::domain::errno_of;
use crate::engine::{Engine, HeldAnswer};
use crate::epochs::Stage;
use crate::ops::{Op, Purpose};
use crate::waits::Until;
use crate::written::Entry;
use crate::{Actions, Instant, IoKind, OpId, SlotId, sector_mask};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, ErrorClass, State, class_of_errno, errno};

/// How a run is to be written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) probe: bool,
    pub(crate) pass: bool,
    pub(crate) thorough: bool,
}

impl Engine<'_> {
    /// Whether the volume may have another operation in flight: one that hangs must not take all there are.
    pub(crate) fn may_submit(&self, volume: usize) -> bool {
        let share = (self.limits.ops_max / self.requests.volumes().max(1)).max(4);
        (self.volumes[volume].settled || mutant!(NoFence))
            && self.ops.free() > 1
            && (self.volumes[volume].ops as usize) < share
    }

    /// Begins to write the run of lines from `line` on, at most `max`. Returns the number of lines, 0 if it cannot now.
    pub(crate) fn start_write(
        &mut self,
        now: Instant,
        volume: usize,
        line: u64,
        max: u64,
        manner: Manner,
        out: &mut Actions,
    ) -> u64 {
        let state = &self.volumes[volume];
        let room = state.written.capacity() - state.written.len() - state.counts.of(State::Writing);
        let max = max
            .min(self.limits.run_lines_max as u64)
            .min(room)
            .min(state.geometry().contiguous_from(line) + u64::from(mutant!(RunIsLong)));
        if max == 0 || state.redirty || !self.may_submit(volume) {
            return 0;
        }
        let mut op = Op::new(Purpose::WriteBack, state.id(), line, 0, now);
        (op.probe, op.pass, op.thorough, op.doubts) =
            (manner.probe, manner.pass, manner.thorough, state.doubts);
        while (op.count as u64) < max {
            let Some(slot) = self.writable(volume, line + op.count as u64) else { break };
            let span = self.span(slot);
            if op.count > 0 && span.is_none_or(|(first, _)| first != 0) {
                break;
            }
            op.slots[op.count] = slot.0;
            op.count += 1;
            if op.count == 1 && max > 1 {
                self.cache.bring_near(op.volume, line + 1..line + max);
            }
            let reaches_end = span.is_some_and(|(first, count)| {
                first + count == self.volumes[volume].geometry().line_sectors()
            });
            if !reaches_end {
                op.pieces = if span.is_none() { self.cache.header(slot).dirty() } else { 0 };
                break;
            }
        }
        if op.count == 0 {
            return 0;
        }
        op.length = op.count;
        let count = op.count as u64;
        out.count(op.count);
        self.mark_writing(volume, &op);
        if self.is_recording(volume) {
            (op.first..op.first + count).for_each(|line| self.record_line(volume, line, out));
        }
        let op = self.ops.insert(op);
        self.submit_write(now, op, out);
        count
    }

    fn writable(&self, volume: usize, line: u64) -> Option<SlotId> {
        let state = &self.volumes[volume];
        let slot = self.cache.newest(state.id(), line)?;
        let ready = matches!(self.cache.header(slot).state(), State::Dirty | State::Failed);
        let fenced =
            state.is_barred(line, line + 1) || (state.fences > 0 && state.redo_overlaps(line, line + 1));
        let busy = state.index.busy.reader().get(line) && !mutant!(BusyLineIsWritten);
        (ready && !fenced && !busy).then_some(slot)
    }

    /// The sectors to write of a slot, as first and count; `None` if there is a gap that it does not hold.
    fn span(&self, slot: SlotId) -> Option<(u32, u32)> {
        let header = self.cache.header(slot);
        let dirty = header.dirty();
        let first = dirty.trailing_zeros();
        let mut count = 32 - dirty.leading_zeros() - first;
        if mutant!(SpanIsShort) {
            count = count.max(2) - 1;
        }
        let mask = sector_mask(first, count);
        (header.valid() & mask == mask).then_some((first, count))
    }

    fn mark_writing(&mut self, volume: usize, op: &Op) {
        let state = &mut self.volumes[volume];
        for (line, &slot) in (op.first..).zip(&op.slots[..op.count]) {
            let slot = SlotId(slot);
            let stage = crate::write::stage_of(self.cache.header(slot).status());
            self.cache.pass(&mut state.counts, slot, Cause::WriteBackStarted);
            state.epochs.moved(self.cache.link(slot), stage, Stage::Writing);
            state.index.dirty.clear(line);
            state.index.failed.clear(line);
            state.index.busy.set(line);
        }
        state.ops += 1;
    }

    fn submit_write(&mut self, now: Instant, id: OpId, out: &mut Actions) {
        let op = self.ops.get(id).clone();
        let line = op.first + op.position as u64;
        let geometry = *self.volumes[usize::from(op.volume)].geometry();
        let begin = SlotId(op.slots[op.position]);
        let bytes = if op.pieces != 0 {
            let first = op.pieces.trailing_zeros();
            let count = (op.pieces >> first).trailing_ones();
            let offset = geometry.offset_of(line) + u64::from(first) * 512;
            crate::submit::push(
                id,
                op.volume,
                IoKind::Write,
                offset,
                [(begin, first, count)].into_iter(),
                out,
            )
        } else {
            let (first, _) = self.span(begin).expect("a run has no gaps");
            let offset = geometry.offset_of(line) + u64::from(first) * 512;
            let slots = &op.slots[op.position..op.position + op.length];
            let pieces = slots.iter().map(|&slot| {
                let (first, count) = self.span(SlotId(slot)).expect("a run has no gaps");
                (SlotId(slot), first, count)
            });
            crate::submit::push(id, op.volume, IoKind::Write, offset, pieces, out)
        };
        let op = self.ops.get_mut(id);
        (op.bytes, op.submitted) = (bytes, now);
    }

    /// A write, or a part of one, ended.
    pub(crate) fn write_completed(&mut self, now: Instant, id: OpId, result: i32, out: &mut Actions) {
        let op = self.ops.get(id).clone();
        let index = usize::from(op.volume);
        let done = u64::try_from(result.max(0)).expect("not negative");
        if result > 0 {
            self.volumes[index].stats.device_writes += 1;
            self.volumes[index].stats.device_write_bytes += done;
        }
        if op.pieces != 0 && done > 0 {
            return self.piece_written(now, id, done, out);
        }
        let short_is_whole = mutant!(ShortIsWhole) && done > 0;
        let lines = if short_is_whole { op.length } else { self.lines_done(&op, done) };
        out.count(lines.max(1));
        if lines > 1 {
            let first = op.first + op.position as u64;
            self.cache.bring_near(op.volume, first..first + lines as u64);
        }
        for offset in 0..lines {
            let at = op.position + offset;
            self.line_written(index, op.first + at as u64, SlotId(op.slots[at]), op.doubts, out);
        }
        let position = op.position + lines;
        if lines == op.length {
            let length = if op.length < op.count { 2 * op.length } else { op.length };
            self.go_on(now, id, position, length, out);
        } else if lines > 0 {
            // A short write: what was written is written; ask again for the rest and let the device say why.
            self.go_on(now, id, position, op.length - lines, out);
        } else if done >= 512 {
            // It ended inside a line: the rest of that line goes out by itself.
            let (first, count) = self.span(SlotId(op.slots[op.position])).expect("a run has no gaps");
            let op = self.ops.get_mut(id);
            (op.length, op.pieces) = (1, sector_mask(first, count));
            self.piece_written(now, id, done, out);
        } else {
            let errno = errno_of(result);
            self.run_refused(now, id, if errno == 0 { errno::EIO } else { errno }, out);
        }
    }

    /// How many whole lines of the part in flight `done` bytes cover.
    fn lines_done(&self, op: &Op, mut done: u64) -> usize {
        if op.pieces != 0 {
            return 0;
        }
        let slots = &op.slots[op.position..op.position + op.length];
        let covered = slots.iter().take_while(|&&slot| {
            let (_, count) = self.span(SlotId(slot)).expect("a run has no gaps");
            let bytes = u64::from(count) * 512;
            let covered = done >= bytes;
            done = done.saturating_sub(bytes);
            covered
        });
        covered.count()
    }

    /// A line with gaps goes out piece by piece, and so does one of which only the beginning was written.
    fn piece_written(&mut self, now: Instant, id: OpId, done: u64, out: &mut Actions) {
        let op = self.ops.get_mut(id);
        let first = op.pieces.trailing_zeros();
        // Never more than was asked for, whatever the device says.
        let sectors = u32::try_from(done / 512).map_or(32, |sectors| sectors.min(32));
        op.pieces &= !sector_mask(first, sectors);
        if op.pieces != 0 && sectors > 0 {
            return self.submit_write(now, id, out);
        }
        if sectors == 0 {
            return self.run_refused(now, id, errno::EIO, out);
        }
        let (index, at, doubts) = (usize::from(op.volume), op.position, op.doubts);
        let (line, slot) = (op.first + at as u64, SlotId(op.slots[at]));
        self.line_written(index, line, slot, doubts, out);
        self.go_on(now, id, at + 1, 1, out);
    }

    /// Sends the next part of a run, or ends it.
    fn go_on(&mut self, now: Instant, id: OpId, position: usize, length: usize, out: &mut Actions) {
        let op = self.ops.get_mut(id);
        op.position = position;
        if position < op.count {
            op.length = length.clamp(1, op.count - position);
            return self.submit_write(now, id, out);
        }
        self.end_write(now, id, false);
    }

    fn end_write(&mut self, now: Instant, id: OpId, refused: bool) {
        let op = self.ops.remove(id);
        let volume = &mut self.volumes[usize::from(op.volume)];
        volume.index.busy.clear_range(op.first, op.count as u64);
        volume.ops -= 1;
        if op.pass
            && let Some(pass) = &mut volume.pass
        {
            pass.in_flight -= 1;
            if !refused {
                self.pass_accepted(now, usize::from(op.volume));
            }
        }
        if op.probe {
            self.probe_ended(now, usize::from(op.volume), refused);
        } else if !refused {
            self.accepted(usize::from(op.volume));
        }
    }

    fn run_refused(&mut self, now: Instant, id: OpId, errno: u16, out: &mut Actions) {
        let op = self.ops.get(id).clone();
        let index = usize::from(op.volume);
        let class = class_of_errno(errno);
        self.volumes[index].stats.device_writes_refused += 1;
        let gate_closed = self.volumes[index].gate.is_some();
        let asked_for = op.probe || op.pass || op.thorough;
        let gates = class.gates() || mutant!(MediumGates);
        if gate_closed && gates && !asked_for {
            self.defer_rest(now, id, op.position, errno, out);
        } else if op.length > 1 && !mutant!(RunIsOneVerdict) {
            self.go_on(now, id, op.position, op.length / 2, out);
        } else {
            let line = op.first + op.position as u64;
            self.line_refused(now, index, line, SlotId(op.slots[op.position]), class, errno, out);
            if gates {
                self.close_gate(now, index, class, errno, false);
                if op.pass
                    && !mutant!(WalkKeepsNoDistance)
                    && let Some(gate) = &mut self.volumes[index].gate
                {
                    // A walk's refusal is as good as a probe's: the next probe keeps its distance from it.
                    gate.last = now;
                }
            }
            if gates && !op.thorough {
                self.defer_rest(now, id, op.position + 1, errno, out);
            } else {
                self.ops.get_mut(id).pieces = 0;
                let refused_probe = op.position + 1 == op.count;
                if refused_probe {
                    self.ops.get_mut(id).position = op.count;
                    self.end_write(now, id, true);
                } else {
                    self.go_on(now, id, op.position + 1, 1, out);
                }
            }
        }
    }

    /// The lines of a run from `position` on get no verdict now.
    fn defer_rest(&mut self, now: Instant, id: OpId, position: usize, errno: u16, out: &mut Actions) {
        let op = self.ops.get(id).clone();
        out.count(op.count - position);
        for at in position..op.count {
            self.line_deferred(usize::from(op.volume), op.first + at as u64, SlotId(op.slots[at]), out);
        }
        self.fail_waits(usize::from(op.volume), errno, out);
        self.end_write(now, id, true);
    }

    /// The device accepted a line's write.
    fn line_written(&mut self, index: usize, line: u64, slot: SlotId, doubts: u64, out: &mut Actions) {
        if self.volumes[index].doubts != doubts {
            return self.line_deferred(index, line, slot, out);
        }
        let volume = &mut self.volumes[index];
        let (header, epoch) = (self.cache.header(slot), self.cache.link(slot));
        let (generation, mask, status) = (header.generation(), header.dirty(), header.status());
        if status.attempts > 0 {
            self.failures.remove(&mut volume.failed, slot);
            volume.failing[usize::from(status.class)] -= 1;
        }
        volume.epochs.moved(epoch, Stage::Writing, Stage::Written);
        volume.written.push(Entry { line, generation, slot: slot.0, epoch, mask });
        volume.written_since.get_or_insert(self.now);
        if self.cache.newest(volume.id(), line) == Some(slot) {
            volume.index.unstable.set(line);
            let status = crate::Status { class: 0, attempts: 0, errno: 0, ..status };
            self.cache.publish(&mut volume.counts, slot, Cause::WriteBackDone, status);
        } else {
            self.cache.pass(&mut volume.counts, slot, Cause::Superseded);
        }
        self.notify(index, line, generation, Until::Written, out);
    }

    /// Tells the writes that wait for a line how far it has come.
    pub(crate) fn notify(
        &mut self,
        index: usize,
        line: u64,
        generation: u64,
        reached: Until,
        out: &mut Actions,
    ) {
        let volume = self.volumes[index].id();
        self.waits.take_satisfied(volume, line, (generation, reached), &mut self.settled);
        self.settle_parts(0, out);
    }

    /// Tells all writes that wait for the volume's device that it refuses, once the ledger holds what they wrote.
    pub(crate) fn fail_waits(&mut self, index: usize, errno: u16, out: &mut Actions) {
        let volume = self.volumes[index].id();
        if self.waits.any_of(volume) {
            (0..self.volumes[index].zeroed.len()).for_each(|at| self.record_zeroed(index, at, out));
        }
        let mut from = 0;
        while self.waits.any_of(volume)
            && let Some((at, line)) = self.waits.next_of(volume, from)
        {
            out.count(1);
            self.record_line(index, line, out);
            self.fail_line(volume, line, errno, out);
            from = at + 1;
        }
    }

    /// Tells all writes that wait for a line that it cannot be.
    pub(crate) fn fail_line(&mut self, volume: u16, line: u64, errno: u16, out: &mut Actions) {
        self.waits.take_line(volume, line, &mut self.settled);
        self.settle_parts(errno, out);
    }

    /// The write did not get a verdict: the line is what it was before.
    fn line_deferred(&mut self, index: usize, line: u64, slot: SlotId, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        let status = self.cache.header(slot).status();
        if self.cache.newest(volume.id(), line) != Some(slot) {
            return self.hand_over(index, line, slot);
        }
        let (cause, stage) = match status.attempts {
            0 => (Cause::WriteBackDeferred, Stage::Waiting),
            _ => (Cause::WriteBackRefused, Stage::Failed),
        };
        self.cache.publish(&mut volume.counts, slot, cause, status);
        volume.epochs.moved(self.cache.link(slot), Stage::Writing, stage);
        volume.index.dirty.set(line);
        if stage == Stage::Failed {
            volume.index.failed.set(line);
        }
        volume.dirty_since.get_or_insert(self.now);
        let _ = out;
    }

    /// The device refused this very line.
    #[allow(clippy::too_many_arguments, reason = "the facts of one refusal")]
    fn line_refused(
        &mut self,
        now: Instant,
        index: usize,
        line: u64,
        slot: SlotId,
        class: ErrorClass,
        errno: u16,
        out: &mut Actions,
    ) {
        self.note_refusal(now, index, slot, class, errno);
        let volume = &mut self.volumes[index];
        if self.cache.newest(volume.id(), line) == Some(slot) {
            let status = self.cache.header(slot).status();
            self.cache.publish(&mut volume.counts, slot, Cause::WriteBackRefused, status);
            volume.epochs.moved(self.cache.link(slot), Stage::Writing, Stage::Failed);
            volume.index.dirty.set(line);
            volume.index.failed.set(line);
            self.judge_failure(now, index, slot, out);
        } else {
            self.hand_over(index, line, slot);
        }
        self.record_line(index, line, out);
        self.fail_line(self.volumes[index].id(), line, errno, out);
    }

    /// Counts a refusal in the slot's header and puts it on the list of failures.
    fn note_refusal(&mut self, now: Instant, index: usize, slot: SlotId, class: ErrorClass, errno: u16) {
        let volume = &mut self.volumes[index];
        let mut status = self.cache.header(slot).status();
        if status.attempts == 0 {
            self.failures.set_times(slot, now, now);
            self.failures.push(&mut volume.failed, slot);
        } else {
            volume.failing[usize::from(status.class)] -= 1;
            self.failures.set_times(slot, self.failures.first(slot), now);
        }
        volume.failing[class as usize] += 1;
        status.class = class as u8;
        status.errno = u8::try_from(errno).unwrap_or(u8::MAX);
        status.attempts = status.attempts.saturating_add(1);
        self.cache.header(slot).publish(status);
    }

    /// A superseded slot's write did not come through: the newest slot of the line, which holds all of it, takes over
    /// its obligation and its failure. There is none if that slot was given up meanwhile: the loss holds all of it.
    pub(crate) fn hand_over(&mut self, index: usize, line: u64, slot: SlotId) {
        let volume = &mut self.volumes[index];
        let (status, epoch) = (self.cache.header(slot).status(), self.cache.link(slot));
        volume.epochs.remove(epoch, Stage::Writing);
        let newest = self.cache.newest(volume.id(), line);
        assert!(newest.is_some() || !mutant!(HeirIsExpected), "a line in flight keeps its entry");
        if let Some(newest) = newest.filter(|_| !mutant!(HandOverForgetsEpoch)) {
            self.age(index, newest, epoch);
        }
        let volume = &mut self.volumes[index];
        let untried = |&slot: &SlotId| {
            let heir = self.cache.header(slot).status();
            heir.state == State::Dirty && heir.attempts == 0
        };
        if let Some(newest) = newest.filter(untried).filter(|_| status.attempts > 0) {
            let heir = self.cache.header(newest).status();
            self.failures.replace(&mut volume.failed, slot, newest);
            let (class, attempts, errno) = (status.class, status.attempts, status.errno);
            let inherited = crate::Status { class, attempts, errno, ..heir };
            self.cache.publish(&mut volume.counts, newest, Cause::Inherited, inherited);
            volume.epochs.moved(self.cache.link(newest), Stage::Waiting, Stage::Failed);
            volume.index.failed.set(line);
        } else if status.attempts > 0 {
            self.failures.remove(&mut volume.failed, slot);
            volume.failing[usize::from(status.class)] -= 1;
        }
        self.cache.pass(&mut volume.counts, slot, Cause::Superseded);
    }

    /// Makes a slot that is not in flight belong to `epoch`, if that is older than its own.
    pub(crate) fn age(&mut self, index: usize, slot: SlotId, epoch: u32) {
        let own = self.cache.link(slot);
        let status = self.cache.header(slot).status();
        if epoch < own && status.state.holds_unstable_data() {
            let volume = &mut self.volumes[index];
            let stage = crate::write::stage_of(status);
            volume.epochs.remove(own, stage);
            volume.epochs.add(epoch, stage);
            self.cache.set_link(slot, epoch);
        }
    }

    /// Answers whose reason the ledger holds by now.
    pub(crate) fn release_held(&mut self, out: &mut Actions) {
        for _ in 0..self.limits.steps_a_turn {
            let Some(&HeldAnswer { seq, request, errno }) = self.held.front() else { return };
            if !self.ledger.is_durable(seq) || !out.has_room(&self.limits) {
                return;
            }
            self.held.pop_front();
            self.complete(request, errno, 0, out);
        }
    }
}
