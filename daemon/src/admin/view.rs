//! From the daemon's own types to those of the interface: lines become bytes, numbers get names.

use super::{AuditView, Backend, DaemonView, EventView, LedgerView, ReactorView, SessionView, VolumeView};
use crate::config::Difference;
use holdfast_ctl::api;
use holdfast_engine::{DAMAGED, Extent, ListState, VolumeStats};
use holdfast_policy::ErrorClass;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time of the wall clock.
pub(crate) fn now() -> api::Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    api::Time::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A number with its name and meaning.
pub(crate) fn errno(number: u16) -> api::Errno {
    let name = match holdfast_policy::errno::name(number) {
        Some(name) => name.to_owned(),
        None => format!("errno {number}"),
    };
    let text = std::io::Error::from_raw_os_error(i32::from(number)).to_string();
    let meaning = text.split(" (os error").next().unwrap_or_default().to_owned();
    api::Errno { number, name, meaning }
}

/// The number that a name (`ENOSPC`) or decimal digits (`28`) stand for.
pub(super) fn errno_number(text: &str) -> Option<u16> {
    const ERRNO_MAX: u16 = 4095;
    let number = text.parse().ok().filter(|number| (1..=ERRNO_MAX).contains(number));
    number.or_else(|| (1..=ERRNO_MAX).find(|number| holdfast_policy::errno::name(*number) == Some(text)))
}

/// The name of an error class by its number.
pub(super) fn class(number: u8) -> String {
    ErrorClass::from_u8(number).map_or("none", ErrorClass::name).to_owned()
}

pub(super) const fn list_state(state: api::ExtentState) -> ListState {
    match state {
        api::ExtentState::Dirty => ListState::Dirty,
        api::ExtentState::Unstable => ListState::Unstable,
        api::ExtentState::Failed => ListState::Failed,
        api::ExtentState::Lost => ListState::Lost,
    }
}

const fn extent_state(state: ListState) -> api::ExtentState {
    match state {
        ListState::Dirty => api::ExtentState::Dirty,
        ListState::Unstable => api::ExtentState::Unstable,
        ListState::Failed => api::ExtentState::Failed,
        ListState::Lost => api::ExtentState::Lost,
    }
}

/// Extents with their times on the wall clock.
pub(super) fn extents(backend: &dyn Backend, extents: &[Extent]) -> Vec<api::Extent> {
    extents.iter().map(|one| extent(backend, one)).collect()
}

fn extent(backend: &dyn Backend, extent: &Extent) -> api::Extent {
    let refusal = (extent.errno != 0).then(|| api::Refusal {
        class: class(extent.class),
        errno: cause(extent),
        attempts: extent.attempts,
        first: api::Time::from_unix_ms(backend.unix_ms(extent.first)),
        last: api::Time::from_unix_ms(backend.unix_ms(extent.last)),
    });
    let (offset, length) = (extent.range.offset, extent.range.length);
    api::Extent { offset, length, state: extent_state(extent.state), refusal }
}

/// The device's last word; of a loss that was not the device's doing, what it was.
fn cause(extent: &Extent) -> api::Errno {
    let damaged = extent.state == ListState::Lost && extent.errno == DAMAGED && extent.attempts == 0;
    if !damaged {
        return errno(extent.errno);
    }
    let meaning = "its header in the cache's memory was damaged: nobody knows what it held".to_owned();
    api::Errno { number: DAMAGED, name: "damaged header".to_owned(), meaning }
}

/// A volume; `health` is judged elsewhere, from all volumes and the daemon together.
pub(super) fn volume(view: &VolumeView, line_bytes: u32, health: api::Health) -> api::Volume {
    let stats = &view.stats;
    let thin = view
        .thin
        .map(|thin| api::Thin { limit_bytes: thin.limit_bytes, allocated_bytes: thin.allocated_bytes });
    api::Volume {
        name: view.name.clone(),
        id: view.id.0,
        health,
        state: view.state,
        why: view.why.clone(),
        size_bytes: view.size_bytes,
        mode: view.mode,
        backing: api::Backing {
            path: view.path.clone(),
            direct: view.direct,
            identity: view.identity.clone(),
        },
        policy: view.policy.clone(),
        bytes: state_bytes(stats, line_bytes),
        gate: gate(stats),
        overdue: stats.overdue,
        stalled_writes: stats.stalled_writes,
        waiting_flushes: stats.waiting_flushes,
        parked_flushes: stats.parked_flushes,
        thin,
    }
}

/// Lines as bytes.
pub(crate) fn state_bytes(stats: &VolumeStats, line_bytes: u32) -> api::StateBytes {
    let bytes = |lines: u64| lines.saturating_mul(u64::from(line_bytes));
    api::StateBytes {
        dirty_bytes: bytes(stats.dirty),
        unstable_bytes: bytes(stats.writing.saturating_add(stats.unstable)),
        failed_bytes: bytes(stats.failed),
        lost_bytes: bytes(stats.lost),
        not_clean_bytes: bytes(stats.not_clean),
        budget_bytes: bytes(stats.budget),
    }
}

fn gate(stats: &VolumeStats) -> Option<api::Gate> {
    (stats.gate_class != 0).then(|| api::Gate {
        class: class(stats.gate_class),
        errno: errno(stats.gate_errno),
        next_probe_ms: (stats.next_probe_ms != 0).then_some(stats.next_probe_ms),
    })
}

/// What a volume's reactors counted.
pub(super) fn counters(stats: &VolumeStats, line_bytes: u32) -> api::VolumeCounters {
    api::VolumeCounters {
        read_hits: stats.read_hits,
        read_misses: stats.read_misses,
        writes: stats.writes,
        flushes_ok: stats.flushes_ok,
        flushes_failed: stats.flushes_failed,
        device_writes: stats.device_writes,
        device_write_bytes: stats.device_write_bytes,
        device_writes_refused: stats.device_writes_refused,
        device_reads: stats.device_reads,
        device_reads_refused: stats.device_reads_refused,
        device_flushes: stats.device_flushes,
        device_flushes_failed: stats.device_flushes_failed,
        given_up_bytes: stats.given_up.saturating_mul(u64::from(line_bytes)),
    }
}

/// What one reactor does.
pub(super) fn reactor(number: u32, view: &ReactorView) -> api::Reactor {
    api::Reactor {
        number,
        core: view.core,
        busy_turns: view.busy_turns,
        idle_turns: view.idle_turns,
        longest_turn_ns: view.longest_turn_ns,
        silent_ms: view.silent_ms,
        slots: view.cache.slots,
        slots_free: view.cache.free,
        slots_not_clean: view.cache.not_clean,
        evictions: view.cache.evictions,
        requests: view.cache.requests,
        device_operations: view.cache.ops,
        ledger_entries: view.cache.ledger_entries,
    }
}

/// The daemon itself.
pub(super) fn daemon(view: &DaemonView) -> api::Daemon {
    api::Daemon {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: api::Time::from_unix_ms(view.started_unix_ms),
        uptime_ms: view.uptime_ms,
        incarnation: format!("{:016x}", view.incarnation),
        reactors: u32::try_from(view.reactors.len()).expect("a reactor is a core"),
        socket: view.socket.clone(),
        sessions: view.sessions,
        sessions_max: view.sessions_max,
        line_bytes: view.line_bytes,
        arena: api::Arena {
            path: view.arena.path.clone(),
            size_bytes: view.arena.bytes,
            huge_pages: view.arena.huge_pages,
        },
        ledger: ledger(&view.ledger),
        warnings: view.warnings.clone(),
    }
}

fn ledger(view: &LedgerView) -> api::Ledger {
    let stuck = view.stuck.map(|stuck| api::LedgerStuck {
        errno: errno(stuck.errno),
        since: api::Time::from_unix_ms(stuck.since_unix_ms),
        waiting_entries: stuck.waiting_entries,
    });
    api::Ledger { path: view.path.clone(), stuck }
}

/// One client.
pub(super) fn session(view: SessionView) -> api::Session {
    let SessionView { id, volume, pid, uid, gid, since_unix_ms, leaving } = view;
    api::Session { id, volume, pid, uid, gid, since: api::Time::from_unix_ms(since_unix_ms), leaving }
}

/// What an operator did.
pub(super) fn audit_row(view: AuditView) -> api::AuditRow {
    let AuditView { number, unix_ms, who, verb } = view;
    api::AuditRow { number, at: api::Time::from_unix_ms(unix_ms), who, verb }
}

/// A setting that differs.
pub(super) fn difference(difference: Difference) -> api::Difference {
    let Difference { key, before, after, needs_restart } = difference;
    api::Difference { key, before, after, needs_restart }
}

/// Something that happened.
pub(super) fn event(view: EventView) -> api::Event {
    api::Event {
        number: view.number,
        at: api::Time::from_unix_ms(view.unix_ms),
        kind: view.kind.to_owned(),
        volume: view.volume,
        message: view.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_has_name_number_and_words_both_ways() {
        let full = errno(28);
        assert_eq!((full.name.as_str(), full.meaning.as_str()), ("ENOSPC", "No space left on device"));
        assert_eq!(errno(999).name, "errno 999");
        assert_eq!(errno_number("ENOSPC"), Some(28));
        assert_eq!(errno_number("28"), Some(28));
        for bad in ["", "0", "-28", "4096", "enospc", "ENOTHING", "70000"] {
            assert_eq!(errno_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_being_written_counts_as_unstable() {
        let stats =
            VolumeStats { dirty: 1, writing: 2, unstable: 3, failed: 4, lost: 5, ..VolumeStats::default() };
        let bytes = state_bytes(&stats, 4096);
        assert_eq!(bytes.unstable_bytes, 5 * 4096);
        assert_eq!((bytes.dirty_bytes, bytes.failed_bytes, bytes.lost_bytes), (4096, 4 * 4096, 5 * 4096));
    }
}
