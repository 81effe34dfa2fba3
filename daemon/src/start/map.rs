//! The map of a volume, from the dirty indexes of its reactors: read at any time, while they are written.

use crate::arena;
use holdfast_ctl::api::ExtentMap;
use holdfast_engine::Geometry;
use holdfast_policy::{DirtyIndex, IndexReader, Plane};
use std::sync::atomic::AtomicU64;

/// One reactor's sheet of a volume's map: its own lines.
#[derive(Clone, Copy)]
pub(super) struct Sheet {
    geometry: Geometry,
    index: IndexReader<'static>,
    words: &'static [AtomicU64],
}

impl Sheet {
    /// The sheet of the lines whose dirty index, made for `index_lines`, is kept in `words`.
    pub(super) fn new(geometry: Geometry, index_lines: u64, words: &'static [AtomicU64]) -> Sheet {
        let needed = &words[..DirtyIndex::words_needed(index_lines)];
        Sheet { geometry, index: IndexReader::new(index_lines, needed), words }
    }

    /// The volume is gone, and no reactor writes its index any more: its memory goes back.
    pub(super) fn give_back(&self) {
        arena::give_back_words(self.words);
    }

    /// How many of this reactor's lines lie before byte `offset` of the volume: a multiple of a line, or the volume's end.
    fn lines_before(&self, offset: u64) -> u64 {
        Geometry { volume_bytes: offset, ..self.geometry }.local_lines()
    }

    /// The worst state of what lies in `begin..end`: a look at each plane's summaries, however much there is.
    fn worst(&self, begin: u64, end: u64) -> u8 {
        let (first, end) = (self.lines_before(begin), self.lines_before(end));
        let any = |plane: &Plane<'_>| end > first && plane.any_in(first, end - first);
        if any(&self.index.failed) {
            ExtentMap::FAILED
        } else if any(&self.index.busy) {
            ExtentMap::WRITING
        } else if any(&self.index.dirty) {
            ExtentMap::DIRTY
        } else {
            ExtentMap::CLEAN
        }
    }
}

/// How bad a state is, compared to others.
fn badness(state: u8) -> usize {
    const ORDER: [u8; 4] = [ExtentMap::CLEAN, ExtentMap::DIRTY, ExtentMap::WRITING, ExtentMap::FAILED];
    ORDER.iter().position(|one| *one == state).unwrap_or_default()
}

/// The states of the cells of a volume of which these are all the sheets, and which has `volume_bytes` now.
pub(super) fn cells(sheets: &[Sheet], volume_bytes: u64, cell_bytes: u64) -> Vec<u8> {
    let count = volume_bytes.div_ceil(cell_bytes);
    let cell = |number: u64| {
        let begin = number * cell_bytes;
        let end = begin.saturating_add(cell_bytes).min(volume_bytes);
        let states = sheets.iter().map(|sheet| sheet.worst(begin, end));
        states.max_by_key(|state| badness(*state)).unwrap_or(ExtentMap::CLEAN)
    };
    (0..count).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: u64 = 4096;
    const STRIPE: u64 = 1 << 20;

    /// Two reactors' indexes of a volume, and their sheets of its map.
    fn volume(volume_bytes: u64) -> (Vec<DirtyIndex<'static>>, Vec<Sheet>) {
        let part = |reactor| {
            let geometry = Geometry {
                volume_bytes,
                block_bytes: 512,
                line_bytes: 4096,
                stripe_bytes: STRIPE,
                reactors: 2,
                reactor,
            };
            let lines = geometry.local_lines();
            let words = (0..DirtyIndex::words_needed(lines)).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
            let words: &'static [AtomicU64] = words.leak();
            (DirtyIndex::new(lines, words), Sheet::new(geometry, lines, words))
        };
        (0..2).map(part).unzip()
    }

    fn text(sheets: &[Sheet], cell_bytes: u64) -> String {
        cells(sheets, sheets[0].geometry.volume_bytes, cell_bytes).into_iter().map(char::from).collect()
    }

    #[test]
    fn each_cell_has_its_worst_state_whoever_owns_it() {
        let (mut indexes, sheets) = volume(4 * STRIPE);
        assert_eq!(text(&sheets, STRIPE), "....");
        let lines = STRIPE / LINE;
        // Stripe 1 is the other reactor's first, stripe 2 this one's second.
        indexes[1].dirty.set(0);
        indexes[0].dirty.set(2 * lines - 1);
        indexes[0].failed.set(2 * lines - 1);
        assert_eq!(text(&sheets, STRIPE), ".df.");
        assert_eq!(text(&sheets, 2 * STRIPE), "df");
        assert_eq!(text(&sheets, STRIPE / 2), "..d..f..");
        indexes[1].busy.set(0);
        assert_eq!(text(&sheets, 4 * STRIPE), "f");
        assert_eq!(text(&sheets, STRIPE), ".wf.");
    }

    #[test]
    fn a_volume_that_ends_within_a_cell_has_its_last_line_in_it() {
        let (mut indexes, sheets) = volume(STRIPE + 3 * LINE);
        indexes[1].dirty.set(2);
        assert_eq!(text(&sheets, STRIPE), ".d");
        assert_eq!(text(&sheets, 3 * STRIPE), "d");
        assert!(text(&sheets, LINE).ends_with("..d"));
    }

    /// The index is made for a volume that has grown: its sheets show what lies behind the old end as soon as it is there.
    #[test]
    fn a_volume_that_grew_has_more_cells() {
        let (mut indexes, sheets) = volume(4 * STRIPE);
        indexes[1].dirty.set(STRIPE / LINE);
        let states = |bytes| cells(&sheets, bytes, STRIPE).into_iter().map(char::from).collect::<String>();
        assert_eq!(states(2 * STRIPE), "..");
        assert_eq!(states(4 * STRIPE), "...d");
    }
}
