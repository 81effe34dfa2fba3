//! A ledger that takes its time, and sometimes cannot write at all for a while.

use crate::{Note, Random, Ranges};
use holdfast_engine::{LedgerEntry, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Sectors that were on record as not stable when they were lost: if that is taken back, they are again.
    held: BTreeSet<u64>,
    /// The generations that were given up of each lost sector, the newest last.
    generations: BTreeMap<u64, Vec<u64>>,
}

impl Known {
    fn lose(&mut self, from: u64, to: u64, generation: u64) {
        for sector in from..to {
            if self.failed.contains(sector) {
                self.held.insert(sector);
            }
            self.generations.entry(sector).or_default().push(generation);
        }
        self.failed.remove(from, to);
        self.lost.insert(from, to);
    }

    fn rescind(&mut self, from: u64, to: u64, generation: u64) {
        for (&sector, generations) in self.generations.range_mut(from..to) {
            let before = generations.len();
            generations.retain(|&other| other != generation);
            if generations.len() < before && self.held.remove(&sector) {
                self.failed.insert(sector, sector + 1);
            }
            if generations.is_empty() {
                self.lost.remove(sector, sector + 1);
            }
        }
        self.generations.retain(|_, generations| !generations.is_empty());
    }

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
    /// What is durable and was not yet heard of by each reactor.
    unheard: Vec<Vec<Noted>>,
    random: Random,
}

impl Ledger {
    /// An empty one.
    pub fn new(reactors: usize, random: Random) -> Ledger {
        let none = || vec![0; reactors];
        let (queues, known) = (vec![VecDeque::new(); reactors], BTreeMap::new());
        Ledger {
            outage_until: 0,
            queues,
            taken: none(),
            durable: none(),
            last: none(),
            known,
            unheard: vec![Vec::new(); reactors],
            random,
        }
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
                self.unheard[reactor].push(noted);
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
            Note::Healed => {
                known.failed.remove(from, to);
                known.held.retain(|sector| !(from..to).contains(sector));
            }
            Note::Lost(generation) => known.lose(from, to, generation),
            Note::Rescinded(generation) => known.rescind(from, to, generation),
            Note::LossHealed | Note::Acknowledged => {
                known.lost.remove(from, to);
                known.held.retain(|sector| !(from..to).contains(sector));
                known.generations.retain(|&sector, _| sector < from || sector >= to);
            }
        }
    }

    /// A reactor has heard what is durable, and acted.
    pub fn heard(&mut self, reactor: usize) {
        self.unheard[reactor].clear();
    }

    /// The daemon is killed. A first part of what a reactor has sent is on disk: returns what became durable without its
    /// hearing, and what was forgotten, each in order.
    pub fn killed(&mut self, reactor: usize) -> (Vec<Noted>, Vec<Noted>, Vec<Noted>) {
        let waiting = self.queues[reactor].len() as u64;
        let odds = self.random.pick(&[0, 500, 1_000]);
        let count = if self.random.chance(odds) { self.random.below(waiting + 1) } else { 0 };
        let up_to = self.durable[reactor] + count;
        let before = self.unheard[reactor].len();
        while self.next_durable(reactor, up_to).is_some() {}
        let mut unheard = std::mem::take(&mut self.unheard[reactor]);
        let fresh = unheard.split_off(before);
        let forgotten = self.queues[reactor].drain(..).filter_map(|entry| match entry {
            Entry::Noted(noted) => Some(noted),
            Entry::Report(..) => None,
        });
        let forgotten = forgotten.collect();
        (self.taken[reactor], self.durable[reactor]) = (0, 0);
        (unheard, fresh, forgotten)
    }

    /// What it holds as not stable of a volume.
    pub fn failed(&self, volume: u16) -> Vec<(u64, u64)> {
        self.known.get(&volume).map(|known| known.failed.iter().collect()).unwrap_or_default()
    }

    /// The memory that held what is not stable is gone: all of that is lost. Returns it.
    pub fn turn_into_lost(&mut self, volume: u16) -> Vec<(u64, u64)> {
        let failed = self.failed(volume);
        for &range in &failed {
            self.keep(&Noted { volume, note: Note::Lost(0), range });
            self.keep(&Noted { volume, note: Note::Healed, range });
        }
        failed
    }

    /// What it holds as lost of a volume: ranges with the newest generation that was given up.
    pub fn lost(&self, volume: u16) -> Vec<((u64, u64), u64)> {
        let mut runs: Vec<((u64, u64), u64)> = Vec::new();
        let Some(known) = self.known.get(&volume) else { return runs };
        for (&sector, generations) in &known.generations {
            let newest = generations.last().copied().unwrap_or(0);
            match runs.last_mut() {
                Some((range, generation)) if range.1 == sector && *generation == newest => range.1 += 1,
                _ => runs.push(((sector, sector + 1), newest)),
            }
        }
        runs
    }
}
