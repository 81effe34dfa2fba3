//! What has been written and awaits a device flush, in the order of completion.

use crate::SlotId;
use alloc::vec::Vec;

/// A write that the device has accepted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// The line.
    pub(crate) line: u64,
    /// The generation written.
    pub(crate) generation: u64,
    /// The slot it was written from; it may have been superseded and reused since.
    pub(crate) slot: u32,
    /// The flush epoch that it belongs to.
    pub(crate) epoch: u32,
    /// The sectors written: they heal what was lost of the line, though a newer write may be on its way.
    pub(crate) mask: u32,
}

impl Entry {
    pub(crate) fn slot(&self) -> SlotId {
        SlotId(self.slot)
    }
}

/// A bounded queue. Positions count entries since the start and never repeat.
#[derive(Debug)]
pub(crate) struct Written {
    ring: Vec<Entry>,
    head: u64,
    tail: u64,
}

impl Written {
    /// A queue for `capacity` entries, rounded up to a power of two.
    pub(crate) fn new(capacity: usize) -> Written {
        Written { ring: alloc::vec![Entry::default(); capacity.next_power_of_two()], head: 0, tail: 0 }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.ring.len() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.tail - self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    fn index(&self, position: u64) -> usize {
        usize::try_from(position & (self.capacity() - 1)).expect("less than the ring's length")
    }

    /// # Panics
    /// If the queue is full: write-back begins only where its completion has a place.
    pub(crate) fn push(&mut self, entry: Entry) {
        assert!(self.len() < self.capacity(), "more writes completed than were admitted");
        let index = self.index(self.tail);
        self.ring[index] = entry;
        self.tail += 1;
    }

    /// The oldest entry before position `end`.
    pub(crate) fn pop_before(&mut self, end: u64) -> Option<Entry> {
        if self.head >= end.min(self.tail) {
            return None;
        }
        let entry = self.ring[self.index(self.head)];
        self.head += 1;
        Some(entry)
    }

    /// The newest entry at or after position `start`.
    pub(crate) fn pop_back_from(&mut self, start: u64) -> Option<Entry> {
        if self.tail <= start.max(self.head) {
            return None;
        }
        self.tail -= 1;
        Some(self.ring[self.index(self.tail)])
    }

    /// Lets the entries of some lines count for no slot any more: what they wrote is to be written again.
    pub(crate) fn forget(&mut self, first: u64, end: u64) {
        for position in self.head..self.tail {
            let index = self.index(position);
            if (first..end).contains(&self.ring[index].line) {
                self.ring[index].generation = 0;
            }
        }
    }

    /// The entry at a position between head and tail.
    pub(crate) fn get(&self, position: u64) -> Entry {
        self.ring[self.index(position)]
    }

    /// The entries, in no order, and places that have none.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.ring.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    /// The ring behaves like a queue that is also emptied from its new end.
    #[test]
    fn the_ring_is_a_queue() {
        let steps = proptest::collection::vec((0u8..4, 0u64..20), 1..300);
        proptest!(|(steps in steps)| {
            let mut written = Written::new(16);
            let mut queue: VecDeque<u64> = VecDeque::new();
            for (generation, (step, reach)) in (0..).zip(steps) {
                match step {
                    0 | 1 if queue.len() < 16 => {
                        written.push(Entry { generation, ..Entry::default() });
                        queue.push_back(generation);
                    }
                    2 => {
                        let entry = written.pop_before(written.head() + reach);
                        let expected = if reach == 0 { None } else { queue.pop_front() };
                        prop_assert_eq!(entry.map(|entry| entry.generation), expected);
                    }
                    3 => {
                        let start = written.head() + reach;
                        let expected = if written.tail() > start { queue.pop_back() } else { None };
                        prop_assert_eq!(written.pop_back_from(start).map(|entry| entry.generation), expected);
                    }
                    _ => {}
                }
                prop_assert_eq!(written.len(), queue.len() as u64);
                prop_assert_eq!(written.is_empty(), queue.is_empty());
                prop_assert!((written.head()..written.tail()).map(|at| written.get(at).generation).eq(queue.iter().copied()));
            }
        });
    }
}
