//! Budgets that change while volumes are in use.
//!
//! What a volume may take of a reactor is granted, not set: a volume that holds more than its new room keeps what it holds
//! until that is clean, and nobody else is given it before. So the rooms together never exceed what the reserve leaves
//! (M11), whatever is changed in whatever order.

use crate::engine::Engine;

impl Engine<'_> {
    /// Replaces a volume's budget, and its room on this reactor. What is held above it stays, and new writes wait.
    pub(crate) fn set_budget(&mut self, index: usize, budget_slots: u64, room_slots: u64) {
        let volume = &mut self.volumes[index];
        (volume.setup.budget_slots, volume.setup.room_slots) = (budget_slots, room_slots.min(budget_slots));
        volume.allowance.set_budget(budget_slots, volume.counts.not_clean());
        self.rooms_settled = false;
    }

    /// Takes room from volumes that have more than they are to have, as far as it is free, and gives it to those who lack
    /// it, in their order.
    pub(crate) fn settle_rooms(&mut self) {
        if self.rooms_settled {
            return;
        }
        self.facts += 1;
        let mut given = 0;
        for volume in &mut self.volumes {
            let wanted = if volume.vacant { 0 } else { volume.setup.room_slots };
            let (not_clean, room) = (volume.counts.not_clean(), volume.allowance.room());
            // An overwrite of this turn counts twice until its commit: that is no reason to have more than before.
            if room > wanted {
                volume.allowance.set_room(wanted.max(not_clean).min(room), not_clean);
            }
            given += volume.allowance.room();
        }
        let mut spare = self.room.saturating_sub(given);
        self.rooms_settled = true;
        for volume in self.volumes.iter_mut().filter(|volume| !volume.vacant) {
            let (wanted, room) = (volume.setup.room_slots, volume.allowance.room());
            let more = wanted.saturating_sub(room).min(spare);
            if more > 0 {
                spare -= more;
                volume.allowance.set_room(room + more, volume.counts.not_clean());
            }
            self.rooms_settled &= volume.allowance.room() == wanted;
        }
        self.divide_fills();
    }
}
