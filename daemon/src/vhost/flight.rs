//! Where the data of requests in flight is, for every reactor that has a part of one.
//!
//! The owner of a queue writes an entry when it takes the request, before any reactor is told of it (the letter's queue
//! orders the two), and again only after all parts were answered. Nobody trusts what is read there more than a guest's own
//! addresses: each copy checks them against the guest's memory.

use super::chain::{SEGMENTS_MAX, Segment};
use super::fault::VhostFault;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 1 + 2 * SEGMENTS_MAX;
const AT_BITS: u32 = 40;

/// The engine's name for a part: queue, number of the part, head.
pub(super) fn tag(queue: u8, part: u8, head: u16) -> u32 {
    u32::from(queue) << 24 | u32::from(part) << 16 | u32::from(head)
}

/// Queue, part and head of a tag.
#[allow(clippy::cast_possible_truncation, reason = "each takes the bits that `tag` put there")]
pub(super) fn untag(tag: u32) -> (u8, u8, u16) {
    ((tag >> 24) as u8, (tag >> 16) as u8, tag as u16)
}

/// The engine's name for a byte of a request's data. The engine adds to it, at most the request's length.
pub(super) fn buffer(queue: u8, head: u16, at: u64) -> u64 {
    (u64::from(queue) << 16 | u64::from(head)) << AT_BITS | at
}

#[allow(clippy::cast_possible_truncation, reason = "each takes the bits that `buffer` put there")]
fn unbuffer(buffer: u64) -> (u8, u16, u64) {
    let name = buffer >> AT_BITS;
    ((name >> 16) as u8, name as u16, buffer & ((1 << AT_BITS) - 1))
}

/// The data of one queue's requests: of each head a count of segments, and of each segment its address and where it ends
/// in the data.
#[derive(Debug)]
struct Table {
    words: Box<[AtomicU64]>,
}

/// The data of all queues' requests.
#[derive(Debug)]
pub(super) struct Flights {
    tables: Vec<Table>,
}

impl Flights {
    /// For queues of these sizes; 0 is a queue that is not used.
    pub(super) fn new(sizes: &[u16]) -> Flights {
        let table = |&size: &u16| Table {
            words: (0..usize::from(size) * WORDS).map(|_| AtomicU64::new(0)).collect(),
        };
        Flights { tables: sizes.iter().map(table).collect() }
    }

    /// Notes where the data of a request is.
    pub(super) fn note(&self, queue: u8, head: u16, segments: &[Segment]) {
        let words = &self.tables[usize::from(queue)].words[usize::from(head) * WORDS..][..WORDS];
        words[0].store(segments.len() as u64, Ordering::Relaxed);
        let mut end = 0;
        for (segment, words) in segments.iter().zip(words[1..].chunks_exact(2)) {
            end += segment.length;
            words[0].store(segment.address, Ordering::Relaxed);
            words[1].store(end, Ordering::Relaxed);
        }
    }

    /// Calls `each` with the pieces of the guest's memory that make up `length` bytes of data from `buffer` on: where they
    /// are, where they begin in those bytes, and how long they are.
    pub(super) fn pieces(
        &self,
        buffer: u64,
        length: u64,
        mut each: impl FnMut(u64, usize, usize) -> Result<(), VhostFault>,
    ) -> Result<(), VhostFault> {
        let (queue, head, at) = unbuffer(buffer);
        let words = &self.tables[usize::from(queue)].words[usize::from(head) * WORDS..][..WORDS];
        let count = usize::try_from(words[0].load(Ordering::Relaxed)).unwrap_or(0).min(SEGMENTS_MAX);
        let segments = &words[1..=2 * count];
        let end_of = |segment: usize| segments[2 * segment + 1].load(Ordering::Relaxed);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if end_of(middle) <= at { low = middle + 1 } else { high = middle }
        }
        let mut done = 0;
        while done < length {
            if low == count {
                return Err(VhostFault::Address);
            }
            let begin = if low == 0 { 0 } else { end_of(low - 1) };
            let skipped = at + done - begin;
            let piece = (end_of(low) - begin - skipped).min(length - done);
            let address = segments[2 * low].load(Ordering::Relaxed) + skipped;
            let (from, bytes) = (usize::try_from(done), usize::try_from(piece));
            each(address, from.expect("a copy is short"), bytes.expect("a copy is short"))?;
            done += piece;
            low += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_they_were_made() {
        assert_eq!(untag(tag(255, 63, 1023)), (255, 63, 1023));
        assert_eq!(unbuffer(buffer(255, 1023, 5) + 4096), (255, 1023, 4101));
    }

    #[test]
    fn a_byte_of_the_data_is_found_in_its_segment() {
        let flights = Flights::new(&[0, 4]);
        let segment = |address, length| Segment { address, length };
        flights.note(1, 3, &[segment(0x1000, 100), segment(0x9000, 50), segment(0x5000, 512)]);
        let found = |at, length| {
            let mut pieces = Vec::new();
            let each = |address, from, bytes| {
                pieces.push((address, from, bytes));
                Ok(())
            };
            flights.pieces(buffer(1, 3, at), length, each).map(|()| pieces)
        };
        assert_eq!(found(0, 100), Ok(vec![(0x1000, 0, 100)]));
        assert_eq!(found(90, 70), Ok(vec![(0x1000 + 90, 0, 10), (0x9000, 10, 50), (0x5000, 60, 10)]));
        assert_eq!(found(150, 512), Ok(vec![(0x5000, 0, 512)]));
        assert_eq!(found(150, 513), Err(VhostFault::Address), "behind the end there is nothing");
    }
}
