//! A set of sectors, kept as ranges.

use std::collections::BTreeMap;

/// Sectors `from .. to` that do not touch each other: the keys are the beginnings, the values the ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `from .. to`.
    pub fn insert(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        while let Some((&begin, &end)) = self.0.range(..=to).next_back() {
            if end < from {
                break;
            }
            from = from.min(begin);
            to = to.max(end);
            self.0.remove(&begin);
        }
        self.0.insert(from, to);
    }

    /// Takes `from .. to` out.
    pub fn remove(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        while let Some((&begin, &end)) = self.0.range(..to).next_back() {
            if end <= from {
                return;
            }
            self.0.remove(&begin);
            if begin < from {
                self.0.insert(begin, from);
            }
            if end > to {
                self.0.insert(to, end);
            }
        }
    }

    /// Whether `sector` is in the set.
    pub fn contains(&self, sector: u64) -> bool {
        self.0.range(..=sector).next_back().is_some_and(|(_, &end)| end > sector)
    }

    /// Whether any sector of `from .. to` is in the set.
    pub fn overlaps(&self, from: u64, to: u64) -> bool {
        from < to && self.0.range(..to).next_back().is_some_and(|(_, &end)| end > from)
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&from, &to)| (from, to))
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sectors are in the set.
    pub fn sectors(&self) -> u64 {
        self.iter().map(|(from, to)| to - from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;
    use crate::Random;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_set_of_numbers() {
        let mut random = Random::new(7);
        let (mut ranges, mut oracle) = (Ranges::default(), BTreeSet::new());
        for _ in 0..2_000 {
            let from = random.below(60);
            let to = from + random.below(9);
            if random.chance(500) {
                ranges.insert(from, to);
                oracle.extend(from..to);
            } else {
                ranges.remove(from, to);
                (from..to).for_each(|sector| {
                    oracle.remove(&sector);
                });
            }
            assert!((0..70).all(|sector| ranges.contains(sector) == oracle.contains(&sector)));
            assert_eq!(ranges.overlaps(from, to), (from..to).any(|sector| oracle.contains(&sector)));
            assert_eq!(ranges.sectors(), oracle.len() as u64);
            assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(one, next)| one.1 < next.0));
        }
    }
}
