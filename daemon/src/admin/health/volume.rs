//! What is wrong with a volume.

use super::super::{VolumeView, view};
use super::{is_80_percent, reason};
use holdfast_ctl::api::{HealthCode, Reason, StateBytes, VolumeState};
use holdfast_ctl::{size, text::shell_word};
use holdfast_policy::ErrorClass;

pub(super) fn reasons(volume: &VolumeView, bytes: StateBytes) -> Vec<Reason> {
    let found = [
        lost(volume, bytes),
        not_served(volume),
        released(volume),
        hangs(volume),
        refuses(volume, bytes),
        budget(volume, bytes),
        parked(volume),
    ];
    found.into_iter().flatten().collect()
}

/// Whether its device does not take what it is given.
pub(super) fn is_in_trouble(volume: &VolumeView) -> bool {
    let stats = &volume.stats;
    stats.failed > 0 || stats.gate_class != 0 || stats.overdue > 0 || volume.haunted || volume.unopened
}

fn lost(volume: &VolumeView, bytes: StateBytes) -> Option<Reason> {
    let name = &volume.name;
    let status = format!(
        "Volume '{name}' has lost {} of acknowledged data. Reads of it answer EIO, and so does every flush of the volume, \
         until it is overwritten, discarded or acknowledged.",
        size::binary(bytes.lost_bytes)
    );
    (bytes.lost_bytes > 0).then(|| Reason {
        action: "See what is lost, and write it again from a copy: an overwrite heals it. If there is none, accept the loss. \
                 Type:"
            .to_owned(),
        commands: vec![
            format!("holdfastctl extents {name} --state lost"),
            format!("holdfastctl ack-loss {name} --yes"),
        ],
        ..reason(HealthCode::LostExtents, Some(volume), status)
    })
}

fn not_served(volume: &VolumeView) -> Option<Reason> {
    let state = match volume.state {
        VolumeState::Serving | VolumeState::Draining => return None,
        VolumeState::Waiting => "is not open yet",
        VolumeState::Refused => "was not opened",
    };
    let (name, why) = (&volume.name, volume.why.as_deref().unwrap_or("no reason was given."));
    let status = format!("Volume '{name}' {state}, no client can use it: {why}");
    Some(Reason {
        action: format!("Mend '{}'. See how it looks with:", volume.path),
        commands: vec![format!("ls -l {}", shell_word(&volume.path)), "holdfastctl events".to_owned()],
        ..reason(HealthCode::VolumeNotServed, Some(volume), status)
    })
}

/// An operator has let go of the device, or could not open it again.
fn released(volume: &VolumeView) -> Option<Reason> {
    let name = &volume.name;
    let status = format!(
        "The device of volume '{name}' was let go of. What is not written yet is held in the cache; reads of anything else, and \
         flushes, fail until the device is opened again."
    );
    volume.released.then(|| Reason {
        action: format!(
            "Mend '{}'. Then open it again; if it is elsewhere now, add --path PATH. Type:",
            volume.path
        ),
        commands: vec![format!("holdfastctl volume reopen {name}")],
        ..reason(HealthCode::DeviceGone, Some(volume), status)
    })
}

fn hangs(volume: &VolumeView) -> Option<Reason> {
    let (name, overdue) = (&volume.name, volume.stats.overdue);
    let operations = if overdue == 1 { "1 operation" } else { &format!("{overdue} operations") };
    let what = if volume.unopened {
        "it could not be opened yet, and what needs it waits".to_owned()
    } else if volume.haunted && overdue == 0 {
        "operations of an earlier daemon, which was killed, are still in flight, and what needs the device waits for their end".to_owned()
    } else {
        format!("{operations} in flight for longer than the volume's timeout")
    };
    let status = format!(
        "The device of volume '{name}' does not answer: {what}. What was acknowledged is held in the cache; flushes that need \
         the device fail or wait. Nothing is lost by this.",
    );
    (overdue > 0 || volume.haunted || volume.unopened).then(|| Reason {
        action: format!(
            "Mend '{}' or the path to it; what hangs then ends and the daemon goes on by itself. See what the kernel says:",
            volume.path
        ),
        commands: vec!["dmesg --level err,warn".to_owned(), "holdfastctl stats".to_owned()],
        ..reason(HealthCode::DeviceHangs, Some(volume), status)
    })
}

/// A device that refuses: held data, a closed gate, or both.
fn refuses(volume: &VolumeView, bytes: StateBytes) -> Option<Reason> {
    if volume.released {
        return None;
    }
    let class = ErrorClass::from_u8(volume.stats.gate_class);
    let code = match (class, bytes.failed_bytes) {
        (Some(ErrorClass::Gone), _) => HealthCode::DeviceGone,
        (_, 1..) => HealthCode::FailedExtents,
        (Some(_), 0) => HealthCode::DeviceRefuses,
        (None, 0) => return None,
    };
    let (action, commands) = way_out(volume, class, bytes);
    Some(Reason { action, commands, ..reason(code, Some(volume), refusal(volume, bytes)) })
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
            let action = format!(
                "Bring '{path}' back, with the right to write to it; then type the first. What was unplugged or must be \
                 mounted anew has to be opened again: type the second before you unmount it, and the third when it is back, \
                 with --path PATH if it is elsewhere:"
            );
            let release = format!("holdfastctl volume release {name}");
            (action, vec![retry, release, format!("holdfastctl volume reopen {name}")])
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

/// What is held takes most of the budget: soon new writes wait, and then the policy decides.
fn budget(volume: &VolumeView, bytes: StateBytes) -> Option<Reason> {
    if !is_in_trouble(volume) || !is_80_percent(bytes.not_clean_bytes, bytes.budget_bytes) {
        return None;
    }
    let (name, stalled) = (&volume.name, volume.stats.stalled_writes);
    let waiting = match stalled {
        0 => "No write waits yet.".to_owned(),
        1 => "1 write waits for room.".to_owned(),
        many => format!("{many} writes wait for room."),
    };
    let status = format!(
        "Volume '{name}' holds {} of the {} that it may: when its budget is full, new writes wait, and then what its policy \
         says happens. {waiting}",
        size::binary(bytes.not_clean_bytes),
        size::binary(bytes.budget_bytes)
    );
    Some(Reason {
        action: "Mend the device first. To save what is held, or to see what the policy will do, type:"
            .to_owned(),
        commands: vec![
            format!("holdfastctl export {name} --dirty --to {name}.salvage"),
            format!("holdfastctl policy show {name}"),
        ],
        ..reason(HealthCode::Budget80, Some(volume), status)
    })
}

fn parked(volume: &VolumeView) -> Option<Reason> {
    let (name, parked) = (&volume.name, volume.stats.parked_flushes);
    let flushes = if parked == 1 { "1 flush".to_owned() } else { format!("{parked} flushes") };
    let status = format!(
        "{flushes} of volume '{name}' wait for the cause of a failure to go away: the clients pause until then, or until \
         'flush_on_failure' lets them hear the error. What they wait for is held."
    );
    (parked > 0).then(|| Reason {
        action: "Mend the device, then let them go on. Type:".to_owned(),
        commands: vec![format!("holdfastctl retry {name} --wait")],
        ..reason(HealthCode::FlushesParked, Some(volume), status)
    })
}
