//! How long clients waited between two looks: percentiles, read from the daemon's histograms.
//!
//! A wait begins when a reactor takes the request from its ring and ends with the turn that answers it: it holds what the
//! cache, the device and the policy take, and not how long the request lay in the ring or the client took to notice. The
//! buckets are 19% wide and a percentile is the upper bound of its bucket: it is too high by that at most, never too low.

use crate::api::{Latency, VolumeLatencies};
use serde::Serialize;
use std::collections::BTreeMap;

/// The operations that are shown, by their names in the interface.
pub(crate) const SHOWN: [&str; 3] = ["read", "write", "flush"];

/// What half of the operations and 99 of 100 took at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// How many there were.
    pub(crate) count: u64,
    /// Nanoseconds.
    pub(crate) p50_ns: f64,
    /// Nanoseconds.
    pub(crate) p99_ns: f64,
}

/// A volume's; none for an operation that did not happen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct VolumePercentiles {
    /// Its name.
    pub(crate) volume: String,
    /// Of reads.
    pub(crate) read: Option<Percentiles>,
    /// Of writes.
    pub(crate) write: Option<Percentiles>,
    /// Of flushes, parked ones included.
    pub(crate) flush: Option<Percentiles>,
}

/// What lies between two looks; histograms that went back are those of another daemon or volume, and count from 0.
pub(crate) fn between(before: &[VolumeLatencies], after: &[VolumeLatencies]) -> Vec<VolumePercentiles> {
    let volume = |now: &VolumeLatencies| {
        let then = before.iter().find(|then| then.volume == now.volume);
        let [read, write, flush] = SHOWN.map(|operation| {
            let of =
                |one: &VolumeLatencies| one.requests.iter().find(|one| one.operation == operation).cloned();
            of(now).and_then(|now| percentiles(&since(then.and_then(of).as_ref(), &now)))
        });
        VolumePercentiles { volume: now.volume.clone(), read, write, flush }
    };
    after.iter().map(volume).collect()
}

/// The buckets that grew, and by how much.
fn since(then: Option<&Latency>, now: &Latency) -> Vec<(i32, u64)> {
    let then = then.filter(|then| then.count <= now.count);
    let old: BTreeMap<i32, u64> = then.into_iter().flat_map(|then| then.buckets.iter().copied()).collect();
    let grown = |&(index, count): &(i32, u64)| {
        (index, count.saturating_sub(old.get(&index).copied().unwrap_or_default()))
    };
    now.buckets.iter().map(grown).filter(|(_, count)| *count > 0).collect()
}

fn percentiles(buckets: &[(i32, u64)]) -> Option<Percentiles> {
    let count: u64 = buckets.iter().map(|(_, count)| count).sum();
    let bound = |percent: u64| {
        let wanted = count.saturating_mul(percent).div_ceil(100);
        let mut seen = 0;
        let reached = buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        reached.map(|(index, _)| (f64::from(*index) / 4.0).exp2() * 1e9)
    };
    Some(Percentiles { count, p50_ns: bound(50)?, p99_ns: bound(99)? })
}

/// A time for people, three digits: `820 ns`, `14.2 us`, `3.10 ms`, `12.0 s`.
pub(crate) fn in_words(ns: f64) -> String {
    let (number, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {unit}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn latencies(operation: &str, buckets: &[(i32, u64)]) -> Vec<VolumeLatencies> {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let one = Latency { operation: operation.to_owned(), count, sum_ns: 0, buckets: buckets.to_vec() };
        vec![VolumeLatencies { volume: "vm1".to_owned(), requests: vec![one], device: Vec::new() }]
    }

    #[test]
    fn percentiles_are_of_what_came_between_two_looks() {
        let before = latencies("read", &[(-80, 1_000), (-40, 50)]);
        let after = latencies("read", &[(-80, 1_000), (-60, 98), (-40, 52)]);
        let found = &between(&before, &after)[0];
        let read = found.read.expect("there were reads");
        assert_eq!((read.count, found.write), (100, None));
        assert_eq!((read.p50_ns, read.p99_ns), ((-15_f64).exp2() * 1e9, (-10_f64).exp2() * 1e9));
        assert_eq!(between(&after, &after)[0].read, None, "nothing happened");
        let restarted = between(&after, &latencies("read", &[(-60, 3)]))[0].read.expect("counted from 0");
        assert_eq!(restarted.count, 3);
        let first = between(&[], &after)[0].read.expect("since the start");
        assert_eq!((first.count, first.p50_ns), (1_150, (-20_f64).exp2() * 1e9));
    }

    #[test]
    fn times_have_three_digits() {
        let words = [59.6, 820.0, 14_200.0, 3.1e6, 250.4e6, 12e9].map(in_words);
        assert_eq!(words, ["59.6 ns", "820 ns", "14.2 us", "3.10 ms", "250 ms", "12.0 s"]);
    }
}
