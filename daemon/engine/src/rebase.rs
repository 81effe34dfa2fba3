//! Epochs are counted in 32 bits and one begins with every flush: a busy volume has used them up within hours.

use crate::SlotId;
use crate::engine::Engine;

/// The epoch at which a volume counts from 0 again. What is left above it, 2^31, is far more than the flushes that can
/// wait at a time.
const REBASE_AT: u32 = 1 << 31;

impl Engine<'_> {
    /// Takes what all epochs have in common off them, once in 2^31 flushes: one look at every slot, some milliseconds.
    /// Epochs older than that of the oldest flush that waits count with it, and become 0 with it.
    pub(crate) fn rebase_epochs(&mut self, index: usize) {
        let volume = &mut self.volumes[index];
        if volume.epochs.base() < REBASE_AT {
            return;
        }
        let base = volume.epochs.rebase();
        volume.written.iter_mut().for_each(|entry| entry.epoch = entry.epoch.saturating_sub(base));
        volume.zeroed.iter_mut().for_each(|range| range.epoch = range.epoch.saturating_sub(base));
        volume.flushes.iter_mut().for_each(|flush| flush.epoch = flush.epoch.saturating_sub(base));
        let id = volume.id();
        for slot in (0..).take(usize::try_from(self.cache.slots()).expect("slots are in memory")).map(SlotId)
        {
            let header = self.cache.header(slot);
            if header.volume() == id && header.state().holds_unstable_data() {
                self.cache.set_link(slot, self.cache.link(slot).saturating_sub(base));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::epochs::{Epochs, Stage};
    use crate::*;
    use alloc::vec::Vec;

    fn request(operation: Operation, offset: u64, length: u64) -> Event {
        Event::Request(fixture::request(0, operation, offset, length))
    }

    /// Flushes go on, and wait for what they must, when a volume has used up half of its epochs.
    #[test]
    fn flushes_outlive_their_epochs() {
        let limits = Limits::small(0, 1);
        let (headers, geometry) = (fixture::headers(128), fixture::geometry(1024));
        let (index, share) = (fixture::index(geometry), Share::new(1));
        let mut engine = Engine::new(limits, &headers, Instant(0));
        engine.add_volume(fixture::setup(0, geometry, &index, &share));
        engine.volumes[0].epochs = Epochs::starting_at(super::REBASE_AT - 20, limits.requests_max + 2);
        let mut out = Actions::with_capacity(&limits);
        let mut in_flight: Vec<Event> = Vec::new();
        let mut answered = 0;
        for round in 0..60 {
            // Two lines each round, the second overwritten all the time: something is always in each stage.
            for line in [round % 50, 60] {
                engine.apply(
                    Instant(1),
                    request(Operation::Write { fua: false }, line * 4096, 4096),
                    &mut out,
                );
            }
            engine.apply(Instant(1), request(Operation::Flush, 0, 0), &mut out);
            for event in in_flight.drain(..) {
                engine.apply(Instant(1), event, &mut out);
            }
            engine.tick(Instant(1), &mut out);
            engine.commit();
            in_flight.extend(
                out.ios
                    .iter()
                    .map(|io| Event::Completed { op: io.op, result: io.length.try_into().unwrap() }),
            );
            answered += out.completions.len();
            assert!(out.completions.iter().all(|completion| completion.errno == 0));
            out.clear();
            let total = engine.volumes[0].epochs.total();
            let counted =
                [Stage::Waiting, Stage::Writing, Stage::Written, Stage::Failed].map(|stage| total.at(stage));
            assert!(counted.iter().sum::<u64>() < 100, "{counted:?}");
        }
        assert!(
            engine.volumes[0].epochs.base() < 60,
            "{} after {answered} answers",
            engine.volumes[0].epochs.base()
        );
        assert!(answered >= 120 + 50, "{answered} answers");
    }
}
