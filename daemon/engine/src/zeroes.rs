//! Discard and write-zeroes: write-through, chunk by chunk (M10).

use crate::engine::{Engine, Staged};
use crate::epochs::Stage;
use crate::notes::ZeroedNote;
use crate::ops::{Op, Purpose, Waiter};
use crate::requests::RequestId;
use crate::volume::{ZEROED_MAX, Zeroed};
use crate::waits::Until;
use crate::{Actions, Copy, Instant, Io, IoKind, OpId, Operation, VolumeId, sector_mask};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, State, class_of_errno, errno};

/// Lines of one device operation at most: 4 MiB of 4 KiB lines, so that its completion is a short turn.
const CHUNK_LINES: u64 = 1024;
/// Chunks of one request that are in flight together.
const CHUNKS_MAX: u32 = 4;

impl Engine<'_> {
    /// Takes in a discard or write of zeroes: this reactor's whole lines go to the device, what is left of its lines at
    /// the ends is written as zeroes through the cache.
    pub(crate) fn zero(&mut self, id: RequestId) {
        let request = self.requests.get(id).request;
        let volume = &mut self.volumes[usize::from(request.volume.0)];
        let geometry = volume.geometry();
        let end = request.offset + request.length;
        let first = geometry.first_line_at_or_after(request.offset);
        let last = if end == geometry.volume_bytes {
            geometry.local_lines()
        } else {
            geometry.first_line_at_or_after(end / volume.line_bytes() * volume.line_bytes())
        };
        let pending = self.requests.get_mut(id);
        // One part is the queue's own, so that nothing else can be the last.
        (pending.cursor, pending.end, pending.remaining) = (first.min(last), last, 1);
        pending.first_zeroed = pending.cursor;
        volume.zeroers.push_back(id);
    }

    /// Goes on with the volume's zeroing requests and with what has to be zeroed again.
    pub(crate) fn advance_zeroes(&mut self, now: Instant, index: usize, out: &mut Actions) {
        self.redo_zeroes(now, index, out);
        self.heal_zeroed(index, out);
        let mut at = 0;
        for _ in 0..self.volumes[index].zeroers.len().min(16) {
            let Some(&id) = self.volumes[index].zeroers.get(at) else { return };
            if !out.has_room(&self.limits) {
                return;
            }
            let pending = self.requests.get_mut(id);
            if pending.orphan && pending.errno == 0 {
                pending.errno = errno::ECANCELED;
            }
            let pending = *pending;
            self.forget_shortness(id, index);
            if pending.cursor < pending.end && pending.errno == 0 {
                if pending.fallback {
                    self.volumes[index].lift_bar(id);
                    self.zero_through_cache(id, index, out);
                } else {
                    self.start_chunks(now, id, index, out);
                }
            }
            let pending = *self.requests.get(id);
            let over = pending.cursor >= pending.end || pending.errno != 0;
            // What was written through the cache may still be waited for; chunks must have ended.
            let settled = pending.remaining == 1 || (pending.fallback && pending.errno == 0);
            if !over || !settled {
                at += 1;
                continue;
            }
            // A wait for each end, and with FUA for each range.
            let waits = self.waits.has_room(index, 2 + self.volumes[index].zeroed.len());
            if pending.errno == 0 && !(waits && self.zero_ends(id, index, out)) {
                at += 1;
                continue;
            }
            self.volumes[index].zeroers.remove(at);
            self.volumes[index].lift_bar(id);
            self.forget_shortness(id, index);
            self.finish_zero(id, index, out);
        }
    }

    fn forget_shortness(&mut self, id: RequestId, index: usize) {
        let volume = &mut self.volumes[index];
        volume.short_zeroes = volume.short_zeroes.filter(|&(holder, _)| holder != id);
    }

    /// The request leaves the queue; zeroes with FUA still wait for the device flush.
    fn finish_zero(&mut self, id: RequestId, index: usize, out: &mut Actions) {
        let pending = *self.requests.get(id);
        let state = self.requests.get_mut(id);
        (state.cursor, state.begun) = (pending.end, true);
        if pending.errno == 0 && matches!(pending.request.operation, Operation::WriteZeroes { fua: true }) {
            let volume = &self.volumes[index];
            let first = pending.first_zeroed;
            let overlaps = |range: &&Zeroed| !range.stable && range.first < pending.end && first < range.end;
            for range in volume.zeroed.iter().filter(overlaps) {
                self.waits.add(id, volume.id(), range.first, range.generation, Until::Stable);
                self.requests.get_mut(id).remaining += 1;
            }
        }
        self.settle_part(id, 0, out);
    }

    fn start_chunks(&mut self, now: Instant, id: RequestId, index: usize, out: &mut Actions) {
        loop {
            let pending = *self.requests.get(id);
            let volume = &self.volumes[index];
            let room = volume.zeroed.len() + volume.fences as usize + 1 < ZEROED_MAX;
            if pending.cursor >= pending.end || pending.remaining > CHUNKS_MAX || !room {
                return self.volumes[index].lift_bar(id);
            }
            let first = pending.cursor;
            let count = (pending.end - first).min(CHUNK_LINES).min(volume.geometry().contiguous_from(first));
            if !self.may_zero(id, index, (first, first + count), out) {
                return;
            }
            let discard = pending.request.operation == Operation::Discard;
            let waiter = Waiter { request: id, first, end: first + count };
            self.submit_zero(now, index, (first, count), discard, Some(waiter), out);
            let pending = self.requests.get_mut(id);
            pending.cursor = first + count;
            pending.remaining += 1;
            pending.chunks += 1;
            pending.begun = true;
        }
    }

    /// Whether zeroes may go to the device over these lines. If not, they wait for what is in flight there, and nothing newer
    /// begins before it: else lines that are always busy would keep them waiting for ever. What hangs is not waited for
    /// in this way, or its neighbours would hang with it.
    fn may_zero(&mut self, id: RequestId, index: usize, (first, end): (u64, u64), out: &mut Actions) -> bool {
        let volume = &self.volumes[index];
        let hangs = self.ops.on(volume.id(), first, end).any(|op| self.ops.get(op).overdue);
        let redo = volume.redo_overlaps(first, end);
        let busy = volume.index.busy.any_in(first, end - first) || self.any_incoming(index, first, end);
        let busy = busy && !mutant!(ZeroesPassWrites);
        self.volumes[index].lift_bar(id);
        if hangs || redo {
            self.judge_zeroes(id, index, (first, end), None, out);
            return false;
        }
        if busy || !self.may_submit(index) {
            self.volumes[index].bar.get_or_insert((id, first, end));
            return false;
        }
        true
    }

    /// Whether writes of this turn to the lines await their copies: zeroes that were asked for later must not pass them.
    fn any_incoming(&self, index: usize, first: u64, end: u64) -> bool {
        let volume = &self.volumes[index];
        let within = |staged: &Staged| {
            let Some(slot) = staged.incoming() else { return false };
            let header = self.cache.header(slot);
            header.volume() == volume.id() && (first..end).contains(&header.line())
        };
        volume.counts.of(State::Incoming) > 0 && self.staged.iter().any(within)
    }

    fn submit_zero(
        &mut self,
        now: Instant,
        index: usize,
        (first, count): (u64, u64),
        discard: bool,
        waiter: Option<Waiter>,
        out: &mut Actions,
    ) {
        let volume = &mut self.volumes[index];
        let lines = usize::try_from(count).expect("a chunk is short");
        let mut op = Op::new(Purpose::Zero, volume.id(), first, lines, now);
        op.waiters[0] = waiter;
        (op.doubts, op.discard) = (volume.doubts, discard);
        // Should the daemon die, the device does it all the same, and what the cache has of the lines is not the device's.
        let intent = ZeroedNote { first, end: first + count, discard, generation: 0 };
        op.note = waiter.map(|_| self.notes.add_zeroed(op.volume, intent));
        volume.index.busy.set_range(first, count);
        volume.ops += 1;
        volume.fences += 1;
        let range = volume.lines(first, count);
        let kind = if discard { IoKind::Discard } else { IoKind::Zero };
        let volume = VolumeId(volume.id());
        let op = self.ops.insert(op);
        let (offset, length) = (range.offset, range.length);
        out.ios.push(Io { op, volume, kind, offset, length, first_segment: 0, segments: 0 });
    }

    pub(crate) fn zero_completed(&mut self, now: Instant, id: OpId, result: i32, out: &mut Actions) {
        let op = self.ops.remove(id);
        let index = usize::from(op.volume);
        let volume = &mut self.volumes[index];
        volume.index.busy.clear_range(op.first, op.count as u64);
        volume.ops -= 1;
        volume.fences -= 1;
        let errno = crate::domain::errno_of(result);
        out.count(op.count);
        match op.waiters[0] {
            None => self.redo_completed(now, index, &op, errno),
            Some(waiter) => self.chunk_completed(index, &op, waiter, errno, out),
        }
        if let Some(note) = op.note {
            self.notes.remove_zeroed(op.volume, note);
        }
        if errno == 0 {
            self.accepted(index);
        }
    }

    fn chunk_completed(&mut self, index: usize, op: &Op, waiter: Waiter, errno: u16, out: &mut Actions) {
        let pending = self.requests.get_mut(waiter.request);
        pending.remaining -= 1;
        pending.chunks -= 1;
        let zeroes = matches!(pending.request.operation, Operation::WriteZeroes { .. });
        if errno == errno::EOPNOTSUPP && zeroes {
            // The device cannot: begin again from here, through the cache. Chunks behind that succeeded do no harm.
            pending.fallback = true;
            pending.cursor = pending.cursor.min(op.first);
            return;
        }
        if errno != 0 {
            pending.errno = errno;
            if mutant!(RefusedZeroesCount) {
                return self.lines_zeroed(index, op, out);
            }
            if errno != errno::EOPNOTSUPP && !mutant!(RefusedZeroesLeaveNoDoubt) {
                out.count(usize::try_from(self.volumes[index].written.len() / 32).expect("few entries"));
                self.zeroes_refused(index, op);
            }
            return;
        }
        self.lines_zeroed(index, op, out);
        if self.is_recording(index) {
            self.record_zeroed(index, self.volumes[index].zeroed.len() - 1, out);
        }
    }

    /// Refused zeroes leave any mix of old and new on the device: what the cache holds as written there is in doubt, and
    /// what it holds as the device's is read again.
    fn zeroes_refused(&mut self, index: usize, op: &Op) {
        let end = op.first + op.count as u64;
        self.volumes[index].written.forget(op.first, end);
        self.volumes[index].torn.add(op.first, end, self.now);
        for line in op.first..end {
            let volume = &mut self.volumes[index];
            let Some(slot) = self.cache.newest(volume.id(), line) else { continue };
            let header = self.cache.header(slot);
            if header.state() == State::Clean {
                self.cache.evict(&mut volume.counts, slot);
                continue;
            }
            // What it holds besides what it is going to write is the device's, too.
            let status = header.status();
            header.publish(crate::Status { valid: status.valid & header.dirty(), ..status });
            if status.state == State::Unstable {
                self.cache.pass(&mut volume.counts, slot, Cause::VerifierChanged);
                volume.epochs.add(self.cache.link(slot), Stage::Waiting);
                volume.index.dirty.set(line);
                volume.dirty_since.get_or_insert(self.now);
            }
        }
    }

    /// The device zeroed some lines: what the cache has of them is superseded.
    fn lines_zeroed(&mut self, index: usize, op: &Op, out: &mut Actions) {
        let (first, end) = (op.first, op.first + op.count as u64);
        let mut epoch = self.volumes[index].epochs.current();
        let generation = self.cache.take_generation();
        // Before any slot is freed: a daemon that dies in between zeroes the range again, or another write is lost.
        let note = ZeroedNote { first, end, discard: op.discard, generation };
        let note = self.notes.add_zeroed(op.volume, note);
        for line in first..end {
            if let Some(older) = self.drop_line(index, line) {
                epoch = epoch.min(older);
            }
        }
        let volume = &mut self.volumes[index];
        volume.losses.supersede(first, end, generation);
        let doubted = volume.doubts != op.doubts;
        volume.epochs.add(epoch, if doubted { Stage::Waiting } else { Stage::Written });
        volume.fences += u32::from(doubted);
        volume.zeroed.push(Zeroed {
            first,
            end,
            epoch,
            discard: op.discard,
            covered: false,
            redo: doubted,
            busy: false,
            refused: None,
            errno: 0,
            stable: mutant!(ZeroesAreStable),
            heal_cursor: first,
            report_cursor: first,
            generation,
            note,
        });
        volume.written_since.get_or_insert(self.now);
        self.notify_range(index, (first, end), generation, Until::Written, out);
    }

    /// Tells the writes that wait for lines which zeroes have superseded how far those have come.
    pub(crate) fn notify_range(
        &mut self,
        index: usize,
        lines: (u64, u64),
        generation: u64,
        reached: Until,
        out: &mut Actions,
    ) {
        let volume = self.volumes[index].id();
        self.waits.take_satisfied_in(volume, lines, (generation, reached), &mut self.settled);
        self.settle_parts(0, out);
    }

    /// Zeroes again what the device may have forgotten.
    fn redo_zeroes(&mut self, now: Instant, index: usize, out: &mut Actions) {
        for at in 0..self.volumes[index].zeroed.len() {
            let volume = &self.volumes[index];
            let range = volume.zeroed[at];
            let rested = volume.may_redo(now, &range, self.limits.flush_after_ms);
            let (first, count) = (range.first, range.end - range.first);
            let free = !volume.index.busy.any_in(first, count) && self.may_submit(index);
            if range.redo && !range.busy && rested && free && !volume.redirty {
                self.volumes[index].zeroed[at].busy = true;
                self.submit_zero(now, index, (first, count), range.discard, None, out);
            }
        }
    }

    fn redo_completed(&mut self, now: Instant, index: usize, op: &Op, errno: u16) {
        let volume = &mut self.volumes[index];
        let doubts = volume.doubts;
        let range = volume.zeroed.iter_mut().find(|range| range.busy && range.first == op.first);
        let range = range.expect("a redo names its range");
        range.busy = false;
        if errno != 0 {
            if range.refused.is_none() {
                volume.epochs.moved(range.epoch, Stage::Waiting, Stage::Failed);
            }
            (range.refused, range.errno) = (Some(now), errno);
            let class = class_of_errno(errno);
            if class.gates() {
                self.close_gate(now, index, class, errno, false);
            }
            return;
        }
        let stage = if range.refused.take().is_some() { Stage::Failed } else { Stage::Waiting };
        let survived = doubts == op.doubts;
        volume.epochs.moved(range.epoch, stage, if survived { Stage::Written } else { Stage::Waiting });
        if survived {
            range.redo = false;
            volume.fences -= 1;
            volume.written_since.get_or_insert(now);
        }
        // The device accepts again: as good as a probe.
        if volume.gate.is_some_and(|gate| !gate.probing) {
            self.probe_ended(now, index, false);
        }
    }

    /// Writes zeroes into the cache for the lines that the device could not zero, as room allows.
    fn zero_through_cache(&mut self, id: RequestId, index: usize, out: &mut Actions) {
        for _ in 0..self.limits.request_lines_max {
            let pending = *self.requests.get(id);
            let line = pending.cursor;
            let over = pending.cursor >= pending.end || pending.chunks > 0;
            if over || !self.has_room_for_zero(id, index, (line, line + 1), 1, out) {
                return;
            }
            let mask = self.volumes[index].geometry().existing_mask(pending.cursor);
            self.zero_sectors(index, pending.cursor, mask, out);
            let state = self.requests.get_mut(id);
            (state.cursor, state.begun) = (state.cursor + 1, true);
            if let Some(until) = self.waits_until(index, pending.request.operation) {
                let slot = self.cache.newest(self.volumes[index].id(), pending.cursor);
                self.wait_for_line(id, index, pending.cursor, slot.expect("it was just accepted"), until);
            }
        }
    }

    /// A line was given up. Zeroes that are still being written, and have passed it, did not take place: their answer is
    /// not to say so, even if an operator acknowledges the loss before it comes.
    pub(crate) fn fail_zeroers_over(&mut self, index: usize, line: u64) {
        for &id in &self.volumes[index].zeroers {
            let pending = self.requests.get_mut(id);
            let passed = pending.first_zeroed <= line && line < pending.cursor;
            if pending.fallback && passed && pending.errno == 0 {
                pending.errno = errno::EIO;
            }
        }
    }

    /// Whether zeroes for `wanted` lines, which lie in `lines`, fit into the cache. If not, the policy judges.
    fn has_room_for_zero(
        &mut self,
        id: RequestId,
        index: usize,
        lines: (u64, u64),
        wanted: u64,
        out: &mut Actions,
    ) -> bool {
        if self.is_fenced(&self.volumes[index], lines.0, lines.1) {
            self.judge_zeroes(id, index, lines, None, out);
            return false;
        }
        let waits = usize::try_from(wanted).expect("few lines");
        if self.cache.free() < wanted || !self.waits.has_room(index, waits) {
            return false;
        }
        let fits = self.has_budget(index, wanted);
        if !fits {
            self.judge_zeroes(id, index, lines, Some(wanted), out);
        }
        fits
    }

    fn zero_sectors(&mut self, index: usize, line: u64, mask: u32, out: &mut Actions) {
        let slot = self.accept_line(index, line, mask, out);
        let (at, length) = (mask.trailing_zeros() * 512, mask.count_ones() * 512);
        out.copies.push(Copy::Zero { slot, at, length });
    }

    /// Writes the zeroes of the partial lines at both ends. `false` if there is no room for them yet.
    fn zero_ends(&mut self, id: RequestId, index: usize, out: &mut Actions) -> bool {
        let request = self.requests.get(id).request;
        let ends = self.partial_lines(index, request.offset, request.offset + request.length);
        let wanted = ends.iter().flatten().count() as u64;
        if wanted == 0 {
            return true;
        }
        for &(line, _) in ends.iter().flatten() {
            if !self.has_room_for_zero(id, index, (line, line + 1), wanted, out) {
                return false;
            }
        }
        let until = match request.operation {
            Operation::WriteZeroes { fua: true } => Some(Until::Stable),
            _ => self.waits_until(index, request.operation),
        };
        for &(line, mask) in ends.iter().flatten() {
            self.zero_sectors(index, line, mask, out);
            let slot = self.cache.newest(self.volumes[index].id(), line).expect("it was just accepted");
            if let Some(until) = until {
                self.wait_for_line(id, index, line, slot, until);
            }
        }
        true
    }

    /// The lines of this reactor that a byte range covers in part, with the sectors covered.
    fn partial_lines(&self, index: usize, offset: u64, end: u64) -> [Option<(u64, u32)>; 2] {
        let volume = &self.volumes[index];
        let line_bytes = volume.line_bytes();
        let part = |position: u64, from: u64, to: u64| {
            let base = position / line_bytes * line_bytes;
            let (from, to) = (from.max(base), to.min(base + line_bytes));
            let whole = from == base && (to == base + line_bytes || to == volume.geometry().volume_bytes);
            if whole || !volume.owns(position) {
                return None;
            }
            let first = u32::try_from((from - base) / 512).expect("a line is short");
            let count = u32::try_from((to - from) / 512).expect("a line is short");
            Some((volume.line_of(position), sector_mask(first, count)))
        };
        let head = part(offset, offset, end);
        let same_line = offset / line_bytes == (end - 1) / line_bytes;
        let tail = if same_line { None } else { part(end - 1, offset, end) };
        [head, tail]
    }
}
