//! What becomes of written data: stable after a device flush, or dirty again.

use crate::engine::Engine;
use crate::epochs::Stage;
use crate::waits::Until;
use crate::written::Entry;
use crate::{Actions, LedgerEntry, VolumeId};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, State};

/// Lines that stable zeroes heal in a turn: the losses of one may be 16 entries of the ledger.
const HEALED_A_TURN: usize = 32;

/// Neighbouring lines that are reported together.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbours {
    first: u64,
    count: u64,
}

impl Engine<'_> {
    /// Works off the queue of written lines, a bounded number a turn.
    pub(crate) fn settle_written(&mut self, index: usize, out: &mut Actions) {
        let mut healed = Neighbours::default();
        self.bring_written_near(index);
        for _ in 0..self.limits.steps_a_turn {
            let volume = &mut self.volumes[index];
            let stable_before =
                if mutant!(WrittenIsStable) { volume.written.tail() } else { volume.stable_before };
            if volume.written.head() >= stable_before
                || !self.ledger.has_room(2)
                || !out.has_room(&self.limits)
            {
                break;
            }
            let Some(entry) = volume.written.pop_before(stable_before) else { break };
            out.count(1);
            self.entry_stable(index, entry, &mut healed, out);
        }
        self.push_healed(index, healed, out);
        self.redirty(index, out);
        let volume = &mut self.volumes[index];
        if volume.written.is_empty() && volume.zeroed.is_empty() {
            volume.written_since = None;
        }
    }

    /// Of the entries that are stable, those that this turn works off.
    fn bring_written_near(&self, index: usize) {
        let written = &self.volumes[index].written;
        let ready = written.head()..self.volumes[index].stable_before.min(written.tail());
        if !ready.is_empty() {
            let lines = ready.take(self.limits.steps_a_turn).map(|position| written.get(position).line);
            self.cache.bring_near(self.volumes[index].id(), lines);
        }
    }

    fn entry_stable(&mut self, index: usize, entry: Entry, healed: &mut Neighbours, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        volume.epochs.remove(entry.epoch, Stage::Written);
        volume.written_since = Some(self.now);
        let header = self.cache.header(entry.slot());
        let newest = self.cache.newest(volume.id(), entry.line) == Some(entry.slot());
        if newest && header.generation() == entry.generation && header.state() == State::Unstable {
            self.cache.pass(&mut volume.counts, entry.slot(), Cause::Stable);
            // It was used when it was written; only now does that matter.
            self.cache.touch(entry.slot());
            if volume.index.reported.clear(entry.line) {
                self.add_healed(index, entry.line, healed, out);
            }
        }
        self.unmark_unstable(index, entry.line);
        self.heal_loss(index, entry.line, entry.mask, entry.generation, out);
        self.notify(index, entry.line, entry.generation, Until::Stable, out);
    }

    fn add_healed(&mut self, index: usize, line: u64, healed: &mut Neighbours, out: &mut Actions) {
        let adjacent = healed.count > 0
            && line == healed.first + healed.count
            && self.volumes[index].geometry().contiguous_from(healed.first) > healed.count;
        if adjacent {
            healed.count += 1;
        } else {
            self.push_healed(index, *healed, out);
            *healed = Neighbours { first: line, count: 1 };
        }
    }

    /// A line was given up, of which the ledger had all sectors as not stable: those that are not lost are taken off the
    /// record, or the next life of the host would lose them, too. Where zeroes of them wait for a device flush, these go on
    /// record anew, for the mark speaks of lines and the loss may be acknowledged before they are stable.
    pub(crate) fn record_rest(&mut self, index: usize, line: u64, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        if !volume.index.reported.clear(line) {
            return;
        }
        match volume.zeroed.iter().position(|range| range.is_unstable_over(line)) {
            Some(at) => self.record_zeroed(index, at, out),
            None => self.push_healed(index, Neighbours { first: line, count: 1 }, out),
        }
    }

    fn push_healed(&mut self, index: usize, healed: Neighbours, out: &mut Actions) {
        if healed.count > 0 {
            let volume = &mut self.volumes[index];
            let range = volume.lines(healed.first, healed.count);
            volume.healed = self.ledger.push(LedgerEntry::Healed { volume: volume.setup.id, range }, out);
        }
    }

    /// Sectors of a line are stable, as of `generation`: what was lost of them before is lost no more.
    pub(crate) fn heal_loss(
        &mut self,
        index: usize,
        line: u64,
        mask: u32,
        generation: u64,
        out: &mut Actions,
    ) {
        if self.volumes[index].losses.is_empty() {
            return;
        }
        let mask = mask & !self.condemned_sectors(index, line);
        let healed = self.volumes[index].losses.heal(line, mask, generation);
        if healed != 0 {
            self.rescind_superseded(index, line, out);
        }
        self.push_loss_healed(index, line, healed, false, out);
    }

    /// The sectors of a line that are on their way out. The ledger has been told that they are lost and knows losses by
    /// range: told now that an older loss of them is over, it would forget the new one.
    pub(crate) fn condemned_sectors(&self, index: usize, line: u64) -> u32 {
        let newest = self.cache.newest(self.volumes[index].id(), line).map(|slot| self.cache.header(slot));
        newest.filter(|header| header.state() == State::Condemned).map_or(0, crate::Header::dirty)
    }

    /// Tells the ledger that sectors are lost no more, one entry for each group of neighbours.
    pub(crate) fn push_loss_healed(
        &mut self,
        index: usize,
        line: u64,
        mut mask: u32,
        acknowledged: bool,
        out: &mut Actions,
    ) {
        while mask != 0 {
            let (first, count) = group(mask);
            mask &= !crate::sector_mask(first, count);
            let volume = &mut self.volumes[index];
            let (range, volume_id) = (volume.sectors(line, first, count), VolumeId(volume.id()));
            volume.healed =
                self.ledger.push(LedgerEntry::LossHealed { volume: volume_id, range, acknowledged }, out);
        }
    }

    /// Makes what was written since the last good flush dirty again, newest first: so the newest slot of a line is
    /// dirty before an older entry hands its obligation to it.
    fn redirty(&mut self, index: usize, out: &mut Actions) {
        if !self.volumes[index].redirty {
            return;
        }
        for _ in 0..self.limits.steps_a_turn {
            out.count(1);
            let volume = &mut self.volumes[index];
            let Some(entry) = volume.written.pop_back_from(volume.stable_before) else {
                volume.redirty = false;
                volume.covered_before = volume.covered_before.min(volume.written.tail());
                return;
            };
            self.entry_in_doubt(index, entry);
            self.unmark_unstable(index, entry.line);
        }
    }

    /// An entry of a line has left the queue: unless a younger one is its newest, it awaits no device flush.
    fn unmark_unstable(&mut self, index: usize, line: u64) {
        let volume = &mut self.volumes[index];
        let newest = self.cache.newest(volume.id(), line);
        if newest.is_none_or(|slot| self.cache.header(slot).state() != State::Unstable) {
            volume.index.unstable.clear(line);
        }
    }

    fn entry_in_doubt(&mut self, index: usize, entry: Entry) {
        let volume = &mut self.volumes[index];
        let header = self.cache.header(entry.slot());
        let newest = self.cache.newest(volume.id(), entry.line);
        if newest == Some(entry.slot())
            && header.generation() == entry.generation
            && header.state() == State::Unstable
        {
            self.cache.pass(&mut volume.counts, entry.slot(), Cause::VerifierChanged);
            volume.epochs.moved(entry.epoch, Stage::Written, Stage::Waiting);
            volume.index.dirty.set(entry.line);
            volume.dirty_since.get_or_insert(self.now);
            return;
        }
        volume.epochs.remove(entry.epoch, Stage::Written);
        if let Some(newest) = newest {
            self.age(index, newest, entry.epoch);
        }
    }

    /// The zeroed ranges that a successful device flush covered are stable.
    pub(crate) fn settle_zeroed(&mut self, index: usize) {
        let (notes, volume) = (self.notes, &mut self.volumes[index]);
        let id = volume.id();
        // Before anything that the same flush covered becomes clean: nobody would write that again after a redo.
        for range in volume.zeroed.iter_mut().filter(|range| range.covered && !range.redo && !range.stable) {
            range.stable = true;
            notes.remove_zeroed(id, range.note);
        }
    }

    /// Heals what stable zeroes supersede, one range a turn.
    pub(crate) fn heal_zeroed(&mut self, index: usize, out: &mut Actions) {
        if !self.ledger.has_room(64) {
            return;
        }
        let volume = &mut self.volumes[index];
        let Some(at) = volume.zeroed.iter().position(|range| range.stable) else { return };
        let range = volume.zeroed[at];
        for _ in 0..HEALED_A_TURN {
            if !self.ledger.has_room(32) {
                return;
            }
            let volume = &mut self.volumes[index];
            let next = volume.losses.next(volume.zeroed[at].heal_cursor, range.end);
            let Some((line, _, loss)) = next else {
                volume.zeroed[at].heal_cursor = range.end;
                break;
            };
            volume.zeroed[at].heal_cursor = line + 1;
            out.count(1);
            self.heal_loss(index, line, loss.mask, range.generation, out);
        }
        if self.volumes[index].zeroed[at].heal_cursor < range.end {
            return;
        }
        let cursor = self.unreport(index, range.report_cursor, range.end, out);
        self.volumes[index].zeroed[at].report_cursor = cursor;
        if cursor < range.end {
            return;
        }
        self.notify_range(index, (range.first, range.end), range.generation, Until::Stable, out);
        let volume = &mut self.volumes[index];
        volume.epochs.remove(range.epoch, Stage::Written);
        volume.zeroed.swap_remove(at);
    }

    /// Takes the ledger's mark off some lines that are not dirty any more; returns the line to go on from.
    pub(crate) fn unreport(&mut self, index: usize, first: u64, end: u64, out: &mut Actions) -> u64 {
        let mut from = first;
        let mut healed = Neighbours::default();
        for _ in 0..HEALED_A_TURN {
            let next = self.volumes[index].index.reported.reader().next(from).filter(|&line| line < end);
            let Some(line) = next else {
                from = end;
                break;
            };
            from = line + 1;
            out.count(1);
            let volume = &mut self.volumes[index];
            // A younger range of zeroes may still wait for its flush.
            if volume.zeroed.iter().any(|range| range.is_unstable_over(line)) {
                continue;
            }
            let newest = self.cache.newest(volume.id(), line);
            if newest.is_none_or(|slot| !self.cache.header(slot).state().holds_unstable_data()) {
                volume.index.reported.clear(line);
                self.add_healed(index, line, &mut healed, out);
            }
        }
        self.push_healed(index, healed, out);
        from
    }
}

/// The first group of neighbouring sectors in a mask, as first and count.
pub(crate) const fn group(mask: u32) -> (u32, u32) {
    let first = mask.trailing_zeros();
    (first, (mask >> first).trailing_ones())
}
