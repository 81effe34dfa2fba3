//! The verdict of `status`: what is wrong, what is safe, and what to type.
//!
//! A pure function of the snapshots: the same facts give the same words, and the words are tested as they are.

use super::{DaemonView, LedgerView, VolumeView, view};
use holdfast_ctl::api::{Health, HealthCode, Reason, StateBytes, Time, VolumeState};
use holdfast_ctl::{size, text::shell_word};
use holdfast_policy::ErrorClass;
use std::cmp::Reverse;

/// A reactor that neither turned nor slept for so long is stuck: a turn takes microseconds, and 5 s are more than the
/// longest page fault or scheduling delay of a host that is still of use.
const SILENT_MS_MAX: u64 = 5_000;

/// All that is wrong, the worst first; among equals the daemon's before the volumes', in their order.
pub(super) fn reasons(daemon: &DaemonView, volumes: &[VolumeView]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    reasons.extend(ledger_stuck(&daemon.ledger));
    reasons.extend(reactor_stall(daemon));
    for volume in volumes {
        let bytes = view::state_bytes(&volume.stats, daemon.line_bytes);
        reasons.extend(lost(volume, bytes));
        reasons.extend(not_served(volume));
        reasons.extend(hangs(volume));
        reasons.extend(refuses(volume, bytes));
    }
    reasons.sort_by_key(|reason| Reverse(reason.health));
    reasons
}

/// The worst of `reasons` that are about `volume`; `None` asks for the worst of all.
pub(super) fn worst(reasons: &[Reason], volume: Option<&str>) -> Health {
    let about = |reason: &&Reason| volume.is_none() || reason.volume.as_deref() == volume;
    reasons.iter().filter(about).map(|reason| reason.health).max().unwrap_or(Health::Healthy)
}

fn ledger_stuck(ledger: &LedgerView) -> Option<Reason> {
    let stuck = ledger.stuck?;
    let errno = view::errno(stuck.errno);
    let since = Time::from_unix_ms(stuck.since_unix_ms).rfc3339;
    let path = &ledger.path;
    Some(Reason {
        code: HealthCode::LedgerStuck,
        health: Health::Degraded,
        volume: None,
        status: format!(
            "The ledger '{path}' cannot be written since {since}: {} ({}). {} transitions wait to be recorded; until they \
             are, no held data is freed and no failed flush is answered. Nothing is lost by this.",
            errno.meaning, errno.name, stuck.waiting_entries
        ),
        action: "Make room on, or mend, the file system of the ledger; the daemon then goes on by itself. Look at it with:"
            .to_owned(),
        commands: vec![format!("df -h {}", shell_word(path))],
    })
}

fn reactor_stall(daemon: &DaemonView) -> Option<Reason> {
    let (number, reactor) =
        daemon.reactors.iter().enumerate().max_by_key(|(_, reactor)| reactor.silent_ms)?;
    (reactor.silent_ms > SILENT_MS_MAX).then(|| Reason {
        code: HealthCode::ReactorStall,
        health: Health::Faulted,
        volume: None,
        status: format!(
            "Reactor {number} has not turned for {}: its part of every volume answers nobody. Nothing is lost by this.",
            size::duration(reactor.silent_ms)
        ),
        action: "Look at what holds its thread, and report it. Type, as root:".to_owned(),
        commands: vec![format!("cat /proc/{}/task/*/stack", std::process::id())],
    })
}

fn lost(volume: &VolumeView, bytes: StateBytes) -> Option<Reason> {
    let name = &volume.name;
    (bytes.lost_bytes > 0).then(|| Reason {
        code: HealthCode::LostExtents,
        health: Health::Faulted,
        volume: Some(name.clone()),
        status: format!(
            "Volume '{name}' has lost {} of acknowledged data. Reads of it answer EIO, and so does every flush of the volume, \
             until it is overwritten, discarded or acknowledged.",
            size::binary(bytes.lost_bytes)
        ),
        action: "See what is lost, and write it again from a copy: an overwrite heals it. If there is none, accept the loss. \
                 Type:"
            .to_owned(),
        commands: vec![
            format!("holdfastctl extents {name} --state lost"),
            format!("holdfastctl ack-loss {name} --yes"),
        ],
    })
}

fn not_served(volume: &VolumeView) -> Option<Reason> {
    let state = match volume.state {
        VolumeState::Serving | VolumeState::Draining => return None,
        VolumeState::Waiting => "is not open yet",
        VolumeState::Refused => "was not opened",
    };
    let (name, why) = (&volume.name, volume.why.as_deref().unwrap_or("no reason was given."));
    Some(Reason {
        code: HealthCode::VolumeNotServed,
        health: Health::Faulted,
        volume: Some(name.clone()),
        status: format!("Volume '{name}' {state}, no client can use it: {why}"),
        action: format!("Mend '{}'. See how it looks with:", volume.path),
        commands: vec![format!("ls -l {}", shell_word(&volume.path)), "holdfastctl events".to_owned()],
    })
}

fn hangs(volume: &VolumeView) -> Option<Reason> {
    let (name, overdue) = (&volume.name, volume.stats.overdue);
    let operations = if overdue == 1 { "1 operation" } else { &format!("{overdue} operations") };
    (overdue > 0).then(|| Reason {
        code: HealthCode::DeviceHangs,
        health: Health::Degraded,
        volume: Some(name.clone()),
        status: format!(
            "The device of volume '{name}' does not answer: {operations} in flight for longer than the volume's timeout. What \
             was acknowledged is held in the cache; flushes that need the device fail or wait. Nothing is lost by this.",
        ),
        action: format!(
            "Mend '{}' or the path to it; what hangs then ends and the daemon goes on by itself. See what the kernel says:",
            volume.path
        ),
        commands: vec!["dmesg --level err,warn".to_owned(), "holdfastctl stats".to_owned()],
    })
}

/// A device that refuses: held data, a closed gate, or both.
fn refuses(volume: &VolumeView, bytes: StateBytes) -> Option<Reason> {
    let class = ErrorClass::from_u8(volume.stats.gate_class);
    let code = match (class, bytes.failed_bytes) {
        (Some(ErrorClass::Gone), _) => HealthCode::DeviceGone,
        (_, 1..) => HealthCode::FailedExtents,
        (Some(_), 0) => HealthCode::DeviceRefuses,
        (None, 0) => return None,
    };
    let (action, commands) = way_out(volume, class, bytes);
    Some(Reason {
        code,
        health: Health::Degraded,
        volume: Some(volume.name.clone()),
        status: refusal(volume, bytes),
        action,
        commands,
    })
}

fn refusal(volume: &VolumeView, bytes: StateBytes) -> String {
    let stats = &volume.stats;
    let mut text = format!("The device of volume '{}' refuses", volume.name);
    if bytes.failed_bytes > 0 {
        text += &format!(" {}", size::binary(bytes.failed_bytes));
    }
    if stats.gate_class != 0 {
        let errno = view::errno(stats.gate_errno);
        text += &format!(": {} ({})", errno.meaning, errno.name);
    }
    text += match bytes.failed_bytes {
        0 => ". What is not written yet stays in the cache; flushes of it fail while this lasts.",
        _ => {
            ". It is held in the cache, none of it is lost, and reads return it; flushes fail until it is written."
        }
    };
    match stats.next_probe_ms {
        0 => {}
        ms => text += &format!(" Next try by itself in {}.", size::duration(ms)),
    }
    text
}

fn way_out(volume: &VolumeView, class: Option<ErrorClass>, bytes: StateBytes) -> (String, Vec<String>) {
    let (name, path) = (&volume.name, &volume.path);
    let retry = format!("holdfastctl retry {name} --wait");
    match (class, volume.thin) {
        (Some(ErrorClass::Space), Some(_)) => {
            let wanted = bytes.failed_bytes.saturating_add(bytes.dirty_bytes).max(1).div_ceil(1 << 20);
            let grow = format!("holdfastctl volume grow-thin {name} {wanted}MiB");
            ("Add space, then write what is held. Type:".to_owned(), vec![grow, retry])
        }
        (Some(ErrorClass::Space), None) => (format!("Make room under '{path}', then type:"), vec![retry]),
        (Some(ErrorClass::Gone), _) => {
            (format!("Bring '{path}' back, with the right to write to it, then type:"), vec![retry])
        }
        (Some(ErrorClass::Transient), _) => (
            format!("It may pass by itself. If it does not, mend the path to '{path}', then type:"),
            vec![retry],
        ),
        (Some(ErrorClass::Medium) | None, _) => {
            let list = format!("holdfastctl extents {name} --state failed");
            (
                "See which extents are refused and why. When the device is mended, type the second:"
                    .to_owned(),
                vec![list, retry],
            )
        }
    }
}
