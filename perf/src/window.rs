//! The payload of a request as a client sees it: memory that it really writes and reads.
#![allow(unsafe_code, reason = "raw access to memory that another process may write")]

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::offsets::BLOCK_BYTES;

const WORDS: usize = 512;
const _: () = assert!(WORDS as u64 * 8 == BLOCK_BYTES);

/// Shared memory, 8-byte aligned, which the client owns while no request uses it; 4 KiB unless made with another size.
///
/// No reference to the bytes is made: the other process could write them at any time.
#[derive(Debug, Clone, Copy)]
pub struct Window<'memory> {
    start: NonNull<u64>,
    words: usize,
    memory: PhantomData<&'memory ()>,
}

impl Window<'_> {
    /// # Safety
    /// `start` must be 8-byte aligned, and 4096 bytes from there valid for reads and writes for the lifetime.
    #[must_use]
    pub unsafe fn new(start: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { Self::sized(start, WORDS * 8) }
    }

    /// The same with a size of `bytes`; what does not fill a word is left out.
    ///
    /// # Safety
    /// `start` must be 8-byte aligned, and `bytes` from there valid for reads and writes for the lifetime.
    #[must_use]
    pub unsafe fn sized(start: NonNull<u8>, bytes: usize) -> Self {
        debug_assert!(start.cast::<u64>().is_aligned());
        Self { start: start.cast(), words: bytes / 8, memory: PhantomData }
    }

    /// Its parts of 4 KiB, in order; the last one may be shorter.
    #[inline]
    pub fn units(self) -> impl Iterator<Item = Self> {
        (0..self.words).step_by(WORDS).map(move |first| {
            // SAFETY: `first` is below `words`, all of which are valid (`sized`).
            let start = unsafe { self.start.add(first) };
            Self { start, words: WORDS.min(self.words - first), memory: PhantomData }
        })
    }

    /// Of all of it.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.words * 8
    }

    pub(crate) fn start(self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// Writes every byte.
    #[inline]
    pub fn fill(self, stamp: u64) {
        for word in 0..self.words {
            // SAFETY: `sized`'s caller promised so many aligned words, for a lifetime that `self` still has.
            unsafe { self.start.add(word).write(stamp) };
        }
    }

    /// Reads every byte: the wrapping sum of the words, which is the stamp times their number for an intact fill.
    #[inline]
    #[must_use]
    pub fn sum(self) -> u64 {
        let mut sum = 0u64;
        for word in 0..self.words {
            // SAFETY: as in `fill`; any bits are a `u64`.
            sum = sum.wrapping_add(unsafe { self.start.add(word).read() });
        }
        sum
    }
}

/// What the block at an offset holds: another value for every block, so that a block in the wrong place is seen.
#[inline]
#[must_use]
pub fn stamp(offset: u64, seed: u64) -> u64 {
    (offset / BLOCK_BYTES).wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// The sum of a window that was filled with a stamp.
#[inline]
#[must_use]
pub fn sum_of(stamp: u64) -> u64 {
    stamp.wrapping_mul(WORDS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_filled_to_its_last_byte_and_one_wrong_byte_is_seen() {
        let mut page = vec![0u64; WORDS + 1];
        let start = NonNull::new(page.as_mut_ptr()).unwrap();
        // SAFETY: the vector has one word more than a window, and lives to the end of the test.
        let window = unsafe { Window::new(start.cast()) };
        let value = stamp(8192, 1);
        window.fill(value);
        assert_eq!(window.sum(), sum_of(value));
        assert_eq!((page[WORDS - 1], page[WORDS]), (value, 0));
        page[77] ^= 1 << 63;
        // SAFETY: as above; the vector was not moved.
        assert_ne!(unsafe { Window::new(start.cast()) }.sum(), sum_of(value));
    }

    #[test]
    fn units_are_the_window_and_no_word_more() {
        let mut memory = vec![0u64; WORDS * 2 + 64 + 1];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the vector has one word more, and lives to the end of the test.
        let window = unsafe { Window::sized(start.cast(), 8192 + 512) };
        assert_eq!(window.units().map(Window::bytes).collect::<Vec<_>>(), [4096, 4096, 512]);
        for (unit, value) in window.units().zip([3, 5, 7]) {
            unit.fill(value);
        }
        assert_eq!(window.sum(), 512 * 3 + 512 * 5 + 64 * 7);
        assert_eq!(memory[WORDS * 2 + 64], 0);
    }

    #[test]
    fn neighbours_have_different_sums() {
        let mut sums: Vec<u64> = (0..4096).map(|block| sum_of(stamp(block * BLOCK_BYTES, 9))).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), 4096);
    }
}
