//! Writes: every one goes to a fresh slot that takes over what its predecessor holds (M3).

use crate::engine::{Engine, Staged, answer};
use crate::epochs::Stage;
use crate::failures::Failures;
use crate::part::Part;
use crate::requests::RequestId;
use crate::volume::Volume;
use crate::waits::Until;
use crate::writeback::Manner;
use crate::{Actions, Begun, Copy, Identity, Operation, Request, SlotId, Status};
use holdfast_mutants::mutant;
use holdfast_policy::State;

/// Whether a write can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// It replaces lines that are held already, and so needs no room that others wait for.
    Overwrite,
    /// Something in its way goes away by itself, or its device is to blame: a zeroing range, one that waits for its turn,
    /// a slot of this turn.
    Blocked,
    /// The budget or the cache is full of data that is not clean.
    Full,
}

impl Engine<'_> {
    /// Takes in and answers a write that need not wait for anything. `false`, and nothing has happened, if it must.
    pub(crate) fn write_at_once(
        &mut self,
        request: &Request,
        (first, end): (u64, u64),
        out: &mut Actions,
    ) -> bool {
        let index = usize::from(request.volume.0);
        if self.waits_until(index, request.operation).is_some() {
            return false;
        }
        match self.admission(index, first, end, self.waits_in_line(index)) {
            Admission::Granted | Admission::Overwrite => {}
            Admission::Blocked | Admission::Full => return false,
        }
        self.begin(request, out);
        self.take_in(request, (first, end), None, out);
        answer(request, 0, 0, out);
        true
    }

    pub(crate) fn write(&mut self, id: RequestId, (first, end): (u64, u64), out: &mut Actions) {
        let index = usize::from(self.requests.get(id).request.volume.0);
        let pending = self.requests.get_mut(id);
        (pending.cursor, pending.end) = (first, end);
        match self.admission(index, first, end, self.waits_in_line(index)) {
            Admission::Granted | Admission::Overwrite => self.accept(id, out),
            Admission::Blocked | Admission::Full => {
                self.volumes[index].stalled.push_back(id);
                if mutant!(AnsweredBeforeTakenIn) {
                    answer(&self.requests.get(id).request, 0, 0, out);
                }
            }
        }
    }

    /// Whether writes that came before have a right to what room there is.
    fn waits_in_line(&self, index: usize) -> bool {
        let volume = &self.volumes[index];
        volume.short_zeroes.is_some() || (!volume.stalled.is_empty() && volume.gate.is_none())
    }

    /// Whether all slots that a write of lines `first..end` needs are there; it gets all or none (M11). With
    /// `behind_others`, what room there is belongs to writes that came before it.
    pub(crate) fn admission(&mut self, index: usize, first: u64, end: u64, behind_others: bool) -> Admission {
        let volume = &self.volumes[index];
        let lines = end - first;
        if volume.is_barred(first, end) || (volume.fences > 0 && self.is_fenced(volume, first, end)) {
            return Admission::Blocked;
        }
        let waits = usize::try_from(lines).expect("a request is short");
        let one_less = u64::from(mutant!(RequestTakesSome));
        if self.cache.free() + one_less < lines || !self.waits.has_room(index, waits) {
            return Admission::Blocked;
        }
        if !behind_others && self.fits(index, lines) {
            return Admission::Granted;
        }
        let volume = &self.volumes[index];
        // Overwrites of lines that are not clean always proceed: they give back what they take.
        let clean = (first..end).filter(|&line| {
            let newest = self.cache.newest(volume.id(), line);
            !newest.is_some_and(|slot| {
                let state = self.cache.header(slot).state();
                state.holds_unstable_data() && state != State::Writing
            })
        });
        match clean.count() as u64 {
            0 => Admission::Overwrite,
            clean if !behind_others && self.fits(index, clean) => Admission::Granted,
            _ => Admission::Full,
        }
    }

    /// Whether a zero operation or a redo lies over any of the lines.
    pub(crate) fn is_fenced(&self, volume: &Volume<'_>, first: u64, end: u64) -> bool {
        use crate::ops::Purpose;
        volume.redo_overlaps(first, end)
            || self.ops.on(volume.id(), first, end).any(|op| self.ops.get(op).purpose == Purpose::Zero)
    }

    /// Takes a pending write into the cache and answers it, unless it has to wait for the device.
    pub(crate) fn accept(&mut self, id: RequestId, out: &mut Actions) {
        let pending = *self.requests.get(id);
        let until = self.waits_until(usize::from(pending.request.volume.0), pending.request.operation);
        let lines = (pending.cursor, pending.end);
        let state = self.requests.get_mut(id);
        (state.cursor, state.begun) = (pending.end, true);
        let Request { session, tag, .. } = pending.request;
        let generation = self.cache.next_generation() - u64::from(pending.taken_before);
        if !mutant!(StalledHasNoRecord) {
            out.begun.push(Begun { session, tag, generation });
        }
        self.take_in(&pending.request, lines, until.map(|until| (id, until)), out);
        if until.is_none() {
            self.complete(id, 0, 0, out);
        }
    }

    /// Gives each line of a write its fresh slot.
    fn take_in(
        &mut self,
        request: &Request,
        (first, end): (u64, u64),
        waits: Option<(RequestId, Until)>,
        out: &mut Actions,
    ) {
        let index = usize::from(request.volume.0);
        let line_bytes = self.volumes[index].line_bytes();
        let mut part = Part::first(request, line_bytes);
        for line in first..end {
            if line > first {
                part = part.following(request, line_bytes);
            }
            self.write_before_overwrite(index, line, end - line, out);
            let slot = self.accept_line(index, line, part.mask, out);
            let (session, buffer, at, length) = (request.session, part.buffer, part.at, part.length);
            out.copies.push(Copy::In { session, buffer, slot, at, length });
            if let Some((id, until)) = waits {
                self.wait_for_line(id, index, line, slot, until);
            }
        }
        self.volumes[index].stats.writes += 1;
    }

    pub(crate) fn waits_until(&self, volume: usize, operation: Operation) -> Option<Until> {
        match operation {
            Operation::Write { fua: true } | Operation::WriteZeroes { fua: true }
                if !mutant!(FuaDoesNotWait) =>
            {
                Some(Until::Stable)
            }
            _ if self.volumes[volume].writes_through() && !mutant!(ThroughDoesNotWait) => {
                Some(Until::Written)
            }
            _ => None,
        }
    }

    pub(crate) fn wait_for_line(
        &mut self,
        id: RequestId,
        volume: usize,
        line: u64,
        slot: SlotId,
        until: Until,
    ) {
        let generation = self.cache.header(slot).generation();
        self.waits.add(id, self.volumes[volume].id(), line, generation, until);
        self.requests.get_mut(id).remaining += 1;
    }

    /// Gives a line a fresh slot for new content of `mask`; the caller copies the content in.
    #[inline(never)]
    pub(crate) fn accept_line(&mut self, index: usize, line: u64, mask: u32, out: &mut Actions) -> SlotId {
        let volume = &mut self.volumes[index];
        let (id, generation, slot) = (volume.id(), self.cache.take_generation(), self.cache.take());
        let before = self.cache.replace_newest(id, line, slot);
        let mut status = Status::new(State::Incoming, mask);
        let mut dirty = mask;
        // Until shown otherwise, nothing of the line waits for the device: an obligation begins.
        let mut epoch = volume.epochs.current();
        if let Some(before) = before {
            let (header, old) = (self.cache.header(before), self.cache.header(before).status());
            status.valid |= old.valid;
            let kept = old.valid & !mask;
            if kept != 0 && !mutant!(MergeCopiesNothing) {
                out.copies.push(Copy::Merge { from: before, to: slot, mask: kept });
            }
            if old.state.holds_unstable_data() && !mutant!(MergeForgetsDirty) {
                dirty |= header.dirty();
            }
            if hands_down(old.state) {
                if mutant!(OverwriteEndsTheWait) {
                    volume.epochs.remove(self.cache.link(before), stage_of(old));
                    volume.epochs.add(epoch, stage_of(old));
                } else {
                    epoch = self.cache.link(before);
                }
                if old.attempts > 0 || old.state == State::Condemned {
                    status = inherit(volume, &mut self.failures, before, slot, epoch, old, status);
                }
            } else {
                volume.epochs.add(epoch, Stage::Waiting);
            }
            // The device still reads from, or writes to, a slot in flight; its completion frees it.
            let in_flight = matches!(old.state, State::Writing | State::Filling) && !mutant!(FreedInFlight);
            self.staged.push(if in_flight {
                Staged::Publish(slot)
            } else {
                Staged::Replace { before, slot }
            });
        } else {
            volume.epochs.add(epoch, Stage::Waiting);
            self.staged.push(Staged::Publish(slot));
        }
        let header = self.cache.header(slot);
        header.assign(Identity { volume: id, line, generation, dirty });
        self.cache.accept(&mut volume.counts, slot, status);
        self.cache.set_link(slot, epoch);
        if before.is_none() {
            self.cache.map(slot);
        }
        slot
    }

    /// Sends a line that somebody waits for on its way before it is overwritten. The sweep comes after the requests of a
    /// turn and passes over what they have just taken in: a line that is overwritten in every turn would never be
    /// written, and a flush that waits for it never be answered (M6).
    fn write_before_overwrite(&mut self, index: usize, line: u64, lines_left: u64, out: &mut Actions) {
        let volume = &self.volumes[index];
        if volume.flushes.is_empty() && volume.tasks.is_empty() && !self.waits.any_of(volume.id()) {
            return;
        }
        let Some(before) = self.cache.newest(volume.id(), line) else { return };
        let old = self.cache.link(before) < volume.epochs.current() && !volume.flushes.is_empty();
        let wanted = old || !volume.tasks.is_empty() || self.waits.any_of(volume.id());
        let ready = self.cache.header(before).state() == State::Dirty && volume.gate.is_none();
        // The slot in flight stays until its operation ends: it needs room of its own, beside the rest of the request.
        if wanted && ready && self.fits(index, lines_left) {
            self.start_write(self.now, index, line, 1, Manner::default(), out);
        }
    }
}

/// The stage of a slot that is not in flight.
pub(crate) fn stage_of(status: Status) -> Stage {
    match status.state {
        State::Failed | State::Condemned => Stage::Failed,
        State::Incoming if status.attempts > 0 => Stage::Failed,
        State::Writing => Stage::Writing,
        State::Unstable => Stage::Written,
        _ => Stage::Waiting,
    }
}

/// Whether a slot that is superseded hands its obligation to its heir, which then has the same epoch and stage. What is
/// on its way, or written, keeps its own: a flush that saw it does not wait for the newer write.
#[inline]
fn hands_down(state: State) -> bool {
    matches!(state, State::Incoming | State::Dirty | State::Failed | State::Condemned)
}

/// `slot` takes the place of `before`, which was refused or is being given up: it inherits the failure, and `status`
/// says so. Data that an operator gave up untried has no failure: its heir waits for its first try.
#[cold]
fn inherit(
    volume: &mut Volume<'_>,
    failures: &mut Failures,
    before: SlotId,
    slot: SlotId,
    epoch: u32,
    old: Status,
    status: Status,
) -> Status {
    if old.attempts == 0 {
        volume.epochs.moved(epoch, stage_of(old), Stage::Waiting);
        return status;
    }
    if let Some(gate) = &mut volume.gate {
        gate.overwritten = true;
    }
    failures.replace(&mut volume.failed, before, slot);
    Status { class: old.class, attempts: old.attempts, errno: old.errno, ..status }
}
