//! What waits for room, or behind zeroes, and how long its policy lets it.

use crate::engine::Engine;
use crate::requests::{Pending, RequestId};
use crate::share::Words;
use crate::write::Admission;
use crate::{Actions, Instant};
use holdfast_policy::{ErrorClass, FailurePolicy, Pressure, PressureVerdict, class_of_errno, errno};

impl Engine<'_> {
    /// Admits stalled writes, oldest first, and lets the policy judge when none can be.
    pub(crate) fn retry_stalled(&mut self, now: Instant, index: usize, out: &mut Actions) {
        let mut passed = 0;
        let mut full = false;
        for _ in 0..self.volumes[index].stalled.len().min(self.limits.requests_a_turn) {
            let Some(&id) = self.volumes[index].stalled.get(passed) else { break };
            if !out.has_room(&self.limits) {
                return;
            }
            let pending = *self.requests.get(id);
            if pending.orphan {
                self.volumes[index].stalled.remove(passed);
                self.requests.remove(id);
                continue;
            }
            // Zeroes that came before have a right to what room there is, too.
            let zeroes = self.volumes[index].short_zeroes.is_some_and(|(_, since)| since <= pending.since);
            let lines = (pending.cursor, pending.end);
            let refusal = match self.admission(index, lines.0, lines.1, full || zeroes) {
                Admission::Granted | Admission::Overwrite => {
                    self.volumes[index].stalled.remove(passed);
                    self.accept(id, out);
                    continue;
                }
                Admission::Blocked => self.refusal_of_blocked(now, index, pending.since, lines),
                Admission::Full => {
                    let first = !core::mem::replace(&mut full, true);
                    if first { self.judge_stalled(now, index, &pending, out) } else { None }
                }
            };
            match refusal {
                Some(errno) => {
                    self.volumes[index].stalled.remove(passed);
                    self.complete(id, errno, 0, out);
                }
                None => passed += 1,
            }
        }
    }

    /// The oldest stalled write finds no room: what it is to be answered, if it is refused.
    fn judge_stalled(
        &mut self,
        now: Instant,
        index: usize,
        pending: &Pending,
        out: &mut Actions,
    ) -> Option<u16> {
        let lines = pending.end - pending.cursor;
        match self.judge_pressure(now, index, pending.since, lines) {
            PressureVerdict::Admit => None,
            PressureVerdict::Stall => self.refusal_of_write_through(index, pending.since),
            PressureVerdict::GiveUpOldest => {
                let coming = self.make_room(now, index, pending.since, lines, out);
                (!coming).then_some(errno::ENOSPC)
            }
            PressureVerdict::RefuseWrites => Some(errno::ENOSPC),
        }
    }

    /// A request that waits since then finds no room for `lines` more: what the policy says.
    fn judge_pressure(&mut self, now: Instant, index: usize, since: Instant, lines: u64) -> PressureVerdict {
        let pressure = self.pressure_on(now, index, since, lines);
        // This reactor's room is what it lacks if there is none in it: then the budget does not matter, nor what other
        // reactors could give up.
        let class = if self.exceeds_room(index, lines) {
            self.cramping_class(index)
        } else {
            self.volumes[index].allowance.is_short(since);
            self.pressing_class(index)
        };
        let Some(class) = class else { return PressureVerdict::Stall };
        self.volumes[index].setup.rules.for_class(class).policy.on_pressure(pressure)
    }

    fn pressure_on(&self, now: Instant, index: usize, since: Instant, lines: u64) -> Pressure {
        let stalled_ms = Some(now.since_ms(since));
        if !self.exceeds_room(index, lines) {
            return self.pressure(index, lines, stalled_ms);
        }
        let volume = &self.volumes[index];
        Pressure { not_clean: volume.counts.not_clean() + lines, budget: volume.allowance.room(), stalled_ms }
    }

    /// What a write is answered that a policy would have written through, but finds no room, because the device refuses
    /// to flush: what the device has said since the write came. Where it refuses data, room comes by itself.
    fn refusal_of_write_through(&self, index: usize, since: Instant) -> Option<u16> {
        let volume = &self.volumes[index];
        let gate = volume.gate.filter(|gate| gate.from_flush && gate.last >= since)?;
        let through = volume.setup.rules.for_class(gate.class).policy.write_through_while_refused();
        (through && volume.condemned.is_empty()).then_some(gate.errno)
    }

    /// Has the oldest failures given up, here or on whatever reactor has them. `false` if there is nothing that could
    /// be: a device that refuses to flush has refused none of what it took, one that hangs none of what it was given, and
    /// that is kept.
    fn make_room(
        &mut self,
        now: Instant,
        index: usize,
        since: Instant,
        lines: u64,
        out: &mut Actions,
    ) -> bool {
        let pressure = self.pressure_on(now, index, since, lines);
        if self.exceeds_room(index, lines) || self.limits.reactors == 1 {
            let in_vain =
                self.keeps_unrefused(index) && self.oldest_to_give_up(index, pressure) == Words::NOTHING;
            self.give_up_oldest(now, index, lines, pressure, out);
            return !in_vain;
        }
        self.volumes[index].allowance.wants(lines);
        let unrefused = self.volumes[index].keeps_unrefused();
        let fails_otherwise = !unrefused && self.volumes[index].failure_class().is_some();
        fails_otherwise
            || self.volumes[index].allowance.others_may_give_up(unrefused)
            || self.oldest_to_give_up(index, pressure) != Words::NOTHING
    }

    /// What a request is answered that waits since then for lines which the device refuses to zero, or for a device that
    /// hangs, once its policy does not let it wait any longer.
    ///
    /// Giving up something that failed would not let it pass, and to give up the zeroes themselves would lose what was
    /// acknowledged for a write that its client still has: so it is refused where others would have something given up.
    pub(crate) fn refusal_of_blocked(
        &self,
        now: Instant,
        index: usize,
        since: Instant,
        (first, end): (u64, u64),
    ) -> Option<u16> {
        let volume = &self.volumes[index];
        let refused = volume.refusal_over(first, end);
        let class = match refused {
            Some(errno) => class_of_errno(errno),
            // It need not lie over these lines: the slots and places of all that it keeps waiting are missed, too.
            None if volume.stats.overdue > 0 => ErrorClass::Transient,
            None => return None,
        };
        let (policy, budget) = (volume.setup.rules.for_class(class).policy, volume.setup.budget_slots);
        let stalled_ms = Some(now.since_ms(since));
        match policy.on_pressure(Pressure { not_clean: budget, budget, stalled_ms }) {
            PressureVerdict::GiveUpOldest | PressureVerdict::RefuseWrites => Some(errno::ENOSPC),
            // Written through, it would be answered with what the device says.
            _ => refused.filter(|_| policy.write_through_while_refused()),
        }
    }

    /// Zeroes find no room for `lines` lines, or something in their way: what the policy says.
    pub(crate) fn judge_zeroes(
        &mut self,
        id: RequestId,
        index: usize,
        (first, end): (u64, u64),
        lines: Option<u64>,
        out: &mut Actions,
    ) {
        let (now, since) = (self.now, self.requests.get(id).since);
        let refusal = match lines {
            None => self.refusal_of_blocked(now, index, since, (first, end)),
            Some(lines) => {
                self.volumes[index].short_zeroes.get_or_insert((id, since));
                // What is given up could be its own beginning, which nobody was told of yet.
                let pending = self.requests.get(id);
                let own = pending.fallback && pending.cursor > pending.first_zeroed;
                let refused = match self.judge_pressure(now, index, since, lines) {
                    PressureVerdict::Admit | PressureVerdict::Stall => false,
                    PressureVerdict::GiveUpOldest if !own => !self.make_room(now, index, since, lines, out),
                    PressureVerdict::GiveUpOldest | PressureVerdict::RefuseWrites => true,
                };
                refused.then_some(errno::ENOSPC)
            }
        };
        if let Some(errno) = refusal {
            self.requests.get_mut(id).errno = errno;
        }
    }
}
