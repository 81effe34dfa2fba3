//! What a writer stores before it marks a line is there for whoever finds the line, on real threads and over plain memory:
//! what ThreadSanitizer watches (`cargo xtask tsan`), and an ordinary test otherwise.
//!
//! It can fail: `MarkIsRelaxed` makes the mark a relaxed store, and `cargo xtask tsan` demands that ThreadSanitizer reports a
//! race for it. Nothing of the standard library's orders anything between the threads but their spawning and joining.
#![cfg(not(any(loom, shuttle)))]
#![allow(unsafe_code, reason = "plain cells that a mark in the index hands over")]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use holdfast_policy::{AtomicU64, Plane, PlaneWriter};

/// Three levels, so that scans go over summaries.
const LINES: u64 = 20_000;
const READERS: usize = 3;

/// Of each line, what is written once, before it is marked.
struct Headers(Vec<UnsafeCell<u64>>);

// SAFETY: a cell is written by the one writer before its line is marked, and read by others only after they found the mark.
unsafe impl Sync for Headers {}

impl Headers {
    fn write(&self, line: u64) {
        // SAFETY: the line is not marked, and this is the one writer.
        unsafe { *self.0[usize::try_from(line).expect("small")].get() = line + 1 };
    }

    fn check(&self, line: u64) {
        // SAFETY: the line was found marked, and its cell is not written again.
        assert_eq!(unsafe { *self.0[usize::try_from(line).expect("small")].get() }, line + 1);
    }
}

/// Looks for lines in each way that there is, until the writer has marked the last.
fn look(plane: Plane<'_>, headers: &Headers, done: &AtomicBool) {
    let mut line = 0;
    // Relaxed, so that it orders nothing.
    while !done.load(Ordering::Relaxed) {
        plane.iter().step_by(97).for_each(|line| headers.check(line));
        line = (line + 577) % LINES;
        if plane.get(line) {
            headers.check(line);
        }
        if let Some(run) = plane.next_run(line, 9) {
            (run.first..run.end()).for_each(|line| headers.check(line));
        }
        thread::yield_now();
    }
}

#[test]
fn what_was_stored_before_a_mark_is_there_for_who_finds_it() {
    let words: Vec<AtomicU64> = (0..Plane::words_needed(LINES)).map(|_| AtomicU64::new(0)).collect();
    let headers = Headers((0..LINES).map(|_| UnsafeCell::new(0)).collect());
    let mut writer = PlaneWriter::new(LINES, &words);
    let (plane, done) = (writer.reader(), AtomicBool::new(false));
    thread::scope(|threads| {
        let look = || look(plane, &headers, &done);
        let readers: Vec<_> = (0..READERS).map(|_| threads.spawn(look)).collect();
        // All over the plane, neighbours late: a word and its summary are there long before most of their lines.
        for line in (0..LINES).map(|step| step * 7919 % LINES) {
            headers.write(line);
            assert!(writer.set(line));
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("its assertions hold"));
    });
    plane.iter().for_each(|line| headers.check(line));
}
