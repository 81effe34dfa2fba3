//! Arithmetic on ordered ranges of a volume.

use crate::api::{Extent, ExtentState, Refusal};

/// A range of whole blocks in one state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) state: ExtentState,
    pub(super) refusal: Option<Refusal>,
}

/// Extents of any states as spans of whole blocks, in order, without overlap: where two lists saw the same bytes, because
/// they changed their state in between, the first in the order of offsets has them.
pub(super) fn spans(mut extents: Vec<Extent>, block: u64, size: u64) -> Vec<Span> {
    extents.sort_by_key(|extent| extent.offset);
    let mut spans: Vec<Span> = Vec::with_capacity(extents.len());
    for extent in extents {
        let begin = extent.offset / block * block;
        let end = extent.offset.saturating_add(extent.length).div_ceil(block).saturating_mul(block).min(size);
        let offset = begin.max(spans.last().map_or(0, |last| last.end));
        if offset < end {
            spans.push(Span { offset, end, state: extent.state, refusal: extent.refusal });
        }
    }
    spans
}

/// What of `spans` is in none of `others`; both in order.
pub(super) fn subtract(spans: &[Span], others: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut first = 0;
    for span in spans {
        let mut offset = span.offset;
        while first < others.len() && others[first].end <= offset {
            first += 1;
        }
        for other in others[first..].iter().take_while(|other| other.offset < span.end) {
            if offset < other.offset {
                left.push(Span { offset, end: other.offset, ..span.clone() });
            }
            offset = offset.max(other.end);
        }
        if offset < span.end {
            left.push(Span { offset, ..span.clone() });
        }
    }
    left
}

/// Bytes in all.
pub(super) fn bytes(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.end - span.offset).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length, state: ExtentState::Failed, refusal: None }
    }

    fn made(ranges: &[(u64, u64)]) -> Vec<Span> {
        spans(ranges.iter().map(|&(offset, end)| extent(offset, end - offset)).collect(), 1, u64::MAX)
    }

    fn plain(spans: &[Span]) -> Vec<(u64, u64)> {
        spans.iter().map(|span| (span.offset, span.end)).collect()
    }

    #[test]
    fn spans_are_whole_blocks_in_order_and_do_not_overlap() {
        let found = spans(vec![extent(4096, 4096), extent(512, 100), extent(600, 3600)], 512, 5000);
        assert_eq!(plain(&found), [(512, 1024), (1024, 4608), (4608, 5000)]);
        assert_eq!(spans(vec![extent(u64::MAX - 5, 5)], 512, 1 << 20), []);
    }

    #[test]
    fn what_is_in_others_is_taken_out() {
        type Ranges = &'static [(u64, u64)];
        let cases: [(Ranges, Ranges, Ranges); 6] = [
            (&[(0, 10)], &[], &[(0, 10)]),
            (&[(0, 10)], &[(0, 10)], &[]),
            (&[(0, 10)], &[(2, 4), (6, 20)], &[(0, 2), (4, 6)]),
            (&[(0, 4), (8, 12)], &[(3, 9)], &[(0, 3), (9, 12)]),
            (&[(0, 4), (4, 8)], &[(2, 6)], &[(0, 2), (6, 8)]),
            (&[(5, 6)], &[(0, 5), (6, 9)], &[(5, 6)]),
        ];
        for (from, others, expected) in cases {
            assert_eq!(plain(&subtract(&made(from), &made(others))), expected, "{from:?} {others:?}");
        }
    }
}
