//! What is on its way to the ledger.

use crate::{Actions, LedgerEntry, LedgerSeq};

/// Numbers the entries and bounds how many are not yet durable.
#[derive(Debug)]
pub(crate) struct Outbox {
    last: LedgerSeq,
    durable: LedgerSeq,
    max: u64,
}

impl Outbox {
    pub(crate) fn new(max: usize) -> Outbox {
        Outbox { last: LedgerSeq(0), durable: LedgerSeq(0), max: max as u64 }
    }

    /// Entries that are not yet durable.
    pub(crate) fn pending(&self) -> u64 {
        self.last.0 - self.durable.0
    }

    /// Whether `count` more may be pushed. Entries of small, bounded number (one a completion) may always be pushed:
    /// the bound keeps background work from flooding the ledger.
    pub(crate) fn has_room(&self, count: u64) -> bool {
        self.pending() + count <= self.max
    }

    pub(crate) fn push(&mut self, entry: LedgerEntry, out: &mut Actions) -> LedgerSeq {
        self.last.0 += 1;
        out.ledger.push((self.last, entry));
        self.last
    }

    pub(crate) fn last(&self) -> LedgerSeq {
        self.last
    }

    pub(crate) fn is_durable(&self, seq: LedgerSeq) -> bool {
        seq <= self.durable
    }

    pub(crate) fn settle(&mut self, up_to: LedgerSeq) {
        assert!(up_to <= self.last, "the ledger confirms {up_to:?}, of {:?} sent", self.last);
        self.durable = self.durable.max(up_to);
    }
}
