//! What can happen: everything the engine is told arrives as one of these.

use crate::{Instant, LedgerSeq, Tuning};
use alloc::boxed::Box;
use holdfast_policy::ClassSet;

/// Names a volume on every reactor alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub u16);

/// Names a client's session; never used twice while a daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// Names a device operation that is in flight; handed back with its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpId(pub u32);

/// Names a slot of this reactor's part of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

/// Names a flush domain: what one device flush covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u16);

/// Names an operator's question, so that the answer finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fill the client's buffer.
    Read,
    /// Take the client's buffer; with `fua` answer only when it is on stable media.
    Write {
        /// Force unit access.
        fua: bool,
    },
    /// Make everything acknowledged before durable.
    Flush,
    /// Let the device forget the range; it reads as zeroes after.
    Discard,
    /// The range reads as zeroes after.
    WriteZeroes {
        /// Force unit access.
        fua: bool,
    },
}

/// One request of a client, as it came out of a ring.
///
/// The engine trusts none of it: offset, length and alignment are checked against the volume and answered with
/// `EINVAL`. The shell has checked that `buffer .. buffer + length` lies in the session's payload area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub session: SessionId,
    /// The client's name for the request; comes back with the answer.
    pub tag: u32,
    /// The session's count of requests, for exactly-once across a restart.
    pub sequence: u64,
    /// The volume of the session.
    pub volume: VolumeId,
    /// What to do.
    pub operation: Operation,
    /// Byte offset in the volume. A read or write lies within one stripe of this reactor; a discard or write of
    /// zeroes may span many stripes, of which the engine takes its own; a flush has 0.
    pub offset: u64,
    /// Bytes; 0 for a flush.
    pub length: u64,
    /// Where the data is in the session's payload area; the engine passes it on in copies.
    pub buffer: u64,
    /// The generation of its first line, if an earlier life of the daemon took it in and did not answer it, as
    /// [`crate::Begun`] said; else 0. A client that says something wrong harms its own request only.
    pub replay: u64,
    /// Milliseconds after which it is rather answered with `ETIMEDOUT`, if nothing of it has happened: then nothing of it
    /// will. 0 is never.
    pub timeout_ms: u32,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client asks.
    Request(Request),
    /// No device operation of an earlier life is in flight for the volume: what it left may be changed, and the device be
    /// used. Until then the volume serves what needs no device. See [`crate::Engine::resume`].
    Settled {
        /// Which.
        volume: VolumeId,
    },
    /// A session is over: its parked requests are dropped and not answered. What it had acknowledged stays.
    SessionClosed(SessionId),
    /// A device operation ended: bytes done (0 for flush, zeroes, discard), or a negative errno.
    Completed {
        /// Which.
        op: OpId,
        /// What io_uring's `res` says.
        result: i32,
    },
    /// The ledger durably holds every entry of this reactor up to and including `up_to`.
    LedgerDurable {
        /// The last durable entry.
        up_to: LedgerSeq,
    },
    /// The ledger durably holds what a failed flush asked for with [`crate::LedgerEntry::Report`], and names it.
    Reported {
        /// The token of the report.
        token: Token,
        /// The id that the client gets: same set, same id.
        failure_id: u64,
    },
    /// The flush domain's owner says how a requested device flush ended; also sent to itself by the owner.
    Flushed {
        /// The domain.
        domain: DomainId,
        /// The number that this reactor gave its request.
        number: u64,
        /// 0, or the errno.
        errno: u16,
        /// The domain's verifier after it: differs from the one before if anything written may not be down.
        verifier: u64,
    },
    /// Another reactor asks this one, the owner of `domain`, for a device flush that begins from now on.
    FlushWanted {
        /// The domain.
        domain: DomainId,
        /// Who asks.
        from: u32,
        /// Its number for it.
        number: u64,
    },
    /// The device was reopened, reset or replaced: what was written since the last good flush may be gone.
    DeviceChanged {
        /// The domain it lies in.
        domain: DomainId,
    },
    /// An operator's command.
    Operator {
        /// Comes back with the answer.
        token: Token,
        /// On which volume.
        volume: VolumeId,
        /// What.
        command: Command,
    },
}

/// A range of a volume in bytes; `length` may reach past the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl ByteRange {
    /// Everything.
    pub const ALL: ByteRange = ByteRange { offset: 0, length: u64::MAX };

    /// The first byte after the range.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Which extents an operator wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListState {
    /// Not yet written back, failed or not.
    Dirty,
    /// Written back, not known to be on stable media, or being written.
    Unstable,
    /// Refused by the device and held.
    Failed,
    /// Given up.
    Lost,
}

/// What an operator can have done to a volume, on each reactor.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Try the failed extents again, now. Answered by [`crate::Answer::Retried`] when each has been tried and a device
    /// flush has made stable what was accepted, or has failed.
    Retry {
        /// Where.
        range: ByteRange,
        /// Of which classes.
        classes: ClassSet,
    },
    /// Give up what is held as failed. Answered by [`crate::Answer::Dropped`] once the loss is on record.
    Drop {
        /// Where.
        range: ByteRange,
    },
    /// Give up everything that is not on stable media and not in flight, tried or not: the daemon is about to end without
    /// it. Answered by [`crate::Answer::Dropped`] once the loss is on record.
    Abandon,
    /// Accept the loss of lost extents: they read from the device again. Answered by [`crate::Answer::Acknowledged`].
    AckLoss {
        /// Where.
        range: ByteRange,
    },
    /// A page of extents from `from` on. Answered by [`crate::Answer::Listed`].
    List {
        /// Which.
        state: ListState,
        /// Byte offset to start at.
        from: u64,
    },
    /// Write back and flush all there is. Answered by [`crate::Answer::Drained`] when nothing more can be done; a device that
    /// refused before is asked again where nothing is left that could ask it.
    Drain,
    /// End the retries that were asked for, before they have tried everything: each is answered by [`crate::Answer::Retried`],
    /// and this by [`crate::Answer::Done`]. What was accepted stays written, what is left stays held, as it was.
    CancelRetries,
    /// Replace what can change while the volume is in use. What has failed is judged by the new rules at once. Answered by
    /// [`crate::Answer::Done`], and never put off.
    SetPolicy {
        /// What holds from now on.
        tuning: Box<Tuning>,
    },
    /// Replace the volume's budget, which is never put off. What is held above it stays, and new writes wait until there is
    /// room. Answered by [`crate::Answer::Done`].
    SetBudget {
        /// [`crate::VolumeSetup::budget_slots`]; not less than one request.
        budget_slots: u64,
        /// [`crate::VolumeSetup::room_slots`]; those of all volumes together leave the reserve once all are set.
        room_slots: u64,
    },
    /// Take no more requests, finish what there is, and forget what the cache has of the volume. Answered by
    /// [`crate::Answer::Done`] when nothing of it is left here and the ledger has what it was told; it waits for what the
    /// device refuses, so that a drain or [`Command::Abandon`] goes before it. Refused with `EBUSY` while operations of an
    /// earlier life are in flight.
    Close {
        /// Zeroes that the device refuses to do again are recorded as lost, too.
        give_up: bool,
    },
    /// Take requests again. A [`Command::Close`] that waits is refused with `ECANCELED`. Answered by
    /// [`crate::Answer::Done`], and never put off.
    Reopen,
    /// Empty the place of a volume that every reactor has closed. Answered by [`crate::Answer::Done`]: then no operation names
    /// it any more, and another volume may be attached in its place.
    Detach,
    /// Let the volume be larger: its device is, already. Answered by [`crate::Answer::Done`], and never put off; refused
    /// with `EINVAL` if it is smaller, not in whole blocks, or beyond [`crate::VolumeSetup::index_lines`], or if the
    /// volume ends inside a line.
    Grow {
        /// Its new size.
        bytes: u64,
    },
    /// Put a loss on record again that the ledger has from an earlier run, before the first request.
    RestoreLoss {
        /// What was lost, in bytes.
        range: ByteRange,
        /// Its class, as a number of [`holdfast_policy::ErrorClass`].
        class: u8,
        /// The device's last word.
        errno: u16,
        /// When it failed first.
        first: Instant,
        /// The generation that was given up.
        generation: u64,
    },
    /// Put the ledger's mark on lines again: it holds them as not stable from an earlier run. Those that are stable by now
    /// are reported as healed.
    RestoreReport {
        /// Where.
        range: ByteRange,
        /// When it failed first; whoever has seen it fail earlier knows better.
        first: Instant,
    },
}
