//! What the policy says of what has failed.

use crate::engine::Engine;
use crate::volume::Judging;
use crate::{Actions, Instant, SlotId};
use holdfast_policy::{ErrorClass, FailedExtent, FailurePolicy, State, Verdict};

impl Engine<'_> {
    /// The device has refused a line: what the policy says of it.
    pub(crate) fn judge_failure(&mut self, now: Instant, index: usize, slot: SlotId, out: &mut Actions) {
        if self.is_given_up(now, index, slot) && !self.condemn(index, slot, out) {
            // Too many are on their way out.
            self.judge_again(index);
        }
    }

    /// What the policy says of a failure.
    fn is_given_up(&self, now: Instant, index: usize, slot: SlotId) -> bool {
        let volume = &self.volumes[index];
        let status = self.cache.header(slot).status();
        let Some(class) = ErrorClass::from_u8(status.class) else { return false };
        let extent = FailedExtent {
            class,
            errno: u16::from(status.errno),
            attempts: u32::from(status.attempts),
            age_ms: now.since_ms(self.failures.first(slot)),
        };
        volume.setup.rules.for_class(class).policy.on_failure(extent) == Verdict::GiveUp
    }

    /// All that has failed is to be judged once more, from the first line on.
    pub(crate) fn judge_again(&mut self, index: usize) {
        let walk = &mut self.volumes[index].judging;
        *walk =
            Some(walk.map_or(Judging { cursor: 0, again: false }, |walk| Judging { again: true, ..walk }));
    }

    /// Goes on with the walk that judges what has failed.
    pub(crate) fn advance_judging(&mut self, now: Instant, index: usize, out: &mut Actions) {
        for _ in 0..self.limits.steps_a_turn {
            let volume = &mut self.volumes[index];
            let Some(Judging { cursor, again }) = volume.judging else { return };
            if !out.has_room(&self.limits) {
                return;
            }
            out.count(1);
            let Some(line) = volume.index.failed.next(cursor) else {
                volume.judging = again.then_some(Judging { cursor: 0, again: false });
                return;
            };
            let failed = self.cache.newest(volume.id(), line);
            let failed = failed.filter(|&slot| self.cache.header(slot).state() == State::Failed);
            if let Some(slot) = failed
                && self.is_given_up(now, index, slot)
                && !self.condemn(index, slot, out)
            {
                return;
            }
            self.volumes[index].judging = Some(Judging { cursor: line + 1, again });
        }
    }
}
