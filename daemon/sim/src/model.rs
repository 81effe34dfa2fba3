//! What clients may see and be told: for each sector the values that are allowed now.
//!
//! Shares no type with the engine: a request is a [`Wish`] here, an entry of the ledger a [`Note`](crate::Note). Time is a
//! count: every submission and every answer gets the next number, and a request is known by that of its submission.

use crate::Ranges;
use crate::losses::Losses;
use crate::versions::Versions;
use crate::violation::{Clause, demand};
use crate::wish::{What, Wish};
use std::collections::{BTreeMap, BTreeSet};

/// What the model asks the disk: (what a read returns, what a power cut leaves) of a sector.
pub(crate) type Content<'a> = &'a dyn Fn(u64) -> (u64, u64);

#[derive(Debug, Default)]
pub(crate) struct Volume {
    pub(crate) sectors: BTreeMap<u64, Versions>,
    pub(crate) losses: Losses,
    pub(crate) reported: Ranges,
    /// Requests over sectors that were on record while they waited, and are stable now.
    pub(crate) healed: BTreeSet<u64>,
    /// The newest flush that succeeded.
    pub(crate) flushed: u64,
    /// Sectors of which a flush said that they are not stable: which flush.
    pub(crate) told: BTreeMap<u64, u64>,
}

/// The model of all volumes.
#[derive(Debug, Default)]
pub struct Model {
    clock: u64,
    pub(crate) volumes: BTreeMap<u16, Volume>,
    pub(crate) pending: BTreeMap<u64, Wish>,
    /// Zeroes that nobody waits for any more, and that the device may have got, or may yet get.
    pub(crate) orphaned: BTreeMap<u64, Wish>,
}

/// The zeroes of a sector that nobody was told of yet, the oldest first.
pub(crate) fn zeroing(
    orphaned: &BTreeMap<u64, Wish>,
    pending: &BTreeMap<u64, Wish>,
    volume: u16,
    sector: u64,
) -> impl Iterator<Item = u64> + use<> {
    let all = orphaned.iter().chain(pending).filter(|(_, wish)| wish.is_zeroes_over(volume, sector));
    all.map(|(&id, _)| id).collect::<BTreeSet<u64>>().into_iter()
}

/// The stamp of a sector of the write that was submitted as `id`.
pub const fn stamp(id: u64, sector: u64) -> u64 {
    id << 32 | (sector & 0xffff_ffff)
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
    pub fn submitted(&mut self, wish: Wish) -> u64 {
        let id = self.tick();
        let oldest = self.pending.first_key_value().map_or(id, |(&oldest, _)| oldest);
        let (from, to) = (wish.from, wish.to);
        let volume = self.volumes.entry(wish.volume).or_default();
        // What a power cut may bring back is older than what anybody may read.
        let oldest = oldest.min(volume.flushed);
        if matches!(wish.what, What::Write { .. }) {
            for sector in from..to {
                let zeroing = || zeroing(&self.orphaned, &self.pending, wish.volume, sector);
                let new = || Versions::new(zeroing());
                let oldest = volume.losses.oldest(sector, oldest);
                volume.sectors.entry(sector).or_insert_with(new).submitted(stamp(id, sector), id, oldest);
            }
        } else if wish.is_zeroes() {
            for (&sector, versions) in volume.sectors.range_mut(from..to) {
                versions.submitted(0, id, volume.losses.oldest(sector, oldest));
            }
        }
        self.pending.insert(id, wish);
        id
    }

    /// A session is over and everybody knows: its writes cannot happen any more, though what the device has of its
    /// zeroes may.
    pub fn closed(&mut self, session: u32) {
        let gone = self.pending.iter().filter(|(_, wish)| wish.session == session);
        for id in gone.map(|(&id, _)| id).collect::<Vec<_>>() {
            let wish = self.take(id);
            if wish.is_zeroes() {
                self.orphaned.insert(id, wish);
            } else {
                self.settle(id, &wish, false);
            }
        }
    }

    fn take(&mut self, id: u64) -> Wish {
        let wish = self.pending.remove(&id).expect("a request that the model knows");
        self.volume(wish.volume).healed.remove(&id);
        wish
    }

    /// A write, write-zeroes or discard was answered. With FUA it is stable.
    pub fn changed(&mut self, id: u64, errno: u16, content: Content<'_>) {
        let wish = self.take(id);
        self.settle(id, &wish, errno == 0);
        let fua = matches!(wish.what, What::Write { fua: true } | What::Zeroes { fua: true });
        if !fua || errno != 0 {
            return;
        }
        let (from, to) = (wish.from, wish.to);
        for (sector, versions) in self.volume(wish.volume).sectors.range(from..to) {
            let stable = content(*sector).1;
            demand(Clause::C1, versions.reached(stable, id), || {
                format!("{id}: {wish:?} is answered; sector {sector} is {stable:x}, of {versions:x?}")
            });
        }
    }

    /// A write was answered with a timeout: nothing of it has happened, and nothing will (M9).
    pub fn withdrawn(&mut self, id: u64) {
        let wish = self.take(id);
        self.tick();
        let (from, to) = (wish.from, wish.to);
        let sectors = self.volume(wish.volume).sectors.range_mut(from..to);
        sectors.for_each(|(_, versions)| versions.withdrawn(id));
    }

    fn settle(&mut self, id: u64, wish: &Wish, acknowledged: bool) {
        let now = self.tick();
        let (from, to) = (wish.from, wish.to);
        let sectors = self.volume(wish.volume).sectors.range_mut(from..to);
        sectors.for_each(|(_, versions)| versions.answered(id, now, acknowledged));
    }

    /// A read was answered. `excused` says that the device gave a reason to fail it.
    pub fn read(&mut self, id: u64, errno: u16, data: &[u64], excused: bool) {
        let (wish, now) = (self.take(id), self.tick());
        let (from, to) = (wish.from, wish.to);
        let volume = self.volume(wish.volume);
        if errno != 0 {
            let reason = excused || volume.losses.touched(from, to, id);
            demand(Clause::C5, reason, || format!("{wish:?} failed with {errno} without a reason"));
            return;
        }
        for (sector, &value) in (from..to).zip(data) {
            let lost = volume.losses.in_force(sector, id);
            let versions = volume.sectors.get_mut(&sector);
            let seen = versions.map_or(value == 0, |versions| versions.seen(value, id, lost, now));
            demand(Clause::C5, seen, || {
                let allowed = volume.sectors.get(&sector);
                format!("{id}: {wish:?} read {value:x} in sector {sector}, lost {lost:?}, of {allowed:x?}")
            });
        }
    }

    /// A flush was answered by everybody with success: everything acknowledged before is stable.
    pub fn flushed(&mut self, id: u64, content: Content<'_>) {
        let wish = self.take(id);
        let now = self.tick();
        let volume = self.volume(wish.volume);
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
        let volume = self.pending[&id].volume;
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

    /// The sectors of a volume that are lost.
    pub fn lost(&self, volume: u16) -> Ranges {
        self.volumes.get(&volume).map(|volume| volume.losses.ranges()).unwrap_or_default()
    }

    /// The sectors of a volume that were ever written, for a last look.
    pub fn written(&self, volume: u16) -> Vec<u64> {
        self.volumes.get(&volume).map(|volume| volume.sectors.keys().copied().collect()).unwrap_or_default()
    }
}
