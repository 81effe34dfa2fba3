//! The orderings of the dirty index, in every interleaving that the memory model permits:
//! `RUSTFLAGS="--cfg loom" cargo test -p holdfast-policy --profile proof --test loom`
#![cfg(loom)]

use holdfast_policy::{AtomicU64, DirtyIndex, IndexReader, Plane, PlaneWriter};
use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

/// Two words and a summary.
const TWO_LEVELS: u64 = 128;

/// 65 words, two summary words, a top: the way from the first line to the last passes all three.
const THREE_LEVELS: u64 = 4097;

fn storage(words: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..words).map(|_| AtomicU64::new(0)).collect())
}

/// Runs `write` beside `read` on a plane in which the lines of `before` are set when both begin.
fn beside(lines: u64, before: &'static [u64], write: fn(&mut PlaneWriter<'_>), read: fn(Plane<'_>)) {
    loom::model(move || {
        let words = storage(Plane::words_needed(lines));
        let mut writer = PlaneWriter::new(lines, &words);
        for line in before {
            assert!(writer.set(*line));
        }
        let shared = Arc::clone(&words);
        let reader = thread::spawn(move || read(Plane::new(lines, &shared)));
        write(&mut writer);
        reader.join().expect("the reader's assertions hold");
    });
}

/// The neighbour in the same word comes and goes: the summary above both must not fall with it.
#[test]
fn a_line_that_stays_is_seen_beside_its_neighbour() {
    beside(
        TWO_LEVELS,
        &[70],
        |writer| {
            writer.set(71);
            writer.clear(71);
            writer.set(69);
        },
        |plane| {
            let seen: Vec<u64> = plane.iter().collect();
            assert!(seen.contains(&70), "{seen:?}");
            assert!(seen.is_sorted() && seen.iter().all(|line| (69..=71).contains(line)), "{seen:?}");
        },
    );
}

/// The word before empties while the scan stands in it, and its summary bit is stale for a moment.
#[test]
fn a_scan_passes_a_word_that_just_became_empty() {
    beside(
        TWO_LEVELS,
        &[3, 70],
        |writer| {
            writer.clear(3);
            writer.set(5);
            writer.clear(5);
        },
        |plane| {
            let next = plane.next(0);
            assert!(matches!(next, Some(3 | 5 | 70)), "{next:?}");
            assert_eq!(plane.next(64), Some(70));
        },
    );
}

/// As above, with the scan coming down from the top into a subtree that empties under it.
#[test]
fn a_scan_goes_on_behind_a_subtree_that_just_became_empty() {
    beside(
        THREE_LEVELS,
        &[70, 4096],
        |writer| {
            writer.clear(70);
            writer.set(130);
            writer.clear(130);
        },
        |plane| {
            let next = plane.next(0);
            assert!(matches!(next, Some(70 | 130 | 4096)), "{next:?}");
        },
    );
}

/// The last line hangs below summary words of its own, whose siblings rise and fall.
#[test]
fn a_line_that_stays_is_seen_across_three_levels() {
    beside(
        THREE_LEVELS,
        &[4096],
        |writer| {
            writer.set(0);
            writer.clear(0);
        },
        |plane| {
            let seen: Vec<u64> = plane.iter().collect();
            assert!(seen == [4096] || seen == [0, 4096], "{seen:?}");
        },
    );
}

/// A bit may be seen late, but once it was seen it does not go away again by itself.
#[test]
fn a_line_once_seen_stays_seen() {
    beside(
        THREE_LEVELS,
        &[],
        |writer| {
            writer.set(4096);
        },
        |plane| {
            let (first, second) = (plane.next(0), plane.next(0));
            assert!(first.is_none() || second == Some(4096), "{first:?}, then {second:?}");
            assert!(first.is_none_or(|line| line == 4096));
        },
    );
}

/// Ranges store a word at a time: a reader sees a word's lines together, never a line outside of the range.
#[test]
fn a_range_appears_a_word_at_a_time() {
    beside(
        TWO_LEVELS,
        &[],
        |writer| {
            assert_eq!(writer.set_range(62, 4), 4);
        },
        |plane| {
            let run = plane.next_run(0, u64::MAX);
            let seen = run.map(|run| (run.first, run.count));
            assert!(matches!(seen, None | Some((62, 2 | 4) | (64, 2))), "{seen:?}");
            assert!([0, 2, 4].contains(&plane.count()));
        },
    );
}

/// What the writer stored before it set `line` (a slot's header) is seen by whoever finds the line with
/// `find`, whatever lines were set `before`.
fn published(before: &'static [u64], line: u64, find: fn(Plane<'_>, u64) -> bool) {
    loom::model(move || {
        let words = storage(Plane::words_needed(TWO_LEVELS));
        let header = Arc::new(AtomicU64::new(0));
        let mut writer = PlaneWriter::new(TWO_LEVELS, &words);
        for line in before {
            assert!(writer.set(*line));
        }
        let (shared, seen) = (Arc::clone(&words), Arc::clone(&header));
        let reader = thread::spawn(move || {
            if find(Plane::new(TWO_LEVELS, &shared), line) {
                assert_eq!(seen.load(Relaxed), 7, "line {line} found, its header not seen");
            }
        });
        header.store(7, Relaxed);
        writer.set(line);
        reader.join().expect("the reader's assertions hold");
    });
}

#[test]
fn a_line_found_by_its_bit_is_published() {
    published(&[], 70, |plane, line| plane.get(line));
}

#[test]
fn a_line_found_in_the_first_word_of_a_scan_is_published() {
    published(&[], 3, |plane, line| plane.next(0) == Some(line));
}

#[test]
fn a_line_found_through_a_summary_is_published() {
    published(&[], 70, |plane, line| plane.next(0) == Some(line));
}

/// The summary was raised long ago for a neighbour and says nothing about this line: the word itself must.
#[test]
fn a_line_found_below_an_old_summary_is_published() {
    published(&[70], 69, |plane, line| plane.next(0) == Some(line));
}

#[test]
fn a_line_inside_a_run_is_published() {
    published(&[70], 71, |plane, line| plane.next_run(0, 9).is_some_and(|run| run.end() > line));
}

#[test]
fn the_end_of_a_run_of_set_lines_is_published() {
    published(&[70], 71, |plane, line| plane.next_clear(70, 128).is_some_and(|clear| clear > line));
}

/// A line that can be written is found while its neighbours become dirty, busy and failed around it.
#[test]
fn a_writable_line_is_found_among_changing_neighbours() {
    loom::model(|| {
        let words = storage(DirtyIndex::words_needed(64));
        let mut index = DirtyIndex::new(64, &words);
        index.dirty.set(9);
        let reader = {
            let shared = Arc::clone(&words);
            thread::spawn(move || {
                let index = IndexReader::new(64, &shared);
                assert!(matches!(index.next_writable(0), Some(8 | 9)));
            })
        };
        index.busy.set(8);
        index.dirty.set(8);
        index.failed.set(8);
        index.busy.clear(8);
        reader.join().expect("the reader's assertions hold");
    });
}
