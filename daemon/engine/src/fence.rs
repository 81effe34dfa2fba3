//! The end of the in-flight fence (M1): what an earlier life had on its way to a volume has ended, whatever came of it.

use crate::engine::Engine;
use crate::epochs::Stage;
use crate::rebuild::{UNBOOKED, class_of};
use crate::{SlotId, VolumeId};
use holdfast_policy::{Cause, State};

impl Engine<'_> {
    /// No operation of the earlier life is in flight for the volume any more.
    pub(crate) fn settled(&mut self, volume: VolumeId) {
        let Some(state) = self.volumes.get_mut(usize::from(volume.0)).filter(|volume| !volume.settled) else {
            return;
        };
        state.settled = true;
        let domain = state.setup.domain;
        if self.is_settled(domain) {
            // The dead daemon's last flush may have failed after what was written meanwhile to other volumes of the device.
            self.doubt(domain);
        }
        let intents = self.notes.zeroed(volume.0).filter(|(_, note)| note.generation == 0);
        intents.for_each(|(place, _)| self.notes.remove_zeroed(volume.0, place));
        let mut left = core::mem::take(&mut self.quarantine);
        left.retain(|&slot| {
            let ours = self.cache.header(slot).volume() == volume.0;
            if ours {
                self.release_quarantined(usize::from(volume.0), slot);
            }
            !ours
        });
        self.quarantine = left;
        self.release_doubtful();
    }

    fn release_quarantined(&mut self, index: usize, slot: SlotId) {
        let header = self.cache.header(slot);
        let (line, status) = (header.line(), header.status());
        let volume = &mut self.volumes[index];
        let newest = self.cache.newest(volume.id(), line);
        if status.state != State::Writing {
            return self.cache.pass(&mut volume.counts, slot, Cause::Superseded);
        }
        volume.index.busy.clear(line);
        if self.cache.link(slot) == UNBOOKED {
            return self.cache.pass(&mut volume.counts, slot, Cause::Superseded);
        }
        if newest != Some(slot) {
            return self.hand_over(index, line, slot);
        }
        // A flush may have come meanwhile: what it saw stays its own.
        let epoch = self.cache.link(slot);
        volume.epochs.remove(epoch, Stage::Writing);
        if status.attempts > 0 {
            self.failures.remove(&mut volume.failed, slot);
            volume.failing[class_of(status) as usize] -= 1;
        }
        self.cache.pass(&mut volume.counts, slot, Cause::Restarted);
        let first = self.failures.first(slot);
        self.book(index, slot, self.cache.header(slot).status(), epoch);
        if status.attempts > 0 {
            self.failures.failed_by(slot, first);
        }
    }
}
