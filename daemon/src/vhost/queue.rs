//! One virtqueue, on the reactor that owns it: requests out of the available ring, answers into the used ring.

use super::chain::{Chain, Segment, bytes_of};
use super::fault::VhostFault;
use super::inflight::Book;
use super::request::{Ask, Terms, parse, status};
use crate::reactor::Begun;
use holdfast_engine::Operation;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// A request in flight, by the index of its first descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    busy: bool,
    /// Parts that are not answered.
    left: u32,
    /// The first error of a part, 0 if none.
    errno: u16,
    /// Where the status byte is.
    status: u64,
    /// Bytes that the guest finds in its buffers if all goes well, but for the status.
    written: u32,
    begun: Begun,
}

/// A request that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakenHead {
    pub(super) head: u16,
    pub(super) ask: Ask,
    /// An earlier life has taken it, and it may have happened.
    pub(super) again: bool,
}

/// What a front end has told about a queue.
#[derive(Clone, Debug)]
pub(super) struct QueueSetup {
    pub(super) number: u8,
    pub(super) size: u16,
    pub(super) table: GuestAddress,
    pub(super) available: GuestAddress,
    pub(super) used: GuestAddress,
    pub(super) event_idx: bool,
    pub(super) next_available: u16,
    pub(super) used_idx: u16,
    /// What an earlier life has not answered, in its order.
    pub(super) unanswered: Vec<u16>,
    pub(super) kick: Arc<OwnedFd>,
    pub(super) call: Option<Arc<OwnedFd>>,
}

/// A queue that is polled.
#[derive(Debug)]
pub(super) struct Virtqueue {
    pub(super) number: u8,
    ring: Queue,
    book: Book,
    heads: Box<[Head]>,
    unanswered: VecDeque<u16>,
    counter: u64,
    /// Something was put into the used ring that the guest was not told of.
    fresh: bool,
    /// The guest was not called yet: what an earlier life answered it may not have been told of.
    first: bool,
    pub(super) kick: Arc<OwnedFd>,
    pub(super) call: Option<Arc<OwnedFd>>,
    /// The place of its bell, once the reactor has it.
    pub(super) bell: Option<usize>,
}

impl Virtqueue {
    /// # Errors
    /// A size that is no power of two, or addresses that are not aligned or not in memory.
    pub(super) fn new(
        setup: QueueSetup,
        book: Book,
        map: &GuestMemoryMmap,
    ) -> Result<Virtqueue, virtio_queue::Error> {
        let mut ring = Queue::new(setup.size)?;
        ring.try_set_desc_table_address(setup.table)?;
        ring.try_set_avail_ring_address(setup.available)?;
        ring.try_set_used_ring_address(setup.used)?;
        ring.set_event_idx(setup.event_idx);
        ring.set_next_avail(setup.next_available);
        ring.set_next_used(setup.used_idx);
        ring.set_ready(true);
        if !ring.is_valid(map) {
            return Err(virtio_queue::Error::FindMemoryRegion);
        }
        Ok(Virtqueue {
            number: setup.number,
            ring,
            book,
            heads: vec![Head::default(); usize::from(setup.size)].into_boxed_slice(),
            counter: setup.unanswered.len() as u64,
            unanswered: setup.unanswered.into(),
            fresh: false,
            first: true,
            kick: setup.kick,
            call: setup.call,
            bell: None,
        })
    }

    /// Takes the next request: its data is left in `chain`.
    ///
    /// # Errors
    /// [`VhostFault`]: the guest broke a rule.
    pub(super) fn take(
        &mut self,
        map: &GuestMemoryMmap,
        chain: &mut Chain,
        terms: Terms,
    ) -> Result<Option<TakenHead>, VhostFault> {
        let queue = self.number;
        let (head, again) = match self.unanswered.pop_front() {
            Some(head) => (head, true),
            None => match self.next_available(map)? {
                Some(head) => (head, false),
                None => return Ok(None),
            },
        };
        match self.heads.get(usize::from(head)) {
            None => return Err(VhostFault::Chain { queue, head, why: "begins outside of its table" }),
            Some(known) if known.busy => return Err(VhostFault::HeadInUse { queue, head }),
            Some(_) => {}
        }
        let table = GuestAddress(self.ring.desc_table());
        let read = chain.read(map, table, self.ring.size(), head);
        read.map_err(|why| VhostFault::Chain { queue, head, why })?;
        let ask = parse(map, chain, terms);
        let status = chain.status.expect("a chain that was read has one");
        self.heads[usize::from(head)] = Head { busy: true, status, ..Head::default() };
        Ok(Some(TakenHead { head, ask, again }))
    }

    fn next_available(&mut self, map: &GuestMemoryMmap) -> Result<Option<u16>, VhostFault> {
        let mut offered = self.ring.iter(map).map_err(|error| match error {
            virtio_queue::Error::InvalidAvailRingIndex => VhostFault::Index { queue: self.number },
            _ => VhostFault::Address,
        })?;
        Ok(offered.next().map(|chain| chain.head_index()))
    }

    /// A request goes to the reactors in `parts` parts.
    pub(super) fn begin(&mut self, taken: TakenHead, chain: &Chain, parts: u32, begun: Begun) {
        if !taken.again {
            self.mark(taken.head, usize::try_from(parts).expect("few parts"));
        }
        let reads = matches!(taken.ask, Ask::Do { operation: Operation::Read, .. });
        let head = &mut self.heads[usize::from(taken.head)];
        head.left = parts;
        head.begun = begun;
        head.written =
            if reads { u32::try_from(bytes_of(&chain.writable)).unwrap_or(u32::MAX - 1) } else { 0 };
    }

    fn mark(&mut self, head: u16, parts: usize) {
        self.counter += 1;
        self.book.take(head, self.counter, parts);
    }

    /// Under which generation an earlier life took a part in.
    pub(super) fn replay(&self, taken: TakenHead, part: u8) -> u64 {
        if taken.again { self.book.begun(taken.head, part) } else { 0 }
    }

    /// A part is answered; when the request was taken, if that was its last.
    pub(super) fn part_done(
        &mut self,
        map: &GuestMemoryMmap,
        head: u16,
        errno: u16,
    ) -> Result<Option<Begun>, VhostFault> {
        let state = &mut self.heads[usize::from(head)];
        assert!(state.busy && state.left > 0, "an answer for descriptor {head}, which waits for none");
        state.left -= 1;
        if state.errno == 0 {
            state.errno = errno;
        }
        if state.left > 0 {
            return Ok(None);
        }
        let Head { errno, written, begun, .. } = *state;
        let (said, written) = if errno == 0 { (status::OK, written) } else { (status_of(errno), 0) };
        self.finish(map, head, said, written)?;
        Ok(Some(begun))
    }

    /// Answers a request that no reactor has to do with.
    pub(super) fn answer(
        &mut self,
        map: &GuestMemoryMmap,
        taken: TakenHead,
        said: u8,
        written: u32,
    ) -> Result<(), VhostFault> {
        if !taken.again {
            self.mark(taken.head, 0);
        }
        self.finish(map, taken.head, said, written)
    }

    fn finish(&mut self, map: &GuestMemoryMmap, head: u16, said: u8, written: u32) -> Result<(), VhostFault> {
        let state = &mut self.heads[usize::from(head)];
        state.busy = false;
        let status = GuestAddress(state.status);
        map.write_obj(said, status).map_err(|_| VhostFault::Address)?;
        self.book.answer(head);
        self.ring.add_used(map, head, written + 1).map_err(|_| VhostFault::Address)?;
        self.book.answered(head, self.ring.next_used());
        self.fresh = true;
        Ok(())
    }

    /// Whether the guest wants to be woken for what was answered since the last time.
    pub(super) fn wants_call(&mut self, map: &GuestMemoryMmap) -> Result<bool, VhostFault> {
        let (fresh, first) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.first));
        if self.call.is_none() || !(fresh || first) {
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        if self.ring.event_idx_enabled() {
            return self.ring.needs_notification(map).map_err(|_| VhostFault::Address);
        }
        std::sync::atomic::fence(Ordering::SeqCst);
        let flags: u16 = map
            .load(GuestAddress(self.ring.avail_ring()), Ordering::Relaxed)
            .map_err(|_| VhostFault::Address)?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Asks for kicks; whether there is something to do already.
    pub(super) fn arm(&mut self, map: &GuestMemoryMmap) -> Result<bool, VhostFault> {
        let waiting = self.ring.enable_notification(map).map_err(|_| VhostFault::Address)?;
        Ok(waiting || !self.unanswered.is_empty())
    }

    /// Asks for no more kicks. A guest whose ring is gone is found out at the next look at it.
    pub(super) fn disarm(&mut self, map: &GuestMemoryMmap) {
        let _ = self.ring.disable_notification(map);
    }
}

/// virtio-blk knows no more than these.
fn status_of(errno: u16) -> u8 {
    use holdfast_policy::errno as known;
    if errno == known::EOPNOTSUPP { status::UNSUPPORTED } else { status::IOERR }
}

/// Writes the device's name where the guest wants it; how much of it fitted.
pub(super) fn identify(map: &GuestMemoryMmap, writable: &[Segment], name: &[u8]) -> Result<u32, VhostFault> {
    let mut done = 0;
    for segment in writable {
        let count = usize::try_from(segment.length).unwrap_or(usize::MAX).min(name.len() - done);
        let slice = &name[done..done + count];
        map.write_slice(slice, GuestAddress(segment.address)).map_err(|_| VhostFault::Address)?;
        done += count;
    }
    Ok(u32::try_from(done).expect("a short name"))
}
