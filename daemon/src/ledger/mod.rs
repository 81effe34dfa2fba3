//! The ledger: the durable record of what failed, what was lost and what was healed.
//!
//! One thread owns a [`Ledger`]. It feeds the reactors' entries to [`step`] in batches and delivers the events that come
//! back; nobody is told of a failure, and no lost data is freed, before the record of it is on stable media.
//!
//! ```text
//! entries -> Memory (the truth) -> Store (a copy: one transaction a batch) -> durable answers
//!                      |                 | any error
//!                      +-----------------+-> a new file from memory, synced, renamed over the old one
//! ```
//! A file whose write or sync failed is never read or written again. While no file can be written the ledger is
//! [`Stuck`], keeps everything in memory, and answers nobody.
mod archive;
mod bounded;
mod disk;
mod error;
mod explain;
mod facade;
mod load;
mod lock;
mod losses;
mod memory;
mod outcome;
mod queries;
mod ranges;
mod record;
mod registry;
mod rows;
mod run;
mod shape;
mod store;
mod volume;

#[cfg(test)]
mod tests;

pub use archive::{ArchivedVolume, archived};
pub use error::{LedgerError, RegisterError};
pub use explain::{ExplainedBytes, ExplainedRange, Explanation, GivenId, UnknownId};
pub use facade::{HISTORY_MAX, Ledger, RETRY_FIRST_MS, RETRY_MAX_MS};
pub use memory::Transition;
pub use outcome::{CommitOutcome, Health, Stuck};
pub use record::{
    AuditRow, Cause, Ending, Failure, Kind, LostRecord, NO_REACTOR, NotStableRecord, Now, OpenMark, Report,
};
pub use run::{Entry, step, told};

#[cfg(any(test, fuzzing))]
pub(crate) use rows::fuzz;
