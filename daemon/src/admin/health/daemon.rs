//! What is wrong with the daemon itself.

use super::super::{DaemonView, LedgerView, VolumeView, view};
use super::reason;
use holdfast_ctl::api::{HealthCode, Reason, Time, VolumeState};
use holdfast_ctl::{size, text::shell_word};

/// A reactor that neither turned nor slept for so long is stuck: a turn takes microseconds, and 5 s are more than the
/// longest page fault or scheduling delay of a host that is still of use.
const SILENT_MS_MAX: u64 = 5_000;

pub(super) fn reasons(daemon: &DaemonView, volumes: &[VolumeView]) -> Vec<Reason> {
    let found = [
        ledger_stuck(&daemon.ledger),
        reactor_stall(daemon),
        sessions_full(daemon),
        stopping(daemon, volumes),
    ];
    found.into_iter().flatten().collect()
}

fn ledger_stuck(ledger: &LedgerView) -> Option<Reason> {
    let stuck = ledger.stuck?;
    let errno = view::errno(stuck.errno);
    let since = Time::from_unix_ms(stuck.since_unix_ms).rfc3339;
    let path = &ledger.path;
    let status = format!(
        "The ledger '{path}' cannot be written since {since}: {} ({}). {} transitions wait to be recorded; until they are, \
         no held data is freed and no failed flush is answered. Nothing is lost by this.",
        errno.meaning, errno.name, stuck.waiting_entries
    );
    Some(Reason {
        action: "Make room on, or mend, the file system of the ledger; the daemon then goes on by itself. Look at it with:"
            .to_owned(),
        commands: vec![format!("df -h {}", shell_word(path))],
        ..reason(HealthCode::LedgerStuck, None, status)
    })
}

fn reactor_stall(daemon: &DaemonView) -> Option<Reason> {
    let (number, reactor) =
        daemon.reactors.iter().enumerate().max_by_key(|(_, reactor)| reactor.silent_ms)?;
    if reactor.silent_ms <= SILENT_MS_MAX {
        return None;
    }
    let status = format!(
        "Reactor {number} has not turned for {}: its part of every volume answers nobody. Nothing is lost by this.",
        size::duration(reactor.silent_ms)
    );
    Some(Reason {
        action: "Look at what holds its thread, and report it. Type, as root:".to_owned(),
        commands: vec![format!("cat /proc/{}/task/*/stack", std::process::id())],
        ..reason(HealthCode::ReactorStall, None, status)
    })
}

fn sessions_full(daemon: &DaemonView) -> Option<Reason> {
    let (open, most) = (daemon.sessions, daemon.sessions_max);
    if open < most {
        return None;
    }
    let status = format!(
        "{open} clients are connected, which is the most: the next one is turned away. Those that are connected notice \
         nothing."
    );
    Some(Reason {
        action:
            "See who is connected, and end what is not needed; or raise 'limits.sessions_max' and load the \
                 configuration again. Type:"
                .to_owned(),
        commands: vec!["holdfastctl sessions".to_owned(), "holdfastctl reload --dry-run".to_owned()],
        ..reason(HealthCode::SessionsFull, None, status)
    })
}

fn stopping(daemon: &DaemonView, volumes: &[VolumeView]) -> Option<Reason> {
    // One of several that is being removed is no sign of the end.
    if volumes.is_empty() || volumes.iter().any(|volume| volume.state != VolumeState::Draining) {
        return None;
    }
    let lines: u64 = volumes.iter().map(|volume| volume.stats.not_clean).sum();
    let left = size::binary(lines.saturating_mul(u64::from(daemon.line_bytes)));
    let status = format!(
        "The daemon is about to end: {left} are not on stable media yet. It takes no clients, writes back what it can, and \
         leaves the rest in the arena '{}' and on record.",
        daemon.arena.path
    );
    Some(Reason {
        action: "Wait, or mend the device that keeps it. What is held can be saved beforehand; to end without it is to lose \
                 it. Type:"
            .to_owned(),
        commands: vec!["holdfastctl volumes".to_owned()],
        ..reason(HealthCode::Stopping, None, status)
    })
}
