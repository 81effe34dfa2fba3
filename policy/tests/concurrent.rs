//! Readers on real threads, beside a writer that never waits for them.
#![cfg(not(any(loom, shuttle)))]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use holdfast_policy::{AtomicU64, Plane, PlaneWriter};

/// Three full levels and a bit, so that scans climb and come down.
const LINES: u64 = 20_000;
const CHANGES: u64 = 400_000;
const READERS: usize = 3;

fn storage() -> Vec<AtomicU64> {
    (0..Plane::words_needed(LINES)).map(|_| AtomicU64::new(0)).collect()
}

/// Lines that stay set, lines that are never set; the others come and go.
const fn stays(line: u64) -> bool {
    line % 997 == 5
}

const fn never(line: u64) -> bool {
    line % 997 == 6
}

/// Every scan must name each line that stays, none that is never set, and all in order.
fn scan(plane: Plane<'_>) {
    let seen: Vec<u64> = plane.iter().collect();
    assert!(seen.is_sorted_by(|a, b| a < b) && seen.last().is_none_or(|line| *line < LINES));
    assert!(!seen.iter().any(|line| never(*line)), "a line that nobody set");
    let stayed = seen.iter().copied().filter(|line| stays(*line));
    assert!(stayed.eq((0..LINES).filter(|line| stays(*line))), "a line that stayed was missed");
}

fn change(plane: &mut PlaneWriter<'_>) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..CHANGES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let line = random % LINES;
        if stays(line) || never(line) {
            continue;
        }
        // Cleared three times out of four: words empty out and summaries fall as often as they rise.
        if random >> 62 == 0 {
            plane.set(line)
        } else {
            plane.clear(line)
        };
    }
}

#[test]
fn readers_miss_nothing_that_stays() {
    let words = storage();
    let mut writer = PlaneWriter::new(LINES, &words);
    (0..LINES).filter(|line| stays(*line)).for_each(|line| assert!(writer.set(line)));
    let (reader, done, begin) = (writer.reader(), AtomicBool::new(false), Barrier::new(READERS + 1));
    thread::scope(|threads| {
        for _ in 0..READERS {
            threads.spawn(|| {
                begin.wait();
                while !done.load(Ordering::Acquire) {
                    scan(reader);
                    thread::yield_now();
                }
                scan(reader);
            });
        }
        begin.wait();
        change(&mut writer);
        done.store(true, Ordering::Release);
    });
    assert_eq!(writer.count(), writer.iter().count() as u64);
}

/// A listing that holds its cursor while everything around it is cleared and set again still ends, and in
/// order.
#[test]
fn a_listing_ends_while_the_writer_storms() {
    let words = storage();
    let mut writer = PlaneWriter::new(LINES, &words);
    writer.set_range(0, LINES);
    let reader = writer.reader();
    let mut before = None;
    for (step, line) in reader.iter().enumerate() {
        assert!(before < Some(line) && step as u64 <= LINES);
        before = Some(line);
        if line % 64 == 0 {
            writer.clear_range(0, LINES);
            writer.set_range(line / 2, LINES - line / 2);
        }
    }
    assert_eq!(before, Some(LINES - 1));
}
