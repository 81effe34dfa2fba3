//! What operators see, made from what the reactors publish and the ledger holds.

use super::hub::Hub;
use super::table::Served;
use crate::admin::{
    ArenaView, DaemonView, ExplanationPage, FaultView, LedgerView, LossPage, Measures, ReactorView,
    ReportView, StuckView, ThinView, VolumeMeasures, VolumeView,
};
use crate::device::FaultSpec;
use crate::latency::{self, Counts};
use crate::ledger::{ExplainedRange, Failure, GivenId, Kind};
use holdfast_ctl::api::{FaultOperation, VolumeMode, VolumeState};
use holdfast_engine::{ByteRange, Extent, ListState, Mode, VolumeId, VolumeStats};
use holdfast_policy::{ErrorClass, FailurePolicy, errno};
use std::sync::atomic::Ordering;

/// How long after its start a daemon says that operations of an earlier one are in flight.
const HAUNTED_MS: u64 = 2_000;

pub(super) fn daemon(hub: &Hub) -> DaemonView {
    let now = hub.clock.now();
    let health = hub.book.health();
    let waiting_entries = hub.book.waiting() + health.waiting;
    let refused =
        health.stuck.map(|stuck| (u16::try_from(stuck.errno).unwrap_or(errno::EIO), stuck.since_ms));
    let hangs = || Some((errno::ETIMEDOUT, hub.book.hangs_since()?));
    let stuck = refused.or_else(hangs);
    let stuck = stuck.map(|(errno, since_unix_ms)| StuckView { errno, since_unix_ms, waiting_entries });
    DaemonView {
        started_unix_ms: hub.clock.started_unix_ms(),
        uptime_ms: hub.clock.unix_ms(now) - hub.clock.started_unix_ms(),
        incarnation: hub.incarnation,
        line_bytes: hub.settings.arena.line_bytes,
        reactors: hub.links.iter().map(|link| reactor(link, now.0)).collect(),
        socket: hub.settings.daemon.socket.display().to_string(),
        sessions: hub.sessions.count(),
        sessions_max: hub.in_force().limits.sessions_max,
        arena: ArenaView {
            path: hub.settings.arena.path.display().to_string(),
            bytes: hub.arena.bytes,
            huge_pages: hub.arena.huge,
        },
        ledger: LedgerView { path: hub.settings.daemon.state_dir.display().to_string(), stuck },
        warnings: warnings(hub),
    }
}

/// What was found at the start, and what the settings in force may not mean.
fn warnings(hub: &Hub) -> Vec<String> {
    let suspected = crate::config::warnings(&hub.in_force());
    let suspected = suspected.into_iter().filter(|warning| !warning.seen_when_running);
    hub.warnings.iter().cloned().chain(suspected.map(|warning| warning.text)).collect()
}

fn reactor(link: &crate::reactor::Link, now_ns: u64) -> ReactorView {
    let stats = link.board.reactor();
    // One that sleeps wakes up ten times a second: one that does not is held by the kernel in its sleep.
    let silent_ms = now_ns.saturating_sub(stats.at_ns) / 1_000_000;
    ReactorView {
        core: stats.core,
        cache: stats.cache,
        busy_turns: stats.busy_turns,
        idle_turns: stats.idle_turns,
        longest_turn_ns: stats.longest_turn_ns,
        silent_ms,
    }
}

pub(super) fn stats(hub: &Hub, volume: VolumeId) -> VolumeStats {
    let index = usize::from(volume.0);
    hub.links.iter().map(|link| link.board.volume(index)).reduce(add).unwrap_or_default()
}

pub(super) fn measures(hub: &Hub, of: &[VolumeView]) -> Measures {
    Measures {
        volumes: of.iter().map(|volume| volume_measures(hub, usize::from(volume.id.0))).collect(),
        turns: hub.links.iter().map(|link| link.board.measured.turns()).collect(),
        events: hub.events.counts(),
    }
}

fn volume_measures(hub: &Hub, volume: usize) -> VolumeMeasures {
    let measured = || hub.links.iter().map(|link| &link.board.measured);
    let sum = |all: &mut dyn Iterator<Item = Counts>| {
        let mut sum = Counts::default();
        all.for_each(|counts| sum.add(&counts));
        sum
    };
    VolumeMeasures {
        requests: latency::Kind::ALL.map(|kind| sum(&mut measured().map(|one| one.requests(volume, kind)))),
        device: latency::Kind::ALL.map(|kind| sum(&mut measured().map(|one| one.device(volume, kind)))),
        refused: ErrorClass::ALL.map(|class| measured().map(|one| one.refused(volume, class)).sum()),
    }
}

pub(super) fn volume(hub: &Hub, served: &Served) -> VolumeView {
    let stats = stats(hub, served.id);
    let why = match (hub.stopping(), served.is_leaving()) {
        (true, _) => Some("the daemon is stopping"),
        (false, true) => Some("it is being removed"),
        (false, false) => None,
    };
    VolumeView {
        name: served.settings.name.clone(),
        id: served.id,
        size_bytes: served.bytes.load(Ordering::Acquire),
        mode: match served.settings.mode {
            Mode::WriteBack => VolumeMode::WriteBack,
            Mode::WriteThrough => VolumeMode::WriteThrough,
        },
        state: if why.is_some() { VolumeState::Draining } else { VolumeState::Serving },
        why: why.map(str::to_owned),
        released: served.backing().is_none() && !served.is_unopened(),
        unopened: served.is_unopened(),
        haunted: is_haunted(hub, served),
        path: hub.settings_of(served).backing.path().display().to_string(),
        direct: served.direct,
        identity: served.identity.clone(),
        policy: policy(hub, served),
        stats,
        thin: served
            .thin
            .as_ref()
            .map(|thin| ThinView { limit_bytes: thin.limit(), allocated_bytes: thin.used() }),
        faults: served
            .faults
            .as_ref()
            .map_or(0, |faults| u32::try_from(faults.list().len()).unwrap_or(u32::MAX)),
    }
}

/// A daemon that was killed a moment ago has something in flight for some 40 ms; that is nobody's concern.
fn is_haunted(hub: &Hub, served: &Served) -> bool {
    let up_ms = hub.clock.unix_ms(hub.clock.now()) - hub.clock.started_unix_ms();
    up_ms >= HAUNTED_MS && served.backing().is_some_and(|backing| !backing.is_fenced())
}

fn policy(hub: &Hub, served: &Served) -> String {
    let rules = hub.settings_of(served).rules;
    let rule = |rule: &holdfast_policy::Rule| {
        let classes: Vec<_> = rule.classes.iter().map(ErrorClass::name).collect();
        format!("{}: {}", classes.join(", "), rule.policy.name())
    };
    rules.as_slice().iter().map(rule).collect::<Vec<_>>().join("; ")
}

/// Sums what two reactors say of a volume. Of two closed gates the one whose probe comes first is told.
fn add(one: VolumeStats, other: VolumeStats) -> VolumeStats {
    let other_first = match (one.gate_class, other.gate_class) {
        (0, _) => true,
        (_, 0) => false,
        _ => other.next_probe_ms < one.next_probe_ms,
    };
    let gate = if other_first { other } else { one };
    VolumeStats {
        dirty: one.dirty + other.dirty,
        writing: one.writing + other.writing,
        unstable: one.unstable + other.unstable,
        failed: one.failed + other.failed,
        lost: one.lost + other.lost,
        reported: one.reported + other.reported,
        not_clean: one.not_clean + other.not_clean,
        // Both say what they share.
        budget: one.budget.max(other.budget),
        stalled_writes: one.stalled_writes + other.stalled_writes,
        waiting_flushes: one.waiting_flushes + other.waiting_flushes,
        parked_flushes: one.parked_flushes + other.parked_flushes,
        gate_class: gate.gate_class,
        gate_errno: gate.gate_errno,
        next_probe_ms: gate.next_probe_ms,
        overdue: one.overdue + other.overdue,
        read_hits: one.read_hits + other.read_hits,
        read_misses: one.read_misses + other.read_misses,
        writes: one.writes + other.writes,
        flushes_ok: one.flushes_ok + other.flushes_ok,
        flushes_failed: one.flushes_failed + other.flushes_failed,
        device_writes: one.device_writes + other.device_writes,
        device_write_bytes: one.device_write_bytes + other.device_write_bytes,
        device_writes_refused: one.device_writes_refused + other.device_writes_refused,
        device_reads: one.device_reads + other.device_reads,
        device_reads_refused: one.device_reads_refused + other.device_reads_refused,
        device_flushes: one.device_flushes + other.device_flushes,
        device_flushes_failed: one.device_flushes_failed + other.device_flushes_failed,
        given_up: one.given_up + other.given_up,
    }
}

pub(super) fn fault(spec: &FaultSpec) -> FaultView {
    FaultView {
        operation: match spec.operation {
            crate::device::FaultOperation::Read => FaultOperation::Read,
            crate::device::FaultOperation::Flush => FaultOperation::Flush,
            crate::device::FaultOperation::Write | crate::device::FaultOperation::Any => {
                FaultOperation::Write
            }
        },
        errno: spec.errno,
        range: spec.range.unwrap_or(ByteRange::ALL),
        sequence: spec.sequence.to_string(),
    }
}

fn extent(hub: &Hub, range: ByteRange, state: ListState, failure: &Failure) -> Extent {
    Extent {
        range,
        state,
        class: failure.class,
        errno: failure.errno,
        attempts: failure.attempts,
        first: hub.clock.instant(failure.first_ms),
        last: hub.clock.instant(failure.last_ms),
    }
}

pub(super) fn losses(hub: &Hub, volume: VolumeId, from: u64, limit: usize) -> LossPage {
    let records = hub.book.ledger().lost(volume);
    let mut records = records.into_iter().filter(|record| record.range.offset >= from);
    let extents: Vec<_> = records
        .by_ref()
        .take(limit)
        .map(|record| extent(hub, record.range, ListState::Lost, &record.failure))
        .collect();
    LossPage { extents, next: records.next().map(|record| record.range.offset) }
}

pub(super) fn reports(hub: &Hub, limit: usize) -> Vec<ReportView> {
    let view = |given: GivenId| ReportView {
        id: given.id,
        volume: given.volume,
        reported_unix_ms: given.at_ms,
        unresolved: given.still_true,
    };
    hub.book.ledger().given_ids(limit).into_iter().map(view).collect()
}

pub(super) fn explain(hub: &Hub, id: u64, from: u64, limit: usize) -> Option<ExplanationPage> {
    let explanation = hub.book.ledger().explain(id, usize::MAX).ok()?;
    let lost = explanation.ranges.iter().any(|range| range.kind == Kind::Lost);
    let only_space = explanation.ranges.iter().all(|range| range.failure.class == ErrorClass::Space as u8);
    let errno = if only_space && !lost { errno::ENOSPC } else { errno::EIO };
    let mut ranges = explanation.ranges.iter().filter(|range| range.range.offset >= from);
    let view = |range: &ExplainedRange| {
        let state = match range.kind {
            Kind::NotStable => ListState::Failed,
            Kind::Lost => ListState::Lost,
        };
        extent(hub, range.range, state, &range.failure)
    };
    let extents: Vec<_> = ranges.by_ref().take(limit).map(view).collect();
    let next = ranges.next().map(|range| range.range.offset);
    Some(ExplanationPage {
        volume: explanation.volume.clone(),
        errno,
        reported_unix_ms: explanation.at_ms,
        unresolved: explanation.bytes.not_stable + explanation.bytes.lost > 0,
        extents,
        next,
    })
}
