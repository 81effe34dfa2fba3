//! The verdict of `status`: what is wrong, what is safe, and what to type.
//!
//! A pure function of the snapshots: the same facts give the same words, and the words are tested as they are.

mod daemon;
mod note;
mod volume;

use super::{DaemonView, VolumeView, view};
use holdfast_ctl::api::{Health, HealthCode, Reason};
use std::cmp::Reverse;

/// All that is wrong, the worst first; among equals the daemon's before the volumes', in their order.
pub(super) fn reasons(daemon: &DaemonView, volumes: &[VolumeView]) -> Vec<Reason> {
    let mut reasons = daemon::reasons(daemon, volumes);
    for volume in volumes {
        reasons.extend(volume::reasons(volume, view::state_bytes(&volume.stats, daemon.line_bytes)));
    }
    reasons.sort_by_key(|reason| Reverse(reason.health));
    reasons
}

/// What works and should be known: the daemon's notes before the volumes', in their order.
pub(super) fn notes(daemon: &DaemonView, volumes: &[VolumeView]) -> Vec<Reason> {
    let about = |volume| note::of_volume(volume, view::state_bytes(&volume.stats, daemon.line_bytes));
    note::of_daemon(daemon).chain(volumes.iter().flat_map(about)).collect()
}

/// The worst of `reasons` that are about `volume`; `None` asks for the worst of all.
pub(super) fn worst(reasons: &[Reason], volume: Option<&str>) -> Health {
    let about = |reason: &&Reason| volume.is_none() || reason.volume.as_deref() == volume;
    reasons.iter().filter(about).map(|reason| reason.health).max().unwrap_or(Health::Healthy)
}

/// What is wrong, before anybody has said what to do.
fn reason(code: HealthCode, volume: Option<&VolumeView>, status: String) -> Reason {
    let facts = code.facts();
    Reason {
        code,
        health: facts.worst,
        volume: volume.map(|volume| volume.name.clone()),
        status,
        action: String::new(),
        commands: Vec::new(),
        safe: facts.safe.to_owned(),
        cost: facts.cost.to_owned(),
    }
}

/// Whether `part` is four fifths of `whole` or more.
const fn is_80_percent(part: u64, whole: u64) -> bool {
    whole > 0 && part / 4 >= whole / 5
}
