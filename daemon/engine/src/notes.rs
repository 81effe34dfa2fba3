//! What a reactor's part of the arena remembers beside headers, so that a later life of the daemon knows it.
//!
//! ```text
//! word 0        the newest generation of a write whose header was published, as of the last commit
//! word 1        lives with unpublished generations, ever
//! word 2        the newest generation that has been forgotten by the list below
//! word 8..136   for each of the last 64 such lives: generations `after+1 ..= last` were given out and never published
//! word 136..    for each volume 64 ranges that the device was to zero and may forget until a flush: first line, line after
//!               the last (63 bits) and discard (1 bit), generation, check
//! ```
//! Headers are published in the order of their generations, so that one number says how far a life came. A range of zeroes
//! is noted before the slots that it supersedes are freed, and forgotten before anything that the same device flush made
//! stable becomes clean: a range that is noted can always be zeroed again.

use crate::volume::ZEROED_MAX;
use core::sync::atomic::{AtomicU64, Ordering};

const PUBLISHED: usize = 0;
const LIVES: usize = 1;
const FORGOTTEN: usize = 2;
const LIST: usize = 8;
const LIVES_MAX: usize = 64;
const ZEROED: usize = LIST + 2 * LIVES_MAX;
const ZEROED_WORDS: usize = 4;
const DISCARD: u64 = 1 << 63;

/// A range of lines that the device was to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZeroedNote {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) discard: bool,
    /// 0: the device was asked, and has not answered.
    pub(crate) generation: u64,
}

/// What became of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The header was published.
    Published,
    /// It never was and never will be.
    Unpublished,
    /// So many lives ago that nobody knows.
    Forgotten,
}

/// The words, or none for an engine whose memory nobody will look at later.
#[derive(Clone, Copy, Debug)]
pub struct Notes<'a>(&'a [AtomicU64]);

impl<'a> Notes<'a> {
    /// Nothing is remembered.
    pub const NONE: Notes<'static> = Notes(&[]);

    /// How many words a reactor with so many volumes needs, zeroed when the arena is made.
    pub const fn words_needed(volumes: usize) -> usize {
        ZEROED + volumes * ZEROED_MAX * ZEROED_WORDS
    }

    /// Notes in these words, which an earlier life may have left.
    ///
    /// # Panics
    /// If there are fewer words than one volume needs.
    pub fn over(words: &'a [AtomicU64]) -> Notes<'a> {
        assert!(words.len() >= Notes::words_needed(1), "{} words of notes", words.len());
        Notes(words)
    }

    fn get(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// SYNC POINT noted: Release, pairs with the Acquire in `get` of the next life. Program order is what counts: of two
    /// stores of a process that is killed, its successor never sees the second without the first.
    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.0.get(at) {
            word.store(value, Ordering::Release);
        }
    }

    /// The newest published generation, as of the last commit.
    pub(crate) fn published(&self) -> u64 {
        self.get(PUBLISHED)
    }

    #[inline]
    pub(crate) fn set_published(&self, generation: u64) {
        self.set(PUBLISHED, generation);
    }

    fn lives(&self) -> usize {
        usize::try_from(self.get(LIVES)).unwrap_or(0)
    }

    /// A life is over in which the generations `after+1 ..= last` were given out and not published.
    pub(crate) fn end_life(&self, after: u64, last: u64) {
        if after >= last || self.0.is_empty() {
            return;
        }
        let lives = self.lives();
        let at = LIST + 2 * (lives % LIVES_MAX);
        if lives >= LIVES_MAX {
            self.set(FORGOTTEN, self.get(at + 1));
        }
        self.set(at, after);
        self.set(at + 1, last);
        self.set(LIVES, lives as u64 + 1);
    }

    /// The newest generation that any life is known to have given out.
    pub(crate) fn newest(&self) -> u64 {
        let lives = (0..LIVES_MAX).map(|life| self.get(LIST + 2 * life + 1));
        let zeroed = (ZEROED..self.0.len()).step_by(ZEROED_WORDS).filter_map(|at| self.zeroed_at(at));
        let zeroed = zeroed.map(|note| note.generation);
        lives.chain(zeroed).chain([self.published(), self.get(FORGOTTEN)]).fold(0, u64::max)
    }

    /// What became of a generation of an earlier life.
    pub(crate) fn fate(&self, generation: u64) -> Fate {
        if generation <= self.get(FORGOTTEN) {
            return Fate::Forgotten;
        }
        let mut lives = (0..self.lives().min(LIVES_MAX)).map(|life| LIST + 2 * life);
        let unpublished = |at: usize| self.get(at) < generation && generation <= self.get(at + 1);
        if lives.any(unpublished) { Fate::Unpublished } else { Fate::Published }
    }

    fn place(&self, volume: u16, note: usize) -> usize {
        ZEROED + (usize::from(volume) * ZEROED_MAX + note) * ZEROED_WORDS
    }

    fn zeroed_at(&self, at: usize) -> Option<ZeroedNote> {
        let words = [0, 1, 2].map(|word| self.get(at + word));
        let [first, end, generation] = words;
        let sound = self.get(at + 3) == check(words) && end & !DISCARD > first;
        sound.then_some(ZeroedNote { first, end: end & !DISCARD, discard: end & DISCARD != 0, generation })
    }

    /// How many ranges of zeroes are noted.
    pub fn zeroed_ranges(&self) -> u64 {
        (ZEROED..self.0.len()).step_by(ZEROED_WORDS).filter_map(|at| self.zeroed_at(at)).count() as u64
    }

    /// The ranges that are noted of a volume, with their places.
    pub(crate) fn zeroed(&self, volume: u16) -> impl Iterator<Item = (usize, ZeroedNote)> + use<'a> {
        let notes = *self;
        (0..ZEROED_MAX).filter_map(move |note| Some((note, notes.zeroed_at(notes.place(volume, note))?)))
    }

    /// Notes a range; returns its place. Without words there is none, and any will do.
    ///
    /// # Panics
    /// If all places are taken: no more than [`ZEROED_MAX`] ranges wait for a flush.
    pub(crate) fn add_zeroed(&self, volume: u16, note: ZeroedNote) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let free = (0..ZEROED_MAX).find(|&at| self.get(self.place(volume, at) + 3) == 0);
        let free = free.expect("fewer ranges of zeroes than places");
        let at = self.place(volume, free);
        let words = [note.first, note.end | if note.discard { DISCARD } else { 0 }, note.generation];
        words.iter().zip(at..).for_each(|(&word, at)| self.set(at, word));
        self.set(at + 3, check(words));
        free
    }

    /// The range is stable.
    pub(crate) fn remove_zeroed(&self, volume: u16, note: usize) {
        self.set(self.place(volume, note) + 3, 0);
    }
}

/// Never 0, and not what half a note or another one has: the finaliser of MurmurHash3, as in headers.
fn check(words: [u64; 3]) -> u64 {
    let mut sum = words[0] ^ words[1].rotate_left(21) ^ words[2].rotate_left(42) ^ 0x686f_6c64_7a65_726f;
    sum = (sum ^ sum >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    sum = (sum ^ sum >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    sum ^ sum >> 33 | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn words(volumes: usize) -> Vec<AtomicU64> {
        (0..Notes::words_needed(volumes)).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn each_life_s_unpublished_generations_are_known_for_64_lives() {
        let words = words(1);
        let notes = Notes::over(&words);
        assert_eq!((notes.fate(5), notes.newest()), (Fate::Published, 0));
        for life in 1..=70 {
            notes.set_published(life * 100 + 10);
            notes.end_life(life * 100 + 10, life * 100 + 20);
            notes.end_life(life * 100 + 30, life * 100 + 30);
        }
        assert_eq!(notes.newest(), 7020);
        assert_eq!(
            [620, 710, 711, 720, 721].map(|generation| notes.fate(generation)),
            [Fate::Forgotten, Fate::Published, Fate::Unpublished, Fate::Unpublished, Fate::Published]
        );
    }

    #[test]
    fn ranges_of_zeroes_are_noted_by_volume_until_they_are_stable() {
        let words = words(2);
        let notes = Notes::over(&words);
        let note =
            |first| ZeroedNote { first, end: first + 3, discard: first % 2 == 1, generation: 7 + first };
        let places: Vec<usize> = (0..64).map(|first| notes.add_zeroed(1, note(first))).collect();
        assert_eq!(notes.zeroed(0).count(), 0);
        notes.remove_zeroed(1, places[5]);
        assert_eq!(notes.zeroed(1).count(), 63);
        assert!(notes.zeroed(1).all(|(at, found)| at != places[5] && found == note(found.first)));
        assert_eq!(notes.newest(), 7 + 63);
        assert_eq!(notes.add_zeroed(1, note(99)), places[5]);
        // Half a note is none.
        words[notes.place(1, 9) + 1].store(1000, Ordering::Relaxed);
        assert_eq!(notes.zeroed(1).count(), 63);
    }
}
