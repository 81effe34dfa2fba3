//! Counters and events.

use super::{Time, VolumeLatencies};
use serde::{Deserialize, Serialize};

/// What happened in a volume since the daemon started, summed over reactors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCounters {
    /// Reads of lines that were all in the cache.
    pub read_hits: u64,
    /// Reads that needed the device.
    pub read_misses: u64,
    /// Writes accepted.
    pub writes: u64,
    /// Flushes answered with success.
    pub flushes_ok: u64,
    /// Flushes answered with an error.
    pub flushes_failed: u64,
    /// Device writes that succeeded.
    pub device_writes: u64,
    /// Bytes they wrote.
    pub device_write_bytes: u64,
    /// Device writes that were refused.
    pub device_writes_refused: u64,
    /// Device reads that succeeded.
    pub device_reads: u64,
    /// Device reads that were refused.
    pub device_reads_refused: u64,
    /// Device flushes that succeeded.
    pub device_flushes: u64,
    /// Device flushes that failed.
    pub device_flushes_failed: u64,
    /// Bytes ever given up, healed or not.
    pub given_up_bytes: u64,
}

/// The counters of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCount {
    /// The volume's name.
    pub volume: String,
    /// Its counters.
    #[serde(flatten)]
    pub counters: VolumeCounters,
}

/// What one reactor does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reactor {
    /// Its number.
    pub number: u32,
    /// The CPU it is pinned to; none if it could not be pinned.
    pub core: Option<u32>,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Turns that found nothing.
    pub idle_turns: u64,
    /// The longest turn in nanoseconds.
    pub longest_turn_ns: u64,
    /// Milliseconds since it last turned or went to sleep with nothing to do; large means that it is stuck.
    pub silent_ms: u64,
    /// Cache lines of its part of the arena.
    pub slots: u64,
    /// Of those, without content.
    pub slots_free: u64,
    /// Of those, holding data that is not on stable media.
    pub slots_not_clean: u64,
    /// Clean lines that made room for others.
    pub evictions: u64,
    /// Requests accepted and not yet answered.
    pub requests: u64,
    /// Device operations in flight.
    pub device_operations: u64,
    /// Entries on their way to the ledger.
    pub ledger_entries: u64,
}

/// Counters of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// When they were read.
    pub at: Time,
    /// By volume.
    pub volumes: Vec<VolumeCount>,
    /// By reactor.
    pub reactors: Vec<Reactor>,
    /// How long clients and devices waited, by volume, as histograms since the daemon started.
    #[serde(default)]
    pub latencies: Vec<VolumeLatencies>,
}

/// Something that happened and that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts events from 1 since the daemon started, without gaps.
    pub number: u64,
    /// When.
    pub at: Time,
    /// A stable word: `first_failure`, `healed`, `lost`, `ledger_stuck`, ...
    pub kind: String,
    /// The volume it is about, if it is about one.
    pub volume: Option<String>,
    /// What happened, one sentence.
    pub message: String,
}

/// Events after the one that was asked about, or the newest, the oldest first. Neighbours that met the same thing at the same
/// time are one event, with the number of the last of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// A page of them.
    pub events: Vec<Event>,
    /// What to pass as `since` to get what comes after this page.
    pub next: u64,
    /// Events after `since` that were forgotten before this page, because only so many are kept.
    pub missed: u64,
    /// Events that are kept from before this page, if the newest were asked for.
    pub earlier: u64,
    /// Events that came after this page.
    pub later: u64,
}
