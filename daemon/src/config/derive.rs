//! What follows from the settings: slots, reserves, budgets and memory, each computed here and nowhere else.

use super::read_daemon::HUGE_PAGE_BYTES;
use super::settings::{LimitSettings, Settings, VolumeSettings};
use crate::arena::{ArenaLayout, ArenaVolume};
use holdfast_engine::{Header, Limits, RUN_LINES_MAX, room_slots};

const HEADER_BYTES: u64 = size_of::<Header>() as u64;
/// Entries on their way to the ledger at most, on one reactor: four of the ledger's usual group commits.
const LEDGER_ENTRIES_MAX: usize = 4096;
/// Requests that one turn takes up at most. A turn of hits stays below 50 us.
const REQUESTS_A_TURN: usize = 64;
/// Lines that each kind of background work looks at in a turn: a quantum of about 10 us.
const STEPS_A_TURN: usize = 256;

/// A volume before anybody has looked at its backing.
fn unopened(volume: &VolumeSettings) -> ArenaVolume {
    ArenaVolume { name: volume.name.clone(), identity: String::new(), bytes: 0, device: None }
}

impl Settings {
    /// Slots of one reactor; all have as many. An arena on pages of 4 KiB has this many and a few more; one on pages
    /// of 1 GiB may have fewer, so whoever opens an arena holds what it has against this.
    pub fn slots_a_reactor(&self) -> u64 {
        self.shares_on(HUGE_PAGE_BYTES).1
    }

    /// How an arena on pages of `page_bytes` divides: the bytes of one reactor's headers, and its slots. One page is the
    /// superblock; of what each reactor gets, headers and slots take whole pages.
    pub(super) fn shares_on(&self, page_bytes: u64) -> (u64, u64) {
        let line = u64::from(self.arena.line_bytes);
        let share = self.arena.size_bytes.saturating_sub(page_bytes) / u64::from(self.daemon.reactors);
        let header_bytes = (share / (line + HEADER_BYTES) * HEADER_BYTES).next_multiple_of(page_bytes);
        let slot_bytes = share.saturating_sub(header_bytes) / page_bytes * page_bytes;
        (header_bytes, (slot_bytes / line).min(header_bytes / HEADER_BYTES))
    }

    /// The arena's layout, to be looked at: without memory that is filled or locked, nothing that may be given up, and of
    /// the volumes only the names.
    pub fn arena_layout(&self) -> ArenaLayout {
        ArenaLayout {
            path: self.arena.path.clone(),
            size_bytes: self.arena.size_bytes,
            reactors: self.daemon.reactors,
            line_bytes: self.arena.line_bytes,
            stripe_bytes: self.arena.stripe_bytes,
            prefault: false,
            lock_memory: false,
            discard_existing: false,
            volumes: self.volumes.iter().map(unopened).map(Some).collect(),
        }
    }

    /// Slots of one reactor that data which is not clean can never take: `limits.reserve`, or what the largest request
    /// needs if that is more.
    pub fn reserve_slots(&self) -> u32 {
        let share = self.slots_a_reactor() * u64::from(self.limits.reserve) / 1000;
        let slots = share.max(self.least_slots());
        u32::try_from(slots).expect("half of at most 2^32 slots")
    }

    /// Slots of all reactors together that data of `volume` which is not clean may take.
    pub fn budget_slots(&self, volume: &VolumeSettings) -> u64 {
        volume.budget_bytes / u64::from(self.arena.line_bytes)
    }

    /// Slots of one reactor that data of `volume` which is not clean may take: as many as its budget, if the budgets
    /// together fit into one reactor.
    pub fn room_slots(&self, volume: &VolumeSettings) -> u64 {
        let budgets = self.volumes.iter().map(|volume| self.budget_slots(volume)).sum();
        room_slots(self.budget_slots(volume), budgets, self.slots_beside_reserve())
    }

    /// Lines that the largest request may touch: one more than it fills, because it need not begin with a line.
    pub fn request_lines_max(&self) -> usize {
        (self.limits.request_bytes_max / self.arena.line_bytes) as usize + 1
    }

    /// The fewest slots that a budget, for each reactor, or a reserve can have: room for the largest request while an equal one is being
    /// replaced, since an overwrite takes a fresh slot before it frees the old one.
    pub(super) fn least_slots(&self) -> u64 {
        2 * self.request_lines_max() as u64
    }

    /// Slots of one reactor that volumes share among them: all but the reserve.
    pub(super) fn slots_beside_reserve(&self) -> u64 {
        self.slots_a_reactor().saturating_sub(u64::from(self.reserve_slots()))
    }

    /// Bytes of all headers, 32 for each slot. They are part of the arena's size.
    pub fn header_bytes(&self) -> u64 {
        self.slots_a_reactor() * u64::from(self.daemon.reactors) * HEADER_BYTES
    }

    /// Bytes of all maps: a power of two of buckets filled to 7/8 at most, of a slot number and a tag byte each.
    pub fn map_bytes(&self) -> u64 {
        let buckets = (self.slots_a_reactor() * 8).div_ceil(7).next_power_of_two();
        buckets * 5 * u64::from(self.daemon.reactors)
    }

    /// The limits of one reactor's engine. `seed` keys its map; take it from the system's random numbers.
    ///
    /// # Panics
    /// If there is no reactor of that number.
    pub fn limits(&self, reactor: u32, seed: u64) -> Limits {
        assert!(reactor < self.daemon.reactors, "reactor {reactor} of {}", self.daemon.reactors);
        let LimitSettings { device_ops_max, requests_max, flush_after_ms, .. } = self.limits;
        Limits {
            reactor,
            reactors: self.daemon.reactors,
            ops_max: device_ops_max as usize,
            run_lines_max: ((256 << 10) / self.arena.line_bytes as usize).min(RUN_LINES_MAX),
            requests_max: requests_max as usize,
            request_lines_max: self.request_lines_max(),
            ledger_entries_max: LEDGER_ENTRIES_MAX,
            reserve_slots: self.reserve_slots(),
            requests_a_turn: REQUESTS_A_TURN,
            steps_a_turn: STEPS_A_TURN,
            flush_after_ms,
            seed,
        }
    }
}
