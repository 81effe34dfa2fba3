//! Every limit of an engine, derived once by the shell from the configuration and never changed after.

use crate::ops::WAITERS_MAX;
use crate::volume::ZEROED_MAX;
use crate::{DomainId, Geometry, Share, VolumeId};
use core::sync::atomic::AtomicU64;
use holdfast_policy::Rules;

/// The most lines in one device operation: a run of 64 lines of 4 KiB is 256 KiB, where the cost of an operation
/// is spread thin and io_uring does not yet hand it to a worker thread (above 512 KiB it does).
pub const RUN_LINES_MAX: usize = 64;

/// What bounds one reactor's engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// This reactor's number.
    pub reactor: u32,
    /// How many reactors there are.
    pub reactors: u32,
    /// Device operations in flight at most.
    pub ops_max: usize,
    /// Lines in one operation, 1 to [`RUN_LINES_MAX`].
    pub run_lines_max: usize,
    /// Requests accepted and not yet answered, of all sessions together. A volume may have more than half of them if
    /// the others have few, see [`crate::Engine::has_room_for`].
    pub requests_max: usize,
    /// Lines that one read or write may touch.
    pub request_lines_max: usize,
    /// Entries on their way to the ledger at most.
    pub ledger_entries_max: usize,
    /// Slots that data which is not clean can never take, so that reads, fills and overwrites proceed.
    pub reserve_slots: u32,
    /// Requests that [`crate::Actions`] is sized for in one turn.
    pub requests_a_turn: usize,
    /// Lines that background work may look at in one turn, for each kind of work.
    pub steps_a_turn: usize,
    /// Milliseconds after which unstable data is flushed without being asked.
    pub flush_after_ms: u64,
    /// Seed of the map's hash function and of the jitter: clients choose addresses, so it is secret in production.
    pub seed: u64,
}

impl Limits {
    /// Small and quick limits, as tests and the simulator want them.
    pub const fn small(reactor: u32, reactors: u32) -> Limits {
        Limits {
            reactor,
            reactors,
            ops_max: 32,
            run_lines_max: 16,
            requests_max: 256,
            request_lines_max: 16,
            ledger_entries_max: 256,
            reserve_slots: 32,
            requests_a_turn: 16,
            steps_a_turn: 64,
            flush_after_ms: 1_000,
            seed: 1,
        }
    }

    /// The most copies that one event makes. A write: each line may take its predecessor's sectors and the client's
    /// bytes. A completed fill: each line may be merged into a newer slot and answer `WAITERS_MAX` reads.
    pub const fn copies_an_event(&self) -> usize {
        let write = 2 * self.request_lines_max + 2;
        let fill = RUN_LINES_MAX * (1 + WAITERS_MAX);
        if write > fill { write } else { fill }
    }

    /// Lines that writes may wait for at a time, until they are written or stable; beside what each volume has for itself.
    pub(crate) const fn waits_max(&self) -> usize {
        self.requests_max + 4 * self.request_lines_max + 2 * ZEROED_MAX
    }

    /// What one request may wait for: all its lines, or its ends and every range of zeroes.
    pub(crate) const fn waits_least(&self) -> usize {
        let zeroes = 2 + ZEROED_MAX;
        if self.request_lines_max > zeroes { self.request_lines_max } else { zeroes }
    }

    /// Lines that the events of one turn look up before the next one has to wait; and its tick, beside that.
    pub const fn steps_max(&self) -> usize {
        2 * self.steps_a_turn
    }

    /// What the list of copies holds in a turn.
    pub const fn copies_max(&self) -> usize {
        (self.requests_a_turn + 4) * self.copies_an_event()
    }
}

/// When a write to a volume is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When it is in the cache.
    WriteBack,
    /// When the device has accepted it.
    WriteThrough,
}

/// What a flush does that cannot succeed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushOnFailure {
    /// Answers with the error.
    Report,
    /// Waits for the cause to go away, this long, then answers with the error.
    Stall {
        /// Milliseconds.
        timeout_ms: u64,
    },
}

/// A volume as one reactor gets it.
#[derive(Clone, Copy, Debug)]
pub struct VolumeSetup<'a> {
    /// Its number, the same on every reactor.
    pub id: VolumeId,
    /// Its shape, with this reactor's number in it.
    pub geometry: Geometry,
    /// What its flushes cover.
    pub domain: DomainId,
    /// The reactor that issues the domain's flushes.
    pub domain_owner: u32,
    /// When its writes are acknowledged.
    pub mode: Mode,
    /// Slots of all reactors together that may hold data of the volume which is not on stable media.
    pub budget_slots: u64,
    /// Slots of this reactor that may: what [`crate::room_slots`] says. Those of all volumes together leave the reserve.
    pub room_slots: u64,
    /// What is left of the budget, and what the reactors tell each other; the same on every reactor.
    pub share: &'a Share,
    /// What happens to failed data.
    pub rules: Rules,
    /// What happens to flushes meanwhile.
    pub flush_on_failure: FlushOnFailure,
    /// Flushes of one session that may be parked; one more is answered at once.
    pub parked_flushes_max: u32,
    /// Milliseconds after which a device operation counts as failing, though it is still waited for.
    pub io_timeout_ms: u64,
    /// Share of the budget in parts of 1000 above which write-back begins without waiting for a flush or age.
    pub write_back_from: u16,
    /// Milliseconds that dirty data may wait before it is written back unasked.
    pub write_back_after_ms: u64,
    /// Lines that the dirty index is made for: the local lines, or more, so that the volume can grow.
    pub index_lines: u64,
    /// Storage of the dirty index, zeroed: [`holdfast_policy::DirtyIndex::words_needed`] of `index_lines`.
    pub index: &'a [AtomicU64],
}

/// What of a [`VolumeSetup`] can change while the volume is in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// What happens to failed data.
    pub rules: Rules,
    /// What happens to flushes meanwhile.
    pub flush_on_failure: FlushOnFailure,
    /// Flushes of one session that may be parked.
    pub parked_flushes_max: u32,
    /// Milliseconds after which a device operation counts as failing.
    pub io_timeout_ms: u64,
    /// Share of the budget in parts of 1000 above which write-back begins by itself.
    pub write_back_from: u16,
    /// Milliseconds that dirty data may wait before it is written back unasked.
    pub write_back_after_ms: u64,
}

/// What is going on in a volume, on one reactor. Counts are lines unless they say bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeStats {
    /// Waiting to be written back and never refused.
    pub dirty: u64,
    /// Being written.
    pub writing: u64,
    /// Written, waiting for a device flush.
    pub unstable: u64,
    /// Refused and held.
    pub failed: u64,
    /// Given up and not healed.
    pub lost: u64,
    /// Lines that carry the ledger's mark.
    pub reported: u64,
    /// All slots that are not clean.
    pub not_clean: u64,
    /// What `not_clean` of all reactors together may reach; the same on every reactor.
    pub budget: u64,
    /// Writes waiting for room.
    pub stalled_writes: u64,
    /// Flushes waiting.
    pub waiting_flushes: u64,
    /// Of those, parked by `flush_on_failure = "stall"`.
    pub parked_flushes: u64,
    /// Whether the device refuses and only probes go out; the error class's number, 0 if not.
    pub gate_class: u8,
    /// The errno that closed the gate.
    pub gate_errno: u16,
    /// Milliseconds until the next probe, 0 if none is planned.
    pub next_probe_ms: u64,
    /// Operations in flight longer than the volume's timeout.
    pub overdue: u64,
    /// Reads of lines that were all there.
    pub read_hits: u64,
    /// Reads that needed the device.
    pub read_misses: u64,
    /// Writes accepted.
    pub writes: u64,
    /// Flushes answered with success.
    pub flushes_ok: u64,
    /// Flushes answered with an error.
    pub flushes_failed: u64,
    /// Device writes that succeeded.
    pub device_writes: u64,
    /// Bytes they wrote.
    pub device_write_bytes: u64,
    /// Device writes that were refused.
    pub device_writes_refused: u64,
    /// Device reads.
    pub device_reads: u64,
    /// Device reads that were refused.
    pub device_reads_refused: u64,
    /// Device flushes that succeeded (counted by the domain's owner).
    pub device_flushes: u64,
    /// Device flushes that failed.
    pub device_flushes_failed: u64,
    /// Lines ever given up.
    pub given_up: u64,
}

/// What is going on in a reactor's cache as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Slots in all.
    pub slots: u64,
    /// Slots without content.
    pub free: u64,
    /// Slots of all volumes that hold data which is not on stable media.
    pub not_clean: u64,
    /// Clean lines that made room for others.
    pub evictions: u64,
    /// Requests accepted and not yet answered.
    pub requests: u64,
    /// Device operations in flight.
    pub ops: u64,
    /// Ledger entries that are not yet durable.
    pub ledger_entries: u64,
}
