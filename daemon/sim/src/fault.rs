//! What can be wrong with a disk, where and for how long.

use crate::disk::Work;

/// One thing that is wrong with a disk for a while.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What to call it in the report.
    pub name: &'static str,
    /// The volume it concerns.
    pub volume: u16,
    /// Which operations.
    pub kinds: Kinds,
    /// First sector.
    pub from: u64,
    /// The sector after the last.
    pub to: u64,
    /// When it begins, in nanoseconds.
    pub since: u64,
    /// When it is over.
    pub until: u64,
    /// How often it strikes, in parts of 1000.
    pub odds: u64,
    /// What happens then.
    pub trouble: Trouble,
}

/// What happens to an operation that a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It fails with this errno. A write leaves any mix of old and new blocks behind.
    Refuse(u16),
    /// Only the first blocks are done.
    Short,
    /// It ends when the fault is over, well or with `ETIMEDOUT`.
    Hang,
    /// A flush fails; some of the cache is down, the rest of it is gone.
    FlushLoses,
    /// A flush fails though everything is down.
    FlushPersists,
}

/// A set of kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(pub u8);

impl Kinds {
    /// Reads.
    pub const READ: Kinds = Kinds(1);
    /// Writes.
    pub const WRITE: Kinds = Kinds(2);
    /// Zeroes and discards.
    pub const ZERO: Kinds = Kinds(4);
    /// Flushes.
    pub const FLUSH: Kinds = Kinds(8);
    /// All that changes the medium, but not flushes.
    pub const CHANGE: Kinds = Kinds(6);
    /// All.
    pub const ALL: Kinds = Kinds(15);

    /// Whether the operation is one of them.
    pub const fn has(self, work: &Work) -> bool {
        let kind = match work {
            Work::Read => Kinds::READ,
            Work::Write(_) => Kinds::WRITE,
            Work::Zero | Work::Discard => Kinds::ZERO,
            Work::Flush => Kinds::FLUSH,
        };
        self.0 & kind.0 != 0
    }
}

impl Fault {
    /// Whether it concerns this operation now, before chance is asked.
    pub fn concerns(&self, now: u64, volume: u16, from: u64, to: u64, work: &Work) -> bool {
        let here = matches!(work, Work::Flush) || (self.volume == volume && from < self.to && to > self.from);
        here && self.kinds.has(work) && now >= self.since && now < self.until
    }
}
