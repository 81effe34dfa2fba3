//! What the ledger says of sectors, and what follows for what clients may see and be told.

use crate::model::{Content, Model, Volume, zeroing};
use crate::versions::Versions;
use crate::violation::{Clause, demand};
use crate::wish::Wish;

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

impl Model {
    /// The ledger was told (`durable` false), or holds (`durable` true), a note on sectors.
    pub fn noted(&mut self, volume: u16, note: Note, range: (u64, u64), durable: bool, content: Content<'_>) {
        let now = self.tick();
        let oldest = self.pending.first_key_value().map_or(now, |(&oldest, _)| oldest);
        if matches!((note, durable), (Note::Lost(_), false)) {
            self.know(volume, range);
        }
        let over = |wish: &Wish| wish.volume == volume && wish.from < range.1 && range.0 < wish.to;
        let waiting: Vec<u64> = match (note, durable) {
            (Note::Healed, true) => {
                self.pending.iter().filter(|(_, wish)| over(wish)).map(|(&id, _)| id).collect()
            }
            _ => Vec::new(),
        };
        let volume = self.volume(volume);
        match (note, durable) {
            (Note::NotStable, true) => volume.reported.insert(range.0, range.1),
            (Note::Healed, true) => {
                volume.healed.extend(waiting);
                volume.reported.remove(range.0, range.1);
            }
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
            sectors
                .entry(sector)
                .or_insert_with(|| Versions::new(zeroing(&self.orphaned, &self.pending, volume, sector)));
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
            Note::Lost(generation) => losses.unrecord(range, generation),
            Note::Rescinded(_) | Note::LossHealed | Note::Acknowledged => losses.come_back(range),
            Note::NotStable | Note::Healed => {}
        }
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
