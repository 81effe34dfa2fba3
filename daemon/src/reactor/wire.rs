//! The one place where a request of the wire becomes an event of the engine, and an answer one of the wire.

use super::Begun;
use super::link::{Seat, SeatFault, Source};
use crate::latency::Kind;
use crate::vhost::Found;
use holdfast_engine::{Completion, Event, Instant, Operation, Request};
use holdfast_policy::errno;
use holdfast_ringbuf::daemon_side::DaemonRing;
use holdfast_ringbuf::request::Opcode;
use holdfast_ringbuf::{FailureId, PeerFault};

/// A request that was taken from a ring.
pub(super) enum Taken {
    /// For the engine.
    Event(Event),
    /// Answered already, or another reactor's.
    Done,
}

/// Takes the next request of a seat.
pub(super) fn take(seat: &mut Seat, now: Instant) -> Result<Option<Taken>, SeatFault> {
    let Seat { session, volume, read_only, source } = seat;
    let (ring, begun) = match source {
        Source::Ring { ring, begun } => (ring, begun),
        Source::Queues(queues) => {
            return Ok(queues.take(now)?.map(|found| match found {
                Found::Request(request) => Taken::Event(Event::Request(request)),
                Found::Done => Taken::Done,
            }));
        }
    };
    let Some(wire) = ring.pop()? else { return Ok(None) };
    let (operation, kind) = match wire.opcode {
        Opcode::Read => (Operation::Read, Kind::Read),
        Opcode::Write => (Operation::Write { fua: wire.fua }, Kind::Write),
        Opcode::Flush => (Operation::Flush, Kind::Flush),
        Opcode::Discard => (Operation::Discard, Kind::Discard),
        Opcode::WriteZeroes => (Operation::WriteZeroes { fua: wire.fua }, Kind::WriteZeroes),
    };
    let changes = !matches!(operation, Operation::Read | Operation::Flush);
    if *read_only && changes {
        push(ring, wire.tag, wire.sequence, errno::EROFS, 0)?;
        return Ok(Some(Taken::Done));
    }
    begun[wire.tag as usize] = Begun::new(now, kind);
    Ok(Some(Taken::Event(Event::Request(Request {
        session: *session,
        tag: wire.tag,
        sequence: wire.sequence,
        volume: *volume,
        operation,
        offset: wire.offset,
        length: wire.length,
        buffer: wire.payload,
        replay: wire.replay,
        timeout_ms: wire.timeout_ms,
    }))))
}

/// Passes an answer of the engine on; the client sees it after [`publish`]. When the request was taken, if all of it is
/// answered.
pub(super) fn answer(seat: &mut Seat, completion: &Completion) -> Result<Option<Begun>, SeatFault> {
    let &Completion { tag, sequence, errno, failure_id, .. } = completion;
    match &mut seat.source {
        Source::Ring { ring, begun } => {
            push(ring, tag, sequence, errno, failure_id)?;
            Ok(Some(begun[tag as usize]))
        }
        // A guest knows of no failure's name: it is in `explain` and `events`.
        Source::Queues(queues) => Ok(queues.answer(tag, errno)?),
    }
}

fn push(
    ring: &mut DaemonRing,
    tag: u32,
    sequence: u64,
    errno: u16,
    failure_id: u64,
) -> Result<(), PeerFault> {
    let failure = (failure_id != 0).then_some(FailureId(failure_id));
    ring.push_completion(tag, sequence, i32::from(errno), failure)
}

/// Lets the client see what was answered; calls `ring_bell` with the bells of those who sleep.
pub(super) fn publish(seat: &mut Seat, ring_bell: impl FnMut(usize)) -> Result<(), SeatFault> {
    match &mut seat.source {
        Source::Ring { ring, .. } => ring.flush_publish(),
        Source::Queues(queues) => queues.publish(ring_bell)?,
    }
    Ok(())
}
