//! From a number and its labels to the encoder's words.

use crate::latency::{self, Counts};
use prometheus_client::encoding::{MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet};
use std::fmt;

/// A label: its name and its value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// The samples of one metric.
pub(super) struct Samples<'a> {
    pub(super) encoder: MetricEncoder<'a>,
    /// The labels that the catalogue names, to hold the samples to it.
    pub(super) labels: &'static [&'static str],
}

/// The classic buckets: each power of two of a second from 2^-20 (1 us) to 2^6 (64 s), and all above.
const CLASSIC: std::ops::RangeInclusive<i32> = -20..=6;

impl Samples<'_> {
    /// A number that goes up and down.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, which no byte count reaches")]
    pub(super) fn gauge(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        self.gauge_f64(labels, value as f64)
    }

    /// The same, with a fraction.
    pub(super) fn gauge_f64(&mut self, labels: &[Label<'_>], value: f64) -> fmt::Result {
        self.with(labels, |encoder| encoder.encode_gauge(&value))
    }

    /// A number that only grows while the daemon runs.
    pub(super) fn counter(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        self.with(labels, |encoder| encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None))
    }

    /// Times in seconds. A histogram that has counted nothing is left out.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], counts: &Counts) -> fmt::Result {
        let count = counts.count();
        if count == 0 {
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss, reason = "a sum for an average")]
        let sum = counts.sum_ns as f64 * 1e-9;
        let (classic, native) = (classic(counts), Native::of(counts));
        self.with(labels, |encoder| {
            encoder.encode_histogram_with_native::<NoLabelSet>(sum, count, &classic, None, native.view())
        })
    }

    fn with(
        &mut self,
        labels: &[Label<'_>],
        encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        assert!(labels.iter().map(|(name, _)| name).eq(self.labels), "the catalogue has {:?}", self.labels);
        if labels.is_empty() {
            encode(&mut self.encoder)
        } else {
            encode(&mut self.encoder.encode_family(&labels)?)
        }
    }
}

/// Each bound with what lies between it and the one before.
fn classic(counts: &Counts) -> Vec<(f64, u64)> {
    let mut rest = counts.buckets.as_slice();
    let mut done = latency::FIRST;
    let mut buckets = Vec::with_capacity(CLASSIC.count() + 1);
    for power in CLASSIC {
        // The last bucket up to 2^power has the index 4 * power; both count from the first.
        let many = usize::try_from((power << latency::SCHEMA) + 1 - done).expect("in order");
        let (below, above) = rest.split_at(many);
        buckets.push((f64::from(power).exp2(), below.iter().sum()));
        (rest, done) = (above, (power << latency::SCHEMA) + 1);
    }
    buckets.push((f64::INFINITY, rest.iter().sum()));
    buckets
}

/// The buckets that have something, as Prometheus takes them: runs, and in them the differences of neighbours.
#[derive(Debug, Default, PartialEq)]
struct Native {
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
}

impl Native {
    fn of(counts: &Counts) -> Native {
        let mut native = Native::default();
        // A run's beginning is told from the end of the run before; the first one's from 0.
        let (mut end, mut before) = (0, 0);
        for (index, &count) in (latency::FIRST..).zip(&counts.buckets).filter(|(_, count)| **count > 0) {
            match native.spans.last_mut() {
                Some(span) if index == end => span.1 += 1,
                _ => native.spans.push((index - end, 1)),
            }
            end = index + 1;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            native.deltas.push(count - before);
            before = count;
        }
        native
    }

    fn view(&self) -> NativeHistogram<'_> {
        let none = NativeHistogramBuckets { spans: &[], deltas: &[] };
        NativeHistogram {
            schema: latency::SCHEMA,
            // What Prometheus itself takes when nothing is said: 2^-128. Nothing of ours is as short.
            zero_threshold: (-128_f64).exp2(),
            zero_count: 0,
            negative: none,
            positive: NativeHistogramBuckets { spans: &self.spans, deltas: &self.deltas },
            created: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::bucket_of;

    fn counts(times: &[(u64, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (ns, count) in times {
            counts.buckets[bucket_of(*ns)] += count;
        }
        counts
    }

    #[test]
    fn classic_buckets_hold_each_time_once() {
        let counts =
            counts(&[(1, 1), (953, 2), (955, 3), (500_000_000, 4), (501_000_000, 5), (65_000_000_000, 6)]);
        let buckets = classic(&counts);
        assert_eq!(buckets.len(), 28);
        // 2^-20 s is 953.7 ns.
        assert_eq!((buckets[0], buckets[1]), (((-20_f64).exp2(), 3), ((-19_f64).exp2(), 3)));
        let of = |bound: f64| buckets.iter().find(|(upper, _)| *upper == bound).expect("a bound").1;
        assert_eq!((of(0.5), of(1.0), of(64.0), of(f64::INFINITY)), (4, 5, 0, 6));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), counts.count());
    }

    #[test]
    fn native_buckets_are_runs_of_differences() {
        // Half a second ends bucket -4; the next three are up to 2^(-3/4), 2^(-1/2) and 2^(-1/4) s.
        let counts = counts(&[(500_000_000, 5), (501_000_000, 3), (800_000_000, 9)]);
        let native = Native::of(&counts);
        assert_eq!(native, Native { spans: vec![(-4, 2), (1, 1)], deltas: vec![5, -2, 6] });
        assert_eq!(Native::of(&Counts::default()), Native::default());
    }
}
