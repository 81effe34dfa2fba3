//! What `volume` says: `show`, `add`, `remove`, `resize`.

use super::policy::policy_table;
use super::session::session_table;
use super::{Invocation, labelled, plain, shell_word};
use crate::api::{Released, Reopened, Resized, Volume, VolumeAdded, VolumeRemoved, VolumeShown};
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

/// What became of a volume that was to be added, and what makes it stay.
pub fn added(added: &VolumeAdded, invocation: &Invocation) -> String {
    let volume = plain(&added.volume);
    let mut out = if added.dry_run {
        format!("{volume}: would be added. Nothing was changed.\n")
    } else {
        format!("{volume}: added; clients can open it.\n")
    };
    if added.lost_bytes > 0 {
        let look = invocation.command(&format!("holdfastctl extents {volume} --state lost"));
        out += &format!(
            "Of its earlier use {} are on record as lost: see '{look}'.\n",
            binary(added.lost_bytes)
        );
    }
    out += "It outlives a daemon that is killed, and is gone when the daemon is stopped and started.\n";
    let config = added
        .config
        .as_deref()
        .map_or("the configuration".to_owned(), |config| format!("'{}'", plain(config)));
    let toml: String = added.toml.lines().map(|line| format!("  {}\n", plain(line))).collect();
    out + &format!("To keep it, add this to {config}:\n\n{toml}")
}

/// What became of a volume that was to be removed.
pub fn removed(removed: &VolumeRemoved) -> String {
    let volume = plain(&removed.volume);
    let sessions = removed.sessions;
    let mut out = if removed.dry_run {
        format!(
            "{volume}: would be drained and removed; {sessions} sessions would end. Nothing was changed.\n"
        )
    } else {
        format!("{volume}: removed; {sessions} sessions were ended, and its device is free.\n")
    };
    if removed.given_up_bytes > 0 {
        out += &format!("{} were given up, and are on record as lost.\n", binary(removed.given_up_bytes));
    }
    if removed.lost_bytes > 0 {
        let lost = binary(removed.lost_bytes);
        out += &format!(
            "{lost} of it are on record as lost; the record stays for when the volume comes back.\n"
        );
    }
    if let Some(config) = &removed.config {
        let config = plain(config);
        out += &format!(
            "'{config}' still names it: take it out there, or the next start or reload brings it back.\n"
        );
    }
    out
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
