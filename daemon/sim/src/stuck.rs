//! Watches that a write which waits for room gets its policy's verdict, whichever reactor holds what takes the room.

use crate::shell::{Shell, name};
use crate::violation::{Clause, demand};
use holdfast_engine::{Mode, Operation, VolumeId};
use holdfast_policy::Policy;

/// Simulated time beyond the stall timeout within which something must happen: a few looks of every reactor at the
/// others' words, an attempt at what was never tried, and a record in the ledger.
const GRACE_NS: u64 = 3_000_000_000;
/// Failed lines from which on some are there to be given up, though a few are being tried again.
const FAILED_MIN: u64 = 4;

/// The write of a volume that has waited longest, and since when the volume has been full and failing, or hanging.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stuck {
    oldest: Option<u64>,
    since: u64,
}

impl Shell<'_> {
    pub(crate) fn check_stuck(&mut self) {
        for volume in 0..self.plan.volumes.len() {
            let oldest = self.oldest_stalled(volume);
            let stuck = &mut self.stuck[volume];
            if oldest.is_none() || oldest != stuck.oldest {
                *stuck = Stuck { oldest, since: self.now };
            }
            if oldest.is_none() {
                continue;
            }
            let (now, since) = (self.now, stuck.since);
            self.coverage.event("budget: a write waits and the volume fails");
            if self.hangs(volume) {
                self.coverage.event("budget: a write waits and the volume hangs");
            }
            demand(Clause::C6, now - since <= GRACE_NS, || {
                let stats = self.reactors.iter().map(|reactor| reactor.engine.stats(VolumeId(name(volume))));
                let reactors: Vec<_> = stats
                    .map(|stats| (stats.not_clean, stats.failed, stats.overdue, stats.gate_errno))
                    .collect();
                format!(
                    "volume {volume} is full and fails; since {since} write {oldest:?} has waited for longer than its \
                     policy lets it; lines that are not clean and failed, what is overdue and the gate, by reactor: \
                     {reactors:?}"
                )
            });
        }
    }

    /// Whether a reactor knows that the device does not answer.
    fn hangs(&self, volume: usize) -> bool {
        let stats = || self.reactors.iter().map(|reactor| reactor.engine.stats(VolumeId(name(volume))));
        stats().any(|stats| stats.overdue > 0)
    }

    /// The write that has waited for room longest, if that is longer than the policy's time-out, and if what takes the
    /// room has failed or hangs. Without a value where anything else may hold it up.
    fn oldest_stalled(&self, volume: usize) -> Option<u64> {
        let plan = &self.plan.volumes[volume];
        let id = VolumeId(name(volume));
        let (rules, changed) = self.rules.agreed(volume)?;
        let [rule] = rules.as_slice() else { return None };
        // Who waits when the rules change is judged by the new ones from then on.
        if changed + GRACE_NS > self.now {
            return None;
        }
        let (pressure, timeout_ms) = match rule.policy {
            Policy::HoldForever(policy) => (1_000, policy.stall_timeout_ms),
            Policy::HoldUntilPressure(policy) => (u64::from(policy.pressure), policy.stall_timeout_ms),
            Policy::EvictImmediately(_) => return None,
        };
        let stats = || self.reactors.iter().map(|reactor| reactor.engine.stats(id));
        let not_clean: u64 = stats().map(|stats| stats.not_clean).sum();
        let failed: u64 = stats().map(|stats| stats.failed).sum();
        let full = (not_clean + 1) * 1_000 >= plan.budget_slots * pressure;
        let hung = self.disks[usize::from(plan.domain)].hung_until(id.0) >= self.now;
        let fails = if hung { self.hangs(volume) } else { failed >= FAILED_MIN };
        let queued =
            self.reactors.iter().any(|reactor| reactor.requests.iter().any(|other| other.volume == id));
        if !(full && fails) || queued || plan.mode != Mode::WriteBack || self.ledger.outage_until >= self.now
        {
            return None;
        }
        let waiting = self.clients.outstanding.values().filter(|asked| {
            asked.request.volume == id
                && asked.request.operation == (Operation::Write { fua: false })
                && asked.since + timeout_ms * 1_000_000 < self.now
        });
        waiting.min_by_key(|asked| (asked.since, asked.id)).map(|asked| asked.id)
    }
}
