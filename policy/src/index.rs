//! The dirty index: which lines of a volume need what.

use crate::scan::{self, Run, Search};
use crate::sync::AtomicU64;
use crate::{Plane, PlaneWriter};
use holdfast_mutants::mutant;

const PLANES: usize = 5;

/// Which lines of a volume's share on one reactor are dirty, failed, in flight, recorded and unstable: five
/// planes, one writer.
///
/// The sweep, the operators' listings and the counters all read this index: there is no second truth beside
/// it. Lines are the reactor's own lines of the volume, densely numbered, so that a set is never wider than
/// what the reactor owns.
///
/// Rejected: *one index shared by the reactors*: two of them race on a summary word, one clears what the
/// other just raised, and a dirty run becomes invisible; locked instructions repair that at the price of a
/// cache line that travels with every mark. *A skip list or a B-tree*: sorted too, but hundreds of
/// nanoseconds a mark, and memory that must be allocated for a write. *A mutex*: an operator who lists a
/// million extents would stop the core. *A queue of dirty slots*: no LBA order, so no long runs.
#[derive(Debug)]
pub struct DirtyIndex<'a> {
    /// Lines that need a write-back: dirty, or failed.
    pub dirty: PlaneWriter<'a>,
    /// Lines whose write-back was refused; a subset of `dirty`, which the caller keeps.
    pub failed: PlaneWriter<'a>,
    /// Lines with a device operation in flight.
    pub busy: PlaneWriter<'a>,
    /// Lines that the ledger durably holds as not stable.
    pub reported: PlaneWriter<'a>,
    /// Lines that were written and may await a device flush: each that does, and some that the caller has not taken out
    /// yet.
    pub unstable: PlaneWriter<'a>,
}

/// Which lines a search of the index is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Lines that the sweep may write: dirty, not failed, not busy.
    Writable,
    /// Failed lines that may be tried again: dirty and failed, not busy.
    Retry,
    /// Lines that a failed flush must record: dirty, not reported.
    Unreported,
}

impl<'a> DirtyIndex<'a> {
    /// How many words the index of `lines` lines needs: about `lines / 13`.
    ///
    /// # Panics
    /// If `lines` exceeds [`Plane::LINES_MAX`].
    pub const fn words_needed(lines: u64) -> usize {
        PLANES * Plane::words_needed(lines)
    }

    /// The writer of a new, empty index of `lines` lines in `words`, which are all zero and have no other
    /// writer.
    ///
    /// # Panics
    /// If `words` are fewer than [`words_needed`](Self::words_needed) or in use, or `lines` exceeds [`Plane::LINES_MAX`].
    pub fn new(lines: u64, words: &'a [AtomicU64]) -> DirtyIndex<'a> {
        let [dirty, failed, busy, reported, unstable] =
            planes(lines, words).map(|words| PlaneWriter::new(lines, words));
        DirtyIndex { dirty, failed, busy, reported, unstable }
    }

    /// A reader of the index, for any thread.
    pub const fn reader(&self) -> IndexReader<'a> {
        IndexReader {
            dirty: self.dirty.reader(),
            failed: self.failed.reader(),
            busy: self.busy.reader(),
            reported: self.reported.reader(),
            unstable: self.unstable.reader(),
        }
    }
}

/// A reader of a [`DirtyIndex`], for any thread and any time.
///
/// The planes change one after the other: beside a busy writer, two of them may disagree about a line for a
/// moment.
#[derive(Clone, Copy, Debug)]
pub struct IndexReader<'a> {
    /// Lines that need a write-back.
    pub dirty: Plane<'a>,
    /// Lines whose write-back was refused.
    pub failed: Plane<'a>,
    /// Lines with a device operation in flight.
    pub busy: Plane<'a>,
    /// Lines that the ledger durably holds as not stable.
    pub reported: Plane<'a>,
    /// Lines that may await a device flush.
    pub unstable: Plane<'a>,
}

impl<'a> IndexReader<'a> {
    /// A reader of the index of `lines` lines that a [`DirtyIndex`] keeps in `words`.
    ///
    /// # Panics
    /// If `words` are fewer than [`DirtyIndex::words_needed`], or `lines` exceeds [`Plane::LINES_MAX`].
    pub fn new(lines: u64, words: &'a [AtomicU64]) -> IndexReader<'a> {
        let [dirty, failed, busy, reported, unstable] =
            planes(lines, words).map(|words| Plane::new(lines, words));
        IndexReader { dirty, failed, busy, reported, unstable }
    }
}

/// The storage of each plane: dirty, failed, busy, reported, unstable. Apart and not interleaved, since a mark changes
/// one plane, and a plane that has no lines (failed, on a good day) then costs no memory.
fn planes(lines: u64, words: &[AtomicU64]) -> [&[AtomicU64]; PLANES] {
    let needed = DirtyIndex::words_needed(lines);
    assert!(words.len() >= needed, "an index of {lines} lines needs {needed} words, not {}", words.len());
    let each = needed / PLANES;
    core::array::from_fn(|at| &words[at * each..(at + 1) * each])
}

/// Both faces of the index answer the same questions.
macro_rules! questions {
    ($index:ident) => {
        impl $index<'_> {
            /// The first run, of at most `max` lines, of `want`ed lines that are not before `from`, after
            /// looking at no more than `words_max` words that have dirty (for a retry: failed) lines.
            /// Bounded, because no summary knows of lines that are dirty *and not* something else: a million
            /// failures may lie in front of the one line that can be written. The methods below look at as
            /// many words as it takes.
            ///
            /// # Panics
            /// If `max` or `words_max` is 0.
            #[inline]
            pub fn search(&self, want: Want, from: u64, max: u64, words_max: u64) -> Search {
                let dirty = self.dirty.levels();
                match want {
                    Want::Writable => scan::find(dirty, from, max, words_max, |index| {
                        self.dirty.word(index) & !self.failed.word(index) & !self.busy_word(index)
                    }),
                    Want::Retry => scan::find(self.failed.levels(), from, max, words_max, |index| {
                        self.dirty.word(index) & self.failed.word(index) & !self.busy_word(index)
                    }),
                    Want::Unreported => scan::find(dirty, from, max, words_max, |index| {
                        self.dirty.word(index) & !self.reported.word(index)
                    }),
                }
            }

            #[inline]
            fn busy_word(&self, index: usize) -> u64 {
                if mutant!(BusyLineIsWritten) { 0 } else { self.busy.word(index) }
            }

            /// The first line not before `from` that the sweep may write: dirty, not failed, not busy.
            pub fn next_writable(&self, from: u64) -> Option<u64> {
                self.next_writable_run(from, 1).map(|run| run.first)
            }

            /// The first run, of at most `max` lines, that the sweep may write. Panics if `max` is 0.
            pub fn next_writable_run(&self, from: u64, max: u64) -> Option<Run> {
                self.search(Want::Writable, from, max, u64::MAX).found()
            }

            /// The first failed line not before `from` that may be tried again: dirty and failed, not busy.
            pub fn next_retry(&self, from: u64) -> Option<u64> {
                self.next_retry_run(from, 1).map(|run| run.first)
            }

            /// The first run, of at most `max` lines, that may be tried again. Panics if `max` is 0.
            pub fn next_retry_run(&self, from: u64, max: u64) -> Option<Run> {
                self.search(Want::Retry, from, max, u64::MAX).found()
            }

            /// The first dirty line not before `from` that the ledger does not hold yet.
            pub fn next_unreported(&self, from: u64) -> Option<u64> {
                self.next_unreported_run(from, 1).map(|run| run.first)
            }

            /// The first run, of at most `max` lines, that the ledger does not hold yet. Panics if `max` is
            /// 0.
            pub fn next_unreported_run(&self, from: u64, max: u64) -> Option<Run> {
                self.search(Want::Unreported, from, max, u64::MAX).found()
            }
        }
    };
}

questions!(DirtyIndex);
questions!(IndexReader);
