//! How something is, and why.

use super::HealthCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How something is; the order is from good to bad.
///
/// - `HEALTHY`: the device takes what it is given. Dirty data is normal work.
/// - `DEGRADED`: a promise of durability cannot be kept right now, and nothing is lost: failed extents are held, the
///   device refuses or hangs, the ledger cannot be written, clients are turned away.
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

/// One thing that is wrong, or that should be known.
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
    /// What is safe under this code, and what is not.
    pub safe: String,
    /// What it costs to do what is advised.
    pub cost: String,
}
