//! A file that runs full: a limit on what it may allocate, so that "no space left" needs no small file system.
//!
//! Counts blocks of 4 KiB that hold data, as thin pools do: writing where something is needs nothing, writing where
//! nothing is takes a block, deallocating gives it back. Shared by all reactors; only volumes with a `thin_limit` pay.

use crate::arena::zeroed_words;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The unit of allocation, the block of nearly every file system.
const BLOCK: u64 = 4096;
/// Blocks that one write can touch: 1 MiB, which is the longest run of the longest lines, and one more if it is not
/// aligned to blocks; rounded up to words.
const RESERVATION_WORDS: usize = 5;

/// The blocks of a file and their limit.
#[derive(Debug)]
pub struct Thin {
    /// One bit a block: whether it is allocated.
    blocks: &'static [AtomicU64],
    size: u64,
    /// Blocks allocated, or about to be.
    used: AtomicU64,
    /// Bytes.
    limit: AtomicU64,
}

/// Blocks that a write has taken and no other write had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    first: u64,
    fresh: [u64; RESERVATION_WORDS],
}

impl Thin {
    /// Finds what is allocated already.
    pub(super) fn of_file(fd: BorrowedFd<'_>, size: u64, limit: u64) -> Result<Thin, Errno> {
        let words = usize::try_from(size.div_ceil(BLOCK).div_ceil(64)).map_err(|_| Errno::FBIG)?;
        let blocks = zeroed_words(words).map_err(|_| Errno::NOMEM)?;
        let thin = Thin { blocks, size, used: AtomicU64::new(0), limit: AtomicU64::new(limit) };
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error),
            };
            at = rustix::fs::seek(fd, SeekFrom::Hole(data))?;
            let new = (data / BLOCK..at.min(size).div_ceil(BLOCK)).filter(|block| thin.set(*block)).count();
            thin.used.fetch_add(new as u64, Ordering::Relaxed);
        }
        Ok(thin)
    }

    /// Bytes that may be allocated.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that are allocated; more than the limit if the file had more when it was opened.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed) * BLOCK
    }

    /// Adds space, up to the file's size, beyond which a limit means nothing; returns the new limit. Writes submitted after
    /// this find it.
    pub fn grow(&self, bytes: u64) -> u64 {
        let grown = |limit: u64| limit.saturating_add(bytes).min(self.size.max(limit));
        let before =
            self.limit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |limit| Some(grown(limit)));
        grown(before.expect("the update never declines"))
    }

    /// Takes what a write of these bytes would allocate; `None` if that is beyond the limit.
    ///
    /// The count goes first and the bits follow: another write of the same block must not take it for allocated
    /// before that is sure.
    pub(super) fn reserve(&self, offset: u64, length: u64) -> Option<Reservation> {
        let range = offset / BLOCK..(offset + length).div_ceil(BLOCK);
        let count = range.end - range.start;
        assert!(count <= RESERVATION_WORDS as u64 * 64, "a write of {length} bytes is longer than any run");
        let missing = range.clone().filter(|block| !self.is_set(*block)).count() as u64;
        self.take(missing)?;
        let mut reservation = Reservation { first: range.start, fresh: [0; RESERVATION_WORDS] };
        let mut taken = 0;
        for (number, block) in range.enumerate() {
            if taken < missing && self.set(block) {
                reservation.fresh[number / 64] |= 1 << (number % 64);
                taken += 1;
            }
        }
        self.give_back(missing - taken);
        Some(reservation)
    }

    /// Gives back what a write did not use after all: `result` is what the kernel said of `length` bytes at `offset`.
    pub(super) fn settle(&self, reservation: &Reservation, offset: u64, result: i32) {
        let written = u64::try_from(result).unwrap_or(0);
        let first_unwritten =
            if written == 0 { reservation.first } else { (offset + written).div_ceil(BLOCK) };
        let mut freed = 0;
        for number in 0..RESERVATION_WORDS * 64 {
            let block = reservation.first + number as u64;
            let fresh = reservation.fresh[number / 64] >> (number % 64) & 1 == 1;
            if fresh && block >= first_unwritten && self.clear(block) {
                freed += 1;
            }
        }
        self.give_back(freed);
    }

    /// The file was deallocated here: whole blocks are free again.
    pub(super) fn free(&self, offset: u64, length: u64) {
        let end = offset + length;
        let last = if end >= self.size { self.size.div_ceil(BLOCK) } else { end / BLOCK };
        let mut freed = 0;
        let mut block = offset.div_ceil(BLOCK);
        while block < last {
            // A deallocated terabyte is looked at by words, not by blocks.
            if block.is_multiple_of(64) && self.word(block).load(Ordering::Relaxed) == 0 {
                block += 64;
                continue;
            }
            freed += u64::from(self.clear(block));
            block += 1;
        }
        self.give_back(freed);
    }

    fn take(&self, blocks: u64) -> Option<()> {
        let limit = self.limit.load(Ordering::Relaxed) / BLOCK;
        let add = |used: u64| used.checked_add(blocks).filter(|used| blocks == 0 || *used <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(drop)
    }

    fn give_back(&self, blocks: u64) {
        self.used.fetch_sub(blocks, Ordering::Relaxed);
    }

    fn word(&self, block: u64) -> &AtomicU64 {
        &self.blocks[usize::try_from(block / 64).expect("checked when the file was opened")]
    }

    fn is_set(&self, block: u64) -> bool {
        self.word(block).load(Ordering::Relaxed) >> (block % 64) & 1 == 1
    }

    /// Whether this call set it.
    fn set(&self, block: u64) -> bool {
        let bit = 1 << (block % 64);
        self.word(block).fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Whether this call cleared it.
    fn clear(&self, block: u64) -> bool {
        let bit = 1 << (block % 64);
        self.word(block).fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }
}
