//! Volumes that go while the engine runs: first closed, then detached.
//!
//! A closed volume has nothing left here: no request, no slot, no operation, no entry on its way to the ledger, and no zeroes
//! but those that are on record as lost. It is still there, because the reactor that owns its flush domain may have to flush
//! its device for the others, until all of them have closed it; then it is detached from each. Whoever wants to know what it
//! held asks before, by a drain.

use crate::engine::Engine;
use crate::volume::{Closing, Task, Volume, ZEROED_MAX, Zeroed};
use crate::{Actions, Answer, Extent, LedgerEntry, ListState, SlotId, Token};
use holdfast_policy::{State, class_of_errno, errno};

/// Headers that are looked at for one of a tick's steps: most are another volume's, which a glance shows.
const HEADERS_A_STEP: usize = 16;

impl Volume<'_> {
    /// Whether anything is under way or kept that a closed volume does not have, but for clean lines and zeroes that are
    /// given up.
    fn is_in_use(&self) -> bool {
        let kept = [State::Filling, State::Incoming].iter().any(|&state| self.counts.of(state) > 0);
        self.counts.not_clean() > 0
            || kept
            || self.ops > 0
            || self.recordings > 0
            || self.tasks.len() > 1
            || self.redirty
            || self.pass.is_some()
            || self.judging.is_some()
            || self.recheck.is_some()
            || !self.condemned.is_empty()
            || !self.written.is_empty()
            || !self.flushes.is_empty()
            || !self.stalled.is_empty()
            || !self.zeroers.is_empty()
    }
}

impl Engine<'_> {
    /// Takes no more requests for a volume, and closes it. `give_up` is for zeroes that the device refuses to do again:
    /// else they are held, and the volume waits for them.
    pub(crate) fn close(&mut self, index: usize, token: Token, give_up: bool, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        if !volume.settled || volume.closing {
            out.answers.push((token, Answer::Refused { errno: errno::EBUSY }));
            return;
        }
        volume.closing = true;
        let closing = Closing { token, give_up, cursor: 0, seq: None };
        volume.tasks.push_back(Task::Close(closing));
    }

    /// Takes requests again: the volume stays.
    pub(crate) fn reopen(&mut self, index: usize, out: &mut Actions) {
        self.keep_zeroes(index, out);
        let volume = &mut self.volumes[index];
        volume.closing = false;
        let waiting = volume.tasks.iter().position(|task| matches!(task, Task::Close(_)));
        if let Some(Task::Close(Closing { token, .. })) = waiting.and_then(|at| volume.tasks.remove(at)) {
            out.answers.push((token, Answer::Refused { errno: errno::ECANCELED }));
        }
    }

    pub(crate) fn advance_close(
        &mut self,
        index: usize,
        closing: Closing,
        out: &mut Actions,
    ) -> Option<Task> {
        let mut closing = closing;
        let volume = &self.volumes[index];
        let id = volume.id();
        let in_use = volume.is_in_use()
            // Damaged headers may have its number: whoever takes them over must not take them for another volume's.
            || !self.doubtful.is_empty()
            || self.lists.iter().any(|list| list.volume == index)
            || self.requests.any_of(volume.setup.id);
        if in_use || !self.zeroes_may_go(index, closing.give_up, out) {
            return Some(Task::Close(closing));
        }
        if self.volumes[index].counts.of(State::Clean) > 0 {
            closing.cursor = self.forget_clean(index, id, closing.cursor, out);
            return Some(Task::Close(closing));
        }
        // Whatever was told about it, before now: none of it may meet the next volume of this number in the ledger.
        let seq = *closing.seq.get_or_insert(self.ledger.last());
        if !self.ledger.is_durable(seq) {
            return Some(Task::Close(closing));
        }
        out.answers.push((closing.token, Answer::Done));
        None
    }

    /// Frees clean lines of a volume, a bounded number of headers a turn. Returns where to go on.
    fn forget_clean(&mut self, index: usize, id: u16, from: usize, out: &mut Actions) -> usize {
        let slots = usize::try_from(self.cache.slots()).expect("slots are counted in u32");
        let end = (from + HEADERS_A_STEP * self.limits.steps_a_turn).min(slots);
        for slot in from..end {
            let slot = SlotId(u32::try_from(slot).expect("slots are counted in u32"));
            let header = self.cache.header(slot);
            if header.state() == State::Clean && header.volume() == id {
                self.cache.evict(&mut self.volumes[index].counts, slot);
            }
        }
        out.count((end - from) / HEADERS_A_STEP);
        if end == slots { 0 } else { end }
    }

    /// Whether no zeroes are left that a device flush has not covered, or all of them are on record as lost (M8): the device
    /// does not do them again. They are kept until the volume is detached, for it may be opened again before. Nothing else is
    /// under way, so that none are added.
    fn zeroes_may_go(&mut self, index: usize, give_up: bool, out: &mut Actions) -> bool {
        let volume = &self.volumes[index];
        match volume.zeroes_given_up {
            _ if volume.zeroed.is_empty() => true,
            Some(seq) => self.ledger.is_durable(seq),
            None => {
                if give_up {
                    self.condemn_zeroes(index, out);
                }
                false
            }
        }
    }

    /// Zeroes are not given up after all.
    fn keep_zeroes(&mut self, index: usize, out: &mut Actions) {
        if self.volumes[index].zeroes_given_up.take().is_none() {
            return;
        }
        for at in 0..self.volumes[index].zeroed.len() {
            let volume = &self.volumes[index];
            let Zeroed { first, end, generation, .. } = volume.zeroed[at];
            let range = volume.lines(first, end - first);
            let entry = LedgerEntry::Rescinded { volume: volume.setup.id, range, generation };
            self.ledger.push(entry, out);
        }
    }

    fn condemn_zeroes(&mut self, index: usize, out: &mut Actions) {
        let volume = &self.volumes[index];
        // Those that wait for a device flush become stable, or are to be done again.
        let refused = |range: &Zeroed| range.redo && !range.busy && !range.stable && range.refused.is_some();
        if !volume.zeroed.iter().all(refused) || !self.ledger.has_room(2 * ZEROED_MAX as u64) {
            return;
        }
        for at in 0..self.volumes[index].zeroed.len() {
            let volume = &self.volumes[index];
            let range = volume.zeroed[at];
            let extent = Extent {
                range: volume.lines(range.first, range.end - range.first),
                state: ListState::Lost,
                class: class_of_errno(range.errno) as u8,
                errno: range.errno,
                attempts: 1,
                first: range.refused.unwrap_or(self.now),
                last: self.now,
            };
            let entry = LedgerEntry::Lost { volume: volume.setup.id, extent, generation: range.generation };
            self.volumes[index].zeroes_given_up = Some(self.ledger.push(entry, out));
        }
    }

    /// Empties the place of a closed volume, as soon as nothing is in flight in its name.
    pub(crate) fn advance_detach(&mut self, index: usize, token: Token, out: &mut Actions) -> Option<Task> {
        let volume = &self.volumes[index];
        let (id, domain) = (volume.id(), volume.setup.domain);
        let last = !self.volumes.iter().any(|other| other.setup.domain == domain && other.id() != id);
        let flushing = last && !self.domains[usize::from(domain.0)].is_quiet();
        if flushing || self.ops.iter().any(|(_, op)| op.volume == id) {
            return Some(Task::Detach { token });
        }
        while let Some(range) = self.volumes[index].zeroed.pop() {
            self.notes.remove_zeroed(id, range.note);
        }
        self.vacate(index);
        out.answers.push((token, Answer::Done));
        None
    }
}
