//! The dirty index against four bools a line.
#![cfg(not(any(loom, shuttle)))]

use holdfast_policy::{AtomicU64, DirtyIndex, IndexReader, Plane, PlaneWriter, Run, Search, Want};
use proptest::prelude::*;

const SIZES: [u64; 7] = [1, 63, 64, 65, 4096, 4097, 20_000];

#[derive(Clone, Copy, Default)]
struct Line {
    dirty: bool,
    failed: bool,
    busy: bool,
    reported: bool,
}

impl Line {
    fn is(self, want: Want) -> bool {
        match want {
            Want::Writable => self.dirty && !self.failed && !self.busy,
            Want::Retry => self.dirty && self.failed && !self.busy,
            Want::Unreported => self.dirty && !self.reported,
        }
    }
}

/// Which plane, first line, count, and whether it is set or cleared.
type Step = (usize, u64, u64, bool);

fn step(lines: u64) -> impl Strategy<Value = Step> {
    let count = prop_oneof![Just(1_u64), 1..200_u64, 1..5_000_u64];
    // Dirty twice as often as the others, and set more often than cleared: searches need something to find.
    (0..5_usize, 0..lines, count, prop::bool::weighted(0.65))
        .prop_map(move |(plane, first, count, on)| (plane % 4, first, count.min(lines - first), on))
}

fn plane<'a, 'b>(index: &'b mut DirtyIndex<'a>, at: usize) -> &'b mut PlaneWriter<'a> {
    match at {
        0 => &mut index.dirty,
        1 => &mut index.failed,
        2 => &mut index.busy,
        3 => &mut index.reported,
        _ => &mut index.unstable,
    }
}

fn flag(line: &mut Line, at: usize) -> &mut bool {
    match at {
        0 => &mut line.dirty,
        1 => &mut line.failed,
        2 => &mut line.busy,
        _ => &mut line.reported,
    }
}

fn apply((at, first, count, on): Step, index: &mut DirtyIndex<'_>, oracle: &mut [Line]) {
    let plane = plane(index, at);
    let mut changed = 0;
    for line in first..first + count {
        let flag = flag(&mut oracle[usize::try_from(line).unwrap()], at);
        changed += u64::from(*flag != on);
        *flag = on;
    }
    let seen = if on { plane.set_range(first, count) } else { plane.clear_range(first, count) };
    assert_eq!(seen, changed);
}

fn wanted_run(oracle: &[Line], want: Want, from: u64, max: u64) -> Option<Run> {
    let from = usize::try_from(from).unwrap().min(oracle.len());
    let first = from + oracle[from..].iter().position(|line| line.is(want))?;
    let count = oracle[first..].iter().take_while(|line| line.is(want)).count() as u64;
    Some(Run { first: first as u64, count: count.min(max) })
}

/// Searches on until an answer, with few words at a time; every pause must have come forward.
fn search_in_steps(index: IndexReader<'_>, want: Want, mut from: u64, max: u64, words: u64) -> Option<Run> {
    loop {
        match index.search(want, from, max, words) {
            Search::Paused { from: next } => {
                assert!(next > from, "a pause at {next} after a start from {from}");
                from = next;
            }
            answer => return answer.found(),
        }
    }
}

fn ask(index: &DirtyIndex<'_>, oracle: &[Line], from: u64, max: u64) {
    let reader = index.reader();
    for want in [Want::Writable, Want::Retry, Want::Unreported] {
        let (run, next) = (wanted_run(oracle, want, from, max), wanted_run(oracle, want, from, 1));
        let (seen, seen_next) = match want {
            Want::Writable => (index.next_writable_run(from, max), index.next_writable(from)),
            Want::Retry => (index.next_retry_run(from, max), index.next_retry(from)),
            Want::Unreported => (index.next_unreported_run(from, max), index.next_unreported(from)),
        };
        assert_eq!(seen, run, "{want:?} from {from}, at most {max}");
        assert_eq!(seen_next, next.map(|run| run.first), "{want:?} from {from}");
        assert_eq!(search_in_steps(reader, want, from, max, 1), run, "{want:?} from {from} in steps of 1");
        assert_eq!(search_in_steps(reader, want, from, max, 7), run, "{want:?} from {from} in steps of 7");
    }
}

fn storage(lines: u64) -> Vec<AtomicU64> {
    (0..DirtyIndex::words_needed(lines)).map(|_| AtomicU64::new(0)).collect()
}

fn check(lines: u64, steps: &[(Step, u64, u64)]) {
    let words = storage(lines);
    let mut index = DirtyIndex::new(lines, &words);
    let mut oracle = vec![Line::default(); usize::try_from(lines).unwrap()];
    for (step, from, max) in steps {
        apply(*step, &mut index, &mut oracle);
        ask(&index, &oracle, *from, *max);
    }
    let reader = IndexReader::new(lines, &words);
    let counts = [reader.dirty, reader.failed, reader.busy, reader.reported].map(|plane| plane.count());
    let count = |of: fn(&Line) -> bool| oracle.iter().filter(|line| of(line)).count() as u64;
    assert_eq!(
        counts,
        [
            count(|line| line.dirty),
            count(|line| line.failed),
            count(|line| line.busy),
            count(|line| line.reported)
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn searches_find_what_four_bools_say(
        (lines, steps) in prop::sample::select(&SIZES[..]).prop_flat_map(|lines| {
            let max = prop_oneof![1..4_u64, 1..300_u64, Just(u64::MAX)];
            (Just(lines), prop::collection::vec((step(lines), 0..lines + 2, max), 1..40))
        })
    ) {
        check(lines, &steps);
    }
}

/// C8: a great many failures lie in front of the one line that can be written, and no turn may be spent on
/// all of them.
#[test]
fn a_search_pauses_among_failures_and_arrives() {
    let lines = 300_000;
    let words = storage(lines);
    let mut index = DirtyIndex::new(lines, &words);
    index.dirty.set_range(0, lines);
    index.failed.set_range(0, lines - 1);
    let goal = Run { first: lines - 1, count: 1 };
    assert_eq!(index.search(Want::Writable, 0, 64, 100), Search::Paused { from: 6400 });
    assert_eq!(search_in_steps(index.reader(), Want::Writable, 0, 64, 100), Some(goal));
    assert_eq!(index.next_retry_run(0, u64::MAX), Some(Run { first: 0, count: lines - 1 }));
    // Words without a dirty line are not even looked at.
    index.dirty.clear_range(0, lines - 1);
    assert_eq!(index.search(Want::Writable, 0, 64, 1), Search::Found(goal));
}

#[test]
fn planes_do_not_overlap() {
    for lines in SIZES {
        let words = storage(lines);
        let mut index = DirtyIndex::new(lines, &words);
        assert_eq!(DirtyIndex::words_needed(lines), 5 * Plane::words_needed(lines));
        for at in 0..5 {
            plane(&mut index, at).set_range(0, lines);
            for other in 0..5 {
                let count = if other == at { lines } else { 0 };
                assert_eq!(plane(&mut index, other).count(), count, "plane {other} while {at} is full");
            }
            plane(&mut index, at).clear_range(0, lines);
        }
    }
}

#[test]
fn readers_go_anywhere() {
    fn is_free<T: Copy + Send + Sync>() {}
    is_free::<IndexReader<'static>>();
    is_free::<Plane<'static>>();
}
