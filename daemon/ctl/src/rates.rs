//! What happened between two looks at the counters, for each second.

use crate::api::{Reactor, Stats, VolumeCount, VolumeCounters};
use crate::percentiles::{self, VolumePercentiles};
use serde::Serialize;

/// The rates of everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// Milliseconds between the two looks.
    pub(crate) over_ms: u64,
    /// By volume.
    pub(crate) volumes: Vec<VolumeRates>,
    /// By reactor.
    pub(crate) reactors: Vec<ReactorRates>,
    /// How long clients waited, by volume.
    pub(crate) latencies: Vec<VolumePercentiles>,
}

/// What a volume did, for each second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct VolumeRates {
    /// Its name.
    pub(crate) volume: String,
    /// Reads.
    pub(crate) reads: f64,
    /// Of them those that needed no device, in percent; none without reads.
    pub(crate) hit_percent: Option<f64>,
    /// Writes.
    pub(crate) writes: f64,
    /// Flushes answered with success.
    pub(crate) flushes_ok: f64,
    /// Flushes answered with an error.
    pub(crate) flushes_failed: f64,
    /// Device writes.
    pub(crate) device_writes: f64,
    /// Bytes that they wrote.
    pub(crate) device_write_bytes: f64,
    /// Device operations that were refused.
    pub(crate) refused: f64,
}

/// How a reactor spent its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ReactorRates {
    /// Its number.
    pub(crate) number: u32,
    /// Turns that found something to do.
    pub(crate) busy_turns: f64,
    /// Turns that found nothing.
    pub(crate) idle_turns: f64,
    /// Share of turns that found something, in percent; none if it slept all the time.
    pub(crate) busy_percent: Option<f64>,
}

/// What lies between two looks; counters that went back are those of another daemon, and count from 0.
pub(crate) fn between(before: &Stats, after: &Stats) -> Rates {
    let over_ms = after.at.unix_ms.saturating_sub(before.at.unix_ms).max(1);
    let volume = |now: &VolumeCount| {
        let then = before.volumes.iter().find(|then| then.volume == now.volume);
        volume_rates(now, then.map_or_else(VolumeCounters::default, |then| then.counters), over_ms)
    };
    let reactor = |now: &Reactor| {
        let then = before.reactors.iter().find(|then| then.number == now.number);
        reactor_rates(now, then.copied().unwrap_or_default(), over_ms)
    };
    Rates {
        over_ms,
        volumes: after.volumes.iter().map(volume).collect(),
        reactors: after.reactors.iter().map(reactor).collect(),
        latencies: percentiles::between(&before.latencies, &after.latencies),
    }
}

fn rate(now: u64, then: u64, over_ms: u64) -> f64 {
    let count = if now < then { now } else { now - then };
    count as f64 * 1000.0 / over_ms as f64
}

fn share(part: f64, rest: f64) -> Option<f64> {
    (part + rest > 0.0).then(|| part * 100.0 / (part + rest))
}

fn volume_rates(now: &VolumeCount, then: VolumeCounters, over_ms: u64) -> VolumeRates {
    let count = &now.counters;
    let of = |counter: fn(&VolumeCounters) -> u64| rate(counter(count), counter(&then), over_ms);
    let (hits, misses) = (of(|count| count.read_hits), of(|count| count.read_misses));
    VolumeRates {
        volume: now.volume.clone(),
        reads: hits + misses,
        hit_percent: share(hits, misses),
        writes: of(|count| count.writes),
        flushes_ok: of(|count| count.flushes_ok),
        flushes_failed: of(|count| count.flushes_failed),
        device_writes: of(|count| count.device_writes),
        device_write_bytes: of(|count| count.device_write_bytes),
        refused: of(|count| {
            count.device_writes_refused + count.device_reads_refused + count.device_flushes_failed
        }),
    }
}

fn reactor_rates(now: &Reactor, then: Reactor, over_ms: u64) -> ReactorRates {
    let busy_turns = rate(now.busy_turns, then.busy_turns, over_ms);
    let idle_turns = rate(now.idle_turns, then.idle_turns, over_ms);
    let busy_percent = share(busy_turns, idle_turns);
    ReactorRates { number: now.number, busy_turns, idle_turns, busy_percent }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::Time;

    pub(crate) fn stats(at_ms: u64, writes: u64, busy_turns: u64) -> Stats {
        let counters = VolumeCounters {
            read_hits: writes * 3,
            read_misses: writes,
            writes,
            device_write_bytes: writes * 4096,
            ..VolumeCounters::default()
        };
        let reactor = Reactor { busy_turns, idle_turns: 3 * busy_turns, ..Reactor::default() };
        Stats {
            at: Time::from_unix_ms(at_ms),
            volumes: vec![VolumeCount { volume: "vm1".to_owned(), counters }],
            reactors: vec![reactor],
            latencies: percentiles::tests::latencies("write", &[(-64, writes)]),
        }
    }

    #[test]
    fn rates_are_for_a_second_and_survive_a_restart() {
        let rates = between(&stats(1_000, 100, 10), &stats(3_000, 300, 50));
        let volume = &rates.volumes[0];
        assert_eq!((volume.writes, volume.reads, volume.hit_percent), (100.0, 400.0, Some(75.0)));
        assert_eq!(volume.device_write_bytes, 409_600.0);
        assert_eq!((rates.reactors[0].busy_turns, rates.reactors[0].busy_percent), (20.0, Some(25.0)));
        let restarted = between(&stats(1_000, 100, 10), &stats(2_000, 5, 0));
        assert_eq!(restarted.volumes[0].writes, 5.0, "counted from 0 by another daemon");
        assert_eq!(between(&stats(1, 1, 0), &stats(1, 1, 0)).reactors[0].busy_percent, None);
    }
}
