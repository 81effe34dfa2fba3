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

/// What a volume that is full and fails has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    writes: u64,
    given_up: u64,
    refused: u64,
}

/// Since when nothing has changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stuck {
    since: u64,
    progress: Progress,
    /// Writes that were answered with an error.
    pub(crate) refused: u64,
}

impl Shell<'_> {
    pub(crate) fn check_stuck(&mut self) {
        for volume in 0..self.plan.volumes.len() {
            let refused = self.stuck[volume].refused;
            let (waits_for, progress) = self.stall(volume, refused);
            let stuck = &mut self.stuck[volume];
            if waits_for.is_none() || progress != stuck.progress {
                (stuck.since, stuck.progress) = (self.now, progress);
            }
            let (now, since) = (self.now, stuck.since);
            let Some(timeout_ns) = waits_for else { continue };
            self.coverage.event("budget: a write waits and the volume fails");
            demand(Clause::C6, now - since <= timeout_ns + GRACE_NS, || {
                format!(
                    "volume {volume} is full and fails, a write waits, and its policy does nothing since {since}"
                )
            });
        }
    }

    /// The stall timeout of a volume that is full and fails, if a write waits there; and how far it has come.
    fn stall(&self, volume: usize, refused: u64) -> (Option<u64>, Progress) {
        let plan = &self.plan.volumes[volume];
        let id = VolumeId(name(volume));
        let mut progress = Progress { refused, ..Progress::default() };
        let (mut not_clean, mut failed) = (0, 0);
        for reactor in &self.reactors {
            let stats = reactor.engine.stats(id);
            (not_clean, failed) = (not_clean + stats.not_clean, failed + stats.failed);
            (progress.writes, progress.given_up) =
                (progress.writes + stats.writes, progress.given_up + stats.given_up);
        }
        let domain = &self.disks[usize::from(plan.domain)];
        let well = domain.hung_until(id.0) < self.now && self.ledger.outage_until < self.now;
        let [rule] = plan.rules.as_slice() else { return (None, progress) };
        let (pressure, timeout_ms) = match rule.policy {
            Policy::HoldForever(policy) => (1_000, policy.stall_timeout_ms),
            Policy::HoldUntilPressure(policy) => (u64::from(policy.pressure), policy.stall_timeout_ms),
            Policy::EvictImmediately(_) => return (None, progress),
        };
        let timeout_ns = timeout_ms * 1_000_000;
        let full = (not_clean + 1) * 1_000 >= plan.budget_slots * pressure && failed >= FAILED_MIN;
        let waits = || {
            self.clients.outstanding.values().any(|asked| {
                asked.request.volume == id
                    && asked.request.operation == (Operation::Write { fua: false })
                    && asked.since + timeout_ns < self.now
            })
        };
        let stalls = full && well && plan.mode == Mode::WriteBack && waits();
        (stalls.then_some(timeout_ns), progress)
    }
}
