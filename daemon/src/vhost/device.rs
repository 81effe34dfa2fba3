//! What a front end has negotiated, and the session that follows from it (`beginning.rs` has how).
//!
//! Any change of it ends the session, and a new one begins when the front end has nothing more to say for a moment: the
//! in-flight region makes that the same as a restart of the daemon, so there is one way to stop and one to go on.

use super::config_space::{self, CONFIG_BYTES, Shape, WCE_AT, bit};
use super::guest::{GuestMemory, Region};
use super::inflight::{Book, Inflight};
use super::office::{Office, Peer, Ticket};
use super::request::Cut;
use super::seat::Shared;
use holdfast_engine::VolumeId;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};
use vm_memory::{Bytes, GuestAddress};

/// How long a front end that keeps the in-flight region waits for what is in flight, when it stops a queue: what is not
/// answered by then is, when it starts the queue again.
const DRAIN: Duration = Duration::from_secs(1);
/// The same for one that does not keep it: then its connection is closed instead.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// The volume, and what of the daemon a guest's requests depend on.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: VolumeId,
    /// Which of all volumes that have had that number.
    pub serial: u64,
    /// Its size, which may grow.
    pub bytes: Arc<AtomicU64>,
    /// Offsets and lengths are multiples of this.
    pub block_bytes: u32,
    /// Bytes of a cache line.
    pub line_bytes: u32,
    /// Bytes of a stripe.
    pub stripe_bytes: u64,
    /// How many reactors there are.
    pub reactors: u32,
    /// The largest request of an engine.
    pub request_bytes_max: u64,
    /// Whether nobody may write to it.
    pub read_only: bool,
    /// Which arena the daemon has.
    pub arena: u64,
    /// Changes when acknowledged data was lost with its memory.
    pub incarnation: u64,
}

/// A queue, as far as it has been told.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    pub(super) size: u16,
    /// Descriptors, used ring, available ring, as the front end sees them.
    pub(super) addresses: Option<(u64, u64, u64)>,
    pub(super) base: u16,
    pub(super) kick: Option<Arc<OwnedFd>>,
    pub(super) call: Option<Arc<OwnedFd>>,
    pub(super) enabled: bool,
}

/// A session that the reactors have.
pub(super) struct Seated {
    pub(super) ticket: Ticket,
    pub(super) shared: Arc<Shared>,
}

/// The device of one connection.
pub(super) struct Device {
    pub(super) disk: Disk,
    pub(super) office: Arc<dyn Office>,
    pub(super) peer: Peer,
    pub(super) features: u64,
    pub(super) regions: Vec<Region>,
    pub(super) guest: Option<Arc<GuestMemory>>,
    pub(super) rings: Vec<Ring>,
    pub(super) write_cache: bool,
    /// The guest has said so in this connection.
    pub(super) write_cache_told: bool,
    pub(super) durable: Arc<AtomicBool>,
    /// The region that the front end keeps.
    pub(super) kept: Option<Arc<Inflight>>,
    /// The region of one that keeps none.
    pub(super) own: Option<Arc<Inflight>>,
    pub(super) seated: Option<Seated>,
    /// Something was told since the last attempt to begin.
    pub(super) changed: bool,
    /// The daemon ends, or has no place: the connection is to be closed.
    pub(super) over: bool,
}

impl Device {
    pub(super) fn new(disk: Disk, queues: u16, office: Arc<dyn Office>, peer: Peer) -> Device {
        Device {
            disk,
            office,
            peer,
            features: 0,
            regions: Vec::new(),
            guest: None,
            rings: vec![Ring::default(); usize::from(queues)],
            write_cache: true,
            write_cache_told: false,
            durable: Arc::new(AtomicBool::new(false)),
            kept: None,
            own: None,
            seated: None,
            changed: false,
            over: false,
        }
    }

    pub(super) fn cut(&self) -> Cut {
        let Disk { stripe_bytes, reactors, request_bytes_max, .. } = self.disk;
        config_space::cut(stripe_bytes, reactors, request_bytes_max)
    }

    pub(super) fn has(&self, feature: u32) -> bool {
        self.features & bit(feature) != 0
    }

    /// The configuration space as it is now.
    pub(super) fn config(&self) -> [u8; CONFIG_BYTES] {
        let Disk { bytes, block_bytes, line_bytes, .. } = &self.disk;
        let queues = u16::try_from(self.rings.len()).expect("few queues");
        config_space::bytes(&Shape {
            bytes: bytes.load(Ordering::Acquire),
            block_bytes: *block_bytes,
            line_bytes: *line_bytes,
            queues,
            write_cache: self.write_cache,
            cut: self.cut(),
        })
    }

    /// The guest writes to the configuration space; `false` if it may not write that.
    pub(super) fn set_config(&mut self, offset: u32, data: &[u8]) -> bool {
        let &[wce] = data else { return false };
        if offset != WCE_AT || wce > 1 || !self.has(VIRTIO_BLK_F_CONFIG_WCE) {
            return false;
        }
        self.set_write_cache(wce == 1);
        true
    }

    fn set_write_cache(&mut self, on: bool) {
        (self.write_cache, self.write_cache_told) = (on, true);
        if let Some(seated) = &self.seated {
            seated.shared.books.iter().flatten().for_each(|book| book.set_write_through(!on));
        }
        self.set_durable();
    }

    /// A guest that does not know FLUSH could make nothing durable by itself.
    pub(super) fn set_durable(&self) {
        let cached = self.has(VIRTIO_BLK_F_FLUSH) && (self.write_cache || !self.has(VIRTIO_BLK_F_CONFIG_WCE));
        self.durable.store(!cached, Ordering::Relaxed);
    }

    /// What was told is about to change: the session ends, and what is in flight waits for the next one.
    pub(super) fn change(&mut self) {
        self.changed = true;
        self.leave();
    }

    /// The guest's memory is other memory now.
    pub(super) fn change_memory(&mut self) {
        self.change();
        self.guest = None;
    }

    /// Whether there may be something to begin.
    pub(super) fn may_begin(&self) -> bool {
        self.changed && self.seated.is_none() && !self.over
    }

    fn leave(&mut self) {
        let Some(seated) = self.seated.take() else { return };
        self.office.leave(seated.ticket.session);
        // The office answers when every reactor has let go; it is gone only when the daemon is.
        let _ = seated.ticket.over.recv();
    }

    /// Looks whether the session has ended by itself.
    pub(super) fn look(&mut self) {
        let Some(seated) = &self.seated else { return };
        let Ok(fault) = seated.ticket.over.try_recv() else { return };
        self.seated = None;
        // Memory that was replaced by zeroes stays so: if the front end tells of it again, it is mapped anew.
        self.guest = None;
        match fault {
            Some(fault) => tracing::warn!(
                volume = self.disk.name, %fault,
                "a virtual machine broke its queues: they stand still until it is reset"
            ),
            None => self.over = true,
        }
    }

    /// Stops a queue: what is in flight is answered, or kept for later. The index from which to go on.
    ///
    /// # Errors
    /// What is in flight is not answered in time, and there is nobody to keep it.
    pub(super) fn stop(&mut self, queue: usize) -> Result<u16, &'static str> {
        let drained = self.drain();
        self.change();
        self.rings[queue].kick = None;
        let Some((guest, book)) = self.book(queue) else { return Ok(self.rings[queue].base) };
        if !drained && self.kept.is_none() {
            return Err("requests in flight are not answered, and the front end keeps no in-flight region");
        }
        let Some((_, used, _)) = self.rings[queue].addresses else { return Ok(self.rings[queue].base) };
        if let Some(Ok(used_idx)) = guest.guest_address(used).map(|used| used_index(&guest, used)) {
            let unanswered = u16::try_from(book.count()).unwrap_or(0);
            self.rings[queue].base = used_idx.wrapping_add(unanswered);
        }
        Ok(self.rings[queue].base)
    }

    fn book(&self, queue: usize) -> Option<(Arc<GuestMemory>, Book)> {
        let region = self.kept.as_ref().or(self.own.as_ref())?;
        let number = u8::try_from(queue).ok().filter(|&number| u16::from(number) < region.queues())?;
        Some((Arc::clone(self.guest.as_ref()?), Book::new(region, number)))
    }

    /// The front end says from where a queue goes on: of the daemon's own region nothing holds any more.
    pub(super) fn set_base(&mut self, queue: usize, base: u16) {
        self.rings[queue].base = base;
        if let (Some(own), Ok(number)) = (&self.own, u8::try_from(queue)) {
            Book::new(own, number).forget();
        }
    }

    /// Waits until nothing is in flight; whether that came about.
    fn drain(&self) -> bool {
        let Some(Seated { shared, .. }) = &self.seated else { return true };
        shared.quiet.store(true, Ordering::Relaxed);
        let until = Instant::now() + if self.kept.is_some() { DRAIN } else { DRAIN_MAX };
        loop {
            let left: usize = shared.books.iter().flatten().map(Book::count).sum();
            if left == 0 || Instant::now() >= until {
                return left == 0;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.leave();
    }
}

pub(super) fn used_index(
    guest: &GuestMemory,
    used: GuestAddress,
) -> Result<u16, vm_memory::GuestMemoryError> {
    let at = GuestAddress(used.0.saturating_add(2));
    let index: u16 = guest.map_ref().load(at, Ordering::Acquire)?;
    Ok(u16::from_le(index))
}
