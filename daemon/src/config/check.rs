//! What `holdfastd check` says about a configuration that is possible: what it amounts to, and what it may cost.

use super::effective::causes;
use super::quantity::{bytes_in_words, share, time};
use super::read_daemon::HUGE_PAGE_BYTES;
use super::settings::{Backing, FrontendSettings, Idle, Listen, Settings, VhostSettings, VolumeSettings};
use super::warning::warnings;
use holdfast_engine::{FlushOnFailure, Mode};
use holdfast_policy::{DirtyIndex, ErrorClass, Policy, Rule};
use std::fmt::{self, Write};

/// The effective settings in words: memory, lines, what happens to each volume's data when its disk refuses, and the
/// [`warnings`]. A function of the settings alone: no file, device or clock is looked at.
pub fn check(settings: &Settings) -> String {
    let mut text = String::new();
    write_report(&mut text, settings).expect("a String takes all that is written to it");
    text
}

fn write_report(out: &mut String, settings: &Settings) -> fmt::Result {
    let (daemon, arena) = (&settings.daemon, &settings.arena);
    let idle = if daemon.idle == Idle::Spin { "spin for ever" } else { "sleep when idle" };
    let pinned = if daemon.cores.is_empty() {
        "not pinned".to_owned()
    } else {
        format!("pinned to CPUs {:?}", daemon.cores)
    };
    writeln!(out, "reactors   {}, {pinned}, {idle}", daemon.reactors)?;
    let slots = settings.slots_a_reactor();
    // What does not divide is left over; notes come on top.
    let all = settings.arena_layout().total_bytes(HUGE_PAGE_BYTES).unwrap_or(arena.size_bytes);
    let pages = all.div_ceil(HUGE_PAGE_BYTES);
    writeln!(out, "cache      {} in {}", bytes_in_words(arena.size_bytes), arena.path.display())?;
    writeln!(out, "           {pages} huge pages of 2 MiB, if it is on hugetlbfs")?;
    writeln!(out, "           {slots} lines of {} bytes on each reactor", arena.line_bytes)?;
    writeln!(out, "           {} lines of each are the reserve", settings.reserve_slots())?;
    writeln!(
        out,
        "overhead   headers {}, part of the cache's memory",
        bytes_in_words(settings.header_bytes())
    )?;
    writeln!(out, "           maps    {}", bytes_in_words(settings.map_bytes()))?;
    let (index, tebibyte) = (index_bytes(settings), index_bytes_of(settings, 1 << 40));
    writeln!(out, "           indexes {} for the volumes of known size,", bytes_in_words(index))?;
    writeln!(
        out,
        "                   {} for each TiB of others, as it is written",
        bytes_in_words(tebibyte)
    )?;
    let limits = &settings.limits;
    let sessions = u64::from(limits.sessions_max) * limits.session_bytes_max;
    writeln!(out, "sessions   at most {}, together up to {}", limits.sessions_max, bytes_in_words(sessions))?;
    writeln!(out, "clients    {} (mode {:04o})", daemon.socket.display(), daemon.socket_mode)?;
    writeln!(out, "operators  {} (mode {:04o})", daemon.admin_socket.display(), daemon.admin_socket_mode)?;
    writeln!(out, "ledger     {}", daemon.state_dir.display())?;
    write_outside(out, settings)?;
    for volume in &settings.volumes {
        write_volume(out, settings, volume)?;
    }
    for frontend in &settings.frontends {
        write_frontend(out, frontend)?;
    }
    for warning in warnings(settings) {
        writeln!(out, "\nwarning: {warning}")?;
    }
    Ok(())
}

fn write_outside(out: &mut String, settings: &Settings) -> fmt::Result {
    let (http, events) = (&settings.http, &settings.events);
    if let Some(address) = http.listen {
        let what = match &http.token_file {
            Some(file) => format!("metrics; the page to who has the token in {}", file.display()),
            None => "metrics only: the page needs http.token_file".to_owned(),
        };
        writeln!(out, "http       {address}: {what}")?;
    }
    let wait = time(events.timeout_ms);
    match (&events.webhook, events.exec.first()) {
        (Some(webhook), _) => {
            writeln!(out, "events     posted to {webhook}, up to {} times {wait}", events.attempts)
        }
        (None, Some(program)) => writeln!(out, "events     run {program}, for at most {wait}"),
        (None, None) => Ok(()),
    }
}

fn write_volume(out: &mut String, settings: &Settings, volume: &VolumeSettings) -> fmt::Result {
    let lines = settings.budget_slots(volume);
    writeln!(out, "\nvolume {}", volume.name)?;
    writeln!(out, "  backing    {}", backing(&volume.backing))?;
    let mode = match volume.mode {
        Mode::WriteBack => "once they are in the cache",
        Mode::WriteThrough => "once the device has accepted them",
    };
    let access = if volume.read_only {
        "are refused (read only)".to_owned()
    } else {
        format!("are acknowledged {mode}")
    };
    writeln!(out, "  writes     {access}")?;
    writeln!(out, "  budget     {lines} lines, {}", bytes_in_words(volume.budget_bytes))?;
    let room = settings.room_slots(volume);
    if room < lines {
        writeln!(
            out,
            "             {room} lines of it at most on one reactor, whose other lines are promised elsewhere"
        )?;
    }
    let (from, after) = (share(volume.write_back_from), time(volume.write_back_after_ms));
    writeln!(out, "  sweep      above {from} of the budget, or after {after}")?;
    let clients = &volume.clients;
    writeln!(
        out,
        "  clients    root, the daemon's user, users {:?}, groups {:?}",
        clients.uids, clients.gids
    )?;
    let flush = flush_in_words(volume.flush_on_failure);
    let parked = match volume.flush_on_failure {
        FlushOnFailure::Report => String::new(),
        FlushOnFailure::Stall { .. } => format!(" (at most {} a session)", volume.parked_flushes_max),
    };
    writeln!(out, "  flush      that cannot succeed {flush}{parked}")?;
    for class in ErrorClass::ALL {
        writeln!(out, "  {:11}{}", class.name(), rule_in_words(volume.rules.for_class(class)))?;
    }
    Ok(())
}

/// What a flush does that cannot succeed.
pub(crate) fn flush_in_words(flush: FlushOnFailure) -> String {
    match flush {
        FlushOnFailure::Report => "answers at once with the error".to_owned(),
        FlushOnFailure::Stall { timeout_ms } => format!("waits up to {}", time(timeout_ms)),
    }
}

fn write_frontend(out: &mut String, frontend: &FrontendSettings) -> fmt::Result {
    let kind = match frontend {
        FrontendSettings::Nbd(_) => "nbd",
        FrontendSettings::Vhost(_) => "vhost-user",
    };
    writeln!(out, "\n{kind:11}{}", frontend_in_words(frontend))
}

/// Where a frontend listens, for whom, and what it serves.
pub(super) fn frontend_in_words(frontend: &FrontendSettings) -> String {
    let frontend = match frontend {
        FrontendSettings::Nbd(nbd) => nbd,
        FrontendSettings::Vhost(VhostSettings { socket, socket_mode, volume, queues, read_only }) => {
            let access = if *read_only { ", read only" } else { "" };
            let socket = socket.display();
            return format!("{socket} (mode {socket_mode:04o}): {volume}{access}, at most {queues} queues");
        }
    };
    let place = match &frontend.listen {
        Listen::Unix { path, mode } => format!("{} (mode {mode:04o})", path.display()),
        Listen::Tcp { address, allow } => {
            let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
            format!("{address}, for hosts of {}", allow.join(", "))
        }
    };
    let volumes = &frontend.volumes;
    let volumes = if volumes.is_empty() { "all volumes".to_owned() } else { volumes.join(", ") };
    let access = if frontend.read_only { ", read only" } else { "" };
    format!("{place}: {volumes}{access}, at most {} connections", frontend.connections_max)
}

fn backing(backing: &Backing) -> String {
    match backing {
        Backing::Block { path } => format!("block device {}", path.display()),
        Backing::File { path, size_bytes, create, thin_limit_bytes, buffered } => {
            let size = size_bytes.map_or("as it is found".to_owned(), bytes_in_words);
            let create = if *create { ", created if it is not there" } else { "" };
            let limit = thin_limit_bytes
                .map(|bytes| format!(", at most {} allocated", bytes_in_words(bytes)))
                .unwrap_or_default();
            let buffered = if *buffered { ", through the page cache if need be" } else { "" };
            format!("file {}, {size}{create}{limit}{buffered}", path.display())
        }
    }
}

/// What becomes of refused data by a rule, and when it is tried again.
pub(crate) fn rule_in_words(rule: &Rule) -> String {
    let fate = match rule.policy {
        Policy::EvictImmediately(_) => "given up once it is for good, the loss recorded".to_owned(),
        Policy::HoldUntilPressure(policy) => {
            let (pressure, wait) = (share(policy.pressure), time(policy.stall_timeout_ms));
            format!(
                "held; from {pressure} of the budget writes wait, after {wait} the oldest failure is given up"
            )
        }
        Policy::HoldForever(policy) => {
            format!(
                "held for ever; over the budget writes wait {}, then get ENOSPC",
                time(policy.stall_timeout_ms)
            )
        }
    };
    let causes = causes(&rule.retry);
    let on = if causes.is_empty() {
        "only by an operator".to_owned()
    } else {
        format!("on {}", causes.join(", "))
    };
    format!("{fate}; tried again {on}, every {} to {}", time(rule.retry.first_ms), time(rule.retry.max_ms))
}

/// Bytes of the dirty indexes of the volumes whose size the configuration says; they count as they are touched.
fn index_bytes(settings: &Settings) -> u64 {
    let size = |volume: &VolumeSettings| match volume.backing {
        Backing::File { size_bytes, .. } => size_bytes,
        Backing::Block { .. } => None,
    };
    settings.volumes.iter().filter_map(size).map(|bytes| index_bytes_of(settings, bytes)).sum()
}

fn index_bytes_of(settings: &Settings, volume_bytes: u64) -> u64 {
    let lines = volume_bytes.div_ceil(settings.arena.line_bytes.into());
    DirtyIndex::words_needed(lines) as u64 * 8
}
