//! What happens to data that a device refuses, and how it is changed while the daemon runs.

use serde::{Deserialize, Serialize};

/// What becomes of refused data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// Given up once it failed for good; the loss is recorded.
    EvictImmediately,
    /// Held until the volume's budget runs short.
    HoldUntilPressure,
    /// Held, whatever happens.
    HoldForever,
}

impl PolicyKind {
    /// The name in JSON, in the configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyKind::EvictImmediately => "evict-immediately",
            PolicyKind::HoldUntilPressure => "hold-until-pressure",
            PolicyKind::HoldForever => "hold-forever",
        }
    }
}

/// What may cause another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RetryCause {
    /// The backoff is over.
    Timer,
    /// A client asks for a flush.
    Flush,
    /// Refused data is overwritten.
    Overwrite,
    /// Only an operator: none of the others. Always allowed.
    Operator,
}

/// What a flush does that cannot succeed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FlushKind {
    /// Answers with the error.
    Report,
    /// Waits for the cause to go away.
    Stall,
}

/// What holds for some error classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The classes it is for.
    pub classes: Vec<String>,
    /// What becomes of their data.
    pub kind: PolicyKind,
    /// Of `hold-until-pressure`: the share of the budget, in parts of 1000, at which it gives up.
    pub pressure_permille: Option<u16>,
    /// How long new writes wait for room; none for `evict-immediately`.
    pub stall_timeout_ms: Option<u64>,
    /// What may cause another attempt.
    pub retry_on: Vec<RetryCause>,
    /// The wait after the first failure.
    pub retry_first_ms: u64,
    /// The longest wait.
    pub retry_max_ms: u64,
}

/// What holds for a volume now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Every class once, in the order of the rules.
    pub rules: Vec<PolicyRule>,
    /// What a flush does that cannot succeed.
    pub flush_on_failure: FlushKind,
    /// Of a stall: how long it waits.
    pub flush_timeout_ms: Option<u64>,
}

/// A volume's policy as an answer; after a change, with what changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePolicy {
    /// The volume's name.
    pub volume: String,
    /// What holds, or with `dry_run` would hold.
    pub policy: Policy,
    /// What changed; empty if it was only asked for.
    pub differences: Vec<Difference>,
    /// Nothing was changed: it was only tried.
    pub dry_run: bool,
    /// Of a trial: why the change itself would have to be confirmed, if it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
}

/// Change a volume's policy; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyChange {
    /// For these classes; for all if empty.
    pub classes: Vec<String>,
    /// What becomes of refused data.
    pub kind: Option<PolicyKind>,
    /// Of `hold-until-pressure`, in parts of 1000.
    pub pressure_permille: Option<u16>,
    /// How long new writes wait for room.
    pub stall_timeout_ms: Option<u64>,
    /// What may cause another attempt.
    pub retry_on: Option<Vec<RetryCause>>,
    /// The wait after the first failure.
    pub retry_first_ms: Option<u64>,
    /// The longest wait.
    pub retry_max_ms: Option<u64>,
    /// What a flush does that cannot succeed.
    pub flush_on_failure: Option<FlushKind>,
    /// Of a stall: how long it waits.
    pub flush_timeout_ms: Option<u64>,
    /// Only say what would change.
    pub dry_run: bool,
    /// Must be true where the new policy may give up what is held.
    pub yes_lose_data: bool,
}

/// A setting that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name: `limits.sessions_max`, `volume.vm1.budget`.
    pub key: String,
    /// What it was, in words.
    pub before: String,
    /// What it is, in words.
    pub after: String,
    /// It cannot change without a restart.
    pub needs_restart: bool,
}

/// Load the configuration again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadRequest {
    /// Only say what would change.
    pub dry_run: bool,
}

/// What a reload changed, or would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file.
    pub config: String,
    /// What differs from what was in force, in the order of the file.
    pub differences: Vec<Difference>,
    /// Nothing was changed: it was only tried.
    pub dry_run: bool,
}
