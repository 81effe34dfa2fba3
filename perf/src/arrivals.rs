//! An open loop's schedule: when requests arrive, whatever becomes of those before them.

use crate::chance::Chance;

/// How the gaps between arrivals are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gaps {
    /// Independent of each other, as many users together make them: bursts happen.
    Poisson,
    /// All alike.
    Even,
}

/// Times in ns from the beginning of a round, never decreasing; the same for the same seed.
#[derive(Debug, Clone)]
pub struct Arrivals {
    gaps: Gaps,
    mean_gap_ns: f64,
    at_ns: f64,
    chance: Chance,
}

impl Arrivals {
    /// # Panics
    /// If the rate is not positive.
    #[must_use]
    pub fn new(gaps: Gaps, rate_per_s: f64, seed: u64) -> Self {
        assert!(rate_per_s > 0.0, "{rate_per_s} arrivals a second");
        Self { gaps, mean_gap_ns: 1e9 / rate_per_s, at_ns: 0.0, chance: Chance::new(seed) }
    }

    /// When the next request arrives.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ns since the beginning of a round"
    )]
    pub fn next_ns(&mut self) -> u64 {
        self.at_ns += match self.gaps {
            Gaps::Even => self.mean_gap_ns,
            Gaps::Poisson => -self.chance.fraction().ln() * self.mean_gap_ns,
        };
        self.at_ns as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_are_a_grid() {
        let mut arrivals = Arrivals::new(Gaps::Even, 250_000.0, 1);
        assert_eq!([arrivals.next_ns(), arrivals.next_ns(), arrivals.next_ns()], [4000, 8000, 12_000]);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() {
        let mut arrivals = Arrivals::new(Gaps::Poisson, 100_000.0, 9);
        // Arrivals in each of 1000 windows of 1 ms: mean and variance are both 100.
        let mut windows = [0.0f64; 1000];
        loop {
            let window = usize::try_from(arrivals.next_ns() / 1_000_000).unwrap();
            let Some(count) = windows.get_mut(window) else { break };
            *count += 1.0;
        }
        let mean = windows.iter().sum::<f64>() / 1000.0;
        let variance = windows.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 999.0;
        assert!((mean - 100.0).abs() < 1.5, "mean {mean}");
        assert!((80.0..122.0).contains(&variance), "variance {variance}");
    }
}
