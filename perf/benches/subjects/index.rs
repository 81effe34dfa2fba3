//! The dirty index of a volume of 16 GiB of which every 64th line is dirty.

use super::REQUESTS;
use holdfast_policy::{Plane, PlaneWriter};
use std::sync::atomic::AtomicU64;

const LINES: u64 = 4 << 20;

/// One plane of an index, and the lines that are marked or looked for.
pub(crate) struct Marks {
    plane: PlaneWriter<'static>,
    lines: Vec<u64>,
}

/// A plane with its pages touched.
pub(crate) fn warm() -> Marks {
    let words = Plane::words_needed(LINES);
    let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let mut plane = PlaneWriter::new(LINES, words.leak());
    (0..LINES).step_by(64).for_each(|line| assert!(plane.set(line)));
    let lines = (0..REQUESTS as u64).map(|step| (step * 2_654_435_761 % LINES) | 1).collect();
    Marks { plane, lines }
}

impl Marks {
    /// Marks lines, and takes the marks off.
    pub(crate) fn mark(&mut self) {
        for &line in &self.lines[..REQUESTS / 2] {
            self.plane.set(line);
        }
        for &line in &self.lines[..REQUESTS / 2] {
            self.plane.clear(line);
        }
    }

    /// Looks for the runs behind lines; the sum of where they are.
    pub(crate) fn next_run(&self) -> u64 {
        let first = |&line: &u64| self.plane.next_run(line, 64).map_or(0, |run| run.first);
        self.lines.iter().map(first).fold(0, u64::wrapping_add)
    }
}
