//! The index protocol of a single-producer, single-consumer ring whose two ends do not trust each other.
//!
//! Each end keeps its own index in private memory and only *publishes* it to the shared word; what the peer publishes
//! is believed only after a distance check. Indices run freely over `u32` and wrap; an entry's place is the index
//! modulo the capacity. Rejected: reading one's own index back from shared memory, which lets the peer move it.

use crate::sync::{AtomicU32, Ordering};
use holdfast_mutants::mutant;

/// The peer published an index that no honest run of the ring can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexJumped {
    /// The lowest index that was still possible.
    pub(crate) lowest: u32,
    /// The highest index that was possible.
    pub(crate) highest: u32,
    /// What the shared word held.
    pub(crate) found: u32,
}

/// Accepts `found` if it lies on the way from `lowest` to `highest`, wrapping included.
#[inline]
fn checked(lowest: u32, highest: u32, found: u32) -> Result<u32, IndexJumped> {
    if found.wrapping_sub(lowest) <= highest.wrapping_sub(lowest) || mutant!(IndexIsBelieved) {
        Ok(found)
    } else {
        Err(IndexJumped { lowest, highest, found })
    }
}

fn assert_capacity(capacity: u32) {
    assert!(capacity.is_power_of_two() && capacity <= 1 << 16, "ring capacity {capacity}");
}

/// The end that fills entries.
#[derive(Debug)]
pub(crate) struct Producer {
    capacity: u32,
    /// The next entry to fill. Entries from `published` up to here are filled and not yet visible.
    tail: u32,
    /// What the shared word holds.
    published: u32,
    /// The consumer's index when it was last looked at: it may be further by now, never back.
    head_seen: u32,
}

impl Producer {
    /// Both ends of a new ring begin at 0.
    pub(crate) fn new(capacity: u32) -> Self {
        assert_capacity(capacity);
        Self { capacity, tail: 0, published: 0, head_seen: 0 }
    }

    /// The place of the next free entry, now the caller's to fill before `publish`; `None` while the ring is full.
    #[inline]
    pub(crate) fn claim(&mut self, head: &AtomicU32) -> Result<Option<u32>, IndexJumped> {
        let capacity = self.capacity + u32::from(mutant!(RingHoldsOneMore));
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.look(head)?;
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Ok(None);
            }
        }
        let place = self.tail & (self.capacity - 1);
        self.tail = self.tail.wrapping_add(1);
        Ok(Some(place))
    }

    /// Looks at how far the consumer is. Only published entries can have been consumed.
    #[inline]
    pub(crate) fn look(&mut self, head: &AtomicU32) -> Result<u32, IndexJumped> {
        // SYNC POINT entry-free: pairs with `Consumer::release`; the consumer has copied every entry below this index.
        let found = head.load(Ordering::Acquire);
        self.head_seen = checked(self.head_seen, self.published, found)?;
        Ok(self.head_seen)
    }

    /// The consumer's index as last seen.
    pub(crate) fn head_seen(&self) -> u32 {
        self.head_seen
    }

    /// Makes the filled entries visible; whether there were any.
    #[inline]
    pub(crate) fn publish(&mut self, tail: &AtomicU32) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.published = self.tail;
        // SYNC POINT entry-full: pairs with `Consumer::next`; the entries below this index are filled.
        let order = if mutant!(PublishedRelaxed) { Ordering::Relaxed } else { Ordering::Release };
        tail.store(self.tail.wrapping_add(u32::from(mutant!(EntryIsEarly))), order);
        true
    }
}

/// The end that empties entries.
#[derive(Debug)]
pub(crate) struct Consumer {
    capacity: u32,
    /// The next entry to take.
    head: u32,
    /// What the shared word holds.
    released: u32,
    /// The producer's index when it was last looked at: it may be further by now, never back.
    tail_seen: u32,
}

impl Consumer {
    /// Both ends of a new ring begin at 0.
    pub(crate) fn new(capacity: u32) -> Self {
        assert_capacity(capacity);
        Self { capacity, head: 0, released: 0, tail_seen: 0 }
    }

    /// The place of the next filled entry, to be copied before `release`; `None` while the ring is empty.
    #[inline]
    pub(crate) fn next(&mut self, tail: &AtomicU32) -> Result<Option<u32>, IndexJumped> {
        if !self.pending(tail)? {
            return Ok(None);
        }
        let place = self.head & (self.capacity - 1);
        self.head = self.head.wrapping_add(1);
        Ok(Some(place))
    }

    /// The place of an entry that is known to wait: 0 is the one that `next` gives.
    #[inline]
    pub(crate) fn peek(&self, ahead: u32) -> Option<u32> {
        let waits = ahead < self.tail_seen.wrapping_sub(self.head);
        waits.then(|| self.head.wrapping_add(ahead) & (self.capacity - 1))
    }

    /// Whether an entry waits; looks at the shared word only when the ones seen earlier are used up.
    #[inline]
    pub(crate) fn pending(&mut self, tail: &AtomicU32) -> Result<bool, IndexJumped> {
        if self.head == self.tail_seen {
            // SYNC POINT entry-full: pairs with `Producer::publish`.
            let found = tail.load(Ordering::Acquire);
            // The upper bound is what was *released*: entries not yet given back cannot have been filled again.
            self.tail_seen = checked(self.tail_seen, self.released.wrapping_add(self.capacity), found)?;
        }
        Ok(self.head != self.tail_seen)
    }

    /// Gives the taken entries back to the producer.
    #[inline]
    pub(crate) fn release(&mut self, head: &AtomicU32) {
        if self.released != self.head {
            self.released = self.head;
            // SYNC POINT entry-free: pairs with `Producer::look`; the copies of these entries are complete.
            let order = if mutant!(ReleasedRelaxed) { Ordering::Relaxed } else { Ordering::Release };
            head.store(self.head, order);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Starts both ends shortly before the index wraps, where a signed or a plain comparison would fail.
    fn near_the_wrap(capacity: u32) -> (Producer, Consumer, AtomicU32, AtomicU32) {
        let start = u32::MAX - 1;
        let producer = Producer { capacity, tail: start, published: start, head_seen: start };
        let consumer = Consumer { capacity, head: start, released: start, tail_seen: start };
        (producer, consumer, AtomicU32::new(start), AtomicU32::new(start))
    }

    #[test]
    fn fills_wraps_and_empties() {
        let (mut producer, mut consumer, tail, head) = near_the_wrap(4);
        for _ in 0..5 {
            let filled: Vec<u32> =
                std::iter::from_fn(|| producer.claim(&head).expect("an honest peer")).collect();
            assert_eq!(filled.len(), 4);
            assert_eq!(consumer.next(&tail), Ok(None), "nothing is visible before it is published");
            assert!(producer.publish(&tail));
            assert!(!producer.publish(&tail), "nothing new");
            assert_eq!(consumer.peek(0), None, "nobody has looked");
            assert_eq!(consumer.pending(&tail), Ok(true));
            let peeked: Vec<u32> = (0..).map_while(|ahead| consumer.peek(ahead)).collect();
            assert_eq!(peeked, filled, "what waits, in its order, and no more");
            let taken: Vec<u32> = std::iter::from_fn(|| consumer.next(&tail).expect("honest")).collect();
            assert_eq!(taken, filled);
            assert_eq!(producer.claim(&head), Ok(None), "taken is not yet released");
            consumer.release(&head);
        }
    }

    #[test]
    fn a_producer_that_jumps_is_found_out() {
        let (_, mut consumer, tail, _) = near_the_wrap(4);
        for jump in [5, 6, 1 << 31, u32::MAX] {
            let found = (u32::MAX - 1).wrapping_add(jump);
            tail.store(found, Ordering::Relaxed);
            let lowest = u32::MAX - 1;
            let highest = lowest.wrapping_add(4);
            assert_eq!(consumer.next(&tail), Err(IndexJumped { lowest, highest, found }), "jump {jump}");
        }
    }

    #[test]
    fn a_producer_may_not_refill_what_was_taken_but_not_released() {
        let (mut consumer, tail) = (Consumer::new(2), AtomicU32::new(2));
        assert_eq!(consumer.next(&tail), Ok(Some(0)));
        assert_eq!(consumer.next(&tail), Ok(Some(1)));
        tail.store(3, Ordering::Relaxed);
        assert_eq!(consumer.next(&tail), Err(IndexJumped { lowest: 2, highest: 2, found: 3 }));
    }

    #[test]
    fn a_consumer_that_jumps_or_goes_back_is_found_out() {
        let (mut producer, head, tail) = (Producer::new(2), AtomicU32::new(0), AtomicU32::new(0));
        assert_eq!(producer.claim(&head), Ok(Some(0)));
        head.store(1, Ordering::Relaxed);
        assert_eq!(producer.look(&head), Err(IndexJumped { lowest: 0, highest: 0, found: 1 }));
        producer.publish(&tail);
        assert_eq!(producer.look(&head), Ok(1));
        head.store(0, Ordering::Relaxed);
        assert_eq!(producer.look(&head), Err(IndexJumped { lowest: 1, highest: 1, found: 0 }));
    }
}
