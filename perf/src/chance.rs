//! Chance from a seed, without a division.

/// A sequence of 64-bit numbers: an additive counter through a mixing function (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014). Seeds that are neighbours give sequences that have nothing in common.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and at most 1: its logarithm exists.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    pub fn fraction(&mut self) -> f64 {
        ((self.number() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True in so many of 2^32 draws.
    #[inline]
    pub fn happens(&mut self, of_2_32: u64) -> bool {
        self.number() >> 32 < of_2_32
    }
}

/// A share in percent as `happens` wants it.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32")]
pub fn of_2_32(percent: f64) -> u64 {
    (percent.clamp(0.0, 100.0) / 100.0 * 4_294_967_296.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_met_and_its_ends_are_exact() {
        for percent in [0.0, 0.1, 30.0, 99.9, 100.0] {
            let mut chance = Chance::new(41);
            let share = of_2_32(percent);
            let happened = (0..100_000).filter(|_| chance.happens(share)).count();
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let off = happened as f64 / 1000.0 - percent;
            // The deviation at 30% is 0.145.
            assert!(off.abs() < 0.6, "{percent}%: {happened}");
            assert!(percent > 0.0 || happened == 0);
            assert!(percent < 100.0 || happened == 100_000);
        }
    }

    #[test]
    fn fractions_are_even_and_have_logarithms() {
        let mut chance = Chance::new(2);
        let mean =
            (0..100_000).map(|_| chance.fraction()).inspect(|x| assert!(*x > 0.0 && *x <= 1.0)).sum::<f64>();
        assert!((mean / 100_000.0 - 0.5).abs() < 0.005, "{mean}");
    }
}
