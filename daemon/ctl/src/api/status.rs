//! The answer to "what is wrong and what do I type".

use super::{Errno, Health, Reason, Time, Volume};
use serde::{Deserialize, Serialize};

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
    /// The socket that clients connect to.
    pub socket: String,
    /// Clients that are connected.
    pub sessions: u32,
    /// How many may be.
    pub sessions_max: u32,
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
    /// What works and should be known; their health is `HEALTHY`.
    pub notes: Vec<Reason>,
    /// The daemon.
    pub daemon: Daemon,
    /// The volumes.
    pub volumes: Vec<Volume>,
}
