//! Latency histograms that one thread writes and any thread reads: fixed buckets, no lock, no allocation.
//!
//! The buckets are those of a Prometheus native histogram of schema 2, four to each power of two of a second: 19% wide,
//! so a percentile read from them is off by no more than that. Finding one takes a multiplication and three compares;
//! counting in it is a load and a store, because there is one writer.
//!
//! Rejected: HDR's linear sub-buckets. They are as cheap and do not coincide with what Prometheus can show, so that every
//! scrape would have to guess.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The schema: each power of two is divided into 2^schema buckets.
pub const SCHEMA: i32 = 2;

/// The index, as Prometheus counts, of the first bucket: up to 2^-24 s, which is 60 ns. It takes all below, too.
pub const FIRST: i32 = -96;
/// The index of the last bucket: up to 2^17 s, 36 hours; nothing may wait longer than a day. It takes all above, too.
const LAST: i32 = 68;

/// How many buckets there are.
#[allow(clippy::cast_sign_loss, reason = "the last is not before the first")]
pub const BUCKETS: usize = (LAST - FIRST + 1) as usize;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A read.
    Read = 0,
    /// A write.
    Write = 1,
    /// A flush.
    Flush = 2,
    /// A discard.
    Discard = 3,
    /// A write of zeroes.
    WriteZeroes = 4,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 5] = [Kind::Read, Kind::Write, Kind::Flush, Kind::Discard, Kind::WriteZeroes];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Flush => "flush",
            Kind::Discard => "discard",
            Kind::WriteZeroes => "write_zeroes",
        }
    }
}

/// The place of a time in the buckets.
pub fn bucket_of(ns: u64) -> usize {
    // The bounds between powers of two, as the mantissa of a number from 1 to 2: 2^(1/4), 2^(1/2), 2^(3/4).
    const QUARTERS: [u64; 3] = [
        mantissa(1.189_207_115_002_721),
        mantissa(std::f64::consts::SQRT_2),
        mantissa(1.681_792_830_507_429),
    ];
    // A time of 0 counts as the shortest there is. Precise to 1 in 2^53, which no bound notices.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let bits = (ns.max(1) as f64 * 1e-9).to_bits();
    let rest = bits & MANTISSA;
    let exponent = i32::try_from(bits >> 52).expect("eleven bits and no sign") - 1023;
    let quarter = i32::from(rest > 0) + QUARTERS.iter().map(|bound| i32::from(rest > *bound)).sum::<i32>();
    let index = (4 * exponent + quarter).clamp(FIRST, LAST);
    usize::try_from(index - FIRST).expect("clamped")
}

const MANTISSA: u64 = (1 << 52) - 1;

const fn mantissa(number: f64) -> u64 {
    number.to_bits() & MANTISSA
}

/// The upper bound of a bucket in seconds; it belongs to the bucket.
///
/// # Panics
/// If there is no such bucket.
pub fn upper_bound(bucket: usize) -> f64 {
    assert!(bucket < BUCKETS, "bucket {bucket} of {BUCKETS}");
    let index = FIRST + i32::try_from(bucket).expect("few buckets");
    (f64::from(index) / 4.0).exp2()
}

/// A histogram that one thread writes.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts `count` times of `ns` nanoseconds. For the one thread that writes: of two, one would undo the other's.
    pub fn record(&self, ns: u64, count: u64) {
        bump(&self.buckets[bucket_of(ns)], count);
        bump(&self.sum_ns, ns.saturating_mul(count));
    }

    /// Begins at nothing again. For the one thread that writes.
    pub fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        self.sum_ns.store(0, Relaxed);
    }

    /// What was counted. Beside a busy writer the sum may be a few measurements ahead of the buckets or behind.
    pub fn counts(&self) -> Counts {
        Counts {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum_ns: self.sum_ns.load(Relaxed),
        }
    }
}

/// Adds to a counter that only this thread writes: no locked instruction. It wraps like any counter, after centuries.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// One number for each bucket.
    pub buckets: Vec<u64>,
    /// The sum of all times in nanoseconds.
    pub sum_ns: u64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { buckets: vec![0; BUCKETS], sum_ns: 0 }
    }
}

impl Counts {
    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another histogram counted.
    pub fn add(&mut self, other: &Counts) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(one, other)| *one += other);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the logarithm, which is what the bounds are made of.
        #[test]
        fn a_time_lies_within_its_bucket(ns in 61_u64..100_000_000_000_000) {
            let (bucket, seconds) = (bucket_of(ns), ns as f64 * 1e-9);
            prop_assert!(seconds <= upper_bound(bucket) * (1.0 + 1e-12));
            prop_assert!(seconds > upper_bound(bucket - 1) * (1.0 - 1e-12));
        }
    }

    #[test]
    fn a_power_of_two_is_the_last_of_its_bucket() {
        let half = bucket_of(500_000_000);
        assert_eq!(upper_bound(half), 0.5);
        assert_eq!(bucket_of(500_000_001), half + 1);
        assert_eq!(bucket_of(1_000_000_000), half + 4);
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_place() {
        assert_eq!((bucket_of(0), bucket_of(59)), (0, 0));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!(upper_bound(BUCKETS - 1) > 86_400.0, "a flush may be parked for a day");
    }

    #[test]
    fn what_is_recorded_is_counted_and_summed() {
        let histogram = Histogram::default();
        histogram.record(1_000, 3);
        histogram.record(2_000_000, 1);
        let mut counts = histogram.counts();
        assert_eq!((counts.count(), counts.sum_ns), (4, 2_003_000));
        assert_eq!(counts.buckets[bucket_of(1_000)], 3);
        counts.add(&histogram.counts());
        assert_eq!((counts.count(), counts.sum_ns), (8, 4_006_000));
    }
}
