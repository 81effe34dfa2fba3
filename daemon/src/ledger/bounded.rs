//! A numbered list that keeps its newest entries only.

use std::collections::VecDeque;

/// A number does not follow the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder;

/// A list whose entries are numbered from 1 for ever; the oldest go when it is full.
#[derive(Clone, Debug)]
pub(super) struct Bounded<T> {
    entries: VecDeque<T>,
    /// The number of the oldest entry kept (of the next one if there is none).
    first: u64,
    /// Entries with a lower number are in the store.
    saved: u64,
    max: usize,
}

impl<T: PartialEq> PartialEq for Bounded<T> {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first && self.entries == other.entries
    }
}

impl<T> Bounded<T> {
    /// An empty list that keeps at most `max` entries, at least 1.
    pub(super) fn new(max: usize) -> Bounded<T> {
        assert!(max > 0, "a list of nothing keeps nothing");
        Bounded { entries: VecDeque::new(), first: 1, saved: 1, max }
    }

    /// The number of the oldest entry kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether anything was added that the store does not have.
    pub(super) fn is_unsaved(&self) -> bool {
        self.saved < self.next()
    }

    /// Adds the newest; returns the oldest if it had to go.
    pub(super) fn push(&mut self, entry: T) -> Option<T> {
        self.entries.push_back(entry);
        if self.entries.len() <= self.max {
            return None;
        }
        self.first += 1;
        self.entries.pop_front()
    }

    /// Adds an entry read from the store; returns the oldest if it had to go, or an error if the number does not
    /// follow the last one.
    pub(super) fn load(&mut self, number: u64, entry: T) -> Result<Option<T>, OutOfOrder> {
        if self.entries.is_empty() && number > 0 {
            self.first = number;
        }
        if number != self.next() || number == u64::MAX {
            return Err(OutOfOrder);
        }
        let dropped = self.push(entry);
        self.saved = self.next();
        Ok(dropped)
    }

    /// Every entry with its number, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (self.first..).zip(&self.entries)
    }

    /// The entries from `number` on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let skip = skip.min(self.entries.len());
        (self.first + skip as u64..).zip(self.entries.range(skip..))
    }

    /// The entries that the store does not have, or all that are kept.
    pub(super) fn to_write(&self, all: bool) -> impl Iterator<Item = (u64, &T)> {
        self.from(if all { 0 } else { self.saved })
    }

    /// The store has all of it.
    pub(super) fn mark_saved(&mut self) {
        self.saved = self.next();
    }
}
