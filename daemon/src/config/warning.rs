//! What is possible in a configuration and may not be what was meant.

use super::settings::{Backing, Idle, Settings, VolumeSettings};
use holdfast_engine::FlushOnFailure;
use holdfast_policy::{ErrorClass, Policy};
use std::fmt;
use std::path::Path;

/// Something that works, and has a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Whether a daemon that runs tells it by itself, and better.
    pub seen_when_running: bool,
    /// What it is and what it costs, in a line that names the key.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All of a configuration, each with what it costs. Nothing but the settings is looked at.
pub fn warnings(settings: &Settings) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |seen_when_running, text| warnings.push(Warning { seen_when_running, text });
    arena_warnings(settings, &mut warn);
    daemon_warnings(settings, &mut warn);
    settings.volumes.iter().for_each(|volume| volume_warnings(volume, &mut warn));
    warnings
}

fn arena_warnings(settings: &Settings, warn: &mut impl FnMut(bool, String)) {
    let path = &settings.arena.path;
    if is_below(path, &["/dev/shm", "/tmp", "/run"]) {
        let text = format!(
            "arena.path = {} is probably a tmpfs: slower than huge pages, and its memory may be swapped; \
             /dev/hugepages/holdfast would do",
            path.display()
        );
        warn(true, text);
    }
}

fn daemon_warnings(settings: &Settings, warn: &mut impl FnMut(bool, String)) {
    let (daemon, arena) = (&settings.daemon, &settings.arena);
    if is_below(&daemon.state_dir, &["/dev", "/tmp", "/run"]) || daemon.state_dir.starts_with(&arena.path) {
        let text = format!(
            "daemon.state_dir = {} probably does not survive a reboot, and then nobody knows what was lost; \
             /var/lib/holdfast would do",
            daemon.state_dir.display()
        );
        warn(false, text);
    }
    if daemon.idle == Idle::Spin && daemon.cores.is_empty() {
        let text =
            "daemon.idle = \"spin\" without daemon.cores: reactors take turns with whatever runs beside them";
        warn(false, text.to_owned());
    }
    if daemon.admin_socket_mode & 0o002 != 0 {
        let mode = daemon.admin_socket_mode;
        let text =
            format!("daemon.admin_socket_mode = {mode:04o}: every user of this host can look at everything");
        warn(false, text);
    }
    if let Some(address) = settings.http.listen.filter(|address| !address.ip().is_loopback()) {
        let text = format!(
            "http.listen = {address}: other hosts reach it, and token and numbers travel in plain text"
        );
        warn(false, text);
    }
    if settings.debug.fault_injection {
        warn(false, "debug.fault_injection = true: operators can make healthy disks fail".to_owned());
    }
}

fn volume_warnings(volume: &VolumeSettings, warn: &mut impl FnMut(bool, String)) {
    let name = &volume.name;
    let gives_up = ErrorClass::ALL
        .into_iter()
        .filter(|class| matches!(volume.rules.for_class(*class).policy, Policy::EvictImmediately(_)));
    let gives_up: Vec<&str> = gives_up.map(ErrorClass::name).collect();
    if let (FlushOnFailure::Stall { .. }, false) = (volume.flush_on_failure, gives_up.is_empty()) {
        let classes = gives_up.join(", ");
        let text = format!(
            "volume {name}: flushes stall for a cause to go away, but data refused as {classes} is given up: such a flush \
             waits for what cannot come back"
        );
        warn(false, text);
    }
    if let Backing::File { buffered: true, .. } = volume.backing {
        let text = format!(
            "volume {name}: buffered = true: where its file cannot be written past the page cache, that forgets failed writes, and no \
             promise holds"
        );
        warn(true, text);
    }
    let by_hand = ErrorClass::ALL.into_iter();
    let by_hand = by_hand.filter(|class| !volume.rules.for_class(*class).retry.is_automatic());
    let by_hand: Vec<&str> = by_hand.map(ErrorClass::name).collect();
    if !by_hand.is_empty() {
        let classes = by_hand.join(", ");
        let text =
            format!("volume {name}: data refused as {classes} stays failed until an operator retries it");
        warn(false, text);
    }
}

fn is_below(path: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder)) && !path.starts_with("/dev/hugepages")
}
