//! What was given up and is not healed.

use crate::Instant;
use alloc::collections::BTreeMap;
use holdfast_mutants::mutant;

/// Lost sectors of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The sectors.
    pub(crate) mask: u32,
    /// Of them, those that a discard or zeroes have superseded but not yet durably: they read again, and no flush succeeds.
    pub(crate) superseded: u32,
    /// The newest generation lost.
    pub(crate) generation: u64,
    pub(crate) class: u8,
    pub(crate) errno: u16,
    pub(crate) attempts: u32,
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

/// The lost lines of a volume on one reactor. The only place of the engine that allocates after its start: a loss is
/// the end of a long road, and what is lost must never be bounded by a guess.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    lines: BTreeMap<u64, Loss>,
}

impl Losses {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The sectors of a line that must not be read from the device.
    pub(crate) fn unreadable(&self, line: u64) -> u32 {
        if self.lines.is_empty() {
            return 0;
        }
        self.lines.get(&line).map_or(0, |loss| loss.mask & !loss.superseded)
    }

    pub(crate) fn add(&mut self, line: u64, loss: Loss) {
        let entry = self.lines.entry(line).or_insert(loss);
        entry.mask |= loss.mask;
        entry.superseded &= !loss.mask;
        entry.generation = entry.generation.max(loss.generation);
        (entry.class, entry.errno, entry.last) = (loss.class, loss.errno, loss.last);
    }

    /// Takes sectors of a line out that were lost before `generation`; returns those that were lost.
    pub(crate) fn heal(&mut self, line: u64, mask: u32, generation: u64) -> u32 {
        let Some(loss) =
            self.lines.get_mut(&line).filter(|loss| loss.generation < generation || mutant!(OldDataHeals))
        else {
            return 0;
        };
        let healed = loss.mask & mask;
        loss.mask &= !mask;
        loss.superseded &= !mask;
        if loss.mask == 0 {
            self.lines.remove(&line);
        }
        healed
    }

    /// Marks the losses of whole lines that are older than `generation` as superseded.
    pub(crate) fn supersede(&mut self, first: u64, end: u64, generation: u64) {
        for (_, loss) in self.lines.range_mut(first..end).filter(|(_, loss)| loss.generation < generation) {
            loss.superseded = loss.mask;
        }
    }

    /// What was lost of a line.
    pub(crate) fn of(&self, line: u64) -> Option<&Loss> {
        if self.lines.is_empty() { None } else { self.lines.get(&line) }
    }

    /// The first lost line not before `from` and before `end`.
    pub(crate) fn next(&self, from: u64, end: u64) -> Option<(u64, Loss)> {
        if from >= end {
            return None;
        }
        self.lines.range(from..end).next().map(|(&line, &loss)| (line, loss))
    }
}
