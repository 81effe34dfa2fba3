//! A volume as an operator sees it.

use super::{Errno, Health, Policy, Session};
use serde::{Deserialize, Serialize};

/// Whether clients can use a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeState {
    /// Open, and serving whoever connects.
    Serving,
    /// Not open yet: I/O of an earlier daemon is still in flight, or the device is not there.
    Waiting,
    /// Not opened: its identity, its lock or its record says that to open it would harm data.
    Refused,
    /// Being written back before it is closed; takes no new sessions.
    Draining,
}

/// When writes are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeMode {
    /// When they are in the cache.
    WriteBack,
    /// When the device has accepted them.
    WriteThrough,
}

impl VolumeMode {
    /// The name in JSON and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            VolumeMode::WriteBack => "write-back",
            VolumeMode::WriteThrough => "write-through",
        }
    }
}

/// What is behind a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backing {
    /// The path of the file or block device.
    pub path: String,
    /// True if I/O bypasses the page cache; false means that the page cache's lie about failed writes is back.
    pub direct: bool,
    /// What the volume is known by: device serial and namespace, or file system and inode.
    pub identity: String,
}

/// How much of a volume is in which state. Whole cache lines count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateBytes {
    /// In the cache, not yet written back and never refused.
    pub dirty_bytes: u64,
    /// Being written, or written and not known to be on stable media.
    pub unstable_bytes: u64,
    /// Refused by the device and held in the cache.
    pub failed_bytes: u64,
    /// Given up and not yet healed.
    pub lost_bytes: u64,
    /// Slots that hold data which is not on stable media; more than the sum above while lines are being replaced.
    pub not_clean_bytes: u64,
    /// What `not_clean_bytes` may reach.
    pub budget_bytes: u64,
}

/// A device that refuses: only probes go out until one succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The error class: `transient`, `space`, `gone`.
    pub class: String,
    /// What the device said.
    pub errno: Errno,
    /// Milliseconds until the next probe; none if none is planned before somebody asks for one.
    pub next_probe_ms: Option<u64>,
}

/// Space that a file volume may allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thin {
    /// What may be allocated.
    pub limit_bytes: u64,
    /// What is allocated.
    pub allocated_bytes: u64,
}

/// Everything about one volume but its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name in the configuration.
    pub name: String,
    /// Its number while this daemon runs.
    pub id: u16,
    /// How it is.
    pub health: Health,
    /// Whether clients can use it.
    pub state: VolumeState,
    /// Why it is not serving.
    pub why: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// When writes are acknowledged.
    pub mode: VolumeMode,
    /// What is behind it.
    pub backing: Backing,
    /// Its failure policy in one line.
    pub policy: String,
    /// What of it is where.
    #[serde(flatten)]
    pub bytes: StateBytes,
    /// The device's refusal, while it refuses.
    pub gate: Option<Gate>,
    /// Device operations in flight for longer than the volume's timeout.
    pub overdue: u64,
    /// Writes that wait for room.
    pub stalled_writes: u64,
    /// Flushes that wait, parked ones among them.
    pub waiting_flushes: u64,
    /// Flushes parked until the cause of a failure is gone.
    pub parked_flushes: u64,
    /// Its thin limit, if it has one.
    pub thin: Option<Thin>,
}

/// All volumes, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// The volumes.
    pub volumes: Vec<Volume>,
}

/// One volume, with what holds for it and who uses it. Put together by `volume show` from three answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeShown {
    /// The volume.
    pub volume: Volume,
    /// What happens to data that its device refuses.
    pub policy: Policy,
    /// Its clients.
    pub sessions: Vec<Session>,
}

/// Serve one more volume until the daemon ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeAddRequest {
    /// One `[[volume]]`, as in a configuration.
    pub toml: String,
    /// Only say whether it would work.
    #[serde(default)]
    pub dry_run: bool,
}

/// A volume that was added, or with `dry_run` would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAdded {
    /// Its name.
    pub volume: String,
    /// The daemon's configuration; none if it has none.
    pub config: Option<String>,
    /// What that has to say for the volume to be there after the next start.
    pub toml: String,
    /// Bytes on record as lost from an earlier use of it.
    pub lost_bytes: u64,
    /// Nothing was changed: it was only tried.
    pub dry_run: bool,
}

/// Let a volume go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VolumeRemoveRequest {
    /// Give up what its device refuses.
    pub abandon: bool,
    /// Must be true with `abandon`.
    pub yes_lose_data: bool,
    /// Only say what stands in the way.
    pub dry_run: bool,
}

/// A volume that was removed, or with `dry_run` would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRemoved {
    /// Its name.
    pub volume: String,
    /// Sessions that were ended.
    pub sessions: u64,
    /// Bytes that were given up.
    pub given_up_bytes: u64,
    /// Bytes on record as lost, those that were given up among them: the record stays for when the volume comes back.
    pub lost_bytes: u64,
    /// The configuration that still names it: the next start or reload brings it back. None if it does not.
    pub config: Option<String>,
    /// Nothing was changed: it was only tried.
    pub dry_run: bool,
}

/// Give a volume another budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRequest {
    /// As in a configuration: `25%`, `2GiB`.
    pub budget: String,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}
