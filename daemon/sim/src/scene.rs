//! Parts for scenes that are written down and not drawn: plain volumes, one policy, a fault from now on.

use crate::fault::{Fault, Kinds, Trouble};
use crate::medium::MediumSetup;
use crate::plan::{Plan, VolumePlan};
use crate::{Outcome, Shell};
use holdfast_engine::{FlushOnFailure, Geometry, Limits, Mode, Operation};
use holdfast_policy::{ClassSet, Policy, Retry, Rule, Rules};

/// Bytes of a line in most scenes.
pub const LINE: u64 = 4096;

/// One policy for every class, tried again after 10 to 80 ms for any reason.
pub fn rules(policy: Policy) -> Rules {
    let retry = Retry { first_ms: 10, max_ms: 80, ..Retry::default() };
    Rules::new(&[Rule { classes: ClassSet::ANY, policy, retry }]).expect("one rule for all")
}

/// A volume of `lines` lines of 4 KiB on its own healthy disk, with a budget of `budget_slots`.
pub fn volume(reactors: u32, lines: u64, budget_slots: u64, policy: Policy) -> VolumePlan {
    let geometry = Geometry {
        volume_bytes: lines * LINE,
        block_bytes: 512,
        line_bytes: 4096,
        stripe_bytes: 1 << 20,
        reactors,
        reactor: 0,
    };
    VolumePlan {
        geometry,
        domain: 0,
        mode: Mode::WriteBack,
        budget_slots,
        rules: rules(policy),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 4,
        io_timeout_ms: 500,
        write_back_from: 500,
        write_back_after_ms: 1_000,
        medium: MediumSetup {
            sectors: lines * LINE / 512,
            block_sectors: 1,
            zeroes: true,
            discards: true,
            chunks_max: u64::MAX,
        },
    }
}

/// A plan over `volumes`, each on a disk of its own, with small limits.
pub fn plan(reactors: u32, slots: usize, volumes: &[VolumePlan]) -> Plan {
    let alone = |(domain, &volume): (usize, &VolumePlan)| VolumePlan {
        domain: u16::try_from(domain).expect("few volumes"),
        ..volume
    };
    let volumes = volumes.iter().enumerate().map(alone).collect();
    Plan { seed: 1, reactors, line_bytes: 4096, slots, limits: Limits::small(0, reactors), volumes }
}

impl Shell<'_> {
    /// From now on `kinds` of operation on the lines `lines` of a volume meet `trouble`, until everything is healed.
    pub fn fault(
        &mut self,
        volume: u16,
        kinds: Kinds,
        lines: std::ops::Range<u64>,
        trouble: Trouble,
        lasts_ns: u64,
    ) {
        let sectors = u64::from(self.plan.line_bytes) / 512;
        let (from, to) = (lines.start * sectors, lines.end.saturating_mul(sectors));
        let (since, until) = (self.now, self.now.saturating_add(lasts_ns));
        let name = "scene";
        self.disk(volume).faults.push(Fault {
            name,
            volume,
            kinds,
            from,
            to,
            since,
            until,
            odds: 1_000,
            trouble,
        });
    }

    /// Lets this many nanoseconds pass, with everything that happens in them.
    pub fn pass(&mut self, nanoseconds: u64) {
        let end = self.now + nanoseconds;
        while self.now < end {
            let time = self.next_time().min(end);
            self.step(time);
        }
    }

    /// Writes whole lines and waits for the answer.
    pub fn write(&mut self, session: u32, line: u64, lines: u64) -> Outcome {
        let size = u64::from(self.plan.line_bytes);
        let id = self.ask(session, Operation::Write { fua: false }, line * size, lines * size);
        self.outcome(id)
    }

    /// Reads one line and waits for the answer.
    pub fn read(&mut self, session: u32, line: u64) -> Outcome {
        let size = u64::from(self.plan.line_bytes);
        let id = self.ask(session, Operation::Read, line * size, size);
        self.outcome(id)
    }

    /// Flushes and waits for the answer of every reactor.
    pub fn flush(&mut self, session: u32) -> Outcome {
        let id = self.ask(session, Operation::Flush, 0, 0);
        self.outcome(id)
    }
}
