//! A guest's place at one reactor: the queues that the reactor owns, and the parts of requests that others sent it.
//!
//! ```text
//! guest -> available ring -> owner of the queue -+-> its own engine
//!                                                +-> letters to the reactors of other stripes --> their engines
//! guest <- used ring <- owner of the queue <-----+-- letters back
//! ```
//! Data never goes by letter: every reactor copies between its own slots and the guest's memory.

use super::chain::{Chain, SEGMENTS_MAX};
use super::fault::VhostFault;
use super::flight::{Flights, buffer, tag, untag};
use super::guest::GuestMemory;
use super::inflight::{Book, Inflight};
use super::queue::{TakenHead, Virtqueue, identify};
use super::request::{Ask, Cut, PARTS_MAX, Terms, kind_of, status};
use crate::reactor::Begun;
use holdfast_engine::{Instant, Operation, Request, SessionId, VolumeId};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Letters of one seat that may wait for their reactors before it takes no more requests.
const OUTGOING_MAX: usize = 64;

/// What all reactors share of a guest.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) guest: Arc<GuestMemory>,
    pub(super) flights: Flights,
    pub(super) inflight: Arc<Inflight>,
    /// Of each queue that is in use, its part of the in-flight region.
    pub(super) books: Vec<Option<Book>>,
    pub(super) volume: VolumeId,
    /// The volume's size, which may grow.
    pub(super) bytes: Arc<AtomicU64>,
    /// Offsets and lengths are multiples of this.
    pub(super) block_bytes: u32,
    pub(super) cut: Cut,
    pub(super) read_only: bool,
    /// Writes are answered when they are on stable media. The guest may change its mind.
    pub(super) durable: Arc<AtomicBool>,
    /// No more requests are taken: what was taken is answered.
    pub(super) quiet: AtomicBool,
    /// The next flush fails, because what was acknowledged in another memory is gone.
    pub(super) memory_died: AtomicBool,
    /// What the guest reads as its disk's serial number.
    pub(super) name: [u8; 20],
}

impl Shared {
    /// Whether a request is of whole blocks that are there. The engines look at each part by itself: without this look, a write
    /// that is refused for its end would have changed what is before it.
    fn holds(&self, offset: u64, length: u64) -> bool {
        let block = u64::from(self.block_bytes);
        let end = offset.checked_add(length).filter(|end| *end <= self.bytes.load(Ordering::Acquire));
        end.is_some() && (offset | length) & (block - 1) == 0
    }

    fn check(&self) -> Result<(), VhostFault> {
        self.guest.check()?;
        if self.inflight.is_lost() { Err(VhostFault::MemoryLost) } else { Ok(()) }
    }
}

/// Something for another reactor.
#[derive(Clone, Copy, Debug)]
pub enum Letter {
    /// A part of a request.
    Ask(Request),
    /// The answer to one.
    Answer {
        /// Whose.
        session: SessionId,
        /// Which part.
        tag: u32,
        /// 0, or a Linux errno.
        errno: u16,
    },
}

/// What was found in a guest's queues.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A request for this reactor's engine.
    Request(Request),
    /// Something that needs no engine, or not this one.
    Done,
}

/// A guest's place at one reactor.
#[derive(Debug)]
pub struct VhostSeat {
    reactor: u32,
    session: SessionId,
    shared: Arc<Shared>,
    queues: Vec<Virtqueue>,
    chain: Chain,
    /// Parts that this reactor's engine has not got yet.
    arrived: VecDeque<Request>,
    outgoing: VecDeque<(u32, Letter)>,
    /// Every reactor has its seat.
    open: bool,
    /// The queue that is looked at first.
    first: usize,
}

impl VhostSeat {
    pub(super) fn new(
        reactor: u32,
        session: SessionId,
        shared: &Arc<Shared>,
        queues: Vec<Virtqueue>,
    ) -> VhostSeat {
        let parts = shared.books.len() * SEGMENTS_MAX;
        VhostSeat {
            reactor,
            session,
            shared: Arc::clone(shared),
            queues,
            chain: Chain::new(),
            arrived: VecDeque::with_capacity(parts),
            outgoing: VecDeque::with_capacity(OUTGOING_MAX + 64),
            open: false,
            first: 0,
        }
    }

    /// All reactors have their seats: requests may be taken.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// A part of a request that another reactor took.
    pub(crate) fn arrive(&mut self, request: Request) {
        self.arrived.push_back(request);
    }

    /// Letters to other reactors.
    pub(crate) fn take_letter(&mut self) -> Option<(u32, Letter)> {
        self.outgoing.pop_front()
    }

    /// The next request of this reactor.
    ///
    /// # Errors
    /// [`VhostFault`]: the session is over.
    pub(crate) fn take(&mut self, now: Instant) -> Result<Option<Found>, VhostFault> {
        if let Some(request) = self.arrived.pop_front() {
            return Ok(Some(Found::Request(request)));
        }
        let may =
            self.open && self.outgoing.len() < OUTGOING_MAX && !self.shared.quiet.load(Ordering::Relaxed);
        if !may {
            return Ok(None);
        }
        let terms =
            Terms { read_only: self.shared.read_only, durable: self.shared.durable.load(Ordering::Relaxed) };
        for step in 0..self.queues.len() {
            let index = (self.first + step) % self.queues.len();
            let taken = self.queues[index].take(self.shared.guest.map_ref(), &mut self.chain, terms)?;
            let Some(taken) = taken else { continue };
            self.first = index + 1;
            self.begin(index, taken, now)?;
            self.shared.check()?;
            let request = self.arrived.pop_front();
            return Ok(Some(request.map_or(Found::Done, Found::Request)));
        }
        self.shared.check()?;
        Ok(None)
    }

    /// Whether there is something to take, or something is wrong: a look.
    pub(crate) fn asks(&self) -> bool {
        if !self.arrived.is_empty() || self.shared.check().is_err() {
            return true;
        }
        let may = self.open && !self.shared.quiet.load(Ordering::Relaxed);
        may && self.queues.iter().any(|queue| queue.has_request(self.shared.guest.map_ref()))
    }

    /// Cuts a request for the reactors, or answers it.
    fn begin(&mut self, index: usize, taken: TakenHead, now: Instant) -> Result<(), VhostFault> {
        let (shared, queue) = (&self.shared, &mut self.queues[index]);
        let map = shared.guest.map_ref();
        let (operation, offset, length) = match taken.ask {
            Ask::Answer(said) => return queue.answer(map, taken, said, 0),
            Ask::Identify => {
                let written = identify(map, &self.chain.writable, &shared.name)?;
                return queue.answer(map, taken, status::OK, written);
            }
            Ask::Do { operation, offset, length } => (operation, offset, length),
        };
        if operation == Operation::Flush && shared.memory_died.swap(false, Ordering::Relaxed) {
            return queue.answer(map, taken, status::IOERR, 0);
        }
        let parts = shared.cut.parts(operation, offset, length);
        let Some(parts) = parts.filter(|_| shared.holds(offset, length)) else {
            return queue.answer(map, taken, status::IOERR, 0);
        };
        let segments = match operation {
            Operation::Read => &self.chain.writable,
            _ => &self.chain.readable,
        };
        if matches!(operation, Operation::Write { .. }) {
            // What is missing is found before anybody acts on the request: a write whose data is gone must not take the
            // place of what was written before it.
            for segment in segments {
                let length = usize::try_from(segment.length).expect("a descriptor has 32 bits of length");
                shared.guest.touch(segment.address, length)?;
            }
            shared.check()?;
        }
        shared.flights.note(queue.number, taken.head, segments);
        let mut count = 0;
        for (number, part) in parts.enumerate() {
            let number = u8::try_from(number).expect("few parts");
            let request = Request {
                session: self.session,
                tag: tag(queue.number, number, taken.head),
                sequence: 0,
                volume: shared.volume,
                operation,
                offset: part.offset,
                length: part.length,
                buffer: buffer(queue.number, taken.head, part.at),
                replay: match operation {
                    Operation::Write { .. } => queue.replay(taken, number),
                    _ => 0,
                },
                timeout_ms: 0,
            };
            count += 1;
            if part.reactor == self.reactor {
                self.arrived.push_back(request);
            } else {
                self.outgoing.push_back((part.reactor, Letter::Ask(request)));
            }
        }
        debug_assert!(u64::from(count) <= PARTS_MAX.max(u64::from(shared.cut.reactors)));
        queue.begin(taken, &self.chain, count, Begun::new(now, kind_of(operation)));
        Ok(())
    }

    /// The engine of this reactor has answered a part. When the request was taken, if this was its last part and the queue is
    /// this reactor's.
    ///
    /// # Errors
    /// [`VhostFault`]: the session is over.
    pub(crate) fn answer(&mut self, tag: u32, errno: u16) -> Result<Option<Begun>, VhostFault> {
        let (queue, _, head) = untag(tag);
        let owner = owner_of(queue, self.shared.cut.reactors);
        if owner != self.reactor {
            self.outgoing.push_back((owner, Letter::Answer { session: self.session, tag, errno }));
            return Ok(None);
        }
        let map = self.shared.guest.map_ref();
        let found = self.queues.iter_mut().find(|known| known.number == queue);
        let answered = found.expect("a tag names a queue of this seat").part_done(map, head, errno)?;
        self.shared.check()?;
        Ok(answered)
    }

    /// Notes under which generation a part of a write is taken in, before its first header is published.
    pub(crate) fn note_begun(&self, tag: u32, generation: u64) {
        let (queue, part, head) = untag(tag);
        let book = self.shared.books[usize::from(queue)].as_ref();
        book.expect("a tag names a queue in use").note_begun(head, part, generation);
    }

    /// Tells the guest of answers, as far as it wants to be told: calls `ring` with the bells.
    ///
    /// # Errors
    /// [`VhostFault`]: the session is over.
    pub(crate) fn publish(&mut self, mut ring: impl FnMut(usize)) -> Result<(), VhostFault> {
        for queue in &mut self.queues {
            if queue.wants_call(self.shared.guest.map_ref())?
                && let Some(bell) = queue.bell
            {
                ring(bell);
            }
        }
        Ok(())
    }

    /// Asks for kicks, because the reactor is about to sleep; `false` if there is something to do.
    ///
    /// # Errors
    /// [`VhostFault`]: the session is over.
    pub(crate) fn prepare_sleep(&mut self) -> Result<bool, VhostFault> {
        if !self.arrived.is_empty() || !self.outgoing.is_empty() {
            return Ok(false);
        }
        if !self.open || self.shared.quiet.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let mut waiting = false;
        for queue in &mut self.queues {
            waiting |= queue.arm(self.shared.guest.map_ref())?;
        }
        self.shared.check()?;
        Ok(!waiting)
    }

    /// Ends what [`VhostSeat::prepare_sleep`] asked for.
    pub(crate) fn awake(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.disarm(self.shared.guest.map_ref()));
    }

    /// The numbers of its queues, with what wakes the reactor for each.
    pub(crate) fn kicks(&self) -> impl Iterator<Item = (u8, BorrowedFd<'_>)> {
        self.queues.iter().map(|queue| (queue.number, queue.kick.as_fd()))
    }

    /// What wakes the guest, with the place for the bell's name.
    pub(crate) fn calls(&mut self) -> impl Iterator<Item = (&Arc<OwnedFd>, &mut Option<usize>)> {
        self.queues.iter_mut().filter_map(|queue| Some((queue.call.as_ref()?, &mut queue.bell)))
    }

    pub(super) fn memory(&self) -> (&GuestMemory, &Flights) {
        (&self.shared.guest, &self.shared.flights)
    }
}

/// The reactor that polls a queue.
pub(super) fn owner_of(queue: u8, reactors: u32) -> u32 {
    u32::from(queue) % reactors
}
