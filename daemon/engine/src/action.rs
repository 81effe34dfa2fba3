//! What is to be done: the engine's only output. Names of slots and places, never data.

use crate::{ByteRange, DomainId, Instant, ListState, OpId, SessionId, SlotId, Token, VolumeId};
use alloc::vec::Vec;
use holdfast_policy::State;

/// Counts a reactor's ledger entries, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerSeq(pub u64);

/// Bytes that the shell moves, in the order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// From the client's payload area into a slot.
    In {
        /// Whose payload.
        session: SessionId,
        /// Byte in the payload area.
        buffer: u64,
        /// The slot.
        slot: SlotId,
        /// Byte in the slot.
        at: u32,
        /// Bytes.
        length: u32,
    },
    /// From a slot into the client's payload area.
    Out {
        /// Whose payload.
        session: SessionId,
        /// Byte in the payload area.
        buffer: u64,
        /// The slot.
        slot: SlotId,
        /// Byte in the slot.
        at: u32,
        /// Bytes.
        length: u32,
    },
    /// The sectors of `mask` from one slot to the same places in another.
    Merge {
        /// The source.
        from: SlotId,
        /// The target.
        to: SlotId,
        /// One bit a sector.
        mask: u32,
    },
    /// Zeroes into a slot.
    Zero {
        /// The slot.
        slot: SlotId,
        /// Byte in the slot.
        at: u32,
        /// Bytes.
        length: u32,
    },
}

/// What kind of device operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoKind {
    /// Read into slots.
    Read,
    /// Write from slots.
    Write,
    /// Make `length` bytes read as zeroes; the device may deallocate them. Success means zeroes from now on.
    Zero,
    /// Deallocate, with zeroes guaranteed after; `EOPNOTSUPP` if the device cannot promise zeroes.
    Discard,
    /// Make all completed writes stable. Offset and length are 0.
    Flush,
}

/// A piece of a vectored device operation: whole sectors of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The slot.
    pub slot: SlotId,
    /// First byte in it.
    pub at: u32,
    /// Bytes.
    pub length: u32,
}

/// A device operation to submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// Comes back with [`crate::Event::Completed`].
    pub op: OpId,
    /// The volume whose device it is for. For a flush: a volume of the domain.
    pub volume: VolumeId,
    /// What.
    pub kind: IoKind,
    /// Byte offset on the volume.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Where its pieces begin in [`Actions::segments`]; they lie next to each other on the device.
    pub first_segment: u32,
    /// How many there are; 0 for zeroes, discard and flush.
    pub segments: u32,
}

/// A write is taken in: until its answer is seen this is to be kept where it outlives the daemon, so that the client can
/// send it again to a later life as [`crate::Request::replay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Whose.
    pub session: SessionId,
    /// The client's name for the write.
    pub tag: u32,
    /// The generation of its first line; each line has the next one.
    pub generation: u64,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Whose.
    pub session: SessionId,
    /// The client's name for it.
    pub tag: u32,
    /// The session's count of it.
    pub sequence: u64,
    /// 0, or a Linux errno.
    pub errno: u16,
    /// What `holdfastctl explain` takes; 0 if there is none.
    pub failure_id: u64,
}

/// An extent with all that is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where, in bytes of the volume.
    pub range: ByteRange,
    /// Its state; [`ListState::Lost`] has no slot and so no [`State`].
    pub state: ListState,
    /// The number of an error class of [`holdfast_policy::ErrorClass`], 0 if the device never refused it.
    pub class: u8,
    /// The device's last word on it, 0 if none.
    pub errno: u16,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first.
    pub first: Instant,
    /// When it failed last.
    pub last: Instant,
}

/// What the ledger is to keep. Entries of one reactor are numbered from 1 in the order they are pushed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LedgerEntry {
    /// The extent is not on stable media and a client or operator is about to be told so.
    NotStable {
        /// The volume.
        volume: VolumeId,
        /// What and why.
        extent: Extent,
    },
    /// What was recorded as not stable is stable, or gone by a client's discard.
    Healed {
        /// The volume.
        volume: VolumeId,
        /// Where.
        range: ByteRange,
    },
    /// The extent is about to be given up. Its memory is freed once this is durable.
    Lost {
        /// The volume.
        volume: VolumeId,
        /// What and why.
        extent: Extent,
        /// The generation given up.
        generation: u64,
    },
    /// A loss was put on record and then did not happen: newer data had arrived, or was written after all.
    Rescinded {
        /// The volume.
        volume: VolumeId,
        /// Where.
        range: ByteRange,
        /// The generation of the record.
        generation: u64,
    },
    /// A loss is no more: superseded by newer data that is stable, discarded, or acknowledged.
    LossHealed {
        /// The volume.
        volume: VolumeId,
        /// Where.
        range: ByteRange,
        /// Whether an operator acknowledged it.
        acknowledged: bool,
    },
    /// All that a failed flush reports has been pushed: answer with [`crate::Event::Reported`].
    Report {
        /// The volume.
        volume: VolumeId,
        /// Comes back.
        token: Token,
    },
}

/// A word to another reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Deliver as [`crate::Event::FlushWanted`].
    FlushWanted {
        /// The domain.
        domain: DomainId,
        /// The sender's number.
        number: u64,
    },
    /// Deliver as [`crate::Event::Flushed`].
    Flushed {
        /// The domain.
        domain: DomainId,
        /// The asker's number.
        number: u64,
        /// 0 or errno.
        errno: u16,
        /// The verifier after.
        verifier: u64,
    },
    /// Deliver as [`crate::Event::DeviceChanged`].
    DeviceChanged {
        /// The domain.
        domain: DomainId,
    },
}

/// The most extents in one page of an [`Answer::Listed`].
pub const LIST_PAGE: usize = 64;

/// An answer to an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Every failed extent of the range was tried once.
    Retried {
        /// Lines that were tried.
        tried: u64,
        /// Lines in the range that are failed now.
        failed: u64,
    },
    /// The failed extents of the range were given up and that is on record.
    Dropped {
        /// Bytes given up.
        bytes: u64,
    },
    /// The lost extents of the range are acknowledged and that is on record.
    Acknowledged {
        /// Bytes acknowledged.
        bytes: u64,
    },
    /// A page of extents, in the order of their offsets.
    Listed {
        /// The extents, at most [`LIST_PAGE`].
        extents: Vec<Extent>,
        /// Where the next page begins, if there is one.
        next: Option<u64>,
    },
    /// Nothing more can be written.
    Drained {
        /// Lines that are not on stable media.
        left: u64,
    },
    /// Done.
    Done,
    /// The command makes no sense here.
    Refused {
        /// Why, as a Linux errno.
        errno: u16,
    },
}

/// A line's state as people see it, from the state of its slot.
pub const fn list_state(state: State) -> Option<ListState> {
    match state {
        State::Incoming | State::Dirty => Some(ListState::Dirty),
        State::Writing | State::Unstable => Some(ListState::Unstable),
        State::Failed | State::Condemned => Some(ListState::Failed),
        State::Free | State::Filling | State::Clean => None,
    }
}

/// Everything one turn wants done. The shell performs it in this order and clears it:
/// `begun` and `copies`, then [`crate::Engine::commit`], then `ledger`, `peers` and `answers`, then `ios`, then `completions`.
#[derive(Debug, Default)]
pub struct Actions {
    /// Writes that were taken in.
    pub begun: Vec<Begun>,
    /// Bytes to move, in order.
    pub copies: Vec<Copy>,
    /// Device operations.
    pub ios: Vec<Io>,
    /// The pieces of `ios`.
    pub segments: Vec<Segment>,
    /// Answers to clients.
    pub completions: Vec<Completion>,
    /// Entries for the ledger.
    pub ledger: Vec<(LedgerSeq, LedgerEntry)>,
    /// Words to other reactors.
    pub peers: Vec<(u32, PeerMessage)>,
    /// Answers to operators.
    pub answers: Vec<(Token, Answer)>,
    /// Lines that were looked up for it.
    steps: usize,
    /// Of them, those before the tick.
    steps_before_tick: usize,
}

impl Actions {
    /// An empty list that holds one full turn without growing.
    pub fn with_capacity(limits: &crate::Limits) -> Actions {
        Actions {
            begun: Vec::with_capacity(limits.copies_max()),
            copies: Vec::with_capacity(limits.copies_max()),
            ios: Vec::with_capacity(limits.ops_max),
            segments: Vec::with_capacity(limits.ops_max * limits.run_lines_max),
            completions: Vec::with_capacity(limits.requests_max * 3),
            ledger: Vec::with_capacity(limits.ledger_entries_max * 3 + limits.waits_max()),
            peers: Vec::with_capacity(1024),
            answers: Vec::with_capacity(64),
            steps: 0,
            steps_before_tick: 0,
        }
    }

    /// Lines that the engine looked up this turn, but for those of hits: what a turn's length is made of, beside its
    /// requests. Events together look up at most [`crate::Limits::steps_max`] and those of the last one; so does the tick.
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// Some lines are looked up.
    pub(crate) fn count(&mut self, lines: usize) {
        self.steps += lines;
    }

    /// The tick has steps of its own: however busy the device, background work goes on.
    pub(crate) fn begin_tick(&mut self) {
        self.steps_before_tick = self.steps;
    }

    /// Whether another event fits this turn: the shell asks before every [`crate::Engine::apply`], and leaves what does
    /// not fit where it is until the next turn.
    pub fn has_room(&self, limits: &crate::Limits) -> bool {
        self.copies.len() + limits.copies_an_event() <= limits.copies_max()
            && self.completions.len() + 64 <= limits.requests_max * 2
            && self.ledger.len() + 64 <= limits.ledger_entries_max * 2
            && self.peers.len() + 64 <= 1024
            && self.answers.len() < 60
            && self.steps - self.steps_before_tick < limits.steps_max()
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.begun.clear();
        self.copies.clear();
        self.ios.clear();
        self.segments.clear();
        self.completions.clear();
        self.ledger.clear();
        self.peers.clear();
        self.answers.clear();
        (self.steps, self.steps_before_tick) = (0, 0);
    }
}
