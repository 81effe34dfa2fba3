//! The host loses its power at any moment, and comes back with the disks and the ledger it had (C11).

use crate::Note;
use crate::model::{Content, Model};
use crate::shell::{Shell, content, name};
use crate::versions::Versions;
use crate::violation::{Clause, demand};

impl Shell<'_> {
    /// Cuts the power and starts again: over empty memory, with what the ledger and the disks kept.
    pub fn power_cut(&mut self) {
        self.coverage.fault("power-cut");
        self.trace.line(self.now, format_args!("power cut"));
        self.die();
        let sessions: Vec<(u32, u16)> =
            self.clients.sessions.iter().map(|(&session, &volume)| (session, volume)).collect();
        for &(session, _) in &sessions {
            self.close(session);
        }
        for disk in &mut self.disks {
            disk.power_cut(&mut self.coverage);
        }
        self.memory.wipe();
        self.forget();
        self.queue.power_cut();
        self.reactors.iter_mut().for_each(crate::Reactor::power_cut);
        for volume in (0..self.plan.volumes.len()).map(name) {
            self.lose_memory(volume);
        }
        self.life += 1;
        self.restart();
        for (_, volume) in sessions {
            self.clients.open(volume);
        }
    }

    /// What was on record as not stable is lost before anybody is served.
    fn lose_memory(&mut self, volume: u16) {
        let content = content(&self.disks, self.plan, volume);
        self.model.power_cut(volume, &content);
        for range in self.ledger.turn_into_lost(volume) {
            self.coverage.event("power cut: turned into lost");
            for durable in [false, true] {
                self.model.noted(volume, Note::Lost(0), range, durable, &content);
            }
            self.model.noted(volume, Note::Healed, range, true, &content);
        }
    }
}

impl Model {
    /// A volume has left the daemon: what was acknowledged is stable, or on record as lost, and no memory holds it any more.
    pub(crate) fn departed(&mut self, volume: u16, content: Content<'_>) {
        let now = self.tick();
        let volume = self.volume(volume);
        volume.losses.believe();
        volume.told.clear();
        for (&sector, versions) in &volume.sectors {
            let stable = content(sector).1;
            let known = volume.losses.touch(sector, sector + 1);
            demand(Clause::C1, known || versions.covered(stable, now), || {
                format!("sector {sector} is {stable:x} when its volume is gone; {versions:x?}")
            });
        }
    }

    /// Somebody else writes a sector of a device that the daemon does not have. Returns what.
    pub(crate) fn changed_elsewhere(&mut self, volume: u16, sector: u64) -> u64 {
        let stamp = crate::stamp(self.tick(), sector);
        self.volume(volume).sectors.insert(sector, Versions::after_power_cut(stamp));
        stamp
    }

    /// The host lost its power. What a successful flush covered is there; what a client was told had failed is there, too,
    /// or on record. From here on each sector is what the device has.
    fn power_cut(&mut self, volume: u16, content: Content<'_>) {
        let volume = self.volume(volume);
        volume.losses.believe();
        let told = std::mem::take(&mut volume.told);
        for (&sector, versions) in &mut volume.sectors {
            let stable = content(sector).1;
            let known = volume.reported.contains(sector) || volume.losses.touch(sector, sector + 1);
            let since = told.get(&sector).copied().unwrap_or(0).max(volume.flushed);
            demand(Clause::C11, known || versions.covered(stable, since), || {
                format!(
                    "sector {sector} is {stable:x} after a power cut, {since} had told of it; {versions:x?}"
                )
            });
            *versions = Versions::after_power_cut(stable);
        }
    }
}
