//! Everything about a run that is fixed before it begins.

use crate::medium::MediumSetup;
use holdfast_engine::{
    FlushOnFailure, Geometry, Header, Identity, Limits, Mode, Notes, Share, Status, Tuning, room_slots,
};
use holdfast_policy::{DirtyIndex, Rules};
use std::sync::atomic::{AtomicU64, Ordering};

/// One volume of a run.
#[derive(Clone, Copy, Debug)]
pub struct VolumePlan {
    /// Its shape, as reactor 0 has it.
    pub geometry: Geometry,
    /// Its flush domain, which is also its disk.
    pub domain: u16,
    /// When its writes are acknowledged.
    pub mode: Mode,
    /// Slots of all reactors together that may hold its data that is not on stable media.
    pub budget_slots: u64,
    /// What happens to failed data.
    pub rules: Rules,
    /// What happens to flushes meanwhile.
    pub flush_on_failure: FlushOnFailure,
    /// Flushes of one session that may be parked.
    pub parked_flushes_max: u32,
    /// When an operation counts as failing.
    pub io_timeout_ms: u64,
    /// Share of the budget from which write-back begins by itself, in parts of 1000.
    pub write_back_from: u16,
    /// How long dirty data may wait.
    pub write_back_after_ms: u64,
    /// The device.
    pub medium: MediumSetup,
}

impl VolumePlan {
    /// What an operator may change, with these rules and the rest as it was.
    pub fn tuning(&self, rules: Rules) -> Tuning {
        Tuning {
            rules,
            flush_on_failure: self.flush_on_failure,
            parked_flushes_max: self.parked_flushes_max,
            io_timeout_ms: self.io_timeout_ms,
            write_back_from: self.write_back_from,
            write_back_after_ms: self.write_back_after_ms,
        }
    }

    /// The shape as `reactor` sees it.
    pub const fn geometry_of(&self, reactor: u32) -> Geometry {
        Geometry { reactor, ..self.geometry }
    }
}

/// A run's shape.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything random is drawn from.
    pub seed: u64,
    /// How many reactors.
    pub reactors: u32,
    /// Bytes of a line, of every volume.
    pub line_bytes: u32,
    /// Slots of each reactor.
    pub slots: usize,
    /// Limits of reactor 0; the others have the same.
    pub limits: Limits,
    /// The volumes; their place is their number.
    pub volumes: Vec<VolumePlan>,
}

impl Plan {
    /// The limits of one reactor.
    pub fn limits_of(&self, reactor: u32) -> Limits {
        Limits { reactor, reactors: self.reactors, ..self.limits }
    }

    /// Slots of each reactor that may hold a volume's data that is not on stable media.
    pub fn room_slots(&self, volume: usize) -> u64 {
        let budgets = self.volumes.iter().map(|volume| volume.budget_slots).sum();
        let room = self.slots as u64 - u64::from(self.limits.reserve_slots);
        room_slots(self.volumes[volume].budget_slots, budgets, room)
    }

    /// How many flush domains there are.
    pub fn domains(&self) -> usize {
        self.volumes.iter().map(|volume| usize::from(volume.domain) + 1).max().unwrap_or(0)
    }
}

/// The memory that engines borrow: it outlives them.
#[derive(Debug)]
pub struct Memory {
    /// For each reactor its headers.
    pub headers: Vec<Vec<Header>>,
    /// For each reactor and volume the words of its index.
    pub indexes: Vec<Vec<Vec<AtomicU64>>>,
    /// For each reactor what it notes for a later life.
    pub notes: Vec<Vec<AtomicU64>>,
    /// For each volume what its reactors share.
    pub shares: Vec<Share>,
}

impl Memory {
    /// Empty headers and indexes for a plan.
    pub fn new(plan: &Plan) -> Memory {
        let headers = |_| (0..plan.slots).map(|_| Header::default()).collect();
        let indexes = |reactor| {
            let lines = plan.volumes.iter().map(|volume| volume.geometry_of(reactor).local_lines());
            lines.map(|lines| zeroes(DirtyIndex::words_needed(lines))).collect()
        };
        Memory {
            headers: (0..plan.reactors).map(headers).collect(),
            indexes: (0..plan.reactors).map(indexes).collect(),
            notes: (0..plan.reactors).map(|_| zeroes(Notes::words_needed(plan.volumes.len()))).collect(),
            shares: plan.volumes.iter().map(|_| Share::new(plan.reactors)).collect(),
        }
    }

    /// The host lost its power: the arena is a new one.
    pub fn wipe(&self) {
        let blank = Identity { volume: 0, line: 0, generation: 0, dirty: 0 };
        for header in self.headers.iter().flatten() {
            header.publish(Status::FREE);
            header.assign(blank);
        }
        self.notes.iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// A volume that comes gets blank pages.
    pub fn forget_index(&self, volume: usize) {
        let words = self.indexes.iter().flat_map(|volumes| &volumes[volume]);
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// What is not in the arena dies with the daemon.
    pub fn forget_indexes(&self) {
        let words = self.indexes.iter().flatten().flatten();
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

fn zeroes(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}
