//! Giving up acknowledged data: the one door, and its paperwork (M8).

use crate::engine::Engine;
use crate::epochs::Stage;
use crate::losses::Loss;
use crate::share::Words;
use crate::volume::CondemnedSlot;
use crate::writeback::Manner;
use crate::{Actions, Instant, LedgerEntry, LedgerSeq, ListState, SlotId};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, ErrorClass, FailurePolicy, Pressure, PressureVerdict, Search, State, Want};

/// Slots of all volumes that are on their way out at a time: one word of the ledger may free all of them.
pub(crate) const CONDEMNED_MAX: usize = 512;

impl Engine<'_> {
    /// Condemns a slot that is the newest of its line and not in flight: the ledger is told, and only once it durably
    /// knows is the memory freed. `false` if the ledger has no room now.
    pub(crate) fn condemn(&mut self, index: usize, slot: SlotId, out: &mut Actions) -> bool {
        if self.condemned == CONDEMNED_MAX || !self.ledger.has_room(16) {
            return false;
        }
        let header = self.cache.header(slot);
        let (line, generation) = (header.line(), header.generation());
        let Some(facts) = self.facts(index, line) else { return false };
        let volume = &mut self.volumes[index];
        if header.state() == State::Dirty {
            volume.epochs.moved(self.cache.link(slot), Stage::Waiting, Stage::Failed);
        }
        self.cache.pass(&mut volume.counts, slot, Cause::Condemned);
        let mut mask = header.dirty();
        let mut seq = LedgerSeq(0);
        while mask != 0 {
            let (first, count) = crate::settle::group(mask);
            mask &= !crate::sector_mask(first, count);
            let volume = &self.volumes[index];
            let range = volume.sectors(line, first, count);
            let extent = crate::Extent { range, state: ListState::Lost, ..facts };
            seq = self.ledger.push(LedgerEntry::Lost { volume: volume.setup.id, extent, generation }, out);
        }
        self.condemned += 1;
        self.volumes[index].condemned.push_back(CondemnedSlot { slot, line, generation, seq });
        true
    }

    /// The ledger has come further: what it holds as lost is lost before the next request, but it is never much.
    pub(crate) fn ledger_durable(&mut self, up_to: LedgerSeq, out: &mut Actions) {
        self.ledger.settle(up_to);
        self.release_doubtful();
        for index in 0..self.volumes.len() {
            while let Some(&condemned) = self.volumes[index].condemned.front() {
                if !self.ledger.is_durable(condemned.seq) && !mutant!(LostBeforeRecorded) {
                    break;
                }
                self.volumes[index].condemned.pop_front();
                self.condemned -= 1;
                out.count(1);
                self.finish_condemned(index, condemned, out);
            }
        }
    }

    /// The loss is on record: it comes true if the slot still is what was condemned, else the record is taken back.
    fn finish_condemned(&mut self, index: usize, condemned: CondemnedSlot, out: &mut Actions) {
        let CondemnedSlot { slot, generation, .. } = condemned;
        if self.is_condemned(condemned) {
            let line = self.lose(index, slot, out);
            return self.record_rest(index, line, out);
        }
        if mutant!(RecordIsNotRescinded) {
            return;
        }
        // The line's place was taken by newer data, which holds what was condemned, or by zeroes.
        let volume = &self.volumes[index];
        let range = volume.lines(condemned.line, 1);
        let entry = LedgerEntry::Rescinded { volume: volume.setup.id, range, generation };
        self.ledger.push(entry, out);
    }

    /// Whether a slot is still what was condemned.
    fn is_condemned(&self, CondemnedSlot { slot, generation, .. }: CondemnedSlot) -> bool {
        let header = self.cache.header(slot);
        let same = header.generation() == generation && header.state() == State::Condemned;
        same && self.cache.is_newest(slot)
    }

    /// Takes back the record of a slot that was condemned and then superseded, before the ledger is told that an older loss
    /// of the line is over: it knows losses by range, and would take that for the end of the newer one.
    pub(crate) fn rescind_superseded(&mut self, index: usize, line: u64, out: &mut Actions) {
        loop {
            let superseded = |other: &CondemnedSlot| other.line == line && !self.is_condemned(*other);
            let Some(at) = self.volumes[index].condemned.iter().position(superseded) else { return };
            let condemned = self.volumes[index].condemned.remove(at).expect("it was found there");
            self.condemned -= 1;
            self.finish_condemned(index, condemned, out);
        }
    }

    /// The slot's data is lost. Returns its line.
    fn lose(&mut self, index: usize, slot: SlotId, out: &mut Actions) -> u64 {
        let volume = &mut self.volumes[index];
        let header = self.cache.header(slot);
        let (line, status) = (header.line(), header.status());
        let loss = Loss {
            mask: header.dirty(),
            superseded: 0,
            generation: header.generation(),
            class: status.class,
            errno: u16::from(status.errno),
            attempts: u32::from(status.attempts),
            first: self.failures.first(slot),
            last: self.failures.last(slot),
        };
        volume.losses.add(line, loss);
        volume.torn.add(line, line + 1, self.now);
        volume.epochs.remove(self.cache.link(slot), Stage::Failed);
        if status.attempts > 0 {
            self.failures.remove(&mut volume.failed, slot);
            volume.failing[usize::from(status.class)] -= 1;
        }
        volume.index.dirty.clear(line);
        volume.index.failed.clear(line);
        volume.stats.given_up += 1;
        self.cache.unmap(slot);
        self.cache.pass(&mut volume.counts, slot, Cause::LossRecorded);
        self.fail_line(self.volumes[index].id(), line, holdfast_policy::errno::EIO, out);
        self.fail_zeroers_over(index, line);
        line
    }

    /// Makes room by giving up the failures that are oldest, about as many lines as are needed. Data that the device has
    /// not refused itself is tried before it can be given up, line by line, at most once a floor.
    pub(crate) fn give_up_oldest(
        &mut self,
        now: Instant,
        index: usize,
        lines: u64,
        pressure: Pressure,
        out: &mut Actions,
    ) {
        if !self.volumes[index].condemned.is_empty() {
            return;
        }
        let mut next = self.volumes[index].failed.oldest();
        let mut steps = self.limits.steps_a_turn;
        let mut given_up = 0;
        while given_up < lines {
            let left = Pressure { not_clean: pressure.not_clean - given_up, ..pressure };
            let Some(slot) = self.next_to_give_up(index, next, &mut steps, left) else { break };
            next = self.failures.next(slot);
            if !self.condemn(index, slot, out) {
                return;
            }
            given_up += 1;
        }
        if given_up == 0 {
            self.try_before_giving_up(now, index, out);
        }
    }

    /// When the oldest failure happened that can be given up for room, in nanoseconds; the earliest time there is while
    /// one is being given up, so that nobody else does the same; [`Words::NOTHING`] if there is none.
    pub(crate) fn oldest_to_give_up(&self, index: usize, pressure: Pressure) -> u64 {
        if !self.volumes[index].condemned.is_empty() {
            return 1;
        }
        let (oldest, mut steps) = (self.volumes[index].failed.oldest(), self.limits.steps_a_turn);
        let first = self.next_to_give_up(index, oldest, &mut steps, pressure);
        first.map_or(Words::NOTHING, |slot| self.failures.first(slot).0.max(1))
    }

    /// The first failure from `next` on that its own class's policy gives up under this pressure: what another holds for
    /// ever is passed over.
    fn next_to_give_up(
        &self,
        index: usize,
        mut next: Option<SlotId>,
        steps: &mut usize,
        pressure: Pressure,
    ) -> Option<SlotId> {
        let volume = &self.volumes[index];
        while let Some(slot) = next.filter(|_| *steps > 0) {
            *steps -= 1;
            let status = self.cache.header(slot).status();
            let yields = ErrorClass::from_u8(status.class).is_some_and(|class| {
                let policy = volume.setup.rules.for_class(class).policy;
                policy.on_pressure(pressure) == PressureVerdict::GiveUpOldest
            });
            if yields && status.state == State::Failed && self.cache.is_newest(slot) {
                return Some(slot);
            }
            next = self.failures.next(slot);
        }
        None
    }

    fn try_before_giving_up(&mut self, now: Instant, index: usize, out: &mut Actions) {
        let volume = &self.volumes[index];
        // A device that refuses only flushes takes what it is sent: the attempt would end in nothing that can be given
        // up, and ask for another flush.
        let Some(gate) = volume.gate.filter(|gate| !gate.from_flush) else { return };
        let floor = volume.setup.rules.for_class(gate.class).retry.floor_ms();
        if gate.probing || now < gate.last.after_ms(floor) {
            return;
        }
        let Search::Found(run) = volume.index.search(Want::Writable, volume.probe_cursor, 64, 1024) else {
            self.volumes[index].probe_cursor = 0;
            return;
        };
        let manner = Manner { probe: true, thorough: true, pass: false };
        let count = self.start_write(now, index, run.first, run.count, manner, out);
        if count > 0 {
            let volume = &mut self.volumes[index];
            volume.probe_cursor = run.first + count;
            if let Some(gate) = &mut volume.gate {
                (gate.probing, gate.forced) = (true, false);
            }
        }
    }
}
