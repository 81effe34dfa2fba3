//! What was given up and is not healed: runs of lines that share their facts. A whole volume can be lost at a time.

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

impl Loss {
    /// The same lines lose more.
    fn join(&mut self, newer: &Loss) {
        self.mask |= newer.mask;
        self.superseded &= !newer.mask;
        self.generation = self.generation.max(newer.generation);
        (self.class, self.errno, self.last) = (newer.class, newer.errno, newer.last);
    }
}

/// A run of lines, by its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    end: u64,
    loss: Loss,
}

/// The lost lines of a volume on one reactor. The only place of the engine that allocates after its start: a loss is
/// the end of a long road, and what is lost must never be bounded by a guess.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// They do not overlap. Neighbours that are alike may be two.
    runs: BTreeMap<u64, Run>,
    lines: u64,
}

impl Losses {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn len(&self) -> u64 {
        self.lines
    }

    /// The sectors of a line that must not be read from the device.
    pub(crate) fn unreadable(&self, line: u64) -> u32 {
        self.of(line).map_or(0, |loss| loss.mask & !loss.superseded)
    }

    pub(crate) fn add(&mut self, line: u64, loss: Loss) {
        self.add_lines(line, line + 1, loss);
    }

    /// Lines `first..end` lost the same sectors of each. What they had lost before stays lost.
    pub(crate) fn add_lines(&mut self, first: u64, end: u64, loss: Loss) {
        self.split(first);
        self.split(end);
        let mut from = first;
        while from < end {
            let next = self.runs.range_mut(from..end).next();
            let gap_end = next.as_ref().map_or(end, |(known, _)| **known);
            if let Some((_, run)) = next.filter(|(known, _)| **known == from) {
                run.loss.join(&loss);
                from = run.end;
                continue;
            }
            self.lines += gap_end - from;
            self.runs.insert(from, Run { end: gap_end, loss });
            from = gap_end;
        }
    }

    /// Takes sectors of a line out that were lost before `generation`; returns those that were lost.
    pub(crate) fn heal(&mut self, line: u64, mask: u32, generation: u64) -> u32 {
        self.heal_lines(line, line + 1, mask, generation)
    }

    /// [`Losses::heal`] for lines of one run, which lost the same sectors of each.
    pub(crate) fn heal_lines(&mut self, first: u64, end: u64, mask: u32, generation: u64) -> u32 {
        let older = |loss: &&Loss| loss.generation < generation || mutant!(OldDataHeals);
        let Some(healed) = self.of(first).filter(older).map(|loss| loss.mask & mask) else {
            return 0;
        };
        self.split(first);
        self.split(end);
        let run = self.runs.get_mut(&first).expect("it was split there");
        assert_eq!(run.end, end, "lines {first}..{end} are of one run");
        run.loss.mask &= !mask;
        run.loss.superseded &= !mask;
        if run.loss.mask == 0 {
            self.runs.remove(&first);
            self.lines -= end - first;
        }
        healed
    }

    /// Marks the losses of whole lines that are older than `generation` as superseded.
    pub(crate) fn supersede(&mut self, first: u64, end: u64, generation: u64) {
        self.split(first);
        self.split(end);
        let older = self.runs.range_mut(first..end).map(|(_, run)| &mut run.loss);
        older.filter(|loss| loss.generation < generation).for_each(|loss| loss.superseded = loss.mask);
    }

    /// What was lost of a line.
    pub(crate) fn of(&self, line: u64) -> Option<&Loss> {
        if self.runs.is_empty() {
            return None;
        }
        let (_, run) = self.runs.range(..=line).next_back()?;
        (line < run.end).then_some(&run.loss)
    }

    /// The first lost line not before `from` and before `end`, the line after the last that shares its facts, and these.
    pub(crate) fn next(&self, from: u64, end: u64) -> Option<(u64, u64, Loss)> {
        if from >= end {
            return None;
        }
        let before = self.runs.range(..=from).next_back().filter(|(_, run)| from < run.end);
        let (&first, run) = before.or_else(|| self.runs.range(from..end).next())?;
        Some((first.max(from), run.end.min(end), run.loss))
    }

    /// No run has lines on both sides of `line` any more.
    fn split(&mut self, line: u64) {
        let Some((_, run)) = self.runs.range_mut(..line).next_back() else { return };
        if run.end > line {
            let rest = *run;
            run.end = line;
            self.runs.insert(line, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(mask: u32, generation: u64) -> Loss {
        let (first, last) = (Instant(1), Instant(2));
        Loss { mask, superseded: 0, generation, class: 3, errno: 5, attempts: 1, first, last }
    }

    /// Every line of a volume that is lost as a whole heals by itself.
    #[test]
    fn a_run_is_as_if_each_line_had_been_lost_alone() {
        let (mut runs, mut alone) = (Losses::default(), BTreeMap::new());
        let mut random = 7u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for generation in 1..4000 {
            let (first, mask) = (draw(60), u32::try_from(draw(16)).unwrap());
            let end = first + 1 + draw(4) * draw(5);
            match draw(4) {
                0 if mask != 0 => {
                    runs.add_lines(first, end, loss(mask, generation));
                    for line in first..end {
                        let entry = alone.entry(line).or_insert(loss(0, 0));
                        entry.join(&loss(mask, generation));
                    }
                }
                1 => {
                    runs.supersede(first, end, generation);
                    alone
                        .range_mut(first..end)
                        .for_each(|(_, loss): (_, &mut Loss)| loss.superseded = loss.mask);
                }
                _ => {
                    let of = alone.get(&first).copied();
                    let healed = runs.heal(first, mask, generation);
                    assert_eq!(healed, of.map_or(0, |loss| loss.mask & mask));
                    if let Some(loss) = alone.get_mut(&first) {
                        (loss.mask, loss.superseded) = (loss.mask & !mask, loss.superseded & !mask);
                    }
                    alone.retain(|_, loss| loss.mask != 0);
                }
            }
            let (mut from, mut seen) = (0, BTreeMap::new());
            while let Some((first, end, loss)) = runs.next(from, 100) {
                seen.extend((first..end).map(|line| (line, loss)));
                from = end;
            }
            assert_eq!(seen, alone);
            assert_eq!(runs.len(), alone.len() as u64);
            for line in 0..80 {
                let of = alone.get(&line);
                assert_eq!(runs.of(line), of);
                assert_eq!(runs.unreadable(line), of.map_or(0, |loss| loss.mask & !loss.superseded));
            }
        }
    }
}
