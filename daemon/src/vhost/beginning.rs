//! From what a front end has told to a session that the reactors have: memory is mapped, what an earlier life left of each
//! queue is found in its in-flight region, and the queues go to the reactors that own them.

use super::device::{Device, Seated, used_index};
use super::flight::Flights;
use super::guest::GuestMemory;
use super::inflight::{Book, Found, Inflight, Life, QUEUE_SIZE_MAX};
use super::queue::{QueueSetup, Virtqueue};
use super::seat::{Shared, VhostSeat, owner_of};
use crate::reactor::Seat;
use holdfast_engine::SessionId;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use vhost::vhost_user::message::VhostUserVirtioFeatures;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

/// What comes of what was told, or in words why nothing does.
type Setup<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

impl Device {
    /// Begins a session, if there is a queue that can be polled.
    pub(super) fn begin(&mut self) {
        self.changed = false;
        let ready: Vec<usize> = (0..self.rings.len()).filter(|&queue| self.is_ready(queue)).collect();
        if ready.is_empty() {
            return;
        }
        match self.prepare(&ready) {
            Ok((shared, queues)) => self.seat(shared, queues),
            Err(error) => tracing::warn!(
                volume = self.disk.name, error = %error,
                "a virtual machine's queues cannot be used: they stand still until it is reset"
            ),
        }
    }

    fn is_ready(&self, queue: usize) -> bool {
        let ring = &self.rings[queue];
        let enabled = ring.enabled || self.features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        enabled
            && ring.size > 0
            && ring.addresses.is_some()
            && ring.kick.is_some()
            && !self.regions.is_empty()
    }

    fn prepare(&mut self, ready: &[usize]) -> Setup<(Shared, Vec<Virtqueue>)> {
        let guest = match &self.guest {
            Some(guest) => Arc::clone(guest),
            None => Arc::new(GuestMemory::map(&self.regions)?),
        };
        self.guest = Some(Arc::clone(&guest));
        let inflight = self.region()?;
        let cut = self.cut();
        let life =
            Life { arena: self.disk.arena, incarnation: self.disk.incarnation, part_bytes: cut.part_bytes };
        let mut books: Vec<Option<Book>> = vec![None; self.rings.len()];
        let mut sizes = vec![0; self.rings.len()];
        let (mut queues, mut memory_died, mut write_through) = (Vec::new(), false, false);
        for &index in ready {
            let number = u8::try_from(index).expect("few queues");
            let size = self.rings[index].size;
            if size > inflight.queue_size() || u16::from(number) >= inflight.queues() {
                return Err(
                    format!("queue {number} has {size} entries, and its in-flight region no room").into()
                );
            }
            let book = Book::new(&inflight, number);
            let (setup, found) = self.setup(number, &guest, &book, life)?;
            memory_died |= found.memory_died;
            write_through |= found.write_through;
            queues.push(Virtqueue::new(setup, book.clone(), guest.map_ref())?);
            (books[index], sizes[index]) = (Some(book), size);
        }
        if !self.write_cache_told {
            self.write_cache = !write_through;
        }
        self.set_durable();
        books.iter().flatten().for_each(|book| book.set_write_through(!self.write_cache));
        let mut name = [0; 20];
        let bytes = self.disk.name.as_bytes();
        let length = bytes.len().min(name.len());
        name[..length].copy_from_slice(&bytes[..length]);
        let shared = Shared {
            guest,
            flights: Flights::new(&sizes),
            inflight,
            books,
            volume: self.disk.id,
            bytes: Arc::clone(&self.disk.bytes),
            block_bytes: self.disk.block_bytes,
            cut,
            read_only: self.disk.read_only,
            durable: Arc::clone(&self.durable),
            quiet: AtomicBool::new(false),
            memory_died: AtomicBool::new(memory_died),
            name,
        };
        Ok((shared, queues))
    }

    /// What of a queue is where, with what an earlier life left of it.
    fn setup(&self, number: u8, guest: &GuestMemory, book: &Book, life: Life) -> Setup<(QueueSetup, Found)> {
        let ring = &self.rings[usize::from(number)];
        let (table, used, available) = ring.addresses.expect("looked at before");
        let place = |user| {
            guest
                .guest_address(user)
                .ok_or_else(|| format!("a ring at {user:#x} is not in the guest's memory"))
        };
        let (table, used, available) = (place(table)?, place(used)?, place(available)?);
        let used_idx = used_index(guest, used)?;
        let found = book.begin(ring.size, used_idx, life);
        let unanswered = u16::try_from(found.unanswered.len()).expect("at most a queue's size");
        let setup = QueueSetup {
            number,
            size: ring.size,
            table,
            available,
            used,
            event_idx: self.has(VIRTIO_RING_F_EVENT_IDX),
            next_available: if found.resumed { used_idx.wrapping_add(unanswered) } else { ring.base },
            used_idx,
            unanswered: found.unanswered.clone(),
            kick: Arc::clone(ring.kick.as_ref().expect("looked at before")),
            call: ring.call.clone(),
        };
        Ok((setup, found))
    }

    /// The region that the front end keeps, or one of our own.
    fn region(&mut self) -> std::io::Result<Arc<Inflight>> {
        if let Some(kept) = &self.kept {
            return Ok(Arc::clone(kept));
        }
        if self.own.is_none() {
            let queues = u16::try_from(self.rings.len()).expect("few queues");
            self.own = Some(Arc::new(Inflight::create(queues, QUEUE_SIZE_MAX)?.0));
        }
        Ok(Arc::clone(self.own.as_ref().expect("made just now")))
    }

    fn seat(&mut self, shared: Shared, queues: Vec<Virtqueue>) {
        let shared = Arc::new(shared);
        let (reactors, ours, disk) = (self.disk.reactors, Arc::clone(&shared), self.disk.clone());
        let make = move |session: SessionId| {
            let mut parts: Vec<Vec<Virtqueue>> = (0..reactors).map(|_| Vec::new()).collect();
            for queue in queues {
                parts[owner_of(queue.number, reactors) as usize].push(queue);
            }
            let seat = |(reactor, queues)| {
                let seat = VhostSeat::new(reactor, session, &ours, queues);
                Seat::of_guest(session, disk.id, disk.read_only, seat)
            };
            (0..).zip(parts).map(seat).collect()
        };
        match self.office.seat(&self.disk, self.peer, Box::new(make)) {
            Ok(ticket) => self.seated = Some(Seated { ticket, shared }),
            Err(why) => {
                tracing::warn!(volume = self.disk.name, why, "a virtual machine could not be let in");
                self.over = true;
            }
        }
    }
}
