//! What happened in a run: always as a number that two equal runs share, and as text if somebody wants to read it.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    lines_max: usize,
    print: bool,
}

impl Trace {
    /// A trace that keeps the last `lines_max` lines, and prints each at once if `print`.
    pub fn new(lines_max: usize, print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), lines_max, print }
    }

    /// Mixes words into the hash.
    pub fn mix(&mut self, words: &[u64]) {
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    /// The hash of all that was mixed in.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Notes a line; formats nothing unless it is kept or printed.
    pub fn line(&mut self, now: u64, text: Arguments<'_>) {
        if self.lines_max == 0 && !self.print {
            return;
        }
        let line = format!("{:>12}.{:06} ms  {text}", now / 1_000_000, now % 1_000_000);
        if self.print {
            println!("{line}");
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
