//! The in-flight region: what outlives the daemon as long as the front end does, so that a restart loses no request and
//! does none twice (M9).
//!
//! ```text
//! of each queue, as the vhost-user specification has it ("inflight I/O tracking", split virtqueue):
//!   0  features u64, version u16, desc_num u16, last_batch_head u16, used_idx u16
//!   16 for each descriptor: inflight u8, padding, next u16 (at 6), counter u64
//! then, of our own, at the next multiple of 8:
//!   cookie, arena, incarnation, part_bytes, write_through: u64 each
//!   for each descriptor 16 words: the generation under which each part of a write was taken in, 0 if it was not
//! ```
//! Whoever of two stores of a killed process sees the second sees the first: the order of the stores is the protocol. All
//! of it is in the front end's hands, who can harm its own requests only: indices and counts are checked where they are
//! used. A front end without the feature gets the same in memory of the daemon's, which dies with it.

use super::guest::guard_all;
use super::request::PARTS_MAX;
use holdfast_ringbuf::fault_guard::GuardedRange;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

const VERSION: u16 = 1;
const COOKIE: u64 = 0x7665_686f_6c64_0001;
const HEADER: usize = 16;
const DESCRIPTOR: usize = 16;
const OWN_WORDS: usize = 5;
const WRITE_THROUGH: usize = 4;
#[allow(clippy::cast_possible_truncation, reason = "a constant of 16")]
const PARTS: usize = PARTS_MAX as usize;

/// The largest queue: what virtio-blk devices of QEMU have at most.
pub(super) const QUEUE_SIZE_MAX: u16 = 1024;

/// To which memory of the daemon's the generations in a region belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) arena: u64,
    pub(super) incarnation: u64,
    pub(super) part_bytes: u64,
}

/// The region of a device.
#[derive(Debug)]
pub(super) struct Inflight {
    // Dropped before `map`: a range leaves the guards' table before its addresses can be used anew.
    guards: Vec<GuardedRange>,
    map: MmapRegion,
    queues: u16,
    queue_size: u16,
}

fn own_at(queue_size: u16) -> usize {
    HEADER + DESCRIPTOR * usize::from(queue_size)
}

fn stride(queue_size: u16) -> usize {
    (own_at(queue_size) + 8 * (OWN_WORDS + PARTS * usize::from(queue_size))).next_multiple_of(64)
}

impl Inflight {
    /// Bytes of a region, in whole pages.
    pub(super) fn bytes(queues: u16, queue_size: u16) -> u64 {
        (usize::from(queues) * stride(queue_size)).next_multiple_of(4096) as u64
    }

    /// A new region, all zeroes, with the file that it is in.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(queues: u16, queue_size: u16) -> io::Result<(Inflight, File)> {
        let file = memfd_create("holdfast-inflight", MemfdFlags::CLOEXEC)?;
        let bytes = Inflight::bytes(queues, queue_size);
        ftruncate(&file, bytes)?;
        let file = File::from(file);
        Ok((Inflight::map(file.try_clone()?, 0, queues, queue_size)?, file))
    }

    /// Maps a region that a front end kept.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn map(file: File, offset: u64, queues: u16, queue_size: u16) -> io::Result<Inflight> {
        let bytes = usize::try_from(Inflight::bytes(queues, queue_size)).map_err(io::Error::other)?;
        let file = FileOffset::from_arc(Arc::new(file), offset);
        let map = MmapRegion::from_file(file, bytes).map_err(io::Error::other)?;
        let mut guards = Vec::new();
        guard_all(map.as_ptr(), bytes, &mut guards)?;
        Ok(Inflight { guards, map, queues, queue_size })
    }

    /// Whether a page of it is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.guards.iter().any(GuardedRange::poisoned)
    }

    /// Entries of each queue.
    pub(super) fn queue_size(&self) -> u16 {
        self.queue_size
    }

    /// Queues that it has a place for.
    pub(super) fn queues(&self) -> u16 {
        self.queues
    }

    fn u64_at(&self, at: usize) -> &AtomicU64 {
        self.map.get_atomic_ref(at).expect("inside the region, and aligned")
    }

    fn u16_at(&self, at: usize) -> &AtomicU16 {
        self.map.get_atomic_ref(at).expect("inside the region, and aligned")
    }

    fn u8_at(&self, at: usize) -> &AtomicU8 {
        self.map.get_atomic_ref(at).expect("inside the region, and aligned")
    }
}

/// What a queue finds when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Requests that were taken and not answered, in the order in which they were taken.
    pub(super) unanswered: Vec<u16>,
    /// What the daemon answered was in memory that is gone: the guest has to learn of it.
    pub(super) memory_died: bool,
    /// The region was there before this connection.
    pub(super) resumed: bool,
    /// The guest had turned its write cache off. A front end that connects anew does not say so again (seen: QEMU).
    pub(super) write_through: bool,
}

/// One queue's part of the region.
#[derive(Clone, Debug)]
pub(super) struct Book {
    region: Arc<Inflight>,
    start: usize,
    own: usize,
}

impl Book {
    /// # Panics
    /// If the region has no such queue.
    pub(super) fn new(region: &Arc<Inflight>, queue: u8) -> Book {
        assert!(u16::from(queue) < region.queues, "queue {queue} of {}", region.queues);
        let start = usize::from(queue) * stride(region.queue_size);
        Book { region: Arc::clone(region), start, own: start + own_at(region.queue_size) }
    }

    fn used_idx(&self) -> &AtomicU16 {
        self.region.u16_at(self.start + 14)
    }

    fn last_batch_head(&self) -> &AtomicU16 {
        self.region.u16_at(self.start + 12)
    }

    fn desc_num(&self) -> &AtomicU16 {
        self.region.u16_at(self.start + 10)
    }

    fn descriptor(&self, head: u16) -> usize {
        self.start + HEADER + DESCRIPTOR * usize::from(head)
    }

    fn inflight(&self, head: u16) -> &AtomicU8 {
        self.region.u8_at(self.descriptor(head))
    }

    fn record(&self, head: u16, part: u8) -> &AtomicU64 {
        self.region.u64_at(self.own + 8 * (OWN_WORDS + PARTS * usize::from(head) + usize::from(part)))
    }

    fn own_word(&self, word: usize) -> &AtomicU64 {
        self.region.u64_at(self.own + 8 * word)
    }

    /// As if nothing had ever been in flight.
    pub(super) fn forget(&self) {
        self.desc_num().store(0, Ordering::Release);
    }

    /// Requests that are marked as taken and not answered.
    pub(super) fn count(&self) -> usize {
        (0..self.region.queue_size).filter(|&head| self.inflight(head).load(Ordering::Acquire) != 0).count()
    }

    /// Begins a life with this queue, whose used ring is at `used_idx` and which has `size` entries: what the last life left
    /// is put right, and told.
    pub(super) fn begin(&self, size: u16, used_idx: u16, life: Life) -> Found {
        let resumed = self.desc_num().load(Ordering::Acquire) != 0;
        if resumed {
            self.settle_batch(used_idx);
        } else {
            (0..self.region.queue_size).for_each(|head| self.inflight(head).store(0, Ordering::Relaxed));
            self.last_batch_head().store(0, Ordering::Relaxed);
            self.write_version();
            (0..OWN_WORDS).for_each(|word| self.own_word(word).store(0, Ordering::Relaxed));
        }
        self.used_idx().store(used_idx, Ordering::Release);
        let own: [u64; OWN_WORDS] = std::array::from_fn(|word| self.own_word(word).load(Ordering::Relaxed));
        let of_ours = resumed && own[0] == COOKIE;
        let memory_died = of_ours && own[2] != life.incarnation;
        if !of_ours || own[1] != life.arena || own[3] != life.part_bytes {
            // Generations of another arena, or of other parts, say nothing here.
            (0..self.region.queue_size).for_each(|head| self.forget_records(head, PARTS));
        }
        for (word, value) in [COOKIE, life.arena, life.incarnation, life.part_bytes].into_iter().enumerate() {
            self.own_word(word).store(value, Ordering::Release);
        }
        self.desc_num().store(self.region.queue_size, Ordering::Release);
        let mut unanswered: Vec<(u64, u16)> = (0..self.region.queue_size.min(size))
            .filter(|&head| self.inflight(head).load(Ordering::Acquire) != 0)
            .map(|head| (self.region.u64_at(self.descriptor(head) + 8).load(Ordering::Relaxed), head))
            .collect();
        unanswered.sort_unstable();
        let unanswered = unanswered.into_iter().map(|(_, head)| head).collect();
        let write_through = of_ours && own[WRITE_THROUGH] != 0;
        Found { unanswered, memory_died, resumed, write_through }
    }

    /// Keeps whether the guest has turned its write cache off.
    pub(super) fn set_write_through(&self, off: bool) {
        self.own_word(WRITE_THROUGH).store(u64::from(off), Ordering::Release);
    }

    fn write_version(&self) {
        self.region.u64_at(self.start).store(0, Ordering::Relaxed);
        self.region.u16_at(self.start + 8).store(VERSION, Ordering::Relaxed);
    }

    /// The last life may have died between the used ring's index and its own marks: what the guest has seen answered is.
    fn settle_batch(&self, used_idx: u16) {
        let batch = used_idx.wrapping_sub(self.used_idx().load(Ordering::Acquire));
        if batch == 0 || batch > self.region.queue_size {
            return;
        }
        let mut head = self.last_batch_head().load(Ordering::Relaxed);
        for _ in 0..batch {
            if head >= self.region.queue_size {
                return;
            }
            self.inflight(head).store(0, Ordering::Release);
            head = self.region.u16_at(self.descriptor(head) + 6).load(Ordering::Relaxed);
        }
    }

    /// A request of so many parts is taken.
    pub(super) fn take(&self, head: u16, counter: u64, parts: usize) {
        self.forget_records(head, parts.min(PARTS));
        self.region.u64_at(self.descriptor(head) + 8).store(counter, Ordering::Relaxed);
        self.inflight(head).store(1, Ordering::Release);
    }

    /// A part of a write was taken in under this generation: before its first header is published.
    pub(super) fn note_begun(&self, head: u16, part: u8, generation: u64) {
        if usize::from(part) < PARTS {
            self.record(head, part).store(generation, Ordering::Release);
        }
    }

    /// Under which generation an earlier life took a part in; 0 if it did not.
    pub(super) fn begun(&self, head: u16, part: u8) -> u64 {
        if usize::from(part) < PARTS { self.record(head, part).load(Ordering::Acquire) } else { 0 }
    }

    /// A request is about to be put into the used ring.
    pub(super) fn answer(&self, head: u16) {
        let last = self.last_batch_head().load(Ordering::Relaxed);
        self.region.u16_at(self.descriptor(head) + 6).store(last, Ordering::Relaxed);
        self.last_batch_head().store(head, Ordering::Release);
    }

    /// It is in the used ring, whose index is this now.
    pub(super) fn answered(&self, head: u16, used_idx: u16) {
        self.inflight(head).store(0, Ordering::Release);
        self.used_idx().store(used_idx, Ordering::Release);
    }

    fn forget_records(&self, head: u16, parts: usize) {
        for part in 0..parts {
            self.record(head, u8::try_from(part).expect("few parts")).store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life { arena: 7, incarnation: 9, part_bytes: 65536 };

    fn book() -> Book {
        let (region, _) = Inflight::create(2, 8).expect("memory");
        Book::new(&Arc::new(region), 1)
    }

    #[test]
    fn a_new_queue_has_nothing_in_flight() {
        let book = book();
        let found = book.begin(8, 0, LIFE);
        assert_eq!(
            found,
            Found { unanswered: vec![], memory_died: false, resumed: false, write_through: false }
        );
    }

    #[test]
    fn what_was_taken_and_not_answered_is_found_in_its_order_with_its_generations() {
        let book = book();
        book.begin(8, 0, LIFE);
        for (counter, head) in [5, 2, 7, 0].into_iter().enumerate() {
            book.take(head, counter as u64, 2);
        }
        book.note_begun(7, 1, 33);
        book.answer(2);
        book.answered(2, 1);
        book.set_write_through(true);
        let found = book.begin(8, 1, LIFE);
        let unanswered = vec![5, 7, 0];
        assert_eq!(found, Found { unanswered, memory_died: false, resumed: true, write_through: true });
        assert_eq!([book.begun(7, 0), book.begun(7, 1), book.begun(5, 0)], [0, 33, 0]);
        let elsewhere = Life { incarnation: 10, arena: 8, ..LIFE };
        let found = book.begin(8, 1, elsewhere);
        assert!(found.memory_died && found.unanswered == [5, 7, 0]);
        assert_eq!(book.begun(7, 1), 0, "a generation of another arena");
    }

    /// Killed after the guest could see the answers, and before the marks were taken back.
    #[test]
    fn what_the_guest_has_seen_answered_is_not_done_again() {
        let book = book();
        book.begin(8, 65535, LIFE);
        for head in [1, 3, 4] {
            book.take(head, u64::from(head), 1);
        }
        book.answer(1);
        book.answer(4);
        assert_eq!(book.begin(8, 1, LIFE).unanswered, [3], "two answers, and the index went round");
        // An index that jumped is no batch.
        assert_eq!(book.begin(8, 500, LIFE).unanswered, [3]);
    }

    /// The front end writes what it likes.
    #[test]
    fn a_region_full_of_nonsense_is_no_more_than_wrong() {
        let book = book();
        book.begin(8, 0, LIFE);
        for at in (book.start..book.start + stride(8)).step_by(8) {
            book.region.u64_at(at).store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(book.begin(4, 3, LIFE).unanswered.len(), 4);
        book.forget();
        assert!(book.begin(8, 3, LIFE).unanswered.is_empty());
    }
}
