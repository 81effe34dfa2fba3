//! One bitmap over the lines of a volume, as its writer sees it.

use core::ops::Deref;
use holdfast_mutants::mutant;

use crate::Plane;
use crate::scan::{bit_of, bits_from, first_line_of, word_of};
use crate::sync::{Acquire, AtomicU64, Relaxed, Release};

/// The one writer of a [`Plane`], which it also reads (it derefs to one).
///
/// It is not `Clone`: as nobody else stores, a change is a plain load and a plain store, without a locked
/// instruction, and no race can leave a summary wrong. A mark in a word that has other lines touches two
/// cache lines, the word's and the counter's.
#[derive(Debug)]
pub struct PlaneWriter<'a> {
    plane: Plane<'a>,
}

impl<'a> PlaneWriter<'a> {
    /// The writer of a new, empty plane of `lines` lines in `words`, which are all zero and have no other
    /// writer: a second one would make lines invisible. Only the counter and the top are looked at, so that
    /// fresh pages stay untouched.
    ///
    /// # Panics
    /// As [`Plane::new`], and if the counter or the top is not zero.
    pub fn new(lines: u64, words: &'a [AtomicU64]) -> PlaneWriter<'a> {
        let plane = Plane::new(lines, words);
        let top = plane.levels()[plane.levels().len() - 1][0].load(Acquire);
        assert!(plane.count() == 0 && top == 0, "a new plane over words that are in use");
        PlaneWriter { plane }
    }

    /// A reader of the plane, for any thread.
    pub const fn reader(&self) -> Plane<'a> {
        self.plane
    }

    /// Sets `line`; whether it was clear.
    ///
    /// # Panics
    /// If there is no such line.
    #[inline]
    pub fn set(&mut self, line: u64) -> bool {
        self.plane.check_line(line);
        self.add(word_of(line), bit_of(line)) != 0
    }

    /// Clears `line`; whether it was set.
    ///
    /// # Panics
    /// If there is no such line.
    #[inline]
    pub fn clear(&mut self, line: u64) -> bool {
        self.plane.check_line(line);
        self.remove(word_of(line), bit_of(line)) != 0
    }

    /// Sets `count` lines from `first`; how many of them were clear.
    ///
    /// # Panics
    /// If there are no such lines.
    pub fn set_range(&mut self, first: u64, count: u64) -> u64 {
        self.plane.check(first, count);
        let (mut line, end, mut changed) = (first, first + count, 0);
        while line < end {
            let index = word_of(line);
            changed += self.add(index, bits_within(line, end));
            line = first_line_of(index + 1);
        }
        changed
    }

    /// Clears `count` lines from `first`; how many of them were set. Costs by the words that have lines, not
    /// by `count`.
    ///
    /// # Panics
    /// If there are no such lines.
    pub fn clear_range(&mut self, first: u64, count: u64) -> u64 {
        self.plane.check(first, count);
        let (mut from, end, mut changed) = (first, first + count, 0);
        while let Some(line) = self.plane.next(from).filter(|line| *line < end) {
            let index = word_of(line);
            changed += self.remove(index, bits_within(line, end));
            from = first_line_of(index + 1);
        }
        changed
    }

    /// Sets `bits` of the word at `index`; how many of them were clear.
    #[inline]
    fn add(&mut self, index: usize, bits: u64) -> u64 {
        let word = self.plane.line_word(index);
        let old = word.load(Relaxed);
        let added = bits & !old;
        if added == 0 {
            return 0;
        }
        // SYNC POINT mark-seen: pairs with the Acquire of a reader that looks at the line.
        word.store(old | added, if mutant!(MarkIsRelaxed) { Relaxed } else { Release });
        if old == 0 && !mutant!(SummaryIsNotRaised) {
            self.raise(index);
        }
        let changed = u64::from(added.count_ones());
        let count = self.plane.counter();
        count.store(count.load(Relaxed) + changed, Release);
        changed
    }

    /// Clears `bits` of the word at `index`; how many of them were set.
    #[inline]
    fn remove(&mut self, index: usize, bits: u64) -> u64 {
        let word = self.plane.line_word(index);
        let old = word.load(Relaxed);
        let removed = bits & old;
        if removed == 0 {
            return 0;
        }
        // SYNC POINT mark-seen: pairs with the Acquire of a reader that looks at the line.
        word.store(old & !removed, Release);
        if old == removed {
            self.lower(index);
        }
        let changed = u64::from(removed.count_ones());
        let count = self.plane.counter();
        count.store(count.load(Relaxed) - changed, Release);
        changed
    }

    /// The word at `index` of level 0 is no longer zero: says so in the summaries, upwards until one knew.
    #[cold]
    fn raise(&mut self, index: usize) {
        let mut below = index as u64;
        for level in &self.plane.levels()[1..] {
            let word = &level[word_of(below)];
            let old = word.load(Relaxed);
            // SYNC POINT summary-seen: pairs with the Acquire of a reader that scans, which then finds the
            // word below as it was stored before this, instead of an empty one that it would pass. Relaxed
            // would be later, not wrong: what a line publishes hangs on its own word.
            word.store(old | bit_of(below), Release);
            if old != 0 {
                return;
            }
            below = word_of(below) as u64;
        }
    }

    /// The word at `index` of level 0 is zero now: says so in the summaries, upwards until one has others to
    /// speak for.
    #[cold]
    fn lower(&mut self, index: usize) {
        let mut below = index as u64;
        for level in &self.plane.levels()[1..] {
            let word = &level[word_of(below)];
            let new = word.load(Relaxed) & !bit_of(below);
            // SYNC POINT summary-seen: a reader that still sees the bit finds a word of zero and goes on.
            word.store(new, Release);
            if new != 0 {
                return;
            }
            below = word_of(below) as u64;
        }
    }
}

impl<'a> Deref for PlaneWriter<'a> {
    type Target = Plane<'a>;

    #[inline]
    fn deref(&self) -> &Plane<'a> {
        &self.plane
    }
}

/// The bits of the lines from `line` up to the end of its word or `end`, whichever is first. `line` is before
/// `end`.
const fn bits_within(line: u64, end: u64) -> u64 {
    let from = bits_from(line);
    if word_of(line) == word_of(end) { from & !bits_from(end) } else { from }
}
