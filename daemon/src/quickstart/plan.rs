//! What is played: a volume for each policy, and the configuration that the daemon gets for them.

use super::pattern::{B, LINE, PLAYGROUND, STRIPE};
use super::place::{ARENA_BYTES, Place};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write may wait for room: short enough to watch.
pub(super) const STALL: Duration = Duration::from_secs(1);

/// What the file of a volume may allocate at first: A, and a part of B.
pub(super) const THIN_LIMIT: u64 = 256 << 10;

/// What is added when an operator "adds space": enough for all that can be held then, and not for B and all of the crowd.
pub(super) const GROWTH: u64 = BUDGET;

/// Memory of a volume's data that is not on stable media: more than B, less than the crowd of writes after it.
const BUDGET: u64 = 2 << 20;

/// Nothing is written back before the flush of t3: the disk would refuse the beginning of B while a client still writes
/// its end, and evict-immediately acknowledges nothing more from then on.
const LAZY: &str = "write_back = { from = \"100%\", after = \"10m\" }";

/// One of the three failure policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// Give up what cannot be written, and say so.
    EvictImmediately,
    /// Hold it until memory gets tight.
    HoldUntilPressure,
    /// Hold it, whatever it costs.
    HoldForever,
}

impl Policy {
    /// In the order in which they are played.
    pub(super) const ALL: [Policy; 3] =
        [Policy::HoldForever, Policy::HoldUntilPressure, Policy::EvictImmediately];

    /// The word in the configuration, and the volume's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Policy::EvictImmediately => "evict-immediately",
            Policy::HoldUntilPressure => "hold-until-pressure",
            Policy::HoldForever => "hold-forever",
        }
    }

    /// What it does with refused data, in a sentence.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Policy::EvictImmediately => {
                "what the disk refuses for good is given up, recorded, and never denied"
            }
            Policy::HoldUntilPressure => "what the disk refuses is kept until memory gets tight",
            Policy::HoldForever => "what the disk refuses is kept, whatever it costs",
        }
    }

    fn rule(self) -> String {
        let stall = STALL.as_millis();
        match self {
            // A timer, so that second attempts come by themselves.
            Policy::EvictImmediately => "policy = { kind = \"evict-immediately\" }\n\
                 retry = { on = [\"timer\", \"flush\"], first = \"100ms\", max = \"200ms\" }"
                .to_owned(),
            // No timer: nothing heals before the operator of this story says so.
            Policy::HoldUntilPressure => format!(
                "policy = {{ kind = \"hold-until-pressure\", pressure = \"90%\", stall_timeout = \"{stall}ms\" }}\n\
                 retry = {{ on = [\"flush\", \"overwrite\"], first = \"100ms\" }}"
            ),
            Policy::HoldForever => format!(
                "policy = {{ kind = \"hold-forever\", stall_timeout = \"{stall}ms\" }}\n\
                 retry = {{ on = [\"flush\", \"overwrite\"], first = \"100ms\" }}"
            ),
        }
    }
}

/// What is behind a volume.
#[derive(Clone, Debug)]
pub(super) enum Disk {
    /// A sparse file of ours with a limit.
    Thin {
        /// Whether it goes through the page cache.
        buffered: bool,
    },
    /// A file of the user's.
    File,
    /// A block device of the user's.
    Block,
}

/// A volume, as it is played.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Its policy, whose name it has.
    pub(super) policy: Policy,
    /// What is behind it.
    pub(super) disk: Disk,
    /// Where that is.
    pub(super) path: PathBuf,
}

impl Planned {
    pub(super) fn name(&self) -> &'static str {
        self.policy.name()
    }

    /// Whether it is a file of ours, which refuses a write that needs too much before it touches anything.
    pub(super) fn is_thin(&self) -> bool {
        matches!(self.disk, Disk::Thin { .. })
    }

    fn backing(&self) -> String {
        let path = quoted(&self.path);
        match self.disk {
            Disk::Thin { buffered } => format!(
                "{{ kind = \"file\", path = {path}, size = {PLAYGROUND}, create = true, thin_limit = {THIN_LIMIT}, \
                 buffered = {buffered} }}"
            ),
            Disk::File => format!("{{ kind = \"file\", path = {path} }}"),
            Disk::Block => format!("{{ kind = \"block\", path = {path} }}"),
        }
    }
}

/// The daemon's configuration for these volumes.
pub(super) fn config(place: &Place, volumes: &[Planned]) -> String {
    let [arena, socket, admin_socket, state] =
        [place.arena(), place.socket(), place.admin_socket(), place.state()].map(|path| quoted(&path));
    let mut text = format!(
        "# Written by `holdfastd quickstart`.\n\
         [daemon]\nreactors = 2\nstate_dir = {state}\nsocket = {socket}\nadmin_socket = {admin_socket}\n\n\
         [arena]\npath = {arena}\nsize = {ARENA_BYTES}\nline = {LINE}\nstripe = {STRIPE}\n\n\
         [limits]\nrequest_bytes_max = \"256KiB\"\nsession_bytes_max = \"4MiB\"\nsessions_max = 16\n\n\
         [debug]\nfault_injection = true\n"
    );
    for volume in volumes {
        let (name, backing, rule) = (volume.name(), volume.backing(), volume.policy.rule());
        text += &format!(
            "\n[[volume]]\nname = \"{name}\"\nbacking = {backing}\nbudget = {BUDGET}\n{LAZY}\n\n\
             [[volume.on_failure]]\nclass = \"any\"\n{rule}\n"
        );
    }
    text
}

fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

// B is held as a whole, on each reactor, before there is any pressure.
const _: () = assert!(B.end - B.start <= BUDGET / 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_daemon_takes_the_configuration_whatever_the_disks_are() {
        let place = Place::make().expect("this host has /dev/shm and a folder for temporary files");
        let planned = |disk: Disk| {
            let volume = |policy: Policy| Planned {
                policy,
                disk: disk.clone(),
                path: format!("/x/\"{}\\", policy.name()).into(),
            };
            Policy::ALL.map(volume)
        };
        for disk in [Disk::Thin { buffered: true }, Disk::Thin { buffered: false }, Disk::File, Disk::Block] {
            let text = super::config(&place, &planned(disk));
            let settings = config::parse(&text, "quickstart.toml").expect("it is possible");
            assert_eq!(settings.volumes.len(), 3);
            assert_eq!(settings.volumes[0].backing.path(), Path::new("/x/\"hold-forever\\"));
            assert_eq!(settings.volumes[0].budget_bytes, BUDGET);
        }
    }
}
