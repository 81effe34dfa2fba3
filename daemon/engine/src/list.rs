//! Pages of extents for operators. One page a turn: a million extents are listed beside the requests, not before them.

use crate::engine::Engine;
use crate::losses::Loss;
use crate::record::join;
use crate::{Actions, Answer, ByteRange, Extent, LIST_PAGE, ListState, Token};
use alloc::vec::Vec;
use holdfast_mutants::mutant;

/// Pages that may be asked for at a time, of all volumes together.
pub(crate) const LISTS_MAX: usize = 64;

/// A page that an operator wants to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListWanted {
    pub(crate) token: Token,
    pub(crate) volume: usize,
    pub(crate) state: ListState,
    /// Byte to begin at.
    pub(crate) from: u64,
}

impl Engine<'_> {
    /// Answers the page that was asked for first.
    pub(crate) fn answer_list(&mut self, out: &mut Actions) {
        let Some(ListWanted { token, volume, state, from }) = self.lists.pop_front() else { return };
        let answer = self.list(volume, state, from, out);
        out.answers.push((token, answer));
    }

    /// A page of lost extents, one for each group of neighbouring sectors of a line.
    fn list_lost(&self, index: usize, from: u64, out: &mut Actions) -> Answer {
        let volume = &self.volumes[index];
        let (mut line, end) = volume.lines_in(ByteRange { offset: from, length: u64::MAX });
        let mut extents: Vec<Extent> = Vec::with_capacity(LIST_PAGE);
        for _ in 0..self.limits.steps_a_turn.max(LIST_PAGE) {
            let Some((found, lost_end, loss)) = volume.losses.next(line, end) else {
                return Answer::Listed { extents, next: None };
            };
            line = found;
            // A line has at most 16 groups, so that a page always has room for the first.
            if extents.len() + 16 > LIST_PAGE {
                break;
            }
            out.count(1);
            let whole = volume.lost_whole(found, lost_end, &loss);
            if whole > 1 {
                let extent = self.lost_extent(index, found, loss);
                append(&mut extents, Extent { range: volume.lines(found, whole), ..extent });
                line = found + whole;
                continue;
            }
            let mut mask = loss.mask;
            while mask != 0 {
                let (first, count) = crate::settle::group(mask);
                let extent = self.lost_extent(index, found, Loss { mask, ..loss });
                mask &= !crate::sector_mask(first, count);
                append(&mut extents, extent);
            }
            line = found + 1;
        }
        let more = line < end;
        let line = line + u64::from(mutant!(ListSkipsALine) && line + 1 < end);
        Answer::Listed { extents, next: more.then(|| volume.geometry().offset_of(line)) }
    }

    /// A page of extents, neighbours that share their facts as one.
    fn list(&self, index: usize, state: ListState, from: u64, out: &mut Actions) -> Answer {
        if state == ListState::Lost {
            return self.list_lost(index, from, out);
        }
        let (mut line, end) = self.volumes[index].lines_in(ByteRange { offset: from, length: u64::MAX });
        let mut extents: Vec<Extent> = Vec::with_capacity(LIST_PAGE);
        for _ in 0..self.limits.steps_a_turn.max(LIST_PAGE) {
            out.count(1);
            let Some((found, extent)) = self.next_listed(index, state, line) else {
                return Answer::Listed { extents, next: None };
            };
            if let Some(extent) = extent {
                let joined = extents.last().and_then(|&last| join(last, extent));
                match (joined, extents.len() < LIST_PAGE) {
                    (Some(joined), _) => *extents.last_mut().expect("it was joined with one") = joined,
                    (None, true) => extents.push(extent),
                    (None, false) => {
                        line = found;
                        break;
                    }
                }
            }
            line = found + 1;
        }
        let more = line < end;
        let line = line + u64::from(mutant!(ListSkipsALine) && line + 1 < end);
        Answer::Listed { extents, next: more.then(|| self.volumes[index].geometry().offset_of(line)) }
    }

    /// The next line in a state, with its extent if it is still in that state.
    fn next_listed(&self, index: usize, state: ListState, line: u64) -> Option<(u64, Option<Extent>)> {
        let volume = &self.volumes[index];
        let of_state = |line| self.facts(index, line).filter(|extent| extent.state == state);
        match state {
            ListState::Lost => unreachable!("lost lines have a list of their own"),
            ListState::Failed => self.next_failed(index, line).map(|line| (line, of_state(line))),
            ListState::Dirty => volume.index.dirty.next(line).map(|line| (line, of_state(line))),
            ListState::Unstable => {
                let next = self.next_unstable(index, line)?;
                Some((next, of_state(next)))
            }
        }
    }

    /// The first line at or after `line` that is failed, or in flight and so perhaps failed: the index has a failed line that is
    /// being tried again as busy only.
    pub(crate) fn next_failed(&self, index: usize, line: u64) -> Option<u64> {
        let planes = &self.volumes[index].index;
        earlier(planes.failed.next(line), planes.busy.next(line))
    }

    /// The first line at or after `line` that is in flight or may await a device flush.
    fn next_unstable(&self, index: usize, line: u64) -> Option<u64> {
        let planes = &self.volumes[index].index;
        earlier(planes.unstable.next(line), planes.busy.next(line))
    }
}

/// The lesser of two lines, of which either may not exist.
pub(crate) fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// Appends an extent, as part of the last one if they share their facts.
fn append(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last().and_then(|&last| join(last, extent)) {
        Some(joined) => *extents.last_mut().expect("it was joined with one") = joined,
        None => extents.push(extent),
    }
}
