//! When slots failed, and in which order: the side table of the headers.
//!
//! One entry a slot, zero until the slot fails: the memory of entries that were never needed is never touched.

use crate::{Instant, SlotId};
use alloc::vec::Vec;

/// The ends of a volume's list of failed slots, oldest failure first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailedList {
    /// Slot numbers plus one; 0 is none.
    head: u32,
    tail: u32,
}

impl FailedList {
    pub(crate) fn oldest(&self) -> Option<SlotId> {
        self.head.checked_sub(1).map(SlotId)
    }
}

const FIRST: usize = 0;
const LAST: usize = 1;
const LINKS: usize = 2;
/// Marks, in the time of the last attempt, a slot that inherited its failure: its data was never tried.
const HEIR: u64 = 1 << 63;

/// Times and links by slot: first failure, last attempt, and `previous | next << 32` as slot numbers plus one.
pub(crate) struct Failures(Vec<[u64; 3]>);

impl Failures {
    pub(crate) fn new(slots: usize) -> Failures {
        Failures(alloc::vec![[0; 3]; slots])
    }

    pub(crate) fn first(&self, slot: SlotId) -> Instant {
        Instant(self.0[slot.0 as usize][FIRST])
    }

    pub(crate) fn last(&self, slot: SlotId) -> Instant {
        Instant(self.0[slot.0 as usize][LAST] & !HEIR)
    }

    /// Whether the slot's data is newer than the refusal that it inherited.
    pub(crate) fn is_heir(&self, slot: SlotId) -> bool {
        self.0[slot.0 as usize][LAST] & HEIR != 0
    }

    pub(crate) fn set_times(&mut self, slot: SlotId, first: Instant, last: Instant) {
        self.0[slot.0 as usize][FIRST] = first.0;
        self.0[slot.0 as usize][LAST] = last.0 & !HEIR;
    }

    /// The slot had failed by then; if it is known to have failed earlier, nothing changes.
    pub(crate) fn failed_by(&mut self, slot: SlotId, then: Instant) {
        let first = &mut self.0[slot.0 as usize][FIRST];
        *first = then.0.min(*first);
    }

    /// Appends a slot to the list.
    pub(crate) fn push(&mut self, list: &mut FailedList, slot: SlotId) {
        let name = slot.0 + 1;
        self.set_links(slot, list.tail, 0);
        match list.tail {
            0 => list.head = name,
            tail => {
                let (before, _) = self.links(SlotId(tail - 1));
                self.set_links(SlotId(tail - 1), before, name);
            }
        }
        list.tail = name;
    }

    /// The next younger failure of the list.
    pub(crate) fn next(&self, slot: SlotId) -> Option<SlotId> {
        self.links(slot).1.checked_sub(1).map(SlotId)
    }

    /// Takes a slot out of the list.
    pub(crate) fn remove(&mut self, list: &mut FailedList, slot: SlotId) {
        let (before, after) = self.links(slot);
        match before {
            0 => list.head = after,
            name => {
                let (further, _) = self.links(SlotId(name - 1));
                self.set_links(SlotId(name - 1), further, after);
            }
        }
        match after {
            0 => list.tail = before,
            name => {
                let (_, further) = self.links(SlotId(name - 1));
                self.set_links(SlotId(name - 1), before, further);
            }
        }
        self.set_links(slot, 0, 0);
    }

    /// Puts `new` in the place of `old`, with its times: an overwrite does not make a failure younger.
    pub(crate) fn replace(&mut self, list: &mut FailedList, old: SlotId, new: SlotId) {
        let (before, after) = self.links(old);
        self.0[new.0 as usize] = self.0[old.0 as usize];
        self.0[new.0 as usize][LAST] |= HEIR;
        self.set_links(old, 0, 0);
        match before {
            0 => list.head = new.0 + 1,
            name => {
                let (further, _) = self.links(SlotId(name - 1));
                self.set_links(SlotId(name - 1), further, new.0 + 1);
            }
        }
        match after {
            0 => list.tail = new.0 + 1,
            name => {
                let (_, further) = self.links(SlotId(name - 1));
                self.set_links(SlotId(name - 1), new.0 + 1, further);
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "two halves of one word")]
    fn links(&self, slot: SlotId) -> (u32, u32) {
        let word = self.0[slot.0 as usize][LINKS];
        (word as u32, (word >> 32) as u32)
    }

    fn set_links(&mut self, slot: SlotId, before: u32, after: u32) {
        self.0[slot.0 as usize][LINKS] = u64::from(before) | u64::from(after) << 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn in_order(failures: &Failures, list: &FailedList) -> Vec<u32> {
        core::iter::successors(list.oldest(), |&slot| failures.next(slot)).map(|slot| slot.0).collect()
    }

    /// The linked list is a list: what is replaced keeps its place and its times, what is removed is gone.
    #[test]
    fn the_list_keeps_its_order() {
        let steps = proptest::collection::vec((0u8..3, 0u32..12, 0u32..12), 1..200);
        proptest!(|(steps in steps)| {
            let mut failures = Failures::new(12);
            let (mut list, mut expected) = (FailedList::default(), Vec::new());
            for (time, (step, one, other)) in (1..).zip(steps) {
                let place = expected.iter().position(|&slot| slot == one);
                match (step, place) {
                    (0, None) => {
                        failures.set_times(SlotId(one), Instant(time), Instant(time + 5));
                        failures.push(&mut list, SlotId(one));
                        expected.push(one);
                        prop_assert!(!failures.is_heir(SlotId(one)));
                    }
                    (1, Some(place)) => {
                        failures.remove(&mut list, SlotId(one));
                        expected.remove(place);
                    }
                    (2, Some(place)) if !expected.contains(&other) => {
                        let times = (failures.first(SlotId(one)), failures.last(SlotId(one)));
                        failures.replace(&mut list, SlotId(one), SlotId(other));
                        expected[place] = other;
                        prop_assert_eq!((failures.first(SlotId(other)), failures.last(SlotId(other))), times);
                        prop_assert!(failures.is_heir(SlotId(other)));
                    }
                    _ => {}
                }
                prop_assert_eq!(in_order(&failures, &list), expected.clone());
            }
        });
    }
}
