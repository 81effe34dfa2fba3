//! Lines of which the device may have what nobody else keeps: refused zeroes and writes that were given up leave any mix
//! of old and new in its cache, and a reset or a failed flush takes some of that back. Until a device flush succeeds, a
//! copy of such a line in the cache could outlive what it is a copy of: no later flush would make them equal again.

use crate::Instant;
use alloc::vec::Vec;

/// Ranges kept apart at most; beyond, the two nearest become one. A line too many is read from the device once more.
const RANGES_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    end: u64,
    /// The device flush that was asked for covers it.
    covered: bool,
}

/// The torn lines of a volume on one reactor.
#[derive(Debug)]
pub(crate) struct Torn {
    ranges: Vec<Range>,
    /// Since when no device flush was asked for.
    since: Instant,
}

impl Torn {
    pub(crate) fn new() -> Torn {
        Torn { ranges: Vec::with_capacity(RANGES_MAX), since: Instant(0) }
    }

    /// The lines `first..end` may have any content.
    pub(crate) fn add(&mut self, first: u64, end: u64, now: Instant) {
        if self.ranges.is_empty() {
            self.since = now;
        }
        let distance = |range: &Range| range.first.saturating_sub(end).max(first.saturating_sub(range.end));
        let full = self.ranges.len() == RANGES_MAX;
        let nearest = self.ranges.iter_mut().min_by_key(|range| distance(range));
        match nearest.filter(|range| full || distance(range) == 0) {
            Some(range) => {
                *range = Range { first: range.first.min(first), end: range.end.max(end), covered: false };
            }
            None => self.ranges.push(Range { first, end, covered: false }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn contains(&self, line: u64) -> bool {
        self.ranges.iter().any(|range| range.first <= line && line < range.end)
    }

    /// Since when torn lines wait for somebody to ask for a device flush.
    pub(crate) fn since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.since)
    }

    /// The volume is gone.
    pub(crate) fn forget(&mut self) {
        self.ranges.clear();
    }

    /// A device flush is asked for.
    pub(crate) fn cover(&mut self, now: Instant) {
        self.ranges.iter_mut().for_each(|range| range.covered = true);
        self.since = now;
    }

    /// It failed, or the device was reset meanwhile.
    pub(crate) fn doubt(&mut self) {
        self.ranges.iter_mut().for_each(|range| range.covered = false);
    }

    /// It succeeded: what the device shows of the lines that it covered, it keeps.
    pub(crate) fn settle(&mut self) {
        self.ranges.retain(|range| !range.covered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line that was added is contained until a flush that was asked for later succeeds.
    #[test]
    fn a_line_is_torn_until_a_flush_that_covers_it() {
        let mut torn = Torn::new();
        (0..100).for_each(|line| torn.add(10 * line, 10 * line + 2, Instant(line)));
        assert!((0..100).all(|line| torn.contains(10 * line) && torn.contains(10 * line + 1)));
        assert!(torn.ranges.len() <= RANGES_MAX);
        assert!(!torn.contains(992));
        torn.cover(Instant(200));
        torn.doubt();
        torn.settle();
        assert!(torn.contains(0), "the flush failed");
        torn.cover(Instant(300));
        torn.add(0, 1, Instant(301));
        torn.settle();
        assert!(torn.contains(0) && !torn.contains(990), "the flush covers what was torn before it");
        assert_eq!(torn.since(), Some(Instant(300)));
        torn.cover(Instant(400));
        torn.settle();
        assert_eq!((torn.is_empty(), torn.since()), (true, None));
    }
}
