//! `volume show` and `volume resize`.

use super::policy::policy_table;
use super::session::session_table;
use super::{Invocation, labelled, plain, shell_word};
use crate::api::{Released, Reopened, Resized, Volume, VolumeShown};
use crate::size::{binary, duration};

/// Everything about one volume.
pub fn volume(shown: &VolumeShown) -> String {
    let volume = &shown.volume;
    let direct = if volume.backing.direct { "direct" } else { "through the page cache" };
    let mut out = labelled("volume", &plain(&volume.name));
    out += &labelled("state", &format!("{}, {}", volume.health, service(volume)));
    out += &labelled("size", &format!("{} ({} bytes)", binary(volume.size_bytes), volume.size_bytes));
    out += &labelled("backing", &plain(&format!("{} ({direct})", volume.backing.path)));
    out += &labelled("device", &plain(&volume.backing.identity));
    out += &labelled("mode", volume.mode.name());
    out += &held(volume);
    if let Some(thin) = volume.thin {
        let (used, most) = (binary(thin.allocated_bytes), binary(thin.limit_bytes));
        out += &labelled("thin", &format!("{used} of {most} allocated"));
    }
    if let Some(gate) = &volume.gate {
        let next =
            gate.next_probe_ms.map_or("when somebody asks".to_owned(), |ms| format!("in {}", duration(ms)));
        let said = format!("{} ({}), class {}", gate.errno.meaning, gate.errno.name, gate.class);
        out += &labelled("refuses", &plain(&format!("{said}; next try {next}")));
    }
    out += &labelled("waiting", &waiting(volume));
    out.push('\n');
    out += &policy_table(&shown.policy);
    if !shown.sessions.is_empty() {
        out.push('\n');
        out += &session_table(&shown.sessions);
    }
    out
}

fn service(volume: &Volume) -> String {
    let why = volume.why.as_ref().map_or(String::new(), |why| format!(": {}", plain(why)));
    format!("{}{why}", super::status::service(volume.state))
}

fn held(volume: &Volume) -> String {
    let bytes = &volume.bytes;
    let states = format!(
        "{} dirty, {} unstable, {} failed, {} lost",
        binary(bytes.dirty_bytes),
        binary(bytes.unstable_bytes),
        binary(bytes.failed_bytes),
        binary(bytes.lost_bytes)
    );
    let budget =
        format!("{} of {} not on stable media", binary(bytes.not_clean_bytes), binary(bytes.budget_bytes));
    labelled("data", &states) + &labelled("budget", &budget)
}

fn waiting(volume: &Volume) -> String {
    format!(
        "{} writes for room, {} flushes ({} parked), {} device operations overdue",
        volume.stalled_writes, volume.waiting_flushes, volume.parked_flushes, volume.overdue
    )
}

/// How a volume grew.
pub fn resized(resized: &Resized) -> String {
    let (before, after) = (binary(resized.before_bytes), binary(resized.size_bytes));
    let volume = plain(&resized.volume);
    if resized.dry_run {
        return format!("{volume}: would grow from {before} to {after}. Nothing was changed.\n");
    }
    format!("{volume}: grew from {before} to {after}. Clients see it when they connect again.\n")
}

/// What was let go of, and what to type when it is mended.
pub fn released(released: &Released, invocation: &Invocation) -> String {
    let (volume, path) = (plain(&released.volume), plain(&released.path));
    let command = invocation.command(&format!("holdfastctl volume reopen {}", released.volume));
    format!(
        "{volume}: '{path}' is closed. What is acknowledged is held; what needs the device waits, or fails.\n  When it is \
         mended, type: {command}\n"
    )
}

/// Where the device is now, and what else should know that.
pub fn reopened(reopened: &Reopened, invocation: &Invocation) -> String {
    let (volume, path) = (plain(&reopened.volume), plain(&reopened.path));
    if reopened.dry_run {
        return format!("{volume}: '{}' is its device. Nothing was changed.\n", path);
    }
    let command = invocation.command(&format!("holdfastctl retry {} --wait", shell_word(&reopened.volume)));
    let mut out = format!("{volume}: '{path}' is open again, and what waited for it is tried.\n");
    if reopened.moved {
        out += "  Write this path into the configuration: the next start opens what stands there.\n";
    }
    out += &format!("  To see that it worked, type: {command}\n");
    out
}
