//! The answer to "what is wrong and what do I type".

use super::{Errno, Time, Volume};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How something is; the order is from good to bad.
///
/// - `HEALTHY`: the device takes what it is given. Dirty data is normal work.
/// - `DEGRADED`: a promise of durability cannot be kept right now, and nothing is lost: failed extents are held, the
///   device refuses or hangs, the ledger cannot be written, a reactor does not turn.
/// - `FAULTED`: acknowledged data is lost and not yet healed, or clients cannot use the volume at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Health {
    /// All is well.
    Healthy,
    /// Something needs attention; nothing is lost.
    Degraded,
    /// Data is lost, or a volume is out of service.
    Faulted,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Health::Healthy => "HEALTHY",
            Health::Degraded => "DEGRADED",
            Health::Faulted => "FAULTED",
        })
    }
}

/// A kind of trouble, with a name that stays the same between releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthCode {
    /// Acknowledged data was given up.
    #[serde(rename = "HF_LOST_EXTENTS")]
    LostExtents,
    /// A volume is not open.
    #[serde(rename = "HF_VOLUME_NOT_SERVED")]
    VolumeNotServed,
    /// The ledger cannot be written.
    #[serde(rename = "HF_LEDGER_STUCK")]
    LedgerStuck,
    /// A reactor does not turn.
    #[serde(rename = "HF_REACTOR_STALL")]
    ReactorStall,
    /// The device, or the right to write to it, is gone.
    #[serde(rename = "HF_DEVICE_GONE")]
    DeviceGone,
    /// The device does not answer.
    #[serde(rename = "HF_DEVICE_HANGS")]
    DeviceHangs,
    /// The device refused data, which is held.
    #[serde(rename = "HF_FAILED_EXTENTS")]
    FailedExtents,
    /// The device refuses, and no data is held for it (a flush failed, say).
    #[serde(rename = "HF_DEVICE_REFUSES")]
    DeviceRefuses,
}

impl HealthCode {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            HealthCode::LostExtents => "HF_LOST_EXTENTS",
            HealthCode::VolumeNotServed => "HF_VOLUME_NOT_SERVED",
            HealthCode::LedgerStuck => "HF_LEDGER_STUCK",
            HealthCode::ReactorStall => "HF_REACTOR_STALL",
            HealthCode::DeviceGone => "HF_DEVICE_GONE",
            HealthCode::DeviceHangs => "HF_DEVICE_HANGS",
            HealthCode::FailedExtents => "HF_FAILED_EXTENTS",
            HealthCode::DeviceRefuses => "HF_DEVICE_REFUSES",
        }
    }
}

impl fmt::Display for HealthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What kind of trouble.
    pub code: HealthCode,
    /// How bad.
    pub health: Health,
    /// The volume it is about; none if it is about the daemon.
    pub volume: Option<String>,
    /// What is wrong, and what is safe.
    pub status: String,
    /// What to do.
    pub action: String,
    /// What to type, in this order. `holdfastctl` at the beginning stands for the program and its `--socket`.
    pub commands: Vec<String>,
}

/// The memory that the cache lives in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arena {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Whether it is made of huge pages.
    pub huge_pages: bool,
}

/// The durable record of failures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Its file.
    pub path: String,
    /// Why it cannot be written; none while it can.
    pub stuck: Option<LedgerStuck>,
}

/// Why the ledger cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStuck {
    /// What its file system said.
    pub errno: Errno,
    /// Since when.
    pub since: Time,
    /// Transitions that wait to be recorded.
    pub waiting_entries: u64,
}

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its release.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: Time,
    /// For how long it runs.
    pub uptime_ms: u64,
    /// Names the contents of its arena, 16 hexadecimal digits: another one means another cache.
    pub incarnation: String,
    /// How many reactors it has.
    pub reactors: u32,
    /// Bytes of a cache line.
    pub line_bytes: u32,
    /// The cache's memory.
    pub arena: Arena,
    /// The record of failures.
    pub ledger: Ledger,
    /// What works, but not as well as it could, and how to mend it: fall-backs found at start.
    pub warnings: Vec<String>,
}

/// How everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The worst there is.
    pub health: Health,
    /// What is wrong, the worst first; empty if nothing is.
    pub reasons: Vec<Reason>,
    /// The daemon.
    pub daemon: Daemon,
    /// The volumes.
    pub volumes: Vec<Volume>,
}
