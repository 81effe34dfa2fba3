//! The record of a write: what a daemon says when it takes one in, for the daemon after it.

use crate::sync::{AtomicU64, Ordering};

/// A tag's record in shared memory: the number of the write that it is of, and the generation of that write's first line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) of: &'a AtomicU64,
    pub(crate) generation: &'a AtomicU64,
}

impl Record<'_> {
    /// What was said of the write of this number; 0 if it was not taken in.
    #[inline]
    pub(crate) fn read(self, sequence: u64) -> u64 {
        // SYNC POINT record: pairs with `write`; the generation is at least as new as the number.
        if self.of.load(Ordering::Acquire) == sequence { self.generation.load(Ordering::Relaxed) } else { 0 }
    }

    /// Says that the write of this number was taken in under a generation. The number comes last: until it is there, the
    /// record is of the tag's request before, which is over. That spares the client from wiping it, by which the line would go
    /// from core to core twice for each write.
    #[inline]
    pub(crate) fn write(self, sequence: u64, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
        // SYNC POINT record: pairs with `read`.
        self.of.store(sequence, Ordering::Release);
    }
}
