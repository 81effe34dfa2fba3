//! What differs between two configurations, and what of it can change while the daemon runs.

use super::check::{flush_in_words, frontend_in_words, rule_in_words};
use super::quantity::{bytes_in_words, share, time};
use super::settings::{Backing, FrontendSettings, Settings, VolumeSettings};
use holdfast_engine::Mode;
use holdfast_policy::ErrorClass;

/// A setting that is not the same in two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its key; a volume's have its name: `volume.vm1.io_timeout`.
    pub key: String,
    /// The value in the first, in words.
    pub before: String,
    /// The value in the second, in words.
    pub after: String,
    /// It is fixed from the start to the end of a daemon.
    pub needs_restart: bool,
}

/// A setting in words: key, value, and whether it can change while the daemon runs.
type Entry = (String, String, bool);

const FIXED: bool = false;
const LIVE: bool = true;

/// The keys that can change while the daemon runs, without the volume's name and the error class.
#[cfg(test)]
pub(super) fn live_keys(settings: &Settings) -> std::collections::BTreeSet<String> {
    let volumes = settings.volumes.iter().flat_map(of_volume);
    let live = common(settings).into_iter().chain(volumes).filter(|(_, _, live)| *live);
    let bare = |key: String| match key.strip_prefix("volume.").and_then(|rest| rest.split_once('.')) {
        Some((_, key)) => key.split_once("on_failure.").map_or(key, |_| "on_failure").to_owned(),
        None => key,
    };
    live.map(|(key, ..)| bare(key)).collect()
}

/// Every setting that differs, in the order of the file. Volumes are told apart by their names, not by their order.
pub fn differences(before: &Settings, after: &Settings) -> Vec<Difference> {
    let mut found = compare(&common(before), &common(after));
    for volume in &before.volumes {
        match after.volumes.iter().find(|other| other.name == volume.name) {
            Some(other) => found.extend(volume_differences(volume, other)),
            None => found.push(whole(volume, false)),
        }
    }
    let known = |volume: &&VolumeSettings| before.volumes.iter().any(|other| other.name == volume.name);
    found.extend(after.volumes.iter().filter(|volume| !known(volume)).map(|volume| whole(volume, true)));
    found
}

/// What differs between two volumes of one name.
pub fn volume_differences(before: &VolumeSettings, after: &VolumeSettings) -> Vec<Difference> {
    let mut found = compare(&of_volume(before), &of_volume(after));
    let (old, new) = (thin_limit(before), thin_limit(after));
    if old != new {
        // A limit can be raised at any time; to lower one, or to begin or to end one, the blocks must be counted anew.
        let raised = matches!((old, new), (Some(old), Some(new)) if new > old);
        let words = |limit: Option<u64>| limit.map_or("none".to_owned(), bytes_in_words);
        found.push(Difference {
            key: format!("volume.{}.backing.thin_limit", before.name),
            before: words(old),
            after: words(new),
            needs_restart: !raised,
        });
    }
    found
}

/// The thin limit of a volume, if it has one.
pub(crate) fn thin_limit(volume: &VolumeSettings) -> Option<u64> {
    match volume.backing {
        Backing::File { thin_limit_bytes, .. } => thin_limit_bytes,
        Backing::Block { .. } => None,
    }
}

fn whole(volume: &VolumeSettings, is_new: bool) -> Difference {
    let (none, path) = ("none".to_owned(), format!("a volume on {}", volume.backing.path().display()));
    let (before, after) = if is_new { (none, path) } else { (path, none) };
    Difference { key: format!("volume.{}", volume.name), before, after, needs_restart: false }
}

/// The entries of two equal lists of keys whose values differ.
fn compare(before: &[Entry], after: &[Entry]) -> Vec<Difference> {
    assert_eq!(before.len(), after.len(), "both lists have the same keys");
    let differs = |((key, old, live), (_, new, _)): (&Entry, &Entry)| {
        (old != new).then(|| Difference {
            key: key.clone(),
            before: old.clone(),
            after: new.clone(),
            needs_restart: !live,
        })
    };
    before.iter().zip(after).filter_map(differs).collect()
}

fn common(settings: &Settings) -> Vec<Entry> {
    // Taken apart whole, so that a new key is not forgotten here.
    let Settings { daemon, arena, limits, volumes: _, frontends, http, events, debug } = settings;
    let entry = |key: &str, value: String, live: bool| (key.to_owned(), value, live);
    vec![
        entry("daemon.cores", format!("{:?}", daemon.cores), FIXED),
        entry("daemon.reactors", daemon.reactors.to_string(), FIXED),
        entry("daemon.idle", format!("{:?}", daemon.idle).to_lowercase(), FIXED),
        entry("daemon.state_dir", daemon.state_dir.display().to_string(), FIXED),
        entry("daemon.socket", daemon.socket.display().to_string(), FIXED),
        entry("daemon.socket_mode", format!("{:04o}", daemon.socket_mode), FIXED),
        entry("daemon.admin_socket", daemon.admin_socket.display().to_string(), FIXED),
        entry("daemon.admin_socket_mode", format!("{:04o}", daemon.admin_socket_mode), FIXED),
        entry(
            "daemon.admin_socket_gid",
            daemon.admin_socket_gid.map_or("its own".to_owned(), |gid| gid.to_string()),
            FIXED,
        ),
        entry("arena.path", arena.path.display().to_string(), FIXED),
        entry("arena.size", bytes_in_words(arena.size_bytes), FIXED),
        entry("arena.line", bytes_in_words(arena.line_bytes.into()), FIXED),
        entry("arena.stripe", bytes_in_words(arena.stripe_bytes), FIXED),
        entry("limits.sessions_max", limits.sessions_max.to_string(), LIVE),
        entry("limits.user_share", share(limits.user_share), LIVE),
        entry("limits.queue_depth_max", limits.queue_depth_max.to_string(), LIVE),
        entry("limits.request_bytes_max", bytes_in_words(limits.request_bytes_max.into()), FIXED),
        entry("limits.session_bytes_max", bytes_in_words(limits.session_bytes_max), LIVE),
        entry("limits.requests_max", limits.requests_max.to_string(), FIXED),
        entry("limits.device_ops_max", limits.device_ops_max.to_string(), FIXED),
        entry("limits.io_workers_max", limits.io_workers_max.to_string(), FIXED),
        entry("limits.reserve", share(limits.reserve), FIXED),
        entry("limits.flush_after", time(limits.flush_after_ms), FIXED),
        entry("frontend", frontends_in_words(frontends), FIXED),
        entry("http", format!("{http:?}"), FIXED),
        entry("events", format!("{events:?}"), FIXED),
        entry("debug.fault_injection", debug.fault_injection.to_string(), FIXED),
    ]
}

fn frontends_in_words(frontends: &[FrontendSettings]) -> String {
    if frontends.is_empty() {
        return "none".to_owned();
    }
    frontends.iter().map(frontend_in_words).collect::<Vec<_>>().join("; ")
}

fn of_volume(volume: &VolumeSettings) -> Vec<Entry> {
    let entry = |key: &str, value: String, live: bool| (format!("volume.{}.{key}", volume.name), value, live);
    let mode = if volume.mode == Mode::WriteBack { "write-back" } else { "write-through" };
    let clients = format!("users {:?}, groups {:?}", volume.clients.uids, volume.clients.gids);
    let mut entries = vec![
        entry("backing", backing(&volume.backing), FIXED),
        entry("mode", mode.to_owned(), FIXED),
        entry("budget", bytes_in_words(volume.budget_bytes), LIVE),
        entry("flush_on_failure", flush_in_words(volume.flush_on_failure), LIVE),
        entry("parked_flushes_max", volume.parked_flushes_max.to_string(), LIVE),
        entry("io_timeout", time(volume.io_timeout_ms), LIVE),
        entry("write_back.from", share(volume.write_back_from), LIVE),
        entry("write_back.after", time(volume.write_back_after_ms), LIVE),
        entry("clients", clients, LIVE),
        entry("read_only", volume.read_only.to_string(), FIXED),
    ];
    let rule = |class| rule_in_words(volume.rules.for_class(class));
    entries.extend(
        ErrorClass::ALL.map(|class| entry(&format!("on_failure.{}", class.name()), rule(class), LIVE)),
    );
    entries
}

/// All of a backing but its thin limit.
fn backing(backing: &Backing) -> String {
    match backing {
        Backing::Block { path } => format!("block device {}", path.display()),
        Backing::File { path, size_bytes, create, thin_limit_bytes: _, buffered } => {
            let size = size_bytes.map_or("as it is found".to_owned(), bytes_in_words);
            format!("file {}, {size}, create {create}, buffered {buffered}", path.display())
        }
    }
}
