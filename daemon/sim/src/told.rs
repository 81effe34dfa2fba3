//! What clients are told of writes that wait for the device.

use crate::model::{Content, Model};
use crate::violation::{Clause, demand};

impl Model {
    /// A write that had been taken in was answered with an error: what made it fail is on record or was and is stable now, or
    /// all of it has become stable meanwhile (M7). The other lines of the same write may be of any age, as after every write that fails.
    pub fn write_failed(&mut self, id: u64, content: Content<'_>) {
        let wish = self.pending[&id];
        let (from, to) = (wish.from, wish.to);
        let volume = self.volume(wish.volume);
        let known = volume.healed.contains(&id)
            || volume.losses.touched(from, to, id)
            || (from..to).any(|sector| volume.reported.contains(sector))
            || volume
                .sectors
                .range(from..to)
                .all(|(sector, versions)| versions.reached(content(*sector).1, id));
        demand(Clause::M7, known, || format!("{id}: {wish:?} failed, and none of it is on record"));
    }

    /// Whether anything of a range is durably on record as lost, or was a moment ago.
    pub fn on_record(&mut self, volume: u16, from: u64, to: u64) -> bool {
        self.volume(volume).losses.touch(from, to)
    }

    /// A write to a volume that is written through was acknowledged: the device has it, or something newer (M10).
    pub fn written_through(&mut self, id: u64, content: Content<'_>) {
        let wish = self.pending[&id];
        let (from, to) = (wish.from, wish.to);
        for (&sector, versions) in self.volume(wish.volume).sectors.range(from..to) {
            let view = content(sector).0;
            demand(Clause::M10, versions.reached(view, id), || {
                format!("{id}: {wish:?} is answered; the device has {view:x} in sector {sector}")
            });
        }
    }
}
