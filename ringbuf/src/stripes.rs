//! Which reactor owns which part of a volume.

/// A volume is striped over the reactors: stripe `n` belongs to reactor `n % reactors`. With one reactor there is
/// one endless stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripes {
    stripe_bytes: u64,
    shift: u32,
    reactors: u32,
    /// `ceil(2^64 / reactors)`: turns the remainder of a 32-bit stripe number into two multiplications
    /// (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019).
    reciprocal: u64,
}

/// A range of a volume that one reactor owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The owner.
    pub reactor: u32,
    /// Bytes from the start of the volume.
    pub offset: u64,
    /// Bytes; never 0.
    pub length: u64,
}

impl Stripes {
    /// # Panics
    /// If `stripe_bytes` is not a power of two of at least 512, or `reactors` not in `1..=64`.
    #[must_use]
    pub fn new(stripe_bytes: u64, reactors: u32) -> Self {
        assert!(stripe_bytes.is_power_of_two() && stripe_bytes >= 512, "stripe of {stripe_bytes} bytes");
        assert!((1..=crate::limits::REACTORS_MAX).contains(&reactors), "{reactors} reactors");
        // For one reactor the reciprocal would be 2^64; `reactor_of` does not use it.
        let reciprocal = (u64::MAX / u64::from(reactors)).wrapping_add(1);
        Self { stripe_bytes, shift: stripe_bytes.trailing_zeros(), reactors, reciprocal }
    }

    /// How many reactors share a volume.
    #[must_use]
    pub fn reactors(&self) -> u32 {
        self.reactors
    }

    /// Bytes of one stripe.
    #[must_use]
    pub fn stripe_bytes(&self) -> u64 {
        self.stripe_bytes
    }

    /// The reactor that owns the byte at `offset`.
    #[must_use]
    #[inline]
    pub fn reactor_of(&self, offset: u64) -> u32 {
        if self.reactors == 1 {
            return 0;
        }
        let stripe = offset >> self.shift;
        let remainder = match u32::try_from(stripe) {
            Ok(stripe) => {
                let fraction = self.reciprocal.wrapping_mul(u64::from(stripe));
                (u128::from(fraction) * u128::from(self.reactors)) >> 64
            }
            Err(_) => u128::from(stripe % u64::from(self.reactors)),
        };
        u32::try_from(remainder).expect("a remainder is smaller than its divisor")
    }

    /// How many bytes from `offset` on belong to the same reactor without a gap.
    #[must_use]
    #[inline]
    pub fn run_from(&self, offset: u64) -> u64 {
        if self.reactors == 1 {
            u64::MAX - offset
        } else {
            self.stripe_bytes - (offset & (self.stripe_bytes - 1))
        }
    }

    /// Whether `[offset, offset + length)` lies within one stripe of `reactor`.
    #[must_use]
    #[inline]
    pub fn owns(&self, reactor: u32, offset: u64, length: u64) -> bool {
        self.reactor_of(offset) == reactor && length <= self.run_from(offset)
    }

    /// Splits a range at the borders of stripes, and so that no part is longer than `part_bytes_max`.
    ///
    /// # Panics
    /// If the range passes the end of `u64`, or `part_bytes_max` is 0.
    pub fn parts(self, offset: u64, length: u64, part_bytes_max: u64) -> impl Iterator<Item = Part> {
        assert!(part_bytes_max > 0, "parts of no bytes");
        let end = offset.checked_add(length).expect("a range within u64");
        let mut at = offset;
        core::iter::from_fn(move || {
            let length = (end - at).min(part_bytes_max).min(self.run_from(at));
            let part = Part { reactor: self.reactor_of(at), offset: at, length };
            at += length;
            (length > 0).then_some(part)
        })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_reactor_is_the_stripe_number_modulo_reactors(
            offset in any::<u64>(), shift in 9u32..40, reactors in 1u32..=64,
        ) {
            let stripes = Stripes::new(1 << shift, reactors);
            prop_assert_eq!(u64::from(stripes.reactor_of(offset)), (offset >> shift) % u64::from(reactors));
        }

        #[test]
        fn parts_cover_the_range_once_in_order_and_each_has_one_owner(
            offset in 0u64..1 << 40, length in 0u64..1 << 20, shift in 12u32..20, reactors in 1u32..=8,
            part_bytes_max in 512u64..1 << 18,
        ) {
            let stripes = Stripes::new(1 << shift, reactors);
            let mut at = offset;
            for part in stripes.parts(offset, length, part_bytes_max) {
                prop_assert_eq!(part.offset, at);
                prop_assert!(part.length > 0 && part.length <= part_bytes_max);
                prop_assert!(stripes.owns(part.reactor, part.offset, part.length));
                let last = part.offset + part.length - 1;
                prop_assert_eq!(stripes.reactor_of(last), part.reactor);
                at += part.length;
            }
            prop_assert_eq!(at, offset + length);
        }

        #[test]
        fn a_part_is_no_shorter_than_it_must_be(
            offset in 0u64..1 << 40, length in 1u64..1 << 20, shift in 12u32..20, reactors in 1u32..=8,
            part_bytes_max in 512u64..1 << 18,
        ) {
            let stripes = Stripes::new(1 << shift, reactors);
            for part in stripes.parts(offset, length, part_bytes_max) {
                let end = part.offset + part.length;
                let full = part.length == part_bytes_max;
                let at_border = reactors > 1 && end % (1 << shift) == 0;
                prop_assert!(full || at_border || end == offset + length);
            }
        }
    }

    #[test]
    fn one_reactor_owns_all_in_one_part() {
        let stripes = Stripes::new(4096, 1);
        let parts: Vec<Part> = stripes.parts(4000, 100_000, u64::MAX).collect();
        assert_eq!(parts, [Part { reactor: 0, offset: 4000, length: 100_000 }]);
        assert!(stripes.owns(0, u64::MAX, 0));
    }
}
