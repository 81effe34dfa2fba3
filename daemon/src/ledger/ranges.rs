//! An ordered map from byte ranges to values: ranges never overlap, and neighbours of equal value are one.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// A half-open range of bytes, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: u64,
    /// First byte after it.
    pub(super) end: u64,
}

impl Span {
    /// The range, if it is one.
    pub(super) fn new(start: u64, end: u64) -> Option<Span> {
        (start < end).then_some(Span { start, end })
    }

    /// Bytes.
    pub(super) fn length(self) -> u64 {
        self.end - self.start
    }
}

/// The map, and the starts of all rows that differ from what the store holds.
#[derive(Clone, Debug)]
pub(super) struct RangeMap<V> {
    pieces: BTreeMap<u64, (u64, V)>,
    touched: BTreeSet<u64>,
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        RangeMap { pieces: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

/// The store's copy says nothing about which rows are pending: two maps are equal if they map alike.
impl<V: PartialEq> PartialEq for RangeMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether nothing is mapped.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Every piece in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Span, &V)> {
        self.pieces.iter().map(|(&start, (end, value))| (Span { start, end: *end }, value))
    }

    /// The first byte after the last piece, 0 if there is none.
    pub(super) fn end(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(_, (end, _))| *end)
    }

    /// The piece that begins at exactly `start`.
    pub(super) fn starting_at(&self, start: u64) -> Option<(u64, &V)> {
        self.pieces.get(&start).map(|(end, value)| (*end, value))
    }

    /// Adds a piece that was read from the store and so needs no write; `false` if it is empty or overlaps one that is
    /// there.
    pub(super) fn load(&mut self, start: u64, end: u64, value: V) -> bool {
        let Some(span) = Span::new(start, end) else { return false };
        let free = self.inside_is_empty(span);
        if free {
            self.pieces.insert(start, (end, value));
        }
        free
    }

    /// Passes every piece and every gap inside `span` through `change`, in order; `None` is a gap.
    pub(super) fn update(&mut self, span: Span, mut change: impl FnMut(Span, Option<V>) -> Option<V>) {
        let mut at = span.start;
        for (inside, value) in self.take(span) {
            if let Some(gap) = Span::new(at, inside.start) {
                self.put(gap, change(gap, None));
            }
            self.put(inside, change(inside, Some(value)));
            at = inside.end;
        }
        if let Some(gap) = Span::new(at, span.end) {
            self.put(gap, change(gap, None));
        }
        self.join(span.end);
    }

    /// Passes every piece inside `span` through `change`; gaps stay gaps.
    pub(super) fn update_pieces(&mut self, span: Span, mut change: impl FnMut(Span, V) -> Option<V>) {
        for (inside, value) in self.take(span) {
            self.put(inside, change(inside, value));
            self.join(inside.end);
        }
    }

    /// The pieces and parts of pieces inside `span`, without changing anything.
    pub(super) fn inside(&self, span: Span) -> Vec<(Span, V)> {
        let first = self.pieces.range(..span.start).next_back().filter(|(_, (end, _))| *end > span.start);
        let rest = self.pieces.range(span.start..span.end);
        first
            .into_iter()
            .chain(rest)
            .map(|(&start, (end, value))| {
                (Span { start: start.max(span.start), end: (*end).min(span.end) }, value.clone())
            })
            .collect()
    }

    /// Whether any row changed since the last [`take_touched`](Self::take_touched).
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Takes the starts of the rows that changed since the last call.
    pub(super) fn take_touched(&mut self) -> BTreeSet<u64> {
        mem::take(&mut self.touched)
    }

    /// Cuts out everything inside `span`.
    fn take(&mut self, span: Span) -> Vec<(Span, V)> {
        if self.inside_is_empty(span) {
            return Vec::new();
        }
        self.cut(span.start);
        self.cut(span.end);
        let starts: Vec<u64> = self.pieces.range(span.start..span.end).map(|(&start, _)| start).collect();
        let mut out = Vec::with_capacity(starts.len());
        for start in starts {
            self.touched.insert(start);
            let (end, value) = self.pieces.remove(&start).expect("its key was just read");
            out.push((Span { start, end }, value));
        }
        out
    }

    fn inside_is_empty(&self, span: Span) -> bool {
        self.pieces.range(..span.end).next_back().is_none_or(|(_, (end, _))| *end <= span.start)
    }

    /// Makes two pieces of one that reaches over `at`.
    fn cut(&mut self, at: u64) {
        let Some((&start, (end, value))) = self.pieces.range_mut(..at).next_back() else { return };
        if *end <= at {
            return;
        }
        let right = (mem::replace(end, at), value.clone());
        self.pieces.insert(at, right);
        self.touched.extend([start, at]);
    }

    /// Fills a gap and joins the piece to an equal one on its left.
    fn put(&mut self, span: Span, value: Option<V>) {
        let Some(value) = value else { return };
        self.touched.insert(span.start);
        self.pieces.insert(span.start, (span.end, value));
        self.join(span.start);
    }

    /// Makes one piece of two equal ones that meet at `at`.
    fn join(&mut self, at: u64) {
        let Some((right_end, right)) = self.pieces.get(&at) else { return };
        let right_end = *right_end;
        let Some((&start, (left_end, left))) = self.pieces.range(..at).next_back() else { return };
        if *left_end != at || left != right {
            return;
        }
        self.pieces.remove(&at);
        self.pieces.get_mut(&start).expect("it was just read").0 = right_end;
        self.touched.extend([start, at]);
    }
}
