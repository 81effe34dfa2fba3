//! Headers of an earlier life that cannot be believed: what is lost with them, and when their slots are of use again.
//!
//! | a damaged header | what is lost |
//! |---|---|
//! | of a read that was under way, a write that was not acknowledged, or a line that is on stable media | nothing |
//! | that says whose it is, or would with one byte put right | its line, unless a younger slot or a loss on record has it |
//! | that does not | nobody knows: every line of every volume, which the shell puts on record before it starts an engine |
//!
//! A header that one byte mends is a line lost all the same: data that cannot be trusted is no data. That it tells where the
//! loss is saves the others. Of the 6120 ways to change a byte one fits by chance once in 700,000 headers of noise.

use crate::engine::Engine;
use crate::header::checksum;
use crate::losses::Loss;
use crate::rebuild::{DAMAGED, Found, Misfit};
use crate::{Actions, Extent, Header, HeaderDamage, Identity, LedgerEntry, LedgerSeq, SlotId, Status};
use holdfast_policy::{ErrorClass, State};

/// What is lost with a header that cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remnant {
    /// Nothing: the device has it, or it was never acknowledged.
    Nothing,
    /// What this says, if nothing younger has its place.
    Line(Identity),
    /// Something, somewhere.
    Somewhere,
}

impl Header {
    /// What is lost with this header, of which [`Header::recover`] found `damage`.
    pub fn remnant(&self, damage: HeaderDamage) -> Remnant {
        let needless = matches!(self.state(), State::Incoming | State::Filling | State::Clean);
        if needless && matches!(damage, HeaderDamage::Identity { .. }) {
            return Remnant::Nothing;
        }
        self.sound_identity().or_else(|| self.mended()).map_or(Remnant::Somewhere, Remnant::Line)
    }

    /// The identity with one byte put right, if there is exactly one way to do that.
    fn mended(&self) -> Option<Identity> {
        let [place, generation, dirty, _] = self.words();
        let mut found = None;
        for byte in 0..24u32 {
            for flip in 1..=255u64 {
                let mut words = [place, generation, dirty];
                words[byte as usize / 8] ^= flip << (byte % 8 * 8);
                if let Some(identity) = identity_of(words)
                    && found.replace(identity).is_some()
                {
                    return None;
                }
            }
        }
        found
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the fields are cut out of their words at their widths")]
fn identity_of([place, generation, word]: [u64; 3]) -> Option<Identity> {
    let dirty = word as u32;
    let fits =
        generation < crate::header::GENERATIONS && (word >> 32) as u32 == checksum(place, generation, dirty);
    fits.then_some(Identity {
        volume: (place >> 48) as u16,
        line: place & ((1 << 48) - 1),
        generation,
        dirty,
    })
}

impl Engine<'_> {
    /// Looks at a header that cannot be believed, and changes nothing.
    pub(crate) fn survey_damage(
        &self,
        slot: SlotId,
        damage: HeaderDamage,
        found: &mut Found,
    ) -> Result<(), Misfit> {
        let header = self.cache.header(slot);
        match header.remnant(damage) {
            Remnant::Nothing => found.needless.push(slot),
            Remnant::Line(identity) if self.has_line(identity.volume, identity.line) => {
                found.newest = found.newest.max(identity.generation);
                found.damaged.push((slot, identity));
            }
            // Of a volume that was removed, which has left nothing: it was free.
            Remnant::Line(Identity { volume, generation, .. })
                if header.sound_identity().is_some() && self.is_vacant(volume) =>
            {
                found.newest = found.newest.max(generation);
                found.needless.push(slot);
            }
            Remnant::Somewhere if self.all_is_lost() => {
                found.somewhere = true;
                found.needless.push(slot);
            }
            Remnant::Line(_) | Remnant::Somewhere => return Err(Misfit::Damaged { slot, damage }),
        }
        Ok(())
    }

    fn is_vacant(&self, volume: u16) -> bool {
        self.volumes.get(usize::from(volume)).is_none_or(|volume| volume.vacant)
    }

    /// Whether every line is on record as lost.
    fn all_is_lost(&self) -> bool {
        let mut volumes = self.volumes.iter().filter(|volume| !volume.vacant);
        volumes.all(|volume| volume.losses.len() == volume.geometry().local_lines())
    }

    /// A line of which nobody knows what it held. Whether something is lost by that.
    pub(crate) fn lose_damaged(&mut self, slot: SlotId, identity: Identity, out: &mut Actions) -> bool {
        let Identity { volume, line, generation, dirty: mask } = identity;
        let index = usize::from(volume);
        let newest = self.cache.newest(volume, line).map(|slot| self.cache.header(slot).generation());
        let volume = &mut self.volumes[index];
        let recorded = volume.losses.of(line).is_some_and(|loss| loss.generation >= generation);
        if recorded || mask == 0 || newest.is_some_and(|newest| newest > generation) {
            self.doubtful.push((slot, LedgerSeq(0)));
            return false;
        }
        let (class, now) = (ErrorClass::Medium as u8, self.now);
        let loss = Loss {
            mask,
            superseded: 0,
            generation,
            class,
            errno: DAMAGED,
            attempts: 0,
            first: now,
            last: now,
        };
        volume.losses.add(line, loss);
        volume.stats.given_up += 1;
        let extent = self.lost_extent(index, line, loss);
        let (mut left, mut seq) = (mask, LedgerSeq(0));
        while left != 0 {
            let (first, count) = crate::settle::group(left);
            left &= !crate::sector_mask(first, count);
            let volume = &self.volumes[index];
            let extent = Extent { range: volume.sectors(line, first, count), ..extent };
            seq = self.ledger.push(LedgerEntry::Lost { volume: volume.setup.id, extent, generation }, out);
        }
        self.doubtful.push((slot, seq));
        true
    }

    /// Frees slots whose headers were damaged: no operation of the earlier life uses them, and what is lost with them is on
    /// record. Until then a next life finds them as this one did.
    pub(crate) fn release_doubtful(&mut self) {
        if self.doubtful.is_empty() || !self.volumes.iter().all(|volume| volume.settled || volume.vacant) {
            return;
        }
        let mut doubtful = core::mem::take(&mut self.doubtful);
        doubtful.retain(|&(slot, seq)| {
            let waits = !self.ledger.is_durable(seq);
            if !waits {
                self.cache.header(slot).publish(Status::FREE);
                self.cache.release(slot);
            }
            waits
        });
        self.doubtful = doubtful;
    }
}
