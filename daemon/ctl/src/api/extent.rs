//! Extents: ranges of a volume that share a state, and what is known of them.

use super::{Errno, FailureId, Range, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of an extent as an operator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ExtentState {
    /// In the cache, not yet accepted by the device.
    Dirty,
    /// Accepted by the device or on its way there, not known to be on stable media.
    Unstable,
    /// Refused by the device and held in the cache.
    Failed,
    /// Given up: acknowledged data that is in no place any more.
    Lost,
}

impl ExtentState {
    /// Every state.
    pub const ALL: [ExtentState; 4] =
        [ExtentState::Dirty, ExtentState::Unstable, ExtentState::Failed, ExtentState::Lost];

    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            ExtentState::Dirty => "dirty",
            ExtentState::Unstable => "unstable",
            ExtentState::Failed => "failed",
            ExtentState::Lost => "lost",
        }
    }

    /// The state with this name, exactly as written.
    pub fn from_name(name: &str) -> Option<ExtentState> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for ExtentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the device said about an extent, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error class: `transient`, `space`, `medium`, `gone`.
    pub class: String,
    /// The device's last word.
    pub errno: Errno,
    /// How often it was tried.
    pub attempts: u32,
    /// The first failure; 1970 if it was never tried, because the device refuses what went before.
    pub first: Time,
    /// The last failure; 1970 if it was never tried.
    pub last: Time,
}

/// One extent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Its first byte in the volume.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Its state.
    pub state: ExtentState,
    /// Why it is where it is; none if the device never refused it.
    pub refusal: Option<Refusal>,
}

/// A page of extents in the order of their offsets; neighbours that are equal are one.
///
/// A listing is no snapshot: the volume goes on meanwhile. What is in the asked-for state through the whole listing
/// is in it exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extents {
    /// The volume's name.
    pub volume: String,
    /// The state that was asked for.
    pub state: ExtentState,
    /// The page.
    pub extents: Vec<Extent>,
    /// What to pass as `from` for the next page; none after the last one. A page may be short and have a next one.
    pub next: Option<u64>,
}

/// What a failed flush reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The id that the client got.
    pub id: FailureId,
    /// The volume's name.
    pub volume: String,
    /// What the client got.
    pub errno: Errno,
    /// When this set of extents was reported first.
    pub reported: Time,
    /// Whether any of it is still not stable.
    pub unresolved: bool,
    /// A page of the extents that were not stable.
    pub extents: Vec<Extent>,
    /// What to pass as `from` for the next page; none after the last one.
    pub next: Option<u64>,
}

/// The failed flushes that were reported last, whichever way their clients came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// The oldest of them first.
    pub reports: Vec<Report>,
}

/// A failed flush that was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What `explain` takes.
    pub id: FailureId,
    /// The volume's name; it may not be configured any more.
    pub volume: String,
    /// When this set of extents was reported first.
    pub reported: Time,
    /// Whether any of it is still not stable.
    pub unresolved: bool,
}

/// A fault to inject: a debugging aid that must be allowed in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which device operations it meets.
    pub operation: FaultOperation,
    /// What they fail with: a name (`ENOSPC`) or a number in decimal (`28`).
    pub errno: String,
    /// Where; the whole volume if left out. A flush has no place.
    #[serde(default)]
    pub range: Option<Range>,
    /// What happens to matching operations, in order: `x` fail one, `w` pass one, `h` hang one, and as the last
    /// letter `X` fail all from then on or `W` pass all from then on. After the last letter all pass.
    pub sequence: String,
}

/// The device operations that a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FaultOperation {
    /// Reads.
    Read,
    /// Writes, of data and of zeroes, and discards.
    Write,
    /// Device flushes.
    Flush,
}

impl FaultOperation {
    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            FaultOperation::Read => "read",
            FaultOperation::Write => "write",
            FaultOperation::Flush => "flush",
        }
    }
}

/// The faults of a volume that are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// The volume's name.
    pub volume: String,
    /// In the order they were added; the first that matches decides.
    pub faults: Vec<Fault>,
}
