//! Who is connected, and who did what.

use super::Time;
use serde::{Deserialize, Serialize};

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its number while it lives, as its client knows it, too.
    pub id: u64,
    /// The volume's name.
    pub volume: String,
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Since when.
    pub since: Time,
    /// It is being let go.
    pub leaving: bool,
}

/// All clients, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The clients.
    pub sessions: Vec<Session>,
    /// How many there may be.
    pub sessions_max: u32,
}

/// A client is being cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// Whom.
    pub session: Session,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Counts rows from 1 since the ledger began.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Who: `uid 0, gid 0, pid 4711`.
    pub who: String,
    /// What, as it would be typed.
    pub verb: String,
}

/// Rows after the one that was asked about, or the newest, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// A page of them.
    pub rows: Vec<AuditRow>,
    /// What to pass as `since` to get what comes after this page.
    pub next: u64,
    /// Rows after `since` that were forgotten before this page, because only so many are kept.
    pub missed: u64,
    /// Rows that are kept from before this page, if the newest were asked for.
    pub earlier: u64,
    /// Rows that came after this page.
    pub later: u64,
}

/// Let a volume grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    /// Its new size.
    pub size_bytes: u64,
    /// Only say whether it would work.
    #[serde(default)]
    pub dry_run: bool,
}

/// A volume that grew, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// The volume's name.
    pub volume: String,
    /// What it was.
    pub before_bytes: u64,
    /// What it is.
    pub size_bytes: u64,
    /// Nothing was changed: it was only tried.
    pub dry_run: bool,
}
