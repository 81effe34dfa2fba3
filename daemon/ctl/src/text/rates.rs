//! `stats --watch`.

use super::Column::{Numbers, Words};
use super::{plain, table};
use crate::api::Stats;
use crate::percentiles::{Percentiles, VolumePercentiles, in_words};
use crate::rates::{Rates, ReactorRates, VolumeRates};
use crate::size::binary;

/// What happened since the last look, for each second.
pub(crate) fn rates(rates: &Rates, stats: &Stats) -> String {
    let volumes = [
        Words("VOLUME"),
        Numbers("READS/S"),
        Numbers("HITS"),
        Numbers("WRITES/S"),
        Numbers("FLUSHES/S"),
        Numbers("FAILED/S"),
        Numbers("DEVICE WRITES/S"),
        Numbers("WRITTEN/S"),
        Numbers("REFUSED/S"),
    ];
    let reactors = [Numbers("REACTOR"), Numbers("BUSY"), Numbers("BUSY TURNS/S"), Numbers("IDLE TURNS/S")];
    format!("{}\n", plain(&stats.at.rfc3339))
        + &table(&volumes, rates.volumes.iter().map(volume_row))
        + &latencies(&rates.latencies)
        + &table(&reactors, rates.reactors.iter().map(reactor_row))
        + "\n"
}

/// How long clients waited, by volume.
pub(crate) fn latencies(volumes: &[VolumePercentiles]) -> String {
    let mut columns = vec![Words("CLIENTS OF")];
    columns.extend(WAITS.map(Numbers));
    let row = |one: &VolumePercentiles| std::iter::once(plain(&one.volume)).chain(wait_cells(one)).collect();
    table(&columns, volumes.iter().map(row))
}

/// The heads of [`wait_cells`].
pub(crate) const WAITS: [&str; 6] =
    ["READ P50", "READ P99", "WRITE P50", "WRITE P99", "FLUSH P50", "FLUSH P99"];

/// The two percentiles of reads, writes and flushes; a dash for what did not happen.
pub(crate) fn wait_cells(one: &VolumePercentiles) -> [String; 6] {
    let cells = |wait: Option<Percentiles>| {
        let words =
            |ns: fn(&Percentiles) -> f64| wait.as_ref().map_or("-".to_owned(), |wait| in_words(ns(wait)));
        [words(|wait| wait.p50_ns), words(|wait| wait.p99_ns)]
    };
    let [[a, b], [c, d], [e, f]] = [one.read, one.write, one.flush].map(cells);
    [a, b, c, d, e, f]
}

fn volume_row(volume: &VolumeRates) -> Vec<String> {
    std::iter::once(plain(&volume.volume)).chain(volume_cells(volume)).collect()
}

/// Reads, hits, writes, flushes, failed flushes, device writes, written bytes, refusals.
pub(crate) fn volume_cells(volume: &VolumeRates) -> [String; 8] {
    [
        rate(volume.reads),
        percent(volume.hit_percent),
        rate(volume.writes),
        rate(volume.flushes_ok),
        rate(volume.flushes_failed),
        rate(volume.device_writes),
        bytes(volume.device_write_bytes),
        rate(volume.refused),
    ]
}

fn reactor_row(reactor: &ReactorRates) -> Vec<String> {
    reactor_cells(reactor).into()
}

/// Number, busy share, busy and idle turns.
pub(crate) fn reactor_cells(reactor: &ReactorRates) -> [String; 4] {
    [
        reactor.number.to_string(),
        percent(reactor.busy_percent),
        rate(reactor.busy_turns),
        rate(reactor.idle_turns),
    ]
}

/// A number for each second: one decimal below ten, else whole.
fn rate(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{share:.0}%"))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of counters is not negative"
)]
fn bytes(number: f64) -> String {
    binary(number as u64)
}
