//! What is written: content that says by itself who wrote it, when and where.

use std::ops::Range;

/// The unit of what may be refused, lost or torn.
pub(super) const SECTOR: usize = 512;

/// A cache line here: the largest there is, so that it holds what is on disk (A) beside what is not (the rest of B).
pub(super) const LINE: u64 = 16 << 10;

/// How much of each line A covers: one block of the file, which is allocated then. B is longer than A and needs more.
pub(super) const A_BYTES: u64 = 4 << 10;

/// Where one reactor's part of a volume ends and the other's begins.
pub(super) const STRIPE: u64 = 1 << 20;

/// The range of B: as much on either side of a stripe's border, so that both reactors have a half.
pub(super) const B: Range<u64> = STRIPE - (256 << 10)..STRIPE + (256 << 10);

/// Where the writes go that fill the cache: a stripe of each reactor, together with B more than the budget.
pub(super) const CROWD: Range<u64> = 2 * STRIPE..4 * STRIPE;

/// Bytes of the volume that are looked at: all that this program ever writes to.
pub(super) const PLAYGROUND: u64 = 4 * STRIPE;

/// The offsets of the lines in a range.
pub(super) fn lines(range: Range<u64>) -> impl Iterator<Item = u64> {
    range.step_by(usize::try_from(LINE).expect("a line is short"))
}

/// A write's name on the disk: its letter, and what no earlier run wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    /// `A`, `B`, `C`: which write.
    pub(super) letter: u8,
    /// Differs from run to run.
    pub(super) salt: u64,
}

impl Ink {
    /// Content for `length` bytes at `offset`. Each sector begins with its offset and the salt, and is the letter then.
    pub(super) fn bytes(self, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![self.letter; usize::try_from(length).expect("a write is short")];
        for (sector, at) in bytes.chunks_mut(SECTOR).zip((offset..).step_by(SECTOR)) {
            sector[..8].copy_from_slice(&at.to_le_bytes());
            sector[8..16].copy_from_slice(&self.salt.to_le_bytes());
        }
        bytes
    }
}
