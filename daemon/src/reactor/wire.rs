//! The one place where a request of the wire becomes an event of the engine, and an answer one of the wire.

use super::Begun;
use super::link::Seat;
use crate::latency::Kind;
use holdfast_engine::{Event, Instant, Operation, Request};
use holdfast_policy::errno;
use holdfast_ringbuf::request::Opcode;
use holdfast_ringbuf::{FailureId, PeerFault};

/// A request that was taken from a ring.
pub(super) enum Taken {
    /// For the engine.
    Event(Event),
    /// Answered already.
    Answered,
}

/// Takes the next request of a seat's ring.
#[inline]
pub(super) fn take(seat: &mut Seat, now: Instant) -> Result<Option<Taken>, PeerFault> {
    let Some(wire) = seat.ring.pop()? else { return Ok(None) };
    let (operation, kind) = match wire.opcode {
        Opcode::Read => (Operation::Read, Kind::Read),
        Opcode::Write => (Operation::Write { fua: wire.fua }, Kind::Write),
        Opcode::Flush => (Operation::Flush, Kind::Flush),
        Opcode::Discard => (Operation::Discard, Kind::Discard),
        Opcode::WriteZeroes => (Operation::WriteZeroes { fua: wire.fua }, Kind::WriteZeroes),
    };
    let changes = !matches!(operation, Operation::Read | Operation::Flush);
    if seat.read_only && changes {
        answer(seat, wire.tag, wire.sequence, errno::EROFS, 0)?;
        return Ok(Some(Taken::Answered));
    }
    seat.begin(wire.tag, Begun::new(now, kind));
    Ok(Some(Taken::Event(Event::Request(Request {
        session: seat.session,
        tag: wire.tag,
        sequence: wire.sequence,
        volume: seat.volume,
        operation,
        offset: wire.offset,
        length: wire.length,
        buffer: wire.payload,
        replay: wire.replay,
        timeout_ms: wire.timeout_ms,
    }))))
}

/// Answers a request; the client sees it after the ring's `flush_publish`.
#[inline]
pub(super) fn answer(
    seat: &mut Seat,
    tag: u32,
    sequence: u64,
    errno: u16,
    failure_id: u64,
) -> Result<(), PeerFault> {
    let failure = (failure_id != 0).then_some(FailureId(failure_id));
    seat.ring.push_completion(tag, sequence, i32::from(errno), failure)
}
