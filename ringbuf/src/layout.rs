//! Where things lie in a session's shared memory. Both ends compute it from the same three numbers.

use crate::limits::{PAYLOAD_BYTES_MAX, REACTORS_MAX, RING_ENTRIES_MAX};
use crate::request::{COMPLETION_BYTES, DESCRIPTOR_BYTES};

pub(crate) const PAGE_BYTES: u64 = 4096;

/// Words of the session's first page. Words that different cores write are 128 bytes apart, because the adjacent-line
/// prefetcher of x86 moves cache lines in pairs.
pub(crate) const CLIENT_SLEEPING: u64 = 0;
pub(crate) const CLIENT_WAKE: u64 = 128;

/// Words of a ring's first page.
pub(crate) const SQ_TAIL: usize = 0;
pub(crate) const SQ_HEAD: usize = 128;
pub(crate) const CQ_TAIL: usize = 256;
pub(crate) const CQ_HEAD: usize = 384;
pub(crate) const DAEMON_SLEEPING: usize = 512;

/// Byte offset of the submission entries in a ring; the completion entries follow them.
pub(crate) const ENTRIES: usize = 4096;

/// Bytes of a tag's record; the records follow the completion entries.
pub(crate) const RECORD_BYTES: usize = 8;

/// The session's shared memory: one page for the session, the rings, the payload area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    reactors: u32,
    entries: u32,
    payload_bytes: u64,
}

impl Layout {
    /// `None` if a number is outside the protocol's limits: `reactors` in `1..=64`, `entries` a power of two in
    /// `2..=4096`, `payload_bytes` a positive multiple of 4096 of at most 1 GiB.
    pub(crate) fn new(reactors: u32, entries: u32, payload_bytes: u64) -> Option<Self> {
        let fine = (1..=REACTORS_MAX).contains(&reactors)
            && (2..=RING_ENTRIES_MAX).contains(&entries)
            && entries.is_power_of_two()
            && (PAGE_BYTES..=PAYLOAD_BYTES_MAX).contains(&payload_bytes)
            && payload_bytes.is_multiple_of(PAGE_BYTES);
        fine.then_some(Self { reactors, entries, payload_bytes })
    }

    pub(crate) fn reactors(&self) -> u32 {
        self.reactors
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    fn ring_bytes(&self) -> u64 {
        let entry_bytes = (DESCRIPTOR_BYTES + COMPLETION_BYTES + RECORD_BYTES) as u64;
        (ENTRIES as u64 + u64::from(self.entries) * entry_bytes).next_multiple_of(PAGE_BYTES)
    }

    /// Byte offset of the ring of a reactor.
    pub(crate) fn ring(&self, reactor: u32) -> u64 {
        assert!(reactor < self.reactors, "ring {reactor} of {}", self.reactors);
        PAGE_BYTES + u64::from(reactor) * self.ring_bytes()
    }

    /// Byte offset of the payload area.
    pub(crate) fn payload(&self) -> u64 {
        PAGE_BYTES + u64::from(self.reactors) * self.ring_bytes()
    }

    /// Bytes of the whole.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.payload() + self.payload_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_follow_each_other_without_overlap() {
        let layout = Layout::new(3, 8, 8192).expect("within limits");
        assert_eq!([layout.ring(0), layout.ring(1), layout.ring(2)], [4096, 12288, 20480]);
        assert_eq!((layout.payload(), layout.total_bytes()), (28672, 36864));
    }

    #[test]
    fn numbers_outside_the_limits_have_no_layout() {
        for (reactors, entries, payload) in [
            (0, 8, 4096),
            (65, 8, 4096),
            (1, 0, 4096),
            (1, 1, 4096),
            (1, 12, 4096),
            (1, 8192, 4096),
            (1, 8, 0),
        ] {
            assert_eq!(Layout::new(reactors, entries, payload), None, "{reactors} {entries} {payload}");
        }
        assert_eq!(Layout::new(1, 8, 4097), None);
        assert_eq!(Layout::new(1, 8, PAYLOAD_BYTES_MAX + 4096), None);
        assert!(Layout::new(64, 4096, PAYLOAD_BYTES_MAX).is_some());
    }
}
