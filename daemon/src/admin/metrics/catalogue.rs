//! Every metric there is, as data: its name, what it counts, and how it is read from a scrape.

use super::sample::Samples;
use super::{Scrape, daemon, measured, reactor, volume};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;

/// A metric: what `docs/metrics.md` says of it, and what `/metrics` does.
pub struct Metric {
    /// Its name without the `holdfast_` at the beginning, and without unit and `_total` at the end.
    pub(super) name: &'static str,
    /// What it is counted in, if it counts anything but things.
    pub(super) unit: Option<Unit>,
    /// What kind it is.
    pub(super) kind: MetricType,
    /// The labels of each sample, in their order.
    pub labels: &'static [&'static str],
    /// What it tells, in whole sentences.
    pub help: &'static str,
    /// Reads it.
    pub(super) read: fn(&Scrape, &mut Samples<'_>) -> fmt::Result,
}

impl Metric {
    /// The name as it is queried: with prefix, unit, and the `_total` of a counter. A histogram has three more, which
    /// end in `_bucket`, `_count` and `_sum`.
    pub fn full_name(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let total = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{}_{}{unit}{total}", super::PREFIX, self.name)
    }

    /// `counter`, `gauge` or `histogram`.
    pub fn kind_name(&self) -> &str {
        self.kind.as_str()
    }

    /// It as a row of the table in `docs/metrics.md`.
    pub fn row(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", self.full_name(), self.kind_name(), labels.join(", "), self.help)
    }

    pub(super) fn encode(&self, scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), self.kind)?;
        (self.read)(scrape, &mut Samples { encoder, labels: self.labels })
    }
}

macro_rules! metrics {
    ($($kind:ident $name:literal $unit:tt [$($label:literal)*] $read:path, $help:literal;)*) => {
        /// Every metric, in the order of `/metrics`.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            unit: unit!($unit),
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
            read: $read,
        }),*];
    };
}

macro_rules! unit {
    (-) => {
        None
    };
    (bytes) => {
        Some(Unit::Bytes)
    };
    (seconds) => {
        Some(Unit::Seconds)
    };
}

metrics! {
    Gauge "build_info" - ["version"] daemon::build,
        "Always 1. The release is the label.";
    Gauge "start_time" seconds [] daemon::start_time,
        "When the daemon started, in Unix time.";
    Gauge "health" - [] daemon::health,
        "How everything is: 0 HEALTHY, 1 DEGRADED (nothing is lost), 2 FAULTED.";
    Gauge "health_reason" - ["code" "volume"] daemon::reasons,
        "1 for each thing that is wrong, as 'holdfastctl status' has it. The volume is empty if it is about the daemon. Absent when nothing is wrong.";
    Gauge "arena" bytes [] daemon::arena,
        "The cache's memory.";
    Gauge "arena_huge_pages" - [] daemon::huge_pages,
        "1 if the cache's memory is made of huge pages.";
    Gauge "ledger_stuck" - [] daemon::ledger_stuck,
        "1 while the record of failures cannot be written. Nothing is freed meanwhile.";
    Gauge "ledger_waiting_entries" - [] daemon::ledger_waiting,
        "Transitions that wait to be recorded while the ledger is stuck.";
    Counter "events" - ["event"] daemon::events,
        "What [events] tells of, whether anybody listens or not.";
    Counter "event_deliveries" - ["result"] daemon::deliveries,
        "What became of the events that were to be told: delivered, failed (all attempts), dropped (too many waited).";
    Counter "reactor_turns" - ["reactor" "kind"] reactor::turns,
        "Turns that found something to do (busy) and that did not (idle).";
    Histogram "reactor_turn_duration" seconds ["reactor"] reactor::turn_duration,
        "How long the busy turns were.";
    Gauge "reactor_longest_turn" seconds ["reactor"] reactor::longest_turn,
        "The longest turn since the start.";
    Gauge "reactor_silent" seconds ["reactor"] reactor::silent,
        "For how long the reactor neither turned nor slept with nothing to do. More than a second is a stall.";
    Gauge "reactor_cache" bytes ["reactor" "state"] reactor::cache,
        "Its part of the cache: free, clean (can be evicted at any time) and not_clean (not on stable media).";
    Counter "reactor_evictions" - ["reactor"] reactor::evictions,
        "Clean lines that made room for others.";
    Gauge "reactor_requests" - ["reactor"] reactor::requests,
        "Requests accepted and not yet answered.";
    Gauge "reactor_device_operations" - ["reactor"] reactor::operations,
        "Device operations in flight.";
    Gauge "reactor_ledger_entries" - ["reactor"] reactor::entries,
        "Entries on their way to the ledger and not yet durable.";
    Gauge "volume_serving" - ["volume"] volume::serving,
        "1 if clients can use the volume.";
    Gauge "volume_size" bytes ["volume"] volume::size,
        "Its size.";
    Gauge "volume_data" bytes ["volume" "state"] volume::data,
        "Its data by state, in whole lines: dirty, writing, unstable (written, not flushed), failed (refused and held), lost.";
    Gauge "volume_not_clean" bytes ["volume"] volume::not_clean,
        "Memory that holds its data which is not on stable media; more than the sum of the states while lines are replaced.";
    Gauge "volume_budget" bytes ["volume"] volume::budget,
        "What volume_not_clean may reach.";
    Gauge "volume_gate_closed" - ["volume" "class"] volume::gate,
        "1 while its device refuses with an error of this class and only probes go out.";
    Gauge "volume_overdue_operations" - ["volume"] volume::overdue,
        "Device operations in flight for longer than its io_timeout.";
    Gauge "volume_stalled_writes" - ["volume"] volume::stalled,
        "Writes that wait for room.";
    Gauge "volume_waiting_flushes" - ["volume"] volume::waiting,
        "Flushes that wait, parked ones among them.";
    Gauge "volume_parked_flushes" - ["volume"] volume::parked,
        "Flushes parked until the cause of a failure is gone.";
    Gauge "volume_thin_limit" bytes ["volume"] volume::thin_limit,
        "What a volume with a thin limit may allocate. Absent for others.";
    Gauge "volume_thin_allocated" bytes ["volume"] volume::thin_allocated,
        "What a volume with a thin limit has allocated. Absent for others.";
    Counter "volume_reads" - ["volume" "result"] volume::reads,
        "Reads that found all in the cache (hit) and that needed the device (miss).";
    Counter "volume_writes" - ["volume"] volume::writes,
        "Writes accepted.";
    Counter "volume_flushes" - ["volume" "result"] volume::flushes,
        "Flushes answered with success (ok) and with an error (failed).";
    Counter "volume_device_operations" - ["volume" "operation" "result"] volume::operations,
        "Reads, writes and flushes that its device carried out (ok) and that it did not (refused).";
    Counter "volume_device_refusals" - ["volume" "class"] volume::refusals,
        "Operations of any kind that its device refused, by the class of the error.";
    Counter "volume_device_written" bytes ["volume"] volume::written,
        "What was written to its device.";
    Counter "volume_given_up" bytes ["volume"] volume::given_up,
        "Acknowledged data ever given up, healed since or not.";
    Histogram "request_duration" seconds ["volume" "operation"] measured::requests,
        "From the beginning of the reactor's turn that took a request to the end of the turn that answered it. A series appears with its first request.";
    Histogram "device_duration" seconds ["volume" "operation"] measured::device,
        "From the turn that submitted a device operation to the turn that found it done, whatever its outcome.";
}
