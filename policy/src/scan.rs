//! Scans over bitmaps: free functions over plain slices of words, so that they can be read and measured
//! alone.
//!
//! A reader may run beside the writer. Each function therefore takes every word as it is when it looks, never
//! assumes that two looks agree, and moves forward with each step, so that it ends.

use crate::sync::{Acquire, AtomicU64};

/// Lines in a word, and words below a bit of the level above.
pub(crate) const FANOUT: u64 = u64::BITS as u64;

/// Levels of the tallest bitmap: 64^7 = 2^42 lines, 16 PiB of lines of 4 KiB.
pub(crate) const LEVELS_MAX: usize = 7;

/// The levels of a bitmap, from the lines up to the single word at the top.
pub(crate) type Levels<'a> = [&'a [AtomicU64]];

/// Consecutive lines, at least one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Run {
    /// The first line.
    pub first: u64,
    /// How many lines.
    pub count: u64,
}

impl Run {
    /// The line behind the last one.
    pub const fn end(self) -> u64 {
        self.first + self.count
    }
}

/// How far a bounded search came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// The first run that was asked for.
    Found(Run),
    /// The permitted number of words was looked at; nothing up to here. Go on from this line.
    Paused {
        /// Where to go on.
        from: u64,
    },
    /// Nothing up to the end.
    End,
}

impl Search {
    /// The run, if one was found.
    pub const fn found(self) -> Option<Run> {
        match self {
            Search::Found(run) => Some(run),
            Search::Paused { .. } | Search::End => None,
        }
    }
}

/// The index of the word that holds `line`.
pub(crate) const fn word_of(line: u64) -> usize {
    usize_of(line / FANOUT)
}

/// The bit of `line` in its word.
pub(crate) const fn bit_of(line: u64) -> u64 {
    1 << (line % FANOUT)
}

/// The first line of the word at `index`.
pub(crate) const fn first_line_of(index: usize) -> u64 {
    index as u64 * FANOUT
}

/// All bits from that of `line` to the top of its word.
pub(crate) const fn bits_from(line: u64) -> u64 {
    u64::MAX << (line % FANOUT)
}

/// The lowest bit set in `bits` of the word at `index`, as a line. `bits` is not zero.
const fn lowest(index: usize, bits: u64) -> u64 {
    first_line_of(index) + bits.trailing_zeros() as u64
}

/// The first set line that is not before `from`.
#[inline]
pub(crate) fn next_set(levels: &Levels<'_>, from: u64) -> Option<u64> {
    let index = word_of(from);
    // SYNC POINT mark-seen: pairs with the writer's Release of the line's word, so that whoever sees the bit
    // sees all that the writer did before it set it.
    let bits = levels[0].get(index)?.load(Acquire) & bits_from(from);
    if bits != 0 { Some(lowest(index, bits)) } else { climb(levels, index as u64 + 1) }
}

/// The rest of [`next_set`] when the word of `from` has nothing: up until a summary knows more, then down.
fn climb(levels: &Levels<'_>, from: u64) -> Option<u64> {
    // `at` is a bit of `level`, which is a word of the level below.
    let (mut level, mut at) = (1, from);
    while level < levels.len() {
        let index = word_of(at);
        // SYNC POINT summary-seen: pairs with the writer's Release of the summary; the word below it is then
        // seen as it was when the summary was raised, or newer.
        let word = levels[level].get(index)?;
        let bits = word.load(Acquire) & bits_from(at);
        if bits == 0 {
            (level, at) = (level + 1, index as u64 + 1);
            continue;
        }
        match descend(levels, level, lowest(index, bits)) {
            Ok(line) => return Some(line),
            Err(stale) => (level, at) = stale,
        }
    }
    None
}

/// From bit `at` of `level` down to the first line below it. `Err` has the level and the bit to go on from
/// when a summary promised more than its word holds, which a reader sees while the writer clears the last
/// line of a word.
fn descend(levels: &Levels<'_>, mut level: usize, mut at: u64) -> Result<u64, (usize, u64)> {
    while level > 0 {
        let index = usize_of(at);
        let bits = levels[level - 1][index].load(Acquire);
        if bits == 0 {
            return Err((level, at + 1));
        }
        (level, at) = (level - 1, lowest(index, bits));
    }
    Ok(at)
}

/// A bit of an upper level as the index of the word that it summarizes.
#[expect(clippy::cast_possible_truncation, reason = "a bit of a summary is an index of the slice below it")]
pub(crate) const fn usize_of(bit: u64) -> usize {
    bit as usize
}

/// The first clear line in `from..end`; `None` if all of them are set. `end` is not beyond the words.
pub(crate) fn next_clear(words: &[AtomicU64], from: u64, end: u64) -> Option<u64> {
    let mut line = from;
    while line < end {
        let index = word_of(line);
        // SYNC POINT mark-seen, as above.
        let clear = !words[index].load(Acquire) & bits_from(line);
        if clear != 0 {
            return Some(lowest(index, clear)).filter(|line| *line < end);
        }
        line = first_line_of(index + 1);
    }
    None
}

/// The first run, of at most `max` lines, of lines not before `from` that `wanted` names. It takes the index
/// of a word and returns the wanted lines of that word, a subset of those set in `levels`. Looks at
/// `words_max` words at most before a run begins; words without a set line cost nothing.
#[inline]
pub(crate) fn find(
    levels: &Levels<'_>,
    from: u64,
    max: u64,
    words_max: u64,
    wanted: impl Fn(usize) -> u64,
) -> Search {
    assert!(max > 0 && words_max > 0, "a search for runs of {max} lines in {words_max} words");
    let (mut from, mut words_left) = (from, words_max);
    while let Some(line) = next_set(levels, from) {
        if words_left == 0 {
            return Search::Paused { from: line };
        }
        words_left -= 1;
        let index = word_of(line);
        let bits = wanted(index) & bits_from(line);
        if bits != 0 {
            return Search::Found(extend(levels[0].len(), index, bits, max, wanted));
        }
        from = first_line_of(index + 1);
    }
    Search::End
}

/// The run that begins with the lowest of `bits`, the wanted lines of the word at `index`.
#[inline]
fn extend(words: usize, mut index: usize, mut bits: u64, max: u64, wanted: impl Fn(usize) -> u64) -> Run {
    let first = lowest(index, bits);
    let mut offset = bits.trailing_zeros();
    let mut count = 0;
    loop {
        let ones = (!(bits >> offset)).trailing_zeros().min(u64::BITS - offset);
        count += u64::from(ones);
        index += 1;
        // Ends inside the word, or is long enough, or there is no other word.
        if offset + ones < u64::BITS || count >= max || index == words {
            return Run { first, count: count.min(max) };
        }
        (bits, offset) = (wanted(index), 0);
    }
}
