//! Moves the bytes that the engine names: between slots, and between slots and clients.
#![allow(
    unsafe_code,
    reason = "slots and client memory are behind raw pointers, because device and clients share them"
)]

use super::link::{SeatFault, Source};
use super::sessions::Sessions;
use crate::arena::Slots;
use holdfast_engine::{Copy, SessionId};

/// Performs one copy. Says which session is over, if one is, because its memory is gone: what a write needs has been
/// looked at when the request was taken, so that this comes only from memory that goes in between. It leaves zeroes in the
/// slot, which nobody was told are there.
pub(super) fn perform(
    copy: &Copy,
    slots: &mut Slots,
    sessions: &mut Sessions,
) -> Option<(SessionId, SeatFault)> {
    match *copy {
        Copy::In { session, buffer, slot, at, length } => {
            let address = slots.address(slot, at, length);
            // A session that left since it asked gets no answer: its slot is published all the same, with zeroes.
            let Some(taken) = sessions.get(session) else {
                slots.zero(slot, at, length);
                return None;
            };
            let copied: Result<(), SeatFault> = match &taken.seat.source {
                Source::Ring { ring, .. } => {
                    // SAFETY: `address` checks that the bytes lie in one slot of the mapped arena, which no session maps;
                    // the engine names a slot for a copy only while no device operation uses it, and this thread is the
                    // only one that copies into its shard.
                    let copied = unsafe { ring.copy_from_payload_raw(buffer, address, length as usize) };
                    copied.map_err(Into::into)
                }
                Source::Queues(queues) => {
                    // SAFETY: the same; no guest maps the arena.
                    unsafe { queues.gather(buffer, address, length) }.map_err(Into::into)
                }
            };
            copied.err().map(|fault| (session, fault))
        }
        Copy::Out { session, buffer, slot, at, length } => {
            let address = slots.address(slot, at, length);
            let taken = sessions.get(session)?;
            let copied: Result<(), SeatFault> = match &taken.seat.source {
                Source::Ring { ring, .. } => {
                    // SAFETY: as above, reading: the engine lets nothing write to a slot whose sectors it says are valid.
                    let copied = unsafe { ring.copy_to_payload_raw(buffer, address, length as usize) };
                    copied.map_err(Into::into)
                }
                Source::Queues(queues) => {
                    // SAFETY: the same.
                    unsafe { queues.scatter(buffer, address, length) }.map_err(Into::into)
                }
            };
            copied.err().map(|fault| (session, fault))
        }
        Copy::Merge { from, to, mask } => {
            slots.copy_between(from, to, mask);
            None
        }
        Copy::Zero { slot, at, length } => {
            slots.zero(slot, at, length);
            None
        }
    }
}
