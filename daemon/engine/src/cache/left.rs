//! Taking over slots that an earlier life of the daemon left.

use super::{Cache, Counts, NONE};
use crate::header::at;
use crate::{Header, SlotId};
use hashbrown::hash_table::Entry;
use holdfast_policy::State;

impl<'a> Cache<'a> {
    /// A cache over headers of which nothing is known: no slot is free before [`Cache::release`] or found before
    /// [`Cache::claim`].
    pub(crate) fn left(headers: &'a [Header], seed: u64) -> Cache<'a> {
        let mut cache = Cache::unchecked(headers, seed);
        (cache.free_head, cache.free) = (NONE, 0);
        cache
    }

    /// Puts a slot whose header says free on the free list.
    pub(crate) fn release(&mut self, slot: SlotId) {
        self.link[at(slot)] = self.free_head;
        self.free_head = slot.0;
        self.free += 1;
    }

    /// Counts a slot with content, as it is.
    pub(crate) fn adopt(&mut self, counts: &mut Counts, slot: SlotId) {
        let state = self.header(slot).state();
        self.enter(counts, slot, State::Free, state);
        self.link[at(slot)] = 0;
    }

    /// Makes a slot the newest of its line, unless a younger one is. Returns the older of the two, if there are two.
    ///
    /// # Errors
    /// The other slot, if both are of one generation.
    pub(crate) fn claim(&mut self, slot: SlotId) -> Result<Option<SlotId>, SlotId> {
        let (headers, hasher) = (self.headers, self.hasher);
        let header = self.header(slot);
        let wanted = header.place();
        let same = |&other: &u32| headers[other as usize].place() == wanted;
        let hash_of = |other: &u32| hasher.hash(headers[*other as usize].place());
        let mut entry = match self.map.entry(hasher.hash(wanted), same, hash_of) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                entry.insert(slot.0);
                return Ok(None);
            }
        };
        let other = SlotId(*entry.get());
        match self.headers[at(other)].generation().cmp(&header.generation()) {
            core::cmp::Ordering::Equal => Err(other),
            core::cmp::Ordering::Greater => Ok(Some(slot)),
            core::cmp::Ordering::Less => {
                *entry.get_mut() = slot.0;
                Ok(Some(other))
            }
        }
    }

    /// How far into the map's memory [`Cache::claim`] will reach, from 0 up to 1 as parts of 2^64. hashbrown goes by the low
    /// bits of a hash, as many as its power of two of buckets has; if it ever did not, only time would be lost.
    pub(crate) fn place_in_map(&self, slot: SlotId) -> u64 {
        let buckets = (self.slots().max(1) * 8 / 7).next_power_of_two();
        self.hasher.hash(self.header(slot).place()) << ((u64::BITS - buckets.ilog2()) % u64::BITS)
    }

    /// Brings headers near that lie far from each other: together they wait for memory once.
    pub(crate) fn look_at(&self, slots: &[SlotId]) {
        let sum = slots.iter().fold(0, |sum, &slot| sum ^ self.header(slot).place());
        core::hint::black_box(sum);
    }

    /// From now on generations are above `generation`.
    pub(crate) fn resume_above(&mut self, generation: u64) {
        self.next_generation = self.next_generation.max(generation + 1);
    }

    /// The generation that is given out next.
    #[inline]
    pub(crate) fn next_generation(&self) -> u64 {
        self.next_generation
    }
}
