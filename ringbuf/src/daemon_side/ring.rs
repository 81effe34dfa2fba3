//! The daemon's end of one reactor's ring pair. Nothing here blocks or allocates.
#![allow(
    unsafe_code,
    reason = "copies between a client's payload and memory that the caller names by pointer"
)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{RecvFlags, recv};
use rustix::thread::futex;

use crate::doorbell;
use crate::fault::PeerFault;
use crate::index::{Consumer, Producer};
use crate::memory::{RingMemory, SessionMemory};
use crate::request::{Completion, Opcode, Request, SessionLimits};
use crate::sync::Ordering;
use crate::volume::FailureId;

/// What became of the client's wake-up socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeState {
    /// The client is there.
    Connected,
    /// The client's end is closed: it is gone.
    HungUp,
}

/// One ring pair of one session, owned by its reactor.
///
/// Any [`PeerFault`] is final: the caller answers nothing more, drops the ring and closes the session.
#[derive(Debug)]
pub struct DaemonRing {
    memory: RingMemory,
    reactor: u32,
    limits: SessionLimits,
    submissions: Consumer,
    completions: Producer,
    /// Requests popped, modulo 2^32. As every request is completed once, it is also the completion index that all
    /// popped requests will have reached, and what the client has taken of it is the completion ring's head.
    popped: u32,
    last_sequence: u64,
    /// One bit a tag: popped and not completed.
    in_flight: Box<[u64]>,
    wake: OwnedFd,
    /// Completions are visible that the client was not rung for with certainty.
    unrung: bool,
}

impl DaemonRing {
    pub(super) fn new(
        memory: &Arc<SessionMemory>,
        reactor: u32,
        limits: SessionLimits,
        wake: OwnedFd,
    ) -> Self {
        let words = limits.entries.div_ceil(64) as usize;
        Self {
            memory: RingMemory::new(memory, reactor),
            reactor,
            limits,
            submissions: Consumer::new(limits.entries),
            completions: Producer::new(limits.entries),
            popped: 0,
            last_sequence: 0,
            in_flight: vec![0; words].into_boxed_slice(),
            wake,
            unrung: false,
        }
    }

    /// The reactor this ring belongs to.
    #[must_use]
    pub fn reactor(&self) -> u32 {
        self.reactor
    }

    /// What requests are checked against.
    #[must_use]
    pub fn limits(&self) -> &SessionLimits {
        &self.limits
    }

    /// Requests popped and not yet completed.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether a request waits. An honest client's wait ends when the request is popped.
    ///
    /// # Errors
    /// As [`DaemonRing::pop`].
    #[inline]
    pub fn has_request(&mut self) -> Result<bool, PeerFault> {
        self.memory.not_poisoned()?;
        self.submissions.pending(self.memory.sq_tail()).map_err(|jump| PeerFault::jumped("submission", jump))
    }

    /// The offset that the `ahead`-th of the waiting requests names, 0 for the next one to be popped; `None` if so many are not
    /// known to wait. As it lies there: unchecked, and another one when it is popped if the client wills.
    #[inline]
    #[must_use]
    pub fn peek_offset(&self, ahead: u32) -> Option<u64> {
        let place = self.submissions.peek(ahead)?;
        Some(self.memory.read_descriptor_offset(place))
    }

    /// The next request, copied out of shared memory and checked; `None` while there is none.
    ///
    /// However fast a client submits, `limits().entries` requests are the most between two `flush_publish`: completions
    /// that it cannot see yet it cannot have taken.
    ///
    /// # Errors
    /// What the client has broken; the session must be closed.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Request>, PeerFault> {
        self.memory.not_poisoned()?;
        let place = self.submissions.next(self.memory.sq_tail());
        let Some(place) = place.map_err(|jump| PeerFault::jumped("submission", jump))? else {
            return Ok(None);
        };
        self.keep_credit()?;
        let descriptor = self.memory.read_descriptor(place);
        let request = Request::parse(&descriptor, self.reactor, &self.limits)?;
        self.begin(&request)?;
        if request.opcode == Opcode::Write {
            // What is missing is found before anybody acts on the request: a write whose data is gone must not take the
            // place of what was written before it.
            let length = usize::try_from(request.length).expect("at most a request's longest");
            self.memory.touch_payload(request.payload, length)?;
        }
        Ok(Some(request))
    }

    /// Refuses a request for whose completion there may be no entry.
    #[inline(always)]
    fn keep_credit(&mut self) -> Result<(), PeerFault> {
        let entries = self.limits.entries;
        if self.popped.wrapping_sub(self.completions.head_seen()) == entries {
            let head = self.completions.look(self.memory.cq_head());
            let head = head.map_err(|jump| PeerFault::jumped("completion", jump))?;
            if self.popped.wrapping_sub(head) == entries {
                return Err(PeerFault::Overrun { entries });
            }
        }
        self.popped = self.popped.wrapping_add(1);
        Ok(())
    }

    #[inline(always)]
    fn begin(&mut self, request: &Request) -> Result<(), PeerFault> {
        let (tag, sequence, last) = (request.tag, request.sequence, self.last_sequence);
        if sequence <= last {
            return Err(PeerFault::Sequence { sequence, last });
        }
        self.last_sequence = sequence;
        let word = &mut self.in_flight[tag as usize / 64];
        let bit = 1 << (tag % 64);
        if *word & bit != 0 {
            return Err(PeerFault::TagInUse { tag });
        }
        *word |= bit;
        Ok(())
    }

    /// Answers a request; visible to the client after `flush_publish`. `status` is 0 or a positive errno.
    ///
    /// # Errors
    /// If the client moved the completion ring's index; the session must be closed.
    ///
    /// # Panics
    /// If the request is not in flight (answered twice), or `status` is negative.
    #[inline]
    pub fn push_completion(
        &mut self,
        tag: u32,
        sequence: u64,
        status: i32,
        failure: Option<FailureId>,
    ) -> Result<(), PeerFault> {
        let word = &mut self.in_flight[tag as usize / 64];
        let bit = 1 << (tag % 64);
        assert!(*word & bit != 0 && status >= 0, "completion {status} of tag {tag}, which is not in flight");
        *word &= !bit;
        let place = self.completions.claim(self.memory.cq_head());
        let place = place.map_err(|jump| PeerFault::jumped("completion", jump))?;
        let place = place.expect("an entry for every request that was popped: keep_credit");
        let failure_id = failure.map_or(0, |id| id.0);
        self.memory.write_completion(place, Completion { tag, status, sequence, failure_id, reserved: 0 });
        Ok(())
    }

    /// Says under which generation a write was taken in, where it outlives this process: before its first header is
    /// published. The client hands it to the next daemon if it sees no answer.
    #[inline]
    pub fn note_begun(&self, tag: u32, sequence: u64, generation: u64) {
        self.memory.write_record(tag, sequence, generation);
    }

    /// Gives popped entries back, makes pushed completions visible, and wakes the client if it sleeps: `publish`, then
    /// `ring_bell`.
    pub fn flush_publish(&mut self) {
        self.publish();
        self.ring_bell();
    }

    /// Gives popped entries back and makes pushed completions visible: a store each. Any number a turn. A client that
    /// sleeps is woken, but for one that is just lying down: `ring_bell` must follow before the reactor sleeps, too.
    #[inline]
    pub fn publish(&mut self) {
        // Entries first: a client that sees a completion may count on the room of its submission.
        self.submissions.release(self.memory.sq_head());
        if self.completions.publish(self.memory.cq_tail()) {
            self.unrung = true;
            if doorbell::ring_if_seen(self.memory.client_sleeping()) {
                self.wake_client();
            }
        }
    }

    /// Wakes a client that sleeps on what `publish` has made visible. Once a turn: a fence, which waits until the other core
    /// has given up what was stored to.
    pub fn ring_bell(&mut self) {
        if self.unrung {
            self.unrung = false;
            if doorbell::ring(self.memory.client_sleeping()) {
                self.wake_client();
            }
        }
    }

    /// Never blocks. The word changes before the wake-up, so that a client about to sleep on its old value does not.
    /// One waiter only: how many threads a client lets sleep there must not cost the reactor anything.
    #[cold]
    fn wake_client(&self) {
        let word = self.memory.client_wake();
        word.fetch_add(1, Ordering::Release);
        // The only error is that the word's page is gone, which concerns the client alone.
        let _ = futex::wake(word, futex::Flags::empty(), 1);
    }

    /// Announces that the reactor may sleep; `true` if it may, `false` if there is work (and it is announced no more).
    ///
    /// After `true` the reactor polls [`DaemonRing::wake_fd`] and calls `awake` when it goes on for whatever reason.
    ///
    /// # Errors
    /// As [`DaemonRing::pop`].
    pub fn prepare_sleep(&mut self) -> Result<bool, PeerFault> {
        doorbell::arm(self.memory.daemon_sleeping());
        let may_sleep = self.has_request().map(|waiting| !waiting);
        if may_sleep != Ok(true) {
            self.awake();
        }
        may_sleep
    }

    /// Ends what `prepare_sleep` announced. One store.
    pub fn awake(&mut self) {
        doorbell::disarm(self.memory.daemon_sleeping());
    }

    /// Readable when the client wakes the reactor, and hung up when the client is gone.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes wake-up bytes off the socket, after a poll has reported it. Bounded: a client that floods the socket is
    /// reported again by the next poll.
    pub fn drain_wake(&mut self) -> WakeState {
        match recv(&self.wake, &mut [0u8; 64], RecvFlags::DONTWAIT) {
            Ok((0, _)) => WakeState::HungUp,
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => WakeState::Connected,
            Err(_) => WakeState::HungUp,
        }
    }

    /// The memory, to ask whether it was poisoned.
    #[must_use]
    pub fn session_memory(&self) -> &Arc<SessionMemory> {
        self.memory.memory()
    }

    /// Copies from the payload area (a write's data); `payload` as in the request, plus what was copied before.
    ///
    /// # Errors
    /// [`PeerFault::MemoryLost`]: `destination` holds zeroes that are not the client's data; drop it.
    ///
    /// # Panics
    /// If the range is not inside the payload area: [`Request::parse`] has checked it.
    pub fn copy_from_payload(&self, payload: u64, destination: &mut [u8]) -> Result<(), PeerFault> {
        self.memory.copy_from_payload(payload, destination)
    }

    /// Copies to the payload area (a read's answer).
    ///
    /// # Errors
    /// [`PeerFault::MemoryLost`]: the client will not see it.
    ///
    /// # Panics
    /// If the range is not inside the payload area: [`Request::parse`] has checked it.
    pub fn copy_to_payload(&self, payload: u64, source: &[u8]) -> Result<(), PeerFault> {
        self.memory.copy_to_payload(payload, source)
    }

    /// As [`DaemonRing::copy_from_payload`], into memory that is not behind a reference (a slot of the arena).
    ///
    /// # Errors
    /// As [`DaemonRing::copy_from_payload`].
    ///
    /// # Panics
    /// As [`DaemonRing::copy_from_payload`].
    ///
    /// # Safety
    /// `destination` must be valid for writes of `length` bytes and not inside a session's memory.
    #[inline]
    pub unsafe fn copy_from_payload_raw(
        &self,
        payload: u64,
        destination: *mut u8,
        length: usize,
    ) -> Result<(), PeerFault> {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.memory.copy_out(payload, destination, length) }
    }

    /// As [`DaemonRing::copy_to_payload`], from memory that is not behind a reference (a slot of the arena).
    ///
    /// # Errors
    /// As [`DaemonRing::copy_to_payload`].
    ///
    /// # Panics
    /// As [`DaemonRing::copy_to_payload`].
    ///
    /// # Safety
    /// `source` must be valid for reads of `length` bytes and not inside a session's memory.
    #[inline]
    pub unsafe fn copy_to_payload_raw(
        &self,
        payload: u64,
        source: *const u8,
        length: usize,
    ) -> Result<(), PeerFault> {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.memory.copy_in(payload, source, length) }
    }
}
