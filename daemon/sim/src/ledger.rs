//! A ledger that takes its time, and sometimes cannot write at all for a while.

use crate::{Note, Random, Ranges};
use holdfast_engine::{LedgerEntry, Token};
use std::collections::{BTreeMap, VecDeque};

/// A range of sectors of a volume with what the ledger is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The volume.
    pub volume: u16,
    /// What.
    pub note: Note,
    /// First sector and the one after the last.
    pub range: (u64, u64),
}

/// An entry in the simulator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A note on a range.
    Noted(Noted),
    /// A failed flush of a volume wants its name.
    Report(u16, Token),
}

impl Entry {
    /// Translates the engine's words.
    pub fn of(entry: &LedgerEntry) -> Entry {
        let noted = |volume: &holdfast_engine::VolumeId, note, range: &holdfast_engine::ByteRange| {
            let range = (range.offset / 512, range.end().div_ceil(512));
            Entry::Noted(Noted { volume: volume.0, note, range })
        };
        match entry {
            LedgerEntry::NotStable { volume, extent } => noted(volume, Note::NotStable, &extent.range),
            LedgerEntry::Healed { volume, range } => noted(volume, Note::Healed, range),
            LedgerEntry::Lost { volume, extent, generation } => {
                noted(volume, Note::Lost(*generation), &extent.range)
            }
            LedgerEntry::Rescinded { volume, range, generation } => {
                noted(volume, Note::Rescinded(*generation), range)
            }
            LedgerEntry::LossHealed { volume, range, acknowledged } => {
                noted(volume, if *acknowledged { Note::Acknowledged } else { Note::LossHealed }, range)
            }
            LedgerEntry::Report { volume, token } => Entry::Report(volume.0, *token),
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    failed: Ranges,
    lost: Ranges,
}

impl Known {
    /// The same set has the same name.
    fn name(&self) -> u64 {
        let ranges = self.failed.iter().chain([(u64::MAX, 0)]).chain(self.lost.iter());
        ranges.fold(0xcbf2_9ce4_8422_2325, |sum: u64, (from, to)| {
            [from, to]
                .into_iter()
                .fold(sum, |sum, word| (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29))
        }) | 1
    }
}

/// The ledger of one daemon.
#[derive(Debug)]
pub struct Ledger {
    /// Nothing becomes durable before this time.
    pub outage_until: u64,
    queues: Vec<VecDeque<Entry>>,
    taken: Vec<u64>,
    durable: Vec<u64>,
    last: Vec<u64>,
    known: BTreeMap<u16, Known>,
    random: Random,
}

impl Ledger {
    /// An empty one.
    pub fn new(reactors: usize, random: Random) -> Ledger {
        let none = || vec![0; reactors];
        let (queues, known) = (vec![VecDeque::new(); reactors], BTreeMap::new());
        Ledger { outage_until: 0, queues, taken: none(), durable: none(), last: none(), known, random }
    }

    /// Takes a reactor's next entry. Returns its number.
    pub fn take(&mut self, reactor: usize, entry: Entry) -> u64 {
        self.queues[reactor].push_back(entry);
        self.taken[reactor] += 1;
        self.taken[reactor]
    }

    /// When what a reactor has sent until now will be on disk.
    pub fn durable_at(&mut self, now: u64, reactor: usize) -> u64 {
        let most = self.random.pick(&[200_000, 1_000_000, 20_000_000]);
        let time = now.max(self.outage_until) + self.random.between(50_000, most);
        self.last[reactor] = self.last[reactor].max(time);
        self.last[reactor]
    }

    /// The next of a reactor's entries up to number `up_to` is on disk. A report comes with the set's name.
    pub fn next_durable(&mut self, reactor: usize, up_to: u64) -> Option<(Entry, u64)> {
        if self.durable[reactor] >= up_to {
            return None;
        }
        self.durable[reactor] += 1;
        let entry = self.queues[reactor].pop_front().expect("an entry that is not durable");
        let name = match entry {
            Entry::Report(volume, _) => self.known.entry(volume).or_default().name(),
            Entry::Noted(noted) => {
                self.keep(&noted);
                0
            }
        };
        Some((entry, name))
    }

    fn keep(&mut self, noted: &Noted) {
        let known = self.known.entry(noted.volume).or_default();
        let (from, to) = noted.range;
        match noted.note {
            Note::NotStable => known.failed.insert(from, to),
            Note::Healed => known.failed.remove(from, to),
            Note::Lost(_) => known.lost.insert(from, to),
            Note::Rescinded(_) | Note::LossHealed | Note::Acknowledged => known.lost.remove(from, to),
        }
    }
}
