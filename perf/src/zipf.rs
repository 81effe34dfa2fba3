//! Zipf's distribution by rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions", 1996): no table, and any number of ranks.

use crate::chance::Chance;

/// Ranks from 1 on, rank k in proportion to 1 / k^exponent.
#[derive(Debug, Clone)]
pub struct Zipf {
    exponent: f64,
    ranks: f64,
    /// The integral of the density at its two ends, between which a draw falls.
    ends: (f64, f64),
    /// Draws that lie so near to their rank need no further look.
    accepted_within: f64,
    chance: Chance,
}

impl Zipf {
    /// # Panics
    /// If there are no ranks, or the exponent is not positive.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ranks below 2^32")]
    pub fn new(exponent: f64, ranks: u64, seed: u64) -> Self {
        assert!(exponent > 0.0 && ranks > 0, "exponent {exponent}, {ranks} ranks");
        let mut zipf = Self {
            exponent,
            ranks: ranks as f64,
            ends: (0.0, 0.0),
            accepted_within: 0.0,
            chance: Chance::new(seed),
        };
        zipf.ends = (zipf.integral(1.5) - 1.0, zipf.integral(zipf.ranks + 0.5));
        zipf.accepted_within = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// The next rank, from 1 on.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the ranks")]
    pub fn draw(&mut self) -> u64 {
        let (first, last) = self.ends;
        loop {
            let under = last + self.chance.fraction() * (first - last);
            let exact = self.inverse(under);
            let rank = exact.round().clamp(1.0, self.ranks);
            if rank - exact <= self.accepted_within || under >= self.integral(rank + 0.5) - self.density(rank)
            {
                return rank as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// Of the density from 1 to x: (x^(1-s) - 1) / (1 - s), and ln x where s is 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.exponent) * log;
        if power.abs() > 1e-8 { power.exp_m1() / power * log } else { log }
    }

    fn inverse(&self, area: f64) -> f64 {
        let power = (area * (1.0 - self.exponent)).max(-1.0);
        if power.abs() > 1e-8 { (power.ln_1p() / power * area).exp() } else { area.exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square of the first ranks and of all others together, against the exact shares.
    fn chi_square(exponent: f64, ranks: usize, first: usize) -> f64 {
        const DRAWS: u32 = 200_000;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let weights: Vec<f64> = (1..=ranks).map(|rank| (rank as f64).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        let mut zipf = Zipf::new(exponent, ranks as u64, 23);
        let mut counts = vec![0.0; first + 1];
        for _ in 0..DRAWS {
            let rank = usize::try_from(zipf.draw()).unwrap();
            assert!((1..=ranks).contains(&rank));
            counts[(rank - 1).min(first)] += 1.0;
        }
        let rest = weights[first..].iter().sum();
        let shares = weights[..first].iter().chain(std::iter::once(&rest)).map(|weight| weight / total);
        let expected = shares.map(|share| share * f64::from(DRAWS));
        counts
            .iter()
            .zip(expected)
            .map(|(seen, expected): (&f64, f64)| (seen - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn ranks_come_as_often_as_the_formula_says() {
        for (exponent, ranks) in [(0.5, 100), (0.99, 10_000), (1.0, 1000), (1.3, 1_000_000)] {
            // 50 degrees of freedom: mean 50, deviation 10.
            let chi_square = chi_square(exponent, ranks, 50);
            assert!((15.0..100.0).contains(&chi_square), "exponent {exponent}, {ranks} ranks: {chi_square}");
        }
    }

    #[test]
    fn one_rank_is_always_drawn() {
        let mut zipf = Zipf::new(1.0, 1, 3);
        assert!((0..100).all(|_| zipf.draw() == 1));
    }
}
