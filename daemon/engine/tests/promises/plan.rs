//! What a test begins with: volumes, budgets, rules.

use holdfast_engine::*;
use holdfast_policy::*;
use std::sync::atomic::AtomicU64;

/// What a test wants to begin with.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) slots: usize,
    pub(crate) limits: Limits,
    pub(crate) volumes: u16,
    /// Volumes that share a flush domain: all, or none.
    pub(crate) one_domain: bool,
    pub(crate) volume_bytes: u64,
    pub(crate) stripe_bytes: u64,
    /// Slots of all reactors together, for each volume.
    pub(crate) budget: u64,
    pub(crate) rules: Rules,
    pub(crate) mode: Mode,
    pub(crate) flush_on_failure: FlushOnFailure,
    pub(crate) io_timeout_ms: u64,
    /// Write-back begins at this share of the budget in parts of 1000, without a flush.
    pub(crate) write_back_from: u16,
    /// Dirty data is written back after so long, without a flush.
    pub(crate) write_back_after_ms: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            slots: 256,
            limits: Limits::small(0, 1),
            volumes: 1,
            one_domain: false,
            volume_bytes: 4 << 20,
            stripe_bytes: 1 << 20,
            budget: 128,
            rules: rules(Policy::HoldForever(HoldForever::default()), Retry::default()),
            mode: Mode::WriteBack,
            flush_on_failure: FlushOnFailure::Report,
            io_timeout_ms: 5_000,
            write_back_from: 1000,
            write_back_after_ms: 1_000_000,
        }
    }
}

impl Plan {
    pub(crate) fn domain(&self, volume: u16) -> u16 {
        if self.one_domain { 0 } else { volume }
    }

    pub(crate) fn add_volumes(&self, engine: &mut Engine<'static>, shares: &[&'static Share]) {
        let room = (self.slots - self.limits.reserve_slots as usize) as u64;
        for id in 0..self.volumes {
            engine.add_volume(setup(self, id, self.domain(id), room, shares[usize::from(id)]));
        }
    }
}

/// One rule for every class.
pub(crate) fn rules(policy: Policy, retry: Retry) -> Rules {
    Rules::new(&[Rule { classes: ClassSet::ANY, policy, retry }]).unwrap()
}

pub(crate) fn hold_until_pressure(pressure: u16, stall_timeout_ms: u64) -> Policy {
    Policy::HoldUntilPressure(HoldUntilPressure { pressure, stall_timeout_ms })
}

/// What [`Shell::over`] gives a volume, with other rules.
pub(crate) fn tuning(rules: Rules) -> Tuning {
    Tuning {
        rules,
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 2,
        io_timeout_ms: 5_000,
        write_back_from: 1000,
        write_back_after_ms: 1_000_000,
    }
}

pub(crate) fn evict_immediately() -> Policy {
    Policy::EvictImmediately(EvictImmediately {})
}

/// What the reactors of a plan share of each volume.
pub(crate) fn shares(plan: &Plan) -> Vec<&'static Share> {
    let share = |_| &*Box::leak(Box::new(Share::new(plan.limits.reactors)));
    (0..plan.volumes).map(share).collect()
}

/// A volume of a plan, on a reactor that has room for `room` slots of all.
pub(crate) fn setup(
    plan: &Plan,
    id: u16,
    domain: u16,
    room: u64,
    share: &'static Share,
) -> VolumeSetup<'static> {
    let geometry = Geometry {
        volume_bytes: plan.volume_bytes,
        block_bytes: 512,
        line_bytes: 4096,
        stripe_bytes: plan.stripe_bytes,
        reactors: plan.limits.reactors,
        reactor: plan.limits.reactor,
    };
    // Room to grow to twice the size.
    let index_lines = 2 * geometry.local_lines();
    let words = DirtyIndex::words_needed(index_lines);
    let index: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    VolumeSetup {
        id: VolumeId(id),
        geometry,
        domain: DomainId(domain),
        domain_owner: 0,
        mode: plan.mode,
        budget_slots: plan.budget,
        room_slots: room_slots(plan.budget, plan.budget * u64::from(plan.volumes), room),
        share,
        rules: plan.rules,
        flush_on_failure: plan.flush_on_failure,
        parked_flushes_max: 2,
        io_timeout_ms: plan.io_timeout_ms,
        write_back_from: plan.write_back_from,
        write_back_after_ms: plan.write_back_after_ms,
        index_lines,
        index: Box::leak(index.into_boxed_slice()),
    }
}
