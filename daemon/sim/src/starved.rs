//! Watches that discards and zeroes get their turn, however busy their lines: on a device that is well they end soon.

use crate::shell::{Shell, name};
use crate::violation::{Clause, demand};
use holdfast_engine::{Operation, VolumeId};

/// Simulated time in which zeroes end, or something ends that was asked for before them.
const PATIENCE_NS: u64 = 5_000_000_000;
/// And what each piece of one device operation, 1024 lines, adds to it.
const PIECE_NS: u64 = 10_000_000;

/// How many requests of its volume were asked for before one and have not ended, and since when so few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    count: usize,
    since: u64,
}

impl Shell<'_> {
    pub(crate) fn check_starved(&mut self) {
        for volume in 0..self.plan.volumes.len() {
            if !self.is_calm(volume) {
                self.calm_since[volume] = self.now;
            }
        }
        let before = std::mem::take(&mut self.ahead);
        for asked in self.clients.outstanding.values() {
            let volume = usize::from(asked.request.volume.0);
            let zeroes = match asked.request.operation {
                Operation::Discard => true,
                Operation::WriteZeroes { .. } => self.plan.volumes[volume].medium.zeroes,
                _ => false,
            };
            if !zeroes || asked.malformed {
                continue;
            }
            let older = self.clients.outstanding.values().filter(|other| {
                other.request.volume == asked.request.volume && other.id < asked.id && !other.malformed
            });
            let count = older.count();
            let begun = Ahead { count, since: self.now };
            let ahead = before.get(&asked.id).filter(|ahead| ahead.count <= count).copied().unwrap_or(begun);
            self.ahead.insert(asked.id, ahead);
            let pieces = asked.request.length / (1024 * u64::from(self.plan.line_bytes));
            let patience = PATIENCE_NS + pieces * PIECE_NS;
            let since = ahead.since.max(self.calm_since[volume]);
            demand(Clause::Liveness, self.now - since <= patience, || {
                format!(
                    "{:?} has waited since {since} behind {count} others, and its device is well",
                    asked.request
                )
            });
        }
        if !self.ahead.is_empty() {
            self.coverage.event("zeroes wait");
        }
    }

    /// Nothing is wrong with a volume, and nothing that went wrong is left.
    fn is_calm(&self, volume: usize) -> bool {
        let (id, plan) = (name(volume), &self.plan.volumes[volume]);
        let disk = &self.disks[usize::from(plan.domain)];
        let stats = |number: usize| self.reactors[number].engine.stats(VolumeId(id));
        let mut here = (0..self.reactors.len()).map(stats);
        // Until nothing of an earlier life is in flight on the device, it is not flushed.
        let shares_disk = |of: u16| self.plan.volumes[usize::from(of)].domain == plan.domain;
        let mut orphans = self.reactors.iter().flat_map(|reactor| reactor.orphans.values());
        disk.faults.iter().all(|fault| fault.until <= self.now)
            && disk.hung_until(id) < self.now
            && !orphans.any(|flight| shares_disk(flight.io.volume.0))
            && self.reactors.iter().all(|reactor| reactor.engine.cache_stats().ledger_entries == 0)
            && here.all(|stats| stats.gate_class == 0 && stats.overdue == 0 && stats.failed == 0)
    }
}
