//! What is said of repeats: the median, and how far they lie apart.

use serde::{Deserialize, Serialize};

/// A figure measured several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// The middle one; with an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// `(max - min) / median`: 0.1 means that the repeats lie within a tenth of the figure. 0 if the median is 0.
    pub spread: f64,
    /// All, in the order in which they were measured.
    pub repeats: Vec<f64>,
}

impl Repeats {
    /// # Panics
    /// If there are none, or one is no number.
    #[must_use]
    pub fn new(repeats: Vec<f64>) -> Self {
        assert!(!repeats.is_empty() && repeats.iter().all(|value| value.is_finite()), "{repeats:?}");
        let mut sorted = repeats.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let spread = if median == 0.0 { 0.0 } else { (max - min) / median.abs() };
        Self { median, min, max, spread, repeats }
    }

    /// This figure over that one, repeat by repeat: neighbours in time saw the same machine, medians of long runs need
    /// not have.
    ///
    /// # Panics
    /// If they are not equally many, or one of the others is 0.
    #[must_use]
    pub fn ratio_to(&self, other: &Self) -> Self {
        assert_eq!(self.repeats.len(), other.repeats.len(), "pairs of repeats");
        Self::new(self.repeats.iter().zip(&other.repeats).map(|(this, that)| this / that).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(Repeats::new(vec![5.0, 1.0, 3.0]).median, 3.0);
        assert_eq!(Repeats::new(vec![4.0, 1.0, 2.0, 100.0]).median, 3.0);
        assert_eq!(Repeats::new(vec![7.0]).median, 7.0);
    }

    #[test]
    fn the_spread_is_relative_to_the_median_and_the_order_is_kept() {
        let figure = Repeats::new(vec![110.0, 90.0, 100.0]);
        assert_eq!((figure.min, figure.max, figure.spread), (90.0, 110.0, 0.2));
        assert_eq!(figure.repeats, [110.0, 90.0, 100.0]);
        assert_eq!(Repeats::new(vec![0.0, 0.0]).spread, 0.0);
    }

    #[test]
    fn a_ratio_pairs_neighbours() {
        // The machine became twice as slow half-way: the ratio does not see it.
        let daemon = Repeats::new(vec![80.0, 80.0, 40.0, 40.0]);
        let floor = Repeats::new(vec![100.0, 100.0, 50.0, 50.0]);
        let ratio = daemon.ratio_to(&floor);
        assert_eq!((ratio.median, ratio.spread), (0.8, 0.0));
    }

    #[test]
    #[should_panic(expected = "pairs of repeats")]
    fn a_ratio_of_unequal_numbers_is_refused() {
        let _ = Repeats::new(vec![1.0]).ratio_to(&Repeats::new(vec![1.0, 2.0]));
    }

    #[test]
    #[should_panic(expected = "NaN")]
    fn what_is_no_number_is_refused() {
        let _ = Repeats::new(vec![1.0, f64::NAN]);
    }
}
