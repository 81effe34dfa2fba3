//! A ledger in memory: durable at once, or when a test lets it be.

use holdfast_engine::{LedgerEntry, LedgerSeq, Token};
use std::collections::{BTreeMap, BTreeSet};

/// What the entries say, by sector.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Entries that were sent.
    pub(crate) entries: Vec<(LedgerSeq, LedgerEntry)>,
    /// How many of them are applied.
    applied: usize,
    /// Nothing becomes durable while this is set.
    pub(crate) held: bool,
    pub(crate) not_stable: BTreeSet<u64>,
    pub(crate) lost: BTreeMap<u64, u64>,
}

impl Ledger {
    /// Makes durable what may be. Returns the last durable entry and the reports with their ids.
    pub(crate) fn settle(&mut self) -> Option<(LedgerSeq, Vec<(Token, u64)>)> {
        if self.held || self.applied == self.entries.len() {
            return None;
        }
        let mut reports = Vec::new();
        for at in self.applied..self.entries.len() {
            if let LedgerEntry::Report { token, .. } = self.entries[at].1 {
                reports.push((token, self.id()));
            }
            self.apply(self.entries[at].1);
        }
        self.applied = self.entries.len();
        Some((self.entries.last()?.0, reports))
    }

    fn apply(&mut self, entry: LedgerEntry) {
        let sectors = |range: holdfast_engine::ByteRange| range.offset / 512..range.end().div_ceil(512);
        match entry {
            LedgerEntry::NotStable { extent, .. } => self.not_stable.extend(sectors(extent.range)),
            LedgerEntry::Healed { range, .. } => {
                let inside = sectors(range);
                self.not_stable.retain(|sector| !inside.contains(sector));
            }
            LedgerEntry::Lost { extent, generation, .. } => {
                self.lost.extend(sectors(extent.range).map(|sector| (sector, generation)))
            }
            LedgerEntry::Rescinded { range, generation, .. } => {
                let inside = sectors(range);
                self.lost.retain(|sector, lost| !(inside.contains(sector) && *lost == generation));
            }
            LedgerEntry::LossHealed { range, .. } => {
                let inside = sectors(range);
                self.lost.retain(|sector, _| !inside.contains(sector));
            }
            LedgerEntry::Report { .. } => {}
        }
    }

    /// The same set has the same id: FNV-1a over the sectors.
    fn id(&self) -> u64 {
        let lost = self.lost.keys().map(|sector| sector | 1 << 63);
        self.not_stable
            .iter()
            .copied()
            .chain(lost)
            .fold(0xcbf2_9ce4_8422_2325, |sum, sector| (sum ^ sector).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Entries of the kind that `wanted` names.
    pub(crate) fn count(&self, wanted: impl Fn(&LedgerEntry) -> bool) -> usize {
        self.entries.iter().filter(|(_, entry)| wanted(entry)).count()
    }
}
