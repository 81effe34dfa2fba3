//! A ledger for dummies: one cell a sector, no ranges, no files.

use super::super::facade::Ledger;
use super::*;
use holdfast_engine::LedgerSeq;
use proptest::prelude::*;

pub(super) const SECTOR: u64 = 512;
pub(super) const SECTORS: u64 = 48;

/// Class and errno.
type Key = (u8, u16);

/// What an entry does to a sector.
type Change = Box<dyn Fn(&mut Cell)>;

/// What is on record of a sector.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    /// Class and errno of what is held.
    held: Option<Key>,
    /// Generation, class and errno of what is lost, oldest first.
    lost: Vec<(u64, Key)>,
    /// What comes back when the first loss is rescinded.
    beneath: Option<Key>,
}

/// All sectors of a volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model(Vec<Cell>);

impl Default for Model {
    fn default() -> Self {
        Model(vec![Cell::default(); SECTORS as usize])
    }
}

impl Model {
    pub(super) fn apply(&mut self, entry: &LedgerEntry) {
        let (range, change): (ByteRange, Change) = match *entry {
            LedgerEntry::NotStable { extent, .. } => {
                (extent.range, Box::new(move |cell| cell.held = Some((extent.class, extent.errno))))
            }
            LedgerEntry::Healed { range, .. } => {
                (range, Box::new(|cell| (cell.held, cell.beneath) = (None, None)))
            }
            LedgerEntry::Lost { extent, generation, .. } => (
                extent.range,
                Box::new(move |cell| {
                    if let Some(held) = cell.held.take() {
                        cell.beneath = Some(held);
                    }
                    if cell.lost.len() == 4 {
                        cell.lost.remove(1);
                    }
                    cell.lost.push((generation, (extent.class, extent.errno)));
                }),
            ),
            LedgerEntry::Rescinded { range, generation, .. } => (
                range,
                Box::new(move |cell| {
                    let Some(at) = cell.lost.iter().rposition(|lost| lost.0 == generation) else { return };
                    cell.lost.remove(at);
                    cell.held = cell.held.or(cell.beneath);
                    cell.beneath = None;
                }),
            ),
            LedgerEntry::LossHealed { range, .. } => {
                (range, Box::new(|cell| (cell.lost, cell.beneath) = (Vec::new(), None)))
            }
            LedgerEntry::Report { .. } => return,
        };
        let end = range.end().div_ceil(SECTOR).min(SECTORS);
        for sector in range.offset / SECTOR..end {
            change(&mut self.0[sector as usize]);
        }
    }

    /// Compares with what a ledger says of a volume; panics with the first difference.
    pub(super) fn check(&self, ledger: &Ledger, volume: VolumeId) {
        assert_eq!(self.difference(ledger, volume), None);
    }

    /// The first sector of which a ledger says something else, and what is said of it: here and there.
    pub(super) fn difference(&self, ledger: &Ledger, volume: VolumeId) -> Option<String> {
        let mut held = vec![None; SECTORS as usize];
        for record in ledger.not_stable(volume) {
            fill(&mut held, record.range, (record.failure.class, record.failure.errno));
        }
        let mut lost = vec![None; SECTORS as usize];
        for record in ledger.lost(volume) {
            fill(&mut lost, record.range, (record.generation, (record.failure.class, record.failure.errno)));
        }
        let here = self.0.iter().map(|cell| (cell.held, cell.lost.last().copied()));
        let both = here.zip(held.into_iter().zip(lost)).enumerate();
        both.filter(|(_, (here, there))| here != there).map(|difference| format!("{difference:?}")).next()
    }

    /// The set that a failure id names.
    pub(super) fn set(&self) -> Vec<[Option<Key>; 2]> {
        self.0.iter().map(|cell| [cell.held, cell.lost.last().map(|lost| lost.1)]).collect()
    }
}

fn fill<T: Copy>(cells: &mut [Option<T>], range: ByteRange, value: T) {
    for sector in range.offset / SECTOR..range.end() / SECTOR {
        let cell = &mut cells[sector as usize];
        assert!(cell.is_none(), "sector {sector} is on record twice");
        *cell = Some(value);
    }
}

/// Any entry but a report, about any place of the volume, sometimes reaching over its end.
pub(super) fn entry(volume: VolumeId) -> impl Strategy<Value = LedgerEntry> {
    let range = (0..SECTORS, 1..16u64).prop_map(|(from, count)| bytes(from * SECTOR, count * SECTOR));
    let failure = prop_oneof![Just((SPACE, ENOSPC)), Just((MEDIUM, EIO)), Just((0, 0))];
    (range, failure, 0..7u8, 1..5u64).prop_map(move |(range, (class, errno), what, generation)| match what {
        0 | 1 => not_stable(volume, range, class, errno),
        2 => healed(volume, range),
        3 => LedgerEntry::Lost { volume, extent: extent(range, class, errno), generation },
        4 => rescinded(volume, range, generation),
        5 => loss_healed(volume, range, false),
        _ => loss_healed(volume, range, true),
    })
}

/// Feeds entries of one reactor and counts them.
#[derive(Default)]
pub(super) struct Feeder(u64);

impl Feeder {
    pub(super) fn feed(&mut self, ledger: &mut Ledger, now: Now, entry: LedgerEntry) -> LedgerSeq {
        self.0 += 1;
        ledger.apply(now, 0, LedgerSeq(self.0), entry);
        LedgerSeq(self.0)
    }
}
