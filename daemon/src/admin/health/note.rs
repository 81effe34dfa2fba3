//! What works, and should be known before it matters.

use super::super::{DaemonView, VolumeView};
use super::volume::is_in_trouble;
use super::{is_80_percent, reason};
use holdfast_ctl::api::{Health, HealthCode, Reason, StateBytes};
use holdfast_ctl::size;

/// One for each fall-back that was found at the start.
pub(super) fn of_daemon(daemon: &DaemonView) -> impl Iterator<Item = Reason> + '_ {
    daemon.warnings.iter().map(|warning| reason(HealthCode::Fallback, None, warning.clone()))
}

pub(super) fn of_volume(volume: &VolumeView, bytes: StateBytes) -> impl Iterator<Item = Reason> + use<> {
    let found = [buffered(volume), faults(volume), thin(volume), budget(volume, bytes)];
    found.into_iter().flatten()
}

fn buffered(volume: &VolumeView) -> Option<Reason> {
    let status = format!(
        "Volume '{}' goes through the page cache, which forgets data whose write-back fails: good for a trial, not for data.",
        volume.name
    );
    (!volume.direct).then(|| reason(HealthCode::BufferedBacking, Some(volume), status))
}

fn faults(volume: &VolumeView) -> Option<Reason> {
    let (name, count) = (&volume.name, volume.faults);
    let faults = if count == 1 { "1 fault is".to_owned() } else { format!("{count} faults are") };
    let status = format!(
        "{faults} injected into the device of volume '{name}': what it refuses may be refused on purpose."
    );
    (count > 0).then(|| Reason {
        action: "To let it be well again, type:".to_owned(),
        commands: vec![format!("holdfastctl fault {name} clear")],
        ..reason(HealthCode::FaultInjection, Some(volume), status)
    })
}

fn thin(volume: &VolumeView) -> Option<Reason> {
    let thin = volume.thin?;
    let (name, allocated) = (&volume.name, thin.allocated_bytes);
    // When the device refuses already, the way out of that says it.
    if is_in_trouble(volume) || !is_80_percent(allocated, thin.limit_bytes) {
        return None;
    }
    let (used, most) = (size::binary(allocated), size::binary(thin.limit_bytes));
    let status = format!("Volume '{name}' has allocated {used} of the {most} that it may.");
    let wanted = (thin.limit_bytes / 4).max(1).div_ceil(1 << 20);
    Some(Reason {
        action: "To let it allocate more, type:".to_owned(),
        commands: vec![format!("holdfastctl volume grow-thin {name} {wanted}MiB")],
        ..reason(HealthCode::Thin80, Some(volume), status)
    })
}

/// The device is well, and slower than its clients.
fn budget(volume: &VolumeView, bytes: StateBytes) -> Option<Reason> {
    if is_in_trouble(volume) || !is_80_percent(bytes.not_clean_bytes, bytes.budget_bytes) {
        return None;
    }
    let (held, most) = (size::binary(bytes.not_clean_bytes), size::binary(bytes.budget_bytes));
    let status = format!(
        "Volume '{}' has {held} that are not on stable media yet, of {most} that it may: its device takes less than its \
         clients write.",
        volume.name
    );
    let note = reason(HealthCode::Budget80, Some(volume), status);
    Some(Reason { health: Health::Healthy, ..note })
}
