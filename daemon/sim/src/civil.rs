//! Counts how often a disk that refuses is bothered with the same line (C8).

use crate::violation::{Clause, demand};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Refused attempts that a line may see within one backoff floor: a run of 64 lines is bisected in 7 steps, and one
/// more may come before and after.
const ATTEMPTS_MAX: usize = 9;

/// When each line was refused lately.
#[derive(Debug, Default)]
pub struct Civil {
    refused: BTreeMap<(u16, u64), VecDeque<u64>>,
    /// When an operator asked for an attempt, by volume: that bypasses the backoff.
    asked: BTreeMap<u16, Vec<u64>>,
    /// When each line was last refused alone.
    alone: BTreeMap<(u16, u64), u64>,
    /// Lines that ever were.
    judged: BTreeSet<(u16, u64)>,
}

impl Civil {
    /// An operator wants the volume's failed lines tried now.
    pub fn asked(&mut self, now: u64, volume: u16) {
        self.asked.entry(volume).or_default().push(now);
    }

    /// The daemon starts again: it counts anew from here, but what was refused has been refused.
    pub fn restarted(&mut self) {
        let judged = std::mem::take(&mut self.judged);
        *self = Civil { judged, ..Civil::default() };
    }

    /// A volume is gone, and nobody knows any more what its device refused.
    pub fn left(&mut self, volume: u16) {
        self.refused.retain(|(of, _), _| *of != volume);
        self.alone.retain(|(of, _), _| *of != volume);
        self.judged.retain(|(of, _)| *of != volume);
    }

    /// A line is held as refused: that must have been said of it alone (M12).
    pub fn held(&self, volume: u16, line: u64) {
        demand(Clause::M12, self.judged.contains(&(volume, line)), || {
            format!(
                "line {line} of volume {volume} counts as refused, and was only ever part of a run that was"
            )
        });
    }

    /// A bad block is tried once more, for nobody who may ask at any time: the floor between two attempts is over.
    pub fn tried(&self, now: u64, volume: u16, line: u64, floor_ns: u64) {
        let Some(&last) = self.alone.get(&(volume, line)) else { return };
        let asked = self.asked.get(&volume).and_then(|times| times.last()).is_some_and(|&time| time >= last);
        demand(Clause::C8, asked || now - last >= floor_ns, || {
            format!(
                "line {line} of volume {volume} was refused at {last} and is tried at {now}, the floor is {floor_ns} ns"
            )
        });
    }

    /// The disk refused a write of these lines; the volume's backoff floor is `floor_ns`.
    pub fn refused(&mut self, now: u64, volume: u16, lines: std::ops::RangeInclusive<u64>, floor_ns: u64) {
        if lines.start() == lines.end() {
            self.alone.insert((volume, *lines.start()), now);
            self.judged.insert((volume, *lines.start()));
        }
        let recent = |&&time: &&u64| time + 2 * floor_ns >= now;
        let asked = self.asked.get(&volume).map_or(0, |times| times.iter().rev().take_while(recent).count());
        for line in lines {
            let times = self.refused.entry((volume, line)).or_default();
            while times.front().is_some_and(|&time| time + floor_ns <= now) {
                times.pop_front();
            }
            times.push_back(now);
            demand(Clause::C8, times.len() <= ATTEMPTS_MAX * (1 + asked), || {
                format!("line {line} of volume {volume} was refused at {times:?} within {floor_ns} ns")
            });
        }
    }
}
