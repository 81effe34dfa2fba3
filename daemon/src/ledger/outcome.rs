//! What the ledger answers to whoever drives it.

use super::record::Report;
use holdfast_engine::{Instant, LedgerSeq};

/// The ledger's disk does not take it. Nothing new is durable, so nobody may be told of it and no lost data be freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Since when, in milliseconds of the wall clock.
    pub since_ms: u64,
    /// The disk's last word, a Linux errno; 0 if it gave none.
    pub errno: i32,
    /// The same in words.
    pub text: String,
    /// How often writing a new file was tried since.
    pub attempts: u32,
    /// When it is tried next.
    pub retry_at: Instant,
}

/// What a commit achieved.
#[derive(Clone, Debug, PartialEq)]
pub enum CommitOutcome {
    /// All that was applied is durable.
    Durable {
        /// For every reactor that had entries waiting: all up to this one are durable.
        durable: Vec<(u32, LedgerSeq)>,
        /// The reports that waited, in the order they came.
        reports: Vec<Report>,
    },
    /// The disk refused; everything stays in memory and waits. [`Ledger::tick`](super::Ledger::tick) tries again.
    Stuck(Stuck),
}

/// How the ledger is.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Set while nothing can be written.
    pub stuck: Option<Stuck>,
    /// How often the file was replaced after an error since the start.
    pub replaced: u64,
    /// Held ranges on record.
    pub not_stable: usize,
    /// Lost ranges on record.
    pub lost: usize,
    /// Whether something waits to become durable.
    pub pending: bool,
    /// Entries of reactors that were applied and are not durable: nobody was told of them.
    pub waiting: u64,
}
