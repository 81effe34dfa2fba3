//! How fast dirty data is written back.
//!
//! What somebody waits for goes as fast as the device takes it. What nobody waits for goes slowly: lines that are written again
//! and again are then sent once in a while instead of all the time, and a reactor's system calls do not stand in the way of
//! hits. Its speed is proportional to what is dirty, divided by a time that shrinks as the budget fills (a proportional
//! controller): the more clients write, the sooner it keeps up with them.

use crate::Instant;
use crate::engine::Engine;
use crate::volume::{Task, Volume};
use holdfast_mutants::mutant;

/// Milliseconds over which write-back is spread at most.
const SPREAD_MAX_MS: u64 = 500;
/// Nanoseconds after which it is asked anew how fast it is to go: what clients do may have changed.
const PERIOD_NS: u64 = 10_000_000;

impl Engine<'_> {
    /// Over how many milliseconds a volume's dirty data is to be spread, 0 for none; `None` if nothing is to be sent now.
    pub(crate) fn spread_ms(&self, now: Instant, index: usize) -> Option<u64> {
        let volume = &self.volumes[index];
        if volume.index.dirty.count() == volume.index.failed.count() {
            return None;
        }
        if (self.is_waited_for(index) && !mutant!(PaceForAll)) || mutant!(PaceIsIgnored) {
            return Some(0);
        }
        if now < volume.next_run {
            return None;
        }
        let setup = &volume.setup;
        let not_clean = volume.allowance.total(volume.counts.not_clean()) * 1000;
        let (from, budget) = (u64::from(setup.write_back_from), setup.budget_slots);
        let longest = (setup.write_back_after_ms / 2).min(SPREAD_MAX_MS);
        if not_clean >= budget * from {
            // At full speed from three quarters of the way to a full budget on.
            let full = (from + (1000 - from) / 4 * 3) * budget;
            let left = full.saturating_sub(not_clean);
            return Some(if from == 0 { 0 } else { longest * left / (full - budget * from).max(1) });
        }
        let old = |since: Instant| now >= since.after_ms(setup.write_back_after_ms);
        volume.dirty_since.is_some_and(old).then_some(longest)
    }

    /// Whether somebody waits for dirty data to be written back, or for the room that this makes.
    fn is_waited_for(&self, index: usize) -> bool {
        let volume = &self.volumes[index];
        !volume.flushes.is_empty()
            || !volume.stalled.is_empty()
            || volume.short_zeroes.is_some()
            || volume.allowance.short_elsewhere
            || !self.parked.is_empty()
            || self.cache.not_clean() * 4 >= self.room * 3
            || volume.tasks.iter().any(|task| matches!(task, Task::Drain { .. } | Task::Confirm { .. }))
            || self.waits.any_of(volume.id())
    }
}

impl Volume<'_> {
    /// So many lines went out, and all that are dirty are spread over `spread_ms`: whether more may follow now.
    pub(crate) fn may_send_more(&mut self, now: Instant, lines: u64, spread_ms: u64) -> bool {
        if spread_ms == 0 {
            return true;
        }
        // They are not dirty any more.
        let dirty = self.index.dirty.count() - self.index.failed.count() + lines;
        let pause = (lines * spread_ms * 1_000_000 / dirty.max(1)).min(PERIOD_NS);
        // What was missed because nothing ran for a while is made up for, within reason.
        let due = self.next_run.0.max(now.0.saturating_sub(PERIOD_NS));
        self.next_run = Instant(due + pause);
        now >= self.next_run
    }
}
