//! A plane against a `BTreeSet` that is put through the same operations.
#![cfg(not(any(loom, shuttle)))]

use std::collections::BTreeSet;

use holdfast_policy::{AtomicU64, Plane, PlaneWriter, Run};
use proptest::prelude::*;

/// One line, and each side of the steps from one word, and one summary word, to the next. Under Miri, which is some hundred times
/// slower, of one word only; [`a_mark_touches_a_word_a_level`] has all levels.
const SIZES: &[u64] =
    if cfg!(miri) { &[1, 63, 64, 65, 200] } else { &[1, 2, 63, 64, 65, 4096, 4097, 262_145, 300_000] };

/// How often the planes are put through random operations. Miri has no file system, where what failed would be kept.
fn often() -> ProptestConfig {
    let config = ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 96 });
    if cfg!(miri) { ProptestConfig { failure_persistence: None, ..config } } else { config }
}

fn storage(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn all_zero(words: &[AtomicU64]) -> bool {
    words.iter().all(|word| word.load(std::sync::atomic::Ordering::Relaxed) == 0)
}

#[derive(Clone, Debug)]
enum Operation {
    Set(u64),
    Clear(u64),
    SetRange(u64, u64),
    ClearRange(u64, u64),
}

/// A line of a plane, now and then beside an edge between words or summary words.
fn line(lines: u64) -> impl Strategy<Value = u64> {
    let beside = move |step: u64| {
        (0..=lines / step, 0..3_u64).prop_map(move |(at, by)| (at * step + by).saturating_sub(1) % lines)
    };
    prop_oneof![0..lines, beside(64), beside(4096), Just(lines - 1), Just(0)]
}

fn operation(lines: u64) -> impl Strategy<Value = Operation> {
    let range = move || {
        (line(lines), prop_oneof![0..70_u64, 0..9_000_u64])
            .prop_map(move |(first, count)| (first, count.min(lines - first)))
    };
    prop_oneof![
        4 => line(lines).prop_map(Operation::Set),
        4 => line(lines).prop_map(Operation::Clear),
        1 => range().prop_map(|(first, count)| Operation::SetRange(first, count)),
        1 => range().prop_map(|(first, count)| Operation::ClearRange(first, count)),
    ]
}

fn apply(operation: &Operation, plane: &mut PlaneWriter<'_>, oracle: &mut BTreeSet<u64>) {
    match *operation {
        Operation::Set(line) => assert_eq!(plane.set(line), oracle.insert(line)),
        Operation::Clear(line) => assert_eq!(plane.clear(line), oracle.remove(&line)),
        Operation::SetRange(first, count) => {
            let before = oracle.len() as u64;
            oracle.extend(first..first + count);
            assert_eq!(plane.set_range(first, count), oracle.len() as u64 - before);
        }
        Operation::ClearRange(first, count) => {
            let inside: Vec<u64> = oracle.range(first..first + count).copied().collect();
            inside.iter().for_each(|line| assert!(oracle.remove(line)));
            assert_eq!(plane.clear_range(first, count), inside.len() as u64);
        }
    }
}

fn first_clear(oracle: &BTreeSet<u64>, from: u64, end: u64) -> Option<u64> {
    (from..end).find(|line| !oracle.contains(line))
}

/// Everything that can be asked, asked at `at` and `count` lines from there.
fn ask(plane: Plane<'_>, oracle: &BTreeSet<u64>, at: u64, count: u64) {
    let next = oracle.range(at..).next().copied();
    assert_eq!(plane.count(), oracle.len() as u64);
    assert_eq!(plane.is_empty(), oracle.is_empty());
    assert_eq!(plane.get(at), oracle.contains(&at));
    assert_eq!(plane.next(at), next);
    let count = count.min(plane.lines() - at);
    assert_eq!(plane.any_in(at, count), oracle.range(at..at + count).next().is_some());
    assert_eq!(plane.next_clear(at, at + count), first_clear(oracle, at, at + count));
    for max in [1, 2, 64, 65, 10_000] {
        let run = next.map(|first| {
            let limit = first + max.min(plane.lines() - first);
            Run { first, count: first_clear(oracle, first, limit).unwrap_or(limit) - first }
        });
        assert_eq!(plane.next_run(at, max), run, "runs of {max} from {at}");
    }
}

fn check(lines: u64, steps: &[(Operation, u64, u64)]) {
    let words = storage(Plane::words_needed(lines));
    let mut plane = PlaneWriter::new(lines, &words);
    let mut oracle = BTreeSet::new();
    for (operation, at, count) in steps {
        apply(operation, &mut plane, &mut oracle);
        ask(plane.reader(), &oracle, *at, *count);
    }
    assert!(plane.iter().eq(oracle.iter().copied()));
    assert_eq!(plane.next(lines), None);
    assert_eq!(plane.next(u64::MAX), None);
    // A summary bit or a count that was left behind would show here.
    assert_eq!(plane.clear_range(0, lines), oracle.len() as u64);
    assert!(all_zero(&words));
}

proptest! {
    #![proptest_config(often())]
    #[test]
    fn a_plane_is_a_sorted_set(
        (lines, steps) in prop::sample::select(SIZES).prop_flat_map(|lines| {
            let step = (operation(lines), line(lines), 0..9_000_u64);
            (Just(lines), prop::collection::vec(step, 1..80))
        })
    ) {
        check(lines, &steps);
    }
}

#[test]
fn one_line_at_a_time_leaves_no_trace() {
    for &lines in SIZES {
        let words = storage(Plane::words_needed(lines));
        let mut plane = PlaneWriter::new(lines, &words);
        for line in (0..lines).step_by(61).chain([lines - 1]) {
            assert!(plane.set(line) && !plane.set(line));
            assert_eq!(
                (plane.next(0), plane.next(line), plane.next(line + 1)),
                (Some(line), Some(line), None)
            );
            assert_eq!(plane.next_run(0, u64::MAX), Some(Run { first: line, count: 1 }));
            assert!(plane.clear(line) && !plane.clear(line));
            assert!(plane.is_empty() && plane.next(0).is_none());
        }
        assert!(all_zero(&words), "{lines} lines");
    }
}

#[test]
fn a_full_plane_is_one_run() {
    for &lines in SIZES {
        let words = storage(Plane::words_needed(lines));
        let mut plane = PlaneWriter::new(lines, &words);
        assert_eq!(plane.set_range(0, lines), lines);
        assert_eq!(plane.next_run(0, u64::MAX), Some(Run { first: 0, count: lines }));
        assert_eq!(plane.next_clear(0, lines), None);
        assert_eq!(plane.iter().count() as u64, lines);
    }
}

/// Lazy pages are only lazy if a sparse mark touches few words: the line's, one a level, and the counter.
#[test]
fn a_mark_touches_a_word_a_level() {
    let words = storage(Plane::words_needed(300_000));
    let mut plane = PlaneWriter::new(300_000, &words);
    plane.set(299_999);
    let touched = words.iter().filter(|word| word.load(std::sync::atomic::Ordering::Relaxed) != 0).count();
    assert_eq!(touched, 5);
}

#[test]
fn a_plane_without_lines_is_empty() {
    let words = storage(Plane::words_needed(0));
    let mut plane = PlaneWriter::new(0, &words);
    assert_eq!((plane.next(0), plane.next_run(0, 1), plane.next_clear(0, 0)), (None, None, None));
    assert_eq!((plane.count(), plane.set_range(0, 0), plane.clear_range(0, 0)), (0, 0, 0));
    assert!(!plane.any_in(0, 0));
}

#[test]
fn words_needed_counts_every_level() {
    for (lines, words) in [(0, 2), (1, 2), (64, 2), (65, 4), (4096, 66), (4097, 69), (262_144, 4162)] {
        assert_eq!(Plane::words_needed(lines), words, "{lines} lines");
    }
    // A tebibyte of lines of 4 KiB: 32 MiB, and 1/63 of it for the summaries.
    assert_eq!(Plane::words_needed(1 << 28) * 8 / 1024, 33_288);
    assert!(Plane::words_needed(Plane::LINES_MAX) > 1 << 36);
}

fn panics(what: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(what).is_err()
}

#[test]
fn lines_that_do_not_exist_are_our_bug() {
    let with = |what: fn(&mut PlaneWriter<'_>)| {
        panics(move || {
            let words = storage(Plane::words_needed(70));
            what(&mut PlaneWriter::new(70, &words));
        })
    };
    assert!(!with(|plane| assert!(plane.set(69))));
    assert!(with(|plane| assert!(plane.set(70))));
    assert!(with(|plane| assert!(!plane.clear(70))));
    assert!(with(|plane| assert!(!plane.get(70))));
    assert!(with(|plane| assert_eq!(plane.set_range(69, 2), 2)));
    assert!(with(|plane| assert_eq!(plane.clear_range(1, u64::MAX), 0)));
    assert!(with(|plane| assert!(!plane.any_in(71, 0))));
    assert!(with(|plane| assert!(plane.next_clear(0, 71).is_some())));
    assert!(with(|plane| assert!(plane.next_run(0, 0).is_none())));
}

#[test]
fn storage_that_does_not_fit_is_refused() {
    assert!(panics(|| assert!(PlaneWriter::new(65, &storage(3)).is_empty())));
    assert!(panics(|| assert!(Plane::words_needed(Plane::LINES_MAX + 1) > 0)));
    assert!(panics(|| {
        let words = storage(Plane::words_needed(65));
        PlaneWriter::new(65, &words).set(64);
        PlaneWriter::new(65, &words).set(64);
    }));
}
