//! What the ledger and operators are told of lines.

use crate::engine::Engine;
use crate::ops::Purpose;
use crate::{Actions, ByteRange, Extent, Instant, LedgerEntry, ListState, SlotId};
use holdfast_mutants::mutant;
use holdfast_policy::State;

/// The most lines that one ledger entry of [`Engine::record_run`] covers.
const RUN_MAX: u64 = 1024;

impl Engine<'_> {
    /// The facts of a line that is not clean; `None` if it is.
    pub(crate) fn facts(&self, index: usize, line: u64) -> Option<Extent> {
        let volume = &self.volumes[index];
        let slot = self.cache.newest(volume.id(), line)?;
        let header = self.cache.header(slot);
        let retried = if volume.index.busy.reader().get(line) { self.retried(index, line) } else { None };
        let state = crate::list_state(header.state())?;
        let dirty = header.dirty();
        let first = dirty.trailing_zeros();
        let range = volume.sectors(line, first, 32 - dirty.leading_zeros() - first);
        // What takes the place of a failed line in this turn is published as failed at its end.
        let inherits = header.state() == State::Incoming && header.attempts() > 0;
        let failed = inherits || (retried.is_some() && !mutant!(RetriedIsNotFailed));
        let refused = if header.attempts() > 0 { Some(slot) } else { retried };
        let status = refused.map(|slot| self.cache.header(slot).status());
        let gate = volume.gate.filter(|_| refused.is_none());
        Some(Extent {
            range,
            state: if failed { ListState::Failed } else { state },
            class: status.map_or(gate.map_or(0, |gate| gate.class as u8), |status| status.class),
            errno: status.map_or(gate.map_or(0, |gate| gate.errno), |status| u16::from(status.errno)),
            attempts: status.map_or(0, |status| u32::from(status.attempts)),
            first: refused.map_or(Instant(0), |slot| self.failures.first(slot)),
            last: refused.map_or(Instant(0), |slot| self.failures.last(slot)),
        })
    }

    /// The slot of a line that the device refused before and has on its way again. Until it says otherwise the line is
    /// as failed as it was: who lists, exports or drops what failed must not miss what is being tried at that moment (C9).
    /// An overwrite of it holds all of it, and takes the failure over if the device refuses again.
    pub(crate) fn retried(&self, index: usize, line: u64) -> Option<SlotId> {
        let volume = &self.volumes[index];
        let refused = |slot: &SlotId| {
            let status = self.cache.header(*slot).status();
            status.state == State::Writing && status.attempts > 0
        };
        let newest = self.cache.newest(volume.id(), line).filter(refused);
        newest.or_else(|| {
            let Some(op) = self.ops.on(volume.id(), line, line + 1).next() else {
                // It may be on its way for a daemon that died.
                let of_line = |slot: &&SlotId| {
                    let header = self.cache.header(**slot);
                    (header.volume(), header.line()) == (volume.id(), line)
                };
                return self.quarantine.iter().filter(of_line).copied().find(refused);
            };
            let op = self.ops.get(op);
            let sent = op.purpose == Purpose::WriteBack && !op.is_settled(line);
            let at = usize::try_from(line - op.first).expect("a run is short");
            sent.then(|| SlotId(op.slots[at])).filter(refused)
        })
    }

    /// The facts of a line, over all of it: the ledger's mark is one bit a line, and later writes to other sectors of a
    /// marked line must be on record, too.
    fn line_facts(&self, index: usize, line: u64) -> Option<Extent> {
        let extent = self.facts(index, line)?;
        Some(Extent { range: self.volumes[index].lines(line, 1), ..extent })
    }

    /// Puts one line on record as not stable, if it is not.
    pub(crate) fn record_line(&mut self, index: usize, line: u64, out: &mut Actions) {
        if let Some(extent) = self.line_facts(index, line)
            && self.volumes[index].index.reported.set(line)
        {
            let volume = self.volumes[index].setup.id;
            self.ledger.push(LedgerEntry::NotStable { volume, extent }, out);
        }
    }

    /// Puts zeroes that no device flush has covered on record.
    pub(crate) fn record_zeroed(&mut self, index: usize, at: usize, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        let zeroed = volume.zeroed[at];
        let count = zeroed.end - zeroed.first;
        if zeroed.stable || volume.index.reported.set_range(zeroed.first, count) == 0 {
            return;
        }
        let gate = volume.gate;
        let extent = Extent {
            range: volume.lines(zeroed.first, count),
            state: ListState::Unstable,
            class: gate.map_or(0, |gate| gate.class as u8),
            errno: gate.map_or(0, |gate| gate.errno),
            attempts: 0,
            first: Instant(0),
            last: Instant(0),
        };
        let volume = volume.setup.id;
        self.ledger.push(LedgerEntry::NotStable { volume, extent }, out);
    }

    /// Puts the line and those behind it that share its facts on record in one entry, as far as they belong to `epoch`.
    /// Returns the line to go on from.
    pub(crate) fn record_run(&mut self, index: usize, line: u64, epoch: u32, out: &mut Actions) -> u64 {
        let Some(mut extent) = self.line_facts(index, line).filter(|_| self.is_of_epoch(index, line, epoch))
        else {
            return line + 1;
        };
        self.volumes[index].index.reported.set(line);
        let mut next = line + 1;
        let limit = line + self.volumes[index].geometry().contiguous_from(line).min(RUN_MAX);
        out.count(1);
        while next < limit && out.has_room(&self.limits) {
            let reader = self.volumes[index].index.reader();
            if !reader.dirty.get(next) || reader.reported.get(next) || !self.is_of_epoch(index, next, epoch) {
                break;
            }
            let Some(joined) = self.line_facts(index, next).and_then(|other| join(extent, other)) else {
                break;
            };
            extent = joined;
            out.count(1);
            self.volumes[index].index.reported.set(next);
            next += 1;
        }
        let volume = self.volumes[index].setup.id;
        self.ledger.push(LedgerEntry::NotStable { volume, extent }, out);
        next
    }

    fn is_of_epoch(&self, index: usize, line: u64, epoch: u32) -> bool {
        let newest = self.cache.newest(self.volumes[index].id(), line);
        newest.is_some_and(|slot| self.cache.link(slot) <= epoch)
    }

    /// Puts the ledger's mark on lines; [`Engine::recheck_reported`] takes it off those that do not deserve it.
    pub(crate) fn restore_report(&mut self, index: usize, range: ByteRange, failed_first: Instant) {
        let volume = &mut self.volumes[index];
        let (first, end) = volume.lines_in(range);
        if first >= end {
            return;
        }
        volume.index.reported.set_range(first, end - first);
        volume.recheck = Some(0);
        let volume = &self.volumes[index];
        let index = volume.index.reader();
        // What was being tried again is busy, and not marked as failed.
        for plane in [index.failed, index.busy] {
            let mut from = first;
            while let Some(line) = plane.next(from).filter(|line| *line < end) {
                let newest = self.cache.newest(volume.id(), line);
                if let Some(slot) = newest.filter(|&slot| self.cache.header(slot).attempts() > 0) {
                    self.failures.failed_by(slot, failed_first);
                }
                from = line + 1;
            }
        }
    }

    /// Tells the ledger, step by step, which lines became stable in the earlier life without its knowing: of those that it
    /// has as not stable, and of those that it has as lost.
    pub(crate) fn recheck_reported(&mut self, index: usize, out: &mut Actions) {
        for _ in 0..self.limits.steps_a_turn {
            let Some(from) = self.volumes[index].recheck.filter(|_| self.ledger.has_room(40)) else { return };
            let volume = &self.volumes[index];
            let end = volume.geometry().local_lines();
            let reported = volume.index.reader().reported.next(from).unwrap_or(end);
            let lost = volume.losses.next(from, end).map_or(end, |(line, ..)| line);
            let line = reported.min(lost);
            if line >= end || !out.has_room(&self.limits) {
                self.volumes[index].recheck = (line < end).then_some(line);
                return;
            }
            if line == reported {
                self.unreport(index, line, line + 1, out);
            }
            let newest =
                self.cache.newest(self.volumes[index].id(), line).map(|slot| self.cache.header(slot));
            if let Some(clean) = newest.filter(|header| header.state() == State::Clean) {
                self.heal_loss(index, line, clean.dirty(), clean.generation(), out);
            }
            self.volumes[index].recheck = Some(line + 1);
        }
    }

    /// A page of lost extents.
    pub(crate) fn lost_extent(&self, index: usize, line: u64, loss: crate::losses::Loss) -> Extent {
        let volume = &self.volumes[index];
        let (first, count) = crate::settle::group(loss.mask);
        Extent {
            range: volume.sectors(line, first, count),
            state: ListState::Lost,
            class: loss.class,
            errno: loss.errno,
            attempts: loss.attempts,
            first: loss.first,
            last: loss.last,
        }
    }
}

/// Two extents as one, if they lie next to each other and share their facts.
pub(crate) fn join(one: Extent, other: Extent) -> Option<Extent> {
    let range = ByteRange { offset: one.range.offset, length: one.range.length + other.range.length };
    let alike = one.range.end() == other.range.offset
        && (one.state, one.class, one.errno, one.attempts)
            == (other.state, other.class, other.errno, other.attempts);
    alike.then_some(Extent {
        range,
        first: one.first.min(other.first),
        last: one.last.max(other.last),
        ..one
    })
}
