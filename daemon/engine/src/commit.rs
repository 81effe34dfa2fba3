//! The commit of a turn: in the order of generations, headers are published and what they replace is freed (M3).

use crate::engine::{Engine, Staged};
use crate::{SlotId, Status};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, State};

impl Engine<'_> {
    /// Publishes the headers of what was copied this turn and frees what they replace. Comes after the turn's copies,
    /// before its completions.
    pub fn commit(&mut self) {
        if self.commit_first(usize::MAX) {
            self.notes.set_published(self.published + u64::from(mutant!(PublishedIsEarly)));
        }
    }

    /// The first `count` changes of a [`Engine::commit`], the others forgotten: for whoever plays a death in the middle of
    /// one. Whether a header was published.
    pub fn commit_first(&mut self, count: usize) -> bool {
        let before = self.published;
        let mut staged = core::mem::take(&mut self.staged);
        for change in staged.drain(..).take(count) {
            match change {
                Staged::Overwrite { before, slot } => self.end_overwrite(before, slot),
                other => self.carry_out(other),
            }
        }
        staged.clear();
        self.staged = staged;
        self.published != before
    }

    #[inline(always)]
    fn end_overwrite(&mut self, before: SlotId, slot: SlotId) {
        let header = self.cache.header(slot);
        self.published = header.generation();
        let volume = &mut self.volumes[usize::from(header.volume())];
        self.cache.end_overwrite(&mut volume.counts, before, slot);
        debug_assert!(volume.index.dirty.get(header.line()) && volume.dirty_since.is_some());
    }

    #[inline(never)]
    fn carry_out(&mut self, change: Staged) {
        match change {
            Staged::Overwrite { before, slot } => self.end_overwrite(before, slot),
            Staged::Publish(slot) => {
                self.publish(slot);
            }
            Staged::Replace { before, slot } => {
                let index = self.publish(slot);
                self.cache.pass(&mut self.volumes[index].counts, before, Cause::Superseded);
            }
            Staged::Widen { slot, generation, mask } => {
                let header = self.cache.header(slot);
                if header.generation() == generation && header.state() != State::Free {
                    self.cache.widen(slot, mask);
                }
            }
            Staged::Filled { slot, generation, mask } => self.publish_filled(slot, generation, mask),
            Staged::Free { slot, generation } => {
                let header = self.cache.header(slot);
                if header.generation() == generation && header.state() != State::Free {
                    let volume = usize::from(header.volume());
                    self.cache.pass(&mut self.volumes[volume].counts, slot, Cause::Superseded);
                }
            }
        }
    }

    fn publish_filled(&mut self, slot: SlotId, generation: u64, mask: u32) {
        let header = self.cache.header(slot);
        if header.generation() != generation || header.state() != State::Filling {
            return;
        }
        let newest = self.cache.is_newest(slot);
        let counts = &mut self.volumes[usize::from(header.volume())].counts;
        if newest {
            self.cache.publish(counts, slot, Cause::Filled, Status::new(State::Clean, mask));
        } else {
            self.cache.pass(counts, slot, Cause::Superseded);
        }
    }

    /// Makes a write the line's content; returns its volume's place.
    #[inline]
    fn publish(&mut self, slot: SlotId) -> usize {
        let header = self.cache.header(slot);
        let index = usize::from(header.volume());
        let (line, volume) = (header.line(), &mut self.volumes[index]);
        self.published = header.generation();
        self.cache.pass_from(&mut volume.counts, slot, State::Incoming, Cause::Published);
        volume.index.dirty.set(line);
        volume.dirty_since.get_or_insert(self.now);
        if header.attempts() > 0 {
            self.cache.pass(&mut volume.counts, slot, Cause::Inherited);
            volume.index.failed.set(line);
        } else if volume.index.failed.count() > 0 {
            volume.index.failed.clear(line);
        }
        index
    }
}
