//! What clients may see and be told: for each sector the values that are allowed now.
//!
//! Shares no type with the engine but `Request`. Time is a count: every submission and every answer gets the next
//! number, and a request is known by that of its submission.

use crate::Ranges;
use crate::losses::Losses;
use crate::versions::Versions;
use crate::violation::{Clause, demand};
use holdfast_engine::{Operation, Request};
use std::collections::BTreeMap;

/// What the model asks the disk: (what a read returns, what a power cut leaves) of a sector.
pub(crate) type Content<'a> = &'a dyn Fn(u64) -> (u64, u64);

/// What an entry of the ledger says, in the model's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Not on stable media.
    NotStable,
    /// On stable media after all.
    Healed,
    /// Given up, with its generation.
    Lost(u64),
    /// Not given up after all.
    Rescinded(u64),
    /// The loss is no more.
    LossHealed,
    /// An operator acknowledged it.
    Acknowledged,
}

#[derive(Debug, Default)]
pub(crate) struct Volume {
    pub(crate) sectors: BTreeMap<u64, Versions>,
    pub(crate) losses: Losses,
    pub(crate) reported: Ranges,
    /// The newest flush that succeeded.
    pub(crate) flushed: u64,
    /// Sectors of which a flush said that they are not stable: which flush.
    pub(crate) told: BTreeMap<u64, u64>,
}

/// The model of all volumes.
#[derive(Debug, Default)]
pub struct Model {
    clock: u64,
    volumes: BTreeMap<u16, Volume>,
    pub(crate) pending: BTreeMap<u64, Request>,
}

/// The stamp of a sector of the write that was submitted as `id`.
pub const fn stamp(id: u64, sector: u64) -> u64 {
    id << 32 | (sector & 0xffff_ffff)
}

pub(crate) fn span(request: &Request) -> (u64, u64) {
    (request.offset / 512, (request.offset + request.length) / 512)
}

const fn zeroes(operation: Operation) -> bool {
    matches!(operation, Operation::Discard | Operation::WriteZeroes { .. })
}

/// Whether a request wants a sector to be zeroes.
fn zeroes_over(request: &Request, volume: u16, sector: u64) -> bool {
    let (first, end) = span(request);
    zeroes(request.operation) && request.volume.0 == volume && (first..end).contains(&sector)
}

impl Model {
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn volume(&mut self, volume: u16) -> &mut Volume {
        self.volumes.entry(volume).or_default()
    }

    /// A client asks; the number is the model's name for it.
    pub fn submitted(&mut self, request: &Request) -> u64 {
        let id = self.tick();
        let oldest = self.pending.first_key_value().map_or(id, |(&oldest, _)| oldest);
        let (from, to) = span(request);
        let volume = self.volumes.entry(request.volume.0).or_default();
        // What a power cut may bring back is older than what anybody may read.
        let oldest = oldest.min(volume.flushed);
        if matches!(request.operation, Operation::Write { .. }) {
            for sector in from..to {
                let zeroing =
                    self.pending.iter().filter(|(_, other)| zeroes_over(other, request.volume.0, sector));
                let new = || Versions::new(zeroing.map(|(&id, _)| id));
                let oldest = volume.losses.oldest(sector, oldest);
                volume.sectors.entry(sector).or_insert_with(new).submitted(stamp(id, sector), id, oldest);
            }
        } else if zeroes(request.operation) {
            for (&sector, versions) in volume.sectors.range_mut(from..to) {
                versions.submitted(0, id, volume.losses.oldest(sector, oldest));
            }
        }
        self.pending.insert(id, *request);
        id
    }

    /// A session is over and everybody knows: its writes cannot happen any more, though what the device has of its
    /// zeroes may.
    pub fn closed(&mut self, session: u32) {
        let gone = self.pending.iter().filter(|(_, request)| request.session.0 == session);
        for id in gone.map(|(&id, _)| id).collect::<Vec<_>>() {
            let request = self.take(id);
            if !zeroes(request.operation) {
                self.settle(id, &request, false);
            }
        }
    }

    fn take(&mut self, id: u64) -> Request {
        self.pending.remove(&id).expect("a request that the model knows")
    }

    /// A write, write-zeroes or discard was answered. With FUA it is stable.
    pub fn changed(&mut self, id: u64, errno: u16, content: Content<'_>) {
        let request = self.take(id);
        self.settle(id, &request, errno == 0);
        let fua = matches!(
            request.operation,
            Operation::Write { fua: true } | Operation::WriteZeroes { fua: true }
        );
        if !fua || errno != 0 {
            return;
        }
        let (from, to) = span(&request);
        for (sector, versions) in self.volume(request.volume.0).sectors.range(from..to) {
            let stable = content(*sector).1;
            demand(Clause::C1, versions.reached(stable, id), || {
                format!("{id}: {request:?} is answered; sector {sector} is {stable:x}, of {versions:x?}")
            });
        }
    }

    /// A write was answered with a timeout: nothing of it has happened, and nothing will (M9).
    pub fn withdrawn(&mut self, id: u64) {
        let request = self.take(id);
        self.tick();
        let (from, to) = span(&request);
        let sectors = self.volume(request.volume.0).sectors.range_mut(from..to);
        sectors.for_each(|(_, versions)| versions.withdrawn(id));
    }

    fn settle(&mut self, id: u64, request: &Request, acknowledged: bool) {
        let now = self.tick();
        let (from, to) = span(request);
        let sectors = self.volume(request.volume.0).sectors.range_mut(from..to);
        sectors.for_each(|(_, versions)| versions.answered(id, now, acknowledged));
    }

    /// A read was answered. `excused` says that the device gave a reason to fail it.
    pub fn read(&mut self, id: u64, errno: u16, data: &[u64], excused: bool) {
        let (request, now) = (self.take(id), self.tick());
        let (from, to) = span(&request);
        let volume = self.volume(request.volume.0);
        if errno != 0 {
            let reason = excused || volume.losses.touched(from, to, id);
            demand(Clause::C5, reason, || format!("{request:?} failed with {errno} without a reason"));
            return;
        }
        for (sector, &value) in (from..to).zip(data) {
            let lost = volume.losses.in_force(sector, id);
            let versions = volume.sectors.get_mut(&sector);
            let seen = versions.map_or(value == 0, |versions| versions.seen(value, id, lost, now));
            demand(Clause::C5, seen, || {
                let allowed = volume.sectors.get(&sector);
                format!("{id}: {request:?} read {value:x} in sector {sector}, lost {lost:?}, of {allowed:x?}")
            });
        }
    }

    /// A flush was answered by everybody with success: everything acknowledged before is stable.
    pub fn flushed(&mut self, id: u64, content: Content<'_>) {
        let request = self.take(id);
        let now = self.tick();
        let volume = self.volume(request.volume.0);
        for (&sector, versions) in &mut volume.sectors {
            let (view, stable) = content(sector);
            demand(Clause::C1, versions.covered(stable, id), || {
                format!(
                    "flush {id} succeeded; sector {sector} is {stable:x}, in the cache {view:x}, of {versions:x?}"
                )
            });
            versions.flushed(id, now);
        }
        if id > volume.flushed {
            volume.flushed = id;
            volume.told.clear();
        }
        let lost = volume.losses.any_in_force(|_| true, id);
        demand(Clause::C2, lost.is_none(), || format!("flush {id} succeeded though sector {lost:?} is lost"));
        let healing = volume.losses.is_healing(id);
        demand(Clause::C2, !healing, || format!("flush {id} succeeded before the end of a loss is durable"));
    }

    /// One reactor, to which the sectors of `own` belong, failed a flush. `excused` says that the disk made trouble.
    pub fn flush_failed(
        &mut self,
        id: u64,
        errno: u16,
        own: &dyn Fn(u64) -> bool,
        content: Content<'_>,
        excused: bool,
    ) {
        let volume = self.pending[&id].volume.0;
        let volume = self.volume(volume);
        let mut reason = excused || !volume.losses.is_empty();
        for (&sector, versions) in volume.sectors.iter().filter(|(sector, _)| own(**sector)) {
            if versions.covered(content(sector).1, id) {
                continue;
            }
            reason = true;
            volume.told.insert(sector, id);
            let known = volume.reported.contains(sector) || volume.losses.touch(sector, sector + 1);
            demand(Clause::C9, known, || {
                let stable = content(sector).1;
                format!("flush {id} failed; sector {sector} is {stable:x}, not on record, of {versions:x?}")
            });
        }
        let lost = volume.losses.any_in_force(own, id);
        demand(Clause::C3, lost.is_none() || errno == 5, || {
            format!("flush {id} says {errno}, sector {lost:?} is lost")
        });
        demand(Clause::C3, reason, || format!("flush {id} failed with {errno} for nothing"));
    }

    /// A flush that failed somewhere is answered.
    pub fn forget(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// The ledger was told (`durable` false), or holds (`durable` true), a note on sectors.
    pub fn noted(&mut self, volume: u16, note: Note, range: (u64, u64), durable: bool, content: Content<'_>) {
        let now = self.tick();
        let oldest = self.pending.first_key_value().map_or(now, |(&oldest, _)| oldest);
        if matches!((note, durable), (Note::Lost(_), false)) {
            self.know(volume, range);
        }
        let volume = self.volume(volume);
        match (note, durable) {
            (Note::NotStable, true) => volume.reported.insert(range.0, range.1),
            (Note::Healed, true) => volume.reported.remove(range.0, range.1),
            (Note::Lost(generation), false) => volume.losses.record(range, generation, now),
            (Note::Lost(generation), true) => volume.losses.enforce(range, generation, now),
            (Note::Rescinded(generation), false) => volume.losses.rescind(range, generation),
            (Note::LossHealed, false) => volume.heal(range, now, oldest, content),
            (Note::Acknowledged, false) => volume.acknowledge(range, now, oldest, content),
            (Note::LossHealed | Note::Acknowledged, true) => volume.losses.healed(range),
            (Note::NotStable | Note::Healed, false) | (Note::Rescinded(_), true) => {}
        }
        if durable && matches!(note, Note::Rescinded(_) | Note::LossHealed | Note::Acknowledged) {
            volume.losses.removal_durable(range);
        }
    }

    /// Sectors are lost: from now on zeroes of them are told from the zeroes before, also where nobody ever wrote.
    fn know(&mut self, volume: u16, (from, to): (u64, u64)) {
        let sectors = &mut self.volumes.entry(volume).or_default().sectors;
        for sector in from..to {
            sectors.entry(sector).or_insert_with(|| {
                let zeroing = self.pending.iter().filter(|(_, other)| zeroes_over(other, volume, sector));
                Versions::new(zeroing.map(|(&id, _)| id))
            });
        }
    }

    /// The daemon was killed before it acted on a note that the ledger holds.
    pub fn unheard(&mut self, volume: u16, note: Note, range: (u64, u64)) {
        if let Note::Lost(generation) = note {
            self.volume(volume).losses.doubt(range, generation);
        }
    }

    /// The daemon was killed before the ledger held a note. Call it for the newest note first.
    pub fn forgotten(&mut self, volume: u16, note: Note, range: (u64, u64)) {
        let losses = &mut self.volume(volume).losses;
        match note {
            Note::Lost(generation) => {
                losses.rescind(range, generation);
                losses.removal_durable(range);
            }
            Note::Rescinded(_) | Note::LossHealed | Note::Acknowledged => losses.come_back(range),
            Note::NotStable | Note::Healed => {}
        }
    }

    /// The sectors of a volume that are lost.
    pub fn lost(&self, volume: u16) -> Ranges {
        self.volumes.get(&volume).map(|volume| volume.losses.ranges()).unwrap_or_default()
    }

    /// The sectors of a volume that were ever written, for a last look.
    pub fn written(&self, volume: u16) -> Vec<u64> {
        self.volumes.get(&volume).map(|volume| volume.sectors.keys().copied().collect()).unwrap_or_default()
    }
}

impl Volume {
    /// A loss may only end by newer data that is stable; that there is still newer data which is not is the flush's
    /// business (M8).
    fn heal(&mut self, range: (u64, u64), now: u64, oldest: u64, content: Content<'_>) {
        for (sector, _, recorded) in self.losses.heal(range, now, oldest) {
            let stable = content(sector).1;
            let versions = self.sectors.get(&sector);
            let newer = versions.is_none_or(|versions| versions.is_newer(stable, recorded));
            demand(Clause::C2, newer, || {
                format!(
                    "the loss of sector {sector} is said to be healed; stable is {stable:x} of {versions:x?}"
                )
            });
        }
    }

    fn acknowledge(&mut self, range: (u64, u64), now: u64, oldest: u64, content: Content<'_>) {
        for (sector, recorded, _) in self.losses.heal(range, now, oldest) {
            let (view, stable) = content(sector);
            if let Some(versions) = self.sectors.get_mut(&sector) {
                versions.forget_order(recorded, now, [view, stable]);
            }
        }
    }
}
