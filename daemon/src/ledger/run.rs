//! One step of the thread that owns the ledger, without the thread.

use super::facade::Ledger;
use super::outcome::{CommitOutcome, Stuck};
use super::record::{Now, Report};
use holdfast_engine::{Event, LedgerEntry, LedgerSeq};

/// An entry and whose it is.
pub type Entry = (u32, LedgerSeq, LedgerEntry);

/// Applies a batch of entries, commits once, and appends what the reactors are to be told: for each reactor first what
/// is durable, then its reports. Returns the ledger's trouble, if it has any: then nothing is appended, the batch is
/// kept in memory, and the step is to be repeated (an empty batch will do) at [`Stuck::retry_at`].
pub fn step(
    ledger: &mut Ledger,
    now: Now,
    batch: impl IntoIterator<Item = Entry>,
    events: &mut Vec<(u32, Event)>,
) -> Option<Stuck> {
    for (reactor, seq, entry) in batch {
        ledger.apply(now, reactor, seq, entry);
    }
    told(ledger.commit(now), events)
}

/// Appends what the reactors are to be told of a commit; returns the ledger's trouble, if it has any.
pub fn told(outcome: CommitOutcome, events: &mut Vec<(u32, Event)>) -> Option<Stuck> {
    match outcome {
        CommitOutcome::Durable { durable, reports } => {
            events.extend(
                durable.into_iter().map(|(reactor, up_to)| (reactor, Event::LedgerDurable { up_to })),
            );
            events.extend(reports.into_iter().map(reported));
            None
        }
        CommitOutcome::Stuck(stuck) => Some(stuck),
    }
}

fn reported(report: Report) -> (u32, Event) {
    (report.reactor, Event::Reported { token: report.token, failure_id: report.failure_id })
}
