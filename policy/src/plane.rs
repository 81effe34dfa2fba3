//! One bitmap over the lines of a volume, as readers see it.

use crate::scan::{self, FANOUT, LEVELS_MAX, Levels, Run};
use crate::sync::{Acquire, AtomicU64};

/// A set of lines: 64-ary hierarchical bitmap over words that the caller provides, for any number of readers.
///
/// Level 0 has one bit a line; each level above has one bit a word of the level below, set iff that word is
/// not zero, up to a level of a single word. So the next line of the set is at most two looks a level away,
/// however sparse it is, and a word that nobody marked is never touched: over fresh pages the set costs
/// memory only where it has lines.
///
/// **Order.** There is one writer, [`PlaneWriter`](crate::PlaneWriter). It sets a line first and its
/// summaries after, upwards, and it clears a line first and its summaries after. A reader may therefore come
/// a moment too early to see a line that is just being set, and may follow a summary to a word that has just
/// become zero, from which it goes on. It never misses a line that was set before the scan began and stays
/// set until it ends: such a line holds every summary above it up.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    lines: u64,
    count: &'a AtomicU64,
    levels: [&'a [AtomicU64]; LEVELS_MAX],
    depth: usize,
}

impl<'a> Plane<'a> {
    /// The most lines a plane can have: 16 PiB of lines of 4 KiB.
    pub const LINES_MAX: u64 = 1 << (6 * LEVELS_MAX);

    /// How many words a plane of `lines` lines needs: about `lines / 63`.
    ///
    /// # Panics
    /// If `lines` exceeds [`LINES_MAX`](Self::LINES_MAX).
    pub const fn words_needed(lines: u64) -> usize {
        assert!(lines <= Self::LINES_MAX, "more lines than a plane can have");
        let mut width = words_over(lines);
        let mut needed = 1 + width;
        while width > 1 {
            width = words_over(width);
            needed += width;
        }
        scan::usize_of(needed)
    }

    /// A reader of the plane of `lines` lines that a [`PlaneWriter`](crate::PlaneWriter) keeps in `words`.
    ///
    /// # Panics
    /// If `words` are fewer than [`words_needed`](Self::words_needed), or `lines` exceeds [`LINES_MAX`](Self::LINES_MAX).
    pub fn new(lines: u64, words: &'a [AtomicU64]) -> Plane<'a> {
        let needed = Self::words_needed(lines);
        assert!(words.len() >= needed, "a plane of {lines} lines needs {needed} words, not {}", words.len());
        // From the front: the counter, the top, the levels below it, the lines. What nearly every change of a
        // summary touches shares the first page.
        let (count, mut rest) = (&words[0], &words[1..needed]);
        let mut levels: [&[AtomicU64]; LEVELS_MAX] = [&[]; LEVELS_MAX];
        let (mut width, mut depth) = (words_over(lines), 1);
        (rest, levels[0]) = rest.split_at(rest.len() - scan::usize_of(width));
        while width > 1 {
            width = words_over(width);
            (rest, levels[depth]) = rest.split_at(rest.len() - scan::usize_of(width));
            depth += 1;
        }
        debug_assert!(rest.is_empty());
        Plane { lines, count, levels, depth }
    }

    /// How many lines the plane is over: lines are `0..lines`.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// How many lines are set. Beside a writer that is busy, true a moment ago.
    pub fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// Whether no line is set.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether `line` is set.
    ///
    /// # Panics
    /// If there is no such line.
    #[inline]
    pub fn get(&self, line: u64) -> bool {
        self.check_line(line);
        self.word(scan::word_of(line)) & scan::bit_of(line) != 0
    }

    /// The first set line that is not before `from`; `None` also for a `from` beyond the end.
    #[inline]
    pub fn next(&self, from: u64) -> Option<u64> {
        scan::next_set(self.levels(), from)
    }

    /// The first line in `from..end` that is not set; `None` if all are, or if the range is empty.
    ///
    /// # Panics
    /// If `end` is beyond the end of the plane.
    pub fn next_clear(&self, from: u64, end: u64) -> Option<u64> {
        assert!(end <= self.lines, "lines up to {end} of a plane of {}", self.lines);
        scan::next_clear(self.levels[0], from, end)
    }

    /// The first run of set lines that are not before `from`, cut to `max` lines.
    ///
    /// # Panics
    /// If `max` is 0.
    pub fn next_run(&self, from: u64, max: u64) -> Option<Run> {
        scan::find(self.levels(), from, max, u64::MAX, |index| self.word(index)).found()
    }

    /// Whether any of `count` lines from `first` is set.
    ///
    /// # Panics
    /// If there are no such lines.
    pub fn any_in(&self, first: u64, count: u64) -> bool {
        self.check(first, count);
        self.next(first).is_some_and(|line| line < first + count)
    }

    /// The set lines in order, each looked up when it is asked for.
    pub fn iter(&self) -> Iter<'a> {
        Iter { plane: *self, from: 0 }
    }

    /// The lines set in the word at `index` of level 0.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> u64 {
        // SYNC POINT mark-seen: pairs with the writer's Release in `PlaneWriter::store`.
        self.levels[0][index].load(Acquire)
    }

    /// The word at `index` of level 0 itself.
    #[inline]
    pub(crate) fn line_word(&self, index: usize) -> &'a AtomicU64 {
        &self.levels[0][index]
    }

    #[inline]
    pub(crate) fn levels(&self) -> &Levels<'a> {
        &self.levels[..self.depth]
    }

    /// The word that holds the number of set lines.
    pub(crate) const fn counter(&self) -> &'a AtomicU64 {
        self.count
    }

    #[inline]
    pub(crate) fn check_line(&self, line: u64) {
        assert!(line < self.lines, "line {line} of a plane of {}", self.lines);
    }

    #[inline]
    pub(crate) fn check(&self, first: u64, count: u64) {
        assert!(
            first <= self.lines && count <= self.lines - first,
            "{count} lines from {first} of a plane of {}",
            self.lines
        );
    }
}

/// Words that hold `bits` bits; at least one, so that every level exists.
const fn words_over(bits: u64) -> u64 {
    if bits == 0 { 1 } else { bits.div_ceil(FANOUT) }
}

/// The set lines of a [`Plane`] in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    plane: Plane<'a>,
    from: u64,
}

impl Iterator for Iter<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let line = self.plane.next(self.from)?;
        self.from = line + 1;
        Some(line)
    }
}

impl<'a> IntoIterator for &Plane<'a> {
    type Item = u64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
