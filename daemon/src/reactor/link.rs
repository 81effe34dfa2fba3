//! What goes between a reactor and the other threads.

use super::{Begun, Measured, Post};
use crate::device::{Backing, Faults};
use crate::vhost::{Letter, VhostFault, VhostSeat};
use crossbeam::queue::ArrayQueue;
use holdfast_engine::{
    Answer, CacheStats, Event, LedgerEntry, LedgerSeq, LooseVolume, SessionId, Token, VolumeId, VolumeStats,
};
use holdfast_ringbuf::PeerFault;
use holdfast_ringbuf::daemon_side::DaemonRing;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A letter to a reactor.
#[derive(Debug)]
pub enum Mail {
    /// For its engine.
    Event(Event),
    /// A volume comes.
    Plug(Box<Plug>),
    /// A volume has left the engine: its device is to be let go.
    Unplug {
        /// Whose command.
        token: Token,
        /// Which.
        volume: VolumeId,
    },
    /// A client was let in: here is this reactor's ring, or its part of a virtual machine's queues.
    Seat(Box<Seat>),
    /// Every reactor has its seat of this session: requests may go from one to the other.
    Open(SessionId),
    /// From another reactor, about a virtual machine's request.
    Letter(Letter),
    /// The session is over: give its seat back.
    Leave(SessionId),
    /// A volume's device is let go of, or is there again, opened anew. Answered with [`Answer::Done`] or
    /// [`Answer::Refused`].
    Device {
        /// Comes back with the answer.
        token: Token,
        /// Which volume.
        volume: VolumeId,
        /// Its device; none is to let go of it.
        backing: Option<Arc<Backing>>,
    },
    /// The slots' memory is warm: register it.
    Warm,
    /// Take no more requests; those that were taken are answered.
    Quiet,
    /// Leave the loop.
    Stop,
}

/// A volume on its way to a reactor.
#[derive(Debug)]
pub struct Plug {
    /// Whose command.
    pub token: Token,
    /// The engine's part.
    pub volume: LooseVolume<'static>,
    /// Its device.
    pub backing: Arc<Backing>,
    /// What may be injected into its operations.
    pub faults: Option<Arc<Faults>>,
}

/// A session's place at a reactor.
#[derive(Debug)]
pub struct Seat {
    /// Its name in the engine; the low bits are its place in the reactor's table.
    pub session: SessionId,
    /// Its volume.
    pub volume: VolumeId,
    /// Whether writes are answered with EROFS.
    pub read_only: bool,
    /// Where its requests come from.
    pub(super) source: Source,
}

/// Where a session's requests come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A client's ring.
    Ring {
        ring: DaemonRing,
        /// When the request with each tag was taken: tags are below the ring's entries.
        begun: Box<[Begun]>,
    },
    /// A virtual machine's queues.
    Queues(Box<VhostSeat>),
}

/// Why a session is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SeatFault {
    /// By a client of the rings.
    #[error("{0}")]
    Peer(#[from] PeerFault),
    /// By a virtual machine.
    #[error("{0}")]
    Guest(#[from] VhostFault),
}

impl Seat {
    /// A place for a client of the rings that has just been let in.
    pub fn new(session: SessionId, volume: VolumeId, read_only: bool, ring: DaemonRing) -> Seat {
        let begun = vec![Begun::default(); ring.limits().entries as usize].into_boxed_slice();
        Seat { session, volume, read_only, source: Source::Ring { ring, begun } }
    }

    /// A place for a virtual machine.
    pub fn of_guest(session: SessionId, volume: VolumeId, read_only: bool, queues: VhostSeat) -> Seat {
        Seat { session, volume, read_only, source: Source::Queues(Box::new(queues)) }
    }

    /// The queues, if it is a virtual machine's.
    pub(super) fn queues(&mut self) -> Option<&mut VhostSeat> {
        match &mut self.source {
            Source::Queues(queues) => Some(queues),
            Source::Ring { .. } => None,
        }
    }

    /// Whether a request waits, or something is wrong: a look.
    #[inline]
    pub(super) fn asks(&mut self) -> bool {
        match &mut self.source {
            // A fault is something to do, too.
            Source::Ring { ring, .. } => ring.has_request() != Ok(false),
            Source::Queues(queues) => queues.asks(),
        }
    }

    /// Announces that the reactor may sleep; `false` if there is something to do.
    pub(super) fn prepare_sleep(&mut self) -> Result<bool, SeatFault> {
        match &mut self.source {
            Source::Ring { ring, .. } => Ok(ring.prepare_sleep()?),
            Source::Queues(queues) => Ok(queues.prepare_sleep()?),
        }
    }

    /// Ends what was announced.
    pub(super) fn awake(&mut self) {
        match &mut self.source {
            Source::Ring { ring, .. } => ring.awake(),
            Source::Queues(queues) => queues.awake(),
        }
    }

    /// Says under which generation a write was taken in, where it outlives this process.
    #[inline]
    pub(super) fn note_begun(&self, tag: u32, sequence: u64, generation: u64) {
        match &self.source {
            Source::Ring { ring, .. } => ring.note_begun(tag, sequence, generation),
            // A guest's record needs no sequence: this daemon wipes it itself when it takes the request.
            Source::Queues(queues) => queues.note_begun(tag, generation),
        }
    }
}

/// How many seats a reactor has at most: the bits of a [`SessionId`] that say which.
pub const SEATS_MAX: u32 = 1024;

/// The place of a session in each reactor's table.
pub const fn place_of(session: SessionId) -> usize {
    (session.0 % SEATS_MAX) as usize
}

/// A letter from a reactor to the thread that keeps the sessions and answers operators.
#[derive(Debug)]
pub enum Word {
    /// An answer to an operator.
    Answer {
        /// Whose command.
        token: Token,
        /// By which reactor.
        reactor: u32,
        /// What.
        answer: Answer,
    },
    /// A session misbehaved or went away; every reactor is to let it go.
    Over {
        /// Which.
        session: SessionId,
        /// Why, if it misbehaved.
        fault: Option<String>,
    },
    /// The reactor has let a session go.
    Left(SessionId),
    /// What was left of a volume: to be freed by somebody who has the time.
    Husk(LooseVolume<'static>),
}

/// A letter from a reactor to the thread that keeps the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which reactor.
    pub reactor: u32,
    /// Its number for it.
    pub seq: LedgerSeq,
    /// What.
    pub entry: LedgerEntry,
}

/// What a reactor says of its own work.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReactorStats {
    /// Its engine's cache.
    pub cache: CacheStats,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Turns that found nothing.
    pub idle_turns: u64,
    /// The longest turn in nanoseconds, since the start.
    pub longest_turn_ns: u64,
    /// The core it is pinned to.
    pub core: Option<u32>,
    /// When it published this, in nanoseconds of the daemon's clock.
    pub at_ns: u64,
}

/// The newest of something that one thread writes now and then and others look at.
#[derive(Debug)]
struct Newest<T> {
    /// One place: the writer replaces what is in it and never waits.
    fresh: ArrayQueue<T>,
    seen: Mutex<T>,
}

impl<T: Copy + Default> Newest<T> {
    fn new() -> Newest<T> {
        Newest { fresh: ArrayQueue::new(1), seen: Mutex::new(T::default()) }
    }

    fn put(&self, value: T) {
        self.fresh.force_push(value);
    }

    fn get(&self) -> T {
        let mut seen: MutexGuard<'_, T> = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.fresh.pop() {
            *seen = value;
        }
        *seen
    }
}

/// What a reactor shows of itself.
#[derive(Debug)]
pub struct Board {
    volumes: Vec<Newest<VolumeStats>>,
    reactor: Newest<ReactorStats>,
    /// What it has measured. The reactor itself is the only one that adds to it.
    pub measured: Measured,
}

impl Board {
    fn new(volumes: usize) -> Board {
        let measured = Measured::new(volumes);
        Board { volumes: (0..volumes).map(|_| Newest::new()).collect(), reactor: Newest::new(), measured }
    }

    /// For the reactor: shows a volume.
    pub(super) fn put_volume(&self, volume: usize, stats: VolumeStats) {
        self.volumes[volume].put(stats);
    }

    /// For the reactor: shows itself.
    pub(super) fn put_reactor(&self, stats: ReactorStats) {
        self.reactor.put(stats);
    }

    /// What was shown last of a volume.
    pub fn volume(&self, volume: usize) -> VolumeStats {
        self.volumes[volume].get()
    }

    /// What was shown last of the reactor.
    pub fn reactor(&self) -> ReactorStats {
        self.reactor.get()
    }
}

/// One reactor, as the other threads see it.
#[derive(Debug)]
pub struct Link {
    /// Letters to it.
    pub inbox: Post<Mail>,
    /// What it shows.
    pub board: Board,
}

/// Letters that a reactor's box holds.
const INBOX: usize = 4096;
/// Letters from which on operators are refused: a reactor that turns empties its box every turn, so one that has so many does
/// not. The rest is for those who must not be refused: the ledger, other reactors, the daemon's end.
const CROWDED: usize = INBOX * 3 / 4;

impl Link {
    /// Whether so many letters wait that an operator's must not be added: whoever posted it would wait, too.
    pub fn is_crowded(&self) -> bool {
        self.inbox.len() >= CROWDED
    }

    /// A link to a reactor with places for so many volumes.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn new(volumes: usize) -> io::Result<Link> {
        Ok(Link { inbox: Post::new(INBOX)?, board: Board::new(volumes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reactor that does not turn leaves room for those who cannot be refused, and none for operators.
    #[test]
    fn a_box_that_nobody_empties_is_crowded_before_it_is_full() {
        let link = Link::new(1).expect("an eventfd");
        let mut posted = 0;
        while !link.is_crowded() {
            link.inbox.push(Mail::Quiet).expect("there is room");
            posted += 1;
        }
        assert_eq!(posted, CROWDED);
        for _ in CROWDED..INBOX {
            link.inbox.push(Mail::Quiet).expect("the rest is for others");
        }
        assert!(link.inbox.push(Mail::Quiet).is_err());
        while link.inbox.pop().is_some() {}
        assert!(!link.is_crowded());
    }
}
