//! `status` and `volumes`.

use super::Column::{Numbers, Words};
use super::{Invocation, labelled, plain, table};
use crate::api::{Reason, Status, Volume, VolumeState, Volumes};
use crate::size::{binary, counted, duration};

/// How everything is, in the form of `zpool status`: the worst trouble in full, the others in a line each, then all
/// volumes.
pub fn status(status: &Status, invocation: &Invocation) -> String {
    let daemon = &status.daemon;
    let about = format!(
        "holdfastd {}, up {}, {}",
        daemon.release,
        duration(daemon.uptime_ms),
        counted(daemon.reactors.into(), "reactor")
    );
    let mut out = labelled("daemon", &plain(&about)) + &labelled("state", &status.health.to_string());
    match status.reasons.split_first() {
        None => out += &well(),
        Some((worst, others)) => out += &trouble(worst, others, invocation),
    }
    out.push('\n');
    out += &state_table(&status.volumes);
    let notes = notes(&status.notes, invocation);
    if !notes.is_empty() {
        out.push('\n');
    }
    out + &notes
}

/// What works, and should be known.
fn notes(notes: &[Reason], invocation: &Invocation) -> String {
    let note = |note: &Reason| {
        labelled("note", &format!("{} {}", note.code, plain(&note.status))) + &commands(note, invocation)
    };
    notes.iter().map(note).collect()
}

fn well() -> String {
    labelled("status", "Every device takes what it is given. Nothing is held, nothing is lost.")
        + &labelled("action", "None.")
}

fn trouble(worst: &Reason, others: &[Reason], invocation: &Invocation) -> String {
    let mut out = labelled("status", &plain(&worst.status)) + &labelled("action", &plain(&worst.action));
    out += &commands(worst, invocation);
    out += &labelled("code", worst.code.name());
    for other in others {
        out += &labelled("also", &format!("{} {}", other.code, plain(&other.status)));
        out += &commands(other, invocation);
    }
    out
}

pub(super) fn commands(reason: &Reason, invocation: &Invocation) -> String {
    let line = |command: &String| format!("{:11}{}\n", "", plain(&invocation.command(command)));
    reason.commands.iter().map(line).collect()
}

fn state_table(volumes: &[Volume]) -> String {
    let columns = [
        Words("VOLUME"),
        Words("STATE"),
        Words("MODE"),
        Numbers("SIZE"),
        Numbers("DIRTY"),
        Numbers("UNSTABLE"),
        Numbers("FAILED"),
        Numbers("LOST"),
    ];
    let row = |volume: &Volume| {
        vec![
            plain(&volume.name),
            volume.health.to_string(),
            volume.mode.name().to_owned(),
            binary(volume.size_bytes),
            binary(volume.bytes.dirty_bytes),
            binary(volume.bytes.unstable_bytes),
            binary(volume.bytes.failed_bytes),
            binary(volume.bytes.lost_bytes),
        ]
    };
    table(&columns, volumes.iter().map(row))
}

/// What the volumes are: what is behind them, how full they are, what happens to failed data.
pub fn volumes(volumes: &Volumes) -> String {
    let columns = [
        Words("VOLUME"),
        Words("STATE"),
        Words("SERVICE"),
        Words("MODE"),
        Numbers("SIZE"),
        Numbers("NOT CLEAN"),
        Numbers("BUDGET"),
        Numbers("THIN"),
        Words("I/O"),
        Words("BACKING"),
        Words("IDENTITY"),
        Words("POLICY"),
    ];
    table(&columns, volumes.volumes.iter().map(volume_row))
}

fn volume_row(volume: &Volume) -> Vec<String> {
    let thin = volume.thin.map_or("-".to_owned(), |thin| {
        format!("{}/{}", binary(thin.allocated_bytes), binary(thin.limit_bytes))
    });
    vec![
        plain(&volume.name),
        volume.health.to_string(),
        service(volume.state).to_owned(),
        volume.mode.name().to_owned(),
        binary(volume.size_bytes),
        binary(volume.bytes.not_clean_bytes),
        binary(volume.bytes.budget_bytes),
        thin,
        if volume.backing.direct { "direct" } else { "page cache" }.to_owned(),
        plain(&volume.backing.path),
        plain(&volume.backing.identity),
        plain(&volume.policy),
    ]
}

pub(super) const fn service(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Serving => "serving",
        VolumeState::Waiting => "waiting",
        VolumeState::Refused => "refused",
        VolumeState::Draining => "draining",
    }
}
