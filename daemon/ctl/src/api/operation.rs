//! What changes something: the bodies of requests, and the operations they start.

use super::{Errno, Range, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The operations that run, and those that ended last, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Each, as [`Started`] has it.
    pub operations: Vec<Operation>,
}

/// Try failed extents again, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Where; the whole volume if left out.
    #[serde(default)]
    pub range: Option<Range>,
    /// Of which error classes; of all if left out or empty.
    #[serde(default)]
    pub classes: Vec<String>,
}

/// Give up what is held as failed. The data is gone afterwards and on record as lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropRequest {
    /// Where; the whole volume if left out.
    #[serde(default)]
    pub range: Option<Range>,
    /// Must be true.
    #[serde(default)]
    pub yes_lose_data: bool,
}

/// Accept that lost extents are lost: they read from the device again and flushes succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckLossRequest {
    /// Where; the whole volume if left out.
    #[serde(default)]
    pub range: Option<Range>,
    /// Must be true.
    #[serde(default)]
    pub yes: bool,
}

/// Add space to a file volume with a thin limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowThinRequest {
    /// How much more may be allocated, at least 1.
    pub add_bytes: u64,
}

/// The thin limit after it grew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThinGrown {
    /// The volume's name.
    pub volume: String,
    /// What may be allocated now.
    pub limit_bytes: u64,
    /// What is allocated.
    pub allocated_bytes: u64,
}

/// End the daemon: it drains and exits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// Give up what cannot be written, put the loss on record and exit.
    #[serde(default)]
    pub abandon: bool,
    /// Must be true to abandon.
    #[serde(default)]
    pub yes_lose_data: bool,
}

/// The daemon is on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuttingDown {
    /// Whether what cannot be written is given up.
    pub abandon: bool,
    /// What devices refuse now: unless they take it yet, it stays in the arena for the next daemon, or is given up.
    #[serde(default)]
    pub held: Vec<Held>,
}

/// What a device refuses when the daemon begins to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The volume's name.
    pub volume: String,
    /// What is not on stable media, in bytes; whole cache lines count.
    pub bytes: u64,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationVerb {
    /// Tries failed extents again.
    Retry,
    /// Gives up failed extents.
    Drop,
    /// Accepts the loss of lost extents.
    AckLoss,
    /// Writes back and flushes all there is.
    Drain,
}

impl OperationVerb {
    /// The name in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            OperationVerb::Retry => "retry",
            OperationVerb::Drop => "drop",
            OperationVerb::AckLoss => "ack-loss",
            OperationVerb::Drain => "drain",
        }
    }
}

impl fmt::Display for OperationVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Not every reactor has answered.
    Running,
    /// Every reactor has done its part; [`Operation::left_bytes`] says whether it was enough.
    Done,
    /// A reactor refused, see [`Operation::refused`].
    Refused,
    /// Somebody ended it before everything was tried.
    Cancelled,
    /// The daemon stopped before every reactor had answered.
    Interrupted,
}

/// Something that an operator started and that takes as long as the device does.
///
/// It goes on whether somebody watches or not. While it runs, the byte counts are of the whole volume, read from the
/// counters of the reactors; from its end on they are its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number, from 1; forgotten when many newer ones have ended.
    pub id: u64,
    /// What it does.
    pub verb: OperationVerb,
    /// The volume's name.
    pub volume: String,
    /// Where; the whole volume if none.
    pub range: Option<Range>,
    /// How far it is.
    pub state: OperationState,
    /// What there was to do when it began: failed bytes (retry, drop), lost bytes (ack-loss), bytes that are not on
    /// stable media (drain).
    pub total_bytes: u64,
    /// Of that, what was tried so far (retry); the same as `done_bytes` for other verbs.
    pub tried_bytes: u64,
    /// What came out well: healed (accepted by the device), given up and on record, acknowledged, made stable.
    pub done_bytes: u64,
    /// What is left: still failed (retry), still not on stable media (drain); 0 after a drop or an ack-loss.
    pub left_bytes: u64,
    /// Why a reactor refused.
    pub refused: Option<Errno>,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub finished: Option<Time>,
}

impl Operation {
    /// Whether it ended with all done and nothing left.
    pub fn complete(&self) -> bool {
        self.state == OperationState::Done && self.left_bytes == 0
    }
}

/// An operation, by itself as an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The operation.
    pub operation: Operation,
}
