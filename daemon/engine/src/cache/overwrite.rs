//! A write over data that is dirty: the commonest thing a write-back cache does, in as few steps as M3 allows.
//!
//! **When.** The line's newest slot is dirty and was never refused. Everything else goes the general way
//! (`Engine::accept_line`), which does the same and more.
//!
//! **Why it is right.** The old slot is not in flight, so that it can be freed as soon as the new header is published. Its
//! obligation passes to the new slot as it is: the line stays dirty, unrefused, in the same flush epoch (M6) and at the same
//! stage. So the index has its mark already, the epochs their count and the volume the age of its dirty data; between the
//! two halves nobody takes them away, because write-back, losses and zeroes take a line by its newest slot, and one that is
//! incoming is none of theirs. What is left is M3 itself: a fresh slot, the union of the sectors, a store that publishes it,
//! and after that one that frees the old.

use super::{Cache, Counts};
use crate::header::{at, place};
use crate::{Identity, SlotId, Status};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, State};

/// The edges that the two halves take without a look at the table.
const _: () = {
    assert!(matches!(State::Free.after(Cause::Accepted), Some(State::Incoming)));
    assert!(matches!(State::Incoming.after(Cause::Published), Some(State::Dirty)));
    assert!(matches!(State::Dirty.after(Cause::Superseded), Some(State::Free)));
};

/// What the first half did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overwrite {
    /// The slot that is superseded.
    pub(crate) before: SlotId,
    /// The one that takes its place.
    pub(crate) slot: SlotId,
    /// The sectors to be copied from the one to the other.
    pub(crate) kept: u32,
}

impl Cache<'_> {
    /// First half, when the write is taken in: a fresh slot for new content of `mask`, in one look at the map. `None`, and
    /// nothing has happened, if the line is not dirty.
    #[inline(always)]
    pub(crate) fn overwrite(
        &mut self,
        counts: &mut Counts,
        volume: u16,
        line: u64,
        mask: u32,
    ) -> Option<Overwrite> {
        let (headers, wanted) = (self.headers, place(volume, line));
        let same = |&slot: &u32| headers[slot as usize].place() == wanted;
        let entry = self.map.find_mut(self.hasher.hash(wanted), same)?;
        let before = SlotId(*entry);
        let old = &headers[at(before)];
        let valid = old.plain_dirty()?;
        let slot = SlotId(self.free_head);
        *entry = slot.0;
        let header = &headers[at(slot)];
        let epoch = self.link[at(before)];
        let link = &mut self.link[at(slot)];
        self.free_head = core::mem::replace(link, epoch);
        self.free -= 1;
        let generation = self.next_generation;
        // One a write: 64 bits outlast the machine.
        self.next_generation = generation.wrapping_add(1);
        let old_dirty = if mutant!(OverwriteForgetsDirty) { 0 } else { old.dirty() };
        header.assign(Identity { volume, line, generation, dirty: old_dirty | mask });
        header.exchange(State::Free, Status::new(State::Incoming, valid | mask));
        counts.entered(State::Incoming);
        counts.not_clean = counts.not_clean.wrapping_add(1);
        self.not_clean = self.not_clean.wrapping_add(1);
        Some(Overwrite { before, slot, kept: valid & !mask })
    }

    /// Second half, when the bytes are in: the new header is published, then the old slot is free.
    #[inline(always)]
    pub(crate) fn end_overwrite(&mut self, counts: &mut Counts, before: SlotId, slot: SlotId) {
        self.headers[at(slot)].advance_from(State::Incoming, State::Dirty);
        // SYNC POINT header-published: both stores are Releases, so that nobody sees the second without the first.
        self.headers[at(before)].advance_from(State::Dirty, State::Free);
        // Of two slots that are not clean one is left, and the line is as dirty as it was.
        counts.left(State::Incoming);
        counts.not_clean = counts.not_clean.wrapping_sub(1);
        self.not_clean = self.not_clean.wrapping_sub(1);
        self.link[at(before)] = self.free_head;
        self.free_head = before.0;
        self.free += 1;
    }
}
