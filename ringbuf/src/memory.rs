//! Access to a session's shared memory: the one place that turns its offsets into pointers.
//!
//! No reference to shared bytes is ever made, except to atomics: the peer may write at any time, and a `&[u8]` would
//! promise the compiler that it does not.
#![allow(unsafe_code, reason = "raw access to memory that another process writes")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::fault::PeerFault;
use crate::fault_guard::{self, GuardedRange};
use crate::layout::{self, Layout};
use crate::record::Record;
use crate::request::{COMPLETION_BYTES, Completion, DESCRIPTOR_BYTES, Descriptor};

/// What the kernel gives and takes memory in; where its pages are larger, this looks twice at some.
const PAGE: usize = 4096;

/// A mapped session memory.
#[derive(Debug)]
pub struct SessionMemory {
    // Declared, so dropped, before `map`: a range must leave the table before its addresses can be used anew.
    guard: Option<GuardedRange>,
    map: MmapRaw,
    layout: Layout,
    locked: bool,
}

impl SessionMemory {
    /// Maps the first `layout.total_bytes()` of `file`.
    pub(crate) fn map(file: BorrowedFd<'_>, layout: Layout) -> io::Result<Self> {
        let length = usize::try_from(layout.total_bytes()).map_err(io::Error::other)?;
        let map = MmapOptions::new().len(length).map_raw(file.as_raw_fd())?;
        Ok(Self { guard: None, map, layout, locked: false })
    }

    /// As `map`, for the daemon: survives SIGBUS. Fails if too many ranges are guarded.
    pub(crate) fn map_guarded(file: BorrowedFd<'_>, layout: Layout) -> io::Result<Self> {
        let mut memory = Self::map(file, layout)?;
        // SAFETY: the range is exactly the mapping that `memory` owns and that nobody refers to by reference; the
        // guard is dropped before the mapping is (field order).
        memory.guard = Some(unsafe { fault_guard::guard(memory.map.as_ptr(), memory.map.len()) }?);
        Ok(memory)
    }

    /// Allocates every page now, so that memory that is not there is an error here and no SIGBUS later.
    pub(crate) fn populate(&self) -> io::Result<()> {
        loop {
            match self.map.advise(Advice::PopulateWrite) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Keeps the pages in memory, if RLIMIT_MEMLOCK allows.
    pub(crate) fn try_lock(&mut self) {
        self.locked = self.map.lock().is_ok();
    }

    /// Whether the pages are locked in memory. If not (RLIMIT_MEMLOCK), they may be swapped out.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.locked
    }

    /// Whether an access raised SIGBUS. The session must be closed: its memory is private zeroes since.
    #[must_use]
    #[inline]
    pub fn poisoned(&self) -> bool {
        self.guard.as_ref().is_some_and(GuardedRange::poisoned)
    }

    /// Bytes of shared memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layout.total_bytes()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn at(&self, offset: u64) -> NonNull<u8> {
        let offset = usize::try_from(offset).expect("an offset within the address space");
        assert!(offset < self.map.len(), "offset {offset} of {}", self.map.len());
        // SAFETY: offset is inside the one mapping that the base pointer belongs to (assert above).
        let pointer = unsafe { self.map.as_mut_ptr().add(offset) };
        NonNull::new(pointer).expect("a mapping is not at address 0")
    }
}

/// Pointers to one reactor's ring and to the session's payload area.
#[derive(Debug, Clone)]
pub(crate) struct RingMemory {
    session: NonNull<u8>,
    ring: NonNull<u8>,
    payload: NonNull<u8>,
    payload_bytes: u64,
    entries: u32,
    memory: Arc<SessionMemory>,
}

// SAFETY: the pointers go to a mapping that lives as long as the `Arc` beside them, and all that is done through them
// are atomic accesses and copies of bytes that other processes may write anyway.
unsafe impl Send for RingMemory {}
// SAFETY: as for Send: `&self` methods use atomics, or copy bytes whose races the protocol excludes between honest
// ends (an entry or payload has one owner at a time) and survives between hostile ones (only bytes are torn).
unsafe impl Sync for RingMemory {}

impl RingMemory {
    pub(crate) fn new(memory: &Arc<SessionMemory>, reactor: u32) -> Self {
        let layout = memory.layout();
        Self {
            session: memory.at(0),
            ring: memory.at(layout.ring(reactor)),
            payload: memory.at(layout.payload()),
            payload_bytes: layout.payload_bytes(),
            entries: layout.entries(),
            memory: Arc::clone(memory),
        }
    }

    pub(crate) fn memory(&self) -> &Arc<SessionMemory> {
        &self.memory
    }

    #[inline]
    fn ring_word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset < layout::ENTRIES && offset.is_multiple_of(4));
        // SAFETY: the ring's first page is inside the mapping, which `memory` keeps alive for at least `&self`; it is
        // page-aligned and all callers pass constants below 4096 that are multiples of 4; both ends access these words
        // only as atomics.
        unsafe { AtomicU32::from_ptr(self.ring.add(offset).cast().as_ptr()) }
    }

    pub(crate) fn sq_tail(&self) -> &AtomicU32 {
        self.ring_word(layout::SQ_TAIL)
    }

    pub(crate) fn sq_head(&self) -> &AtomicU32 {
        self.ring_word(layout::SQ_HEAD)
    }

    pub(crate) fn cq_tail(&self) -> &AtomicU32 {
        self.ring_word(layout::CQ_TAIL)
    }

    pub(crate) fn cq_head(&self) -> &AtomicU32 {
        self.ring_word(layout::CQ_HEAD)
    }

    pub(crate) fn daemon_sleeping(&self) -> &AtomicU32 {
        self.ring_word(layout::DAEMON_SLEEPING)
    }

    fn session_word(&self, offset: u64) -> &AtomicU32 {
        let offset = usize::try_from(offset).expect("a constant below 4096");
        // SAFETY: as in `ring_word`, for the session's first page.
        unsafe { AtomicU32::from_ptr(self.session.add(offset).cast().as_ptr()) }
    }

    pub(crate) fn client_sleeping(&self) -> &AtomicU32 {
        self.session_word(layout::CLIENT_SLEEPING)
    }

    pub(crate) fn client_wake(&self) -> &AtomicU32 {
        self.session_word(layout::CLIENT_WAKE)
    }

    /// Words of 8 bytes, so that an entry is copied by plain moves that the peer cannot make the compiler repeat.
    #[inline(always)]
    fn entry_words<const WORDS: usize>(&self, start: usize, place: u32) -> [&AtomicU64; WORDS] {
        assert!(place < self.entries, "entry {place} of {}", self.entries);
        let entry = start + place as usize * WORDS * 8;
        core::array::from_fn(|word| {
            // SAFETY: `place` is below `entries` (assert above), so the entry is inside the ring's part of the mapping
            // (`Layout`), 8-byte aligned, and lives as long as `&self`; both ends use atomics of this size for it.
            unsafe { AtomicU64::from_ptr(self.ring.add(entry + word * 8).cast().as_ptr()) }
        })
    }

    fn completions(&self) -> usize {
        layout::ENTRIES + self.entries as usize * DESCRIPTOR_BYTES
    }

    #[inline(always)]
    pub(crate) fn read_descriptor(&self, place: u32) -> Descriptor {
        let words = self.entry_words::<{ DESCRIPTOR_BYTES / 8 }>(layout::ENTRIES, place);
        zerocopy::transmute!(words.map(|word| word.load(Ordering::Relaxed)))
    }

    /// Of a descriptor, nothing but the offset.
    #[inline(always)]
    pub(crate) fn read_descriptor_offset(&self, place: u32) -> u64 {
        let words = self.entry_words::<{ DESCRIPTOR_BYTES / 8 }>(layout::ENTRIES, place);
        words[core::mem::offset_of!(Descriptor, offset) / 8].load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn write_descriptor(&self, place: u32, descriptor: Descriptor) {
        let values: [u64; DESCRIPTOR_BYTES / 8] = zerocopy::transmute!(descriptor);
        let words = self.entry_words::<{ DESCRIPTOR_BYTES / 8 }>(layout::ENTRIES, place);
        words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    #[inline(always)]
    pub(crate) fn read_completion(&self, place: u32) -> Completion {
        let words = self.entry_words::<{ COMPLETION_BYTES / 8 }>(self.completions(), place);
        zerocopy::transmute!(words.map(|word| word.load(Ordering::Relaxed)))
    }

    #[inline(always)]
    pub(crate) fn write_completion(&self, place: u32, completion: Completion) {
        let values: [u64; COMPLETION_BYTES / 8] = zerocopy::transmute!(completion);
        let words = self.entry_words::<{ COMPLETION_BYTES / 8 }>(self.completions(), place);
        words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    fn records(&self) -> usize {
        self.completions() + self.entries as usize * COMPLETION_BYTES
    }

    fn record(&self, tag: u32) -> Record<'_> {
        let [of, generation] = self.entry_words::<{ layout::RECORD_BYTES / 8 }>(self.records(), tag);
        Record { of, generation }
    }

    /// What the daemon said of the write of this number under a tag; 0 if it has not taken it in.
    pub(crate) fn read_record(&self, tag: u32, sequence: u64) -> u64 {
        self.record(tag).read(sequence)
    }

    /// Says that the write of this number was taken in under a generation.
    pub(crate) fn write_record(&self, tag: u32, sequence: u64, generation: u64) {
        self.record(tag).write(sequence, generation);
    }

    /// The address of `length` payload bytes at `payload`.
    ///
    /// # Panics
    /// If the range is not inside the payload area.
    #[inline]
    pub(crate) fn payload(&self, payload: u64, length: usize) -> NonNull<u8> {
        let inside = payload <= self.payload_bytes && length as u64 <= self.payload_bytes - payload;
        assert!(inside, "{length} payload bytes at {payload} of {}", self.payload_bytes);
        let payload = usize::try_from(payload).expect("inside a mapping");
        // SAFETY: inside the payload area (assert above), which `Layout` puts inside the mapping.
        unsafe { self.payload.add(payload) }
    }

    /// Looks whether every page of `length` payload bytes at `payload` is there: a load each, of bytes that are about to
    /// be copied.
    #[inline]
    pub(crate) fn touch_payload(&self, payload: u64, length: usize) -> Result<(), PeerFault> {
        let start = self.payload(payload, length);
        let mut at = 0;
        while at < length {
            // SAFETY: inside the payload area (`payload` has checked all of it). A volatile load of a byte that the peer
            // may be writing: its value is not used.
            unsafe { start.add(at).read_volatile() };
            at += PAGE - (start.addr().get() + at) % PAGE;
        }
        self.not_poisoned()
    }

    /// # Safety
    /// `destination` must be valid for writes of `length` bytes and not inside this session's memory.
    pub(crate) unsafe fn copy_out(
        &self,
        payload: u64,
        destination: *mut u8,
        length: usize,
    ) -> Result<(), PeerFault> {
        let source = self.payload(payload, length);
        // SAFETY: source: checked by `payload`; destination: the caller. The peer may write the source meanwhile: the
        // bytes are then torn, which is the peer's own loss, and no decision is made on them.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), destination, length) };
        self.not_poisoned()
    }

    /// # Safety
    /// `source` must be valid for reads of `length` bytes and not inside this session's memory.
    pub(crate) unsafe fn copy_in(
        &self,
        payload: u64,
        source: *const u8,
        length: usize,
    ) -> Result<(), PeerFault> {
        let destination = self.payload(payload, length);
        // SAFETY: destination: checked by `payload`; source: the caller. Nobody holds a reference to the destination.
        unsafe { core::ptr::copy_nonoverlapping(source, destination.as_ptr(), length) };
        self.not_poisoned()
    }

    /// Copies from the payload area to memory that is no part of it.
    pub(crate) fn copy_from_payload(&self, payload: u64, destination: &mut [u8]) -> Result<(), PeerFault> {
        // SAFETY: the destination is an exclusive reference, so it is valid, and no part of the shared memory, to which
        // there are none.
        unsafe { self.copy_out(payload, destination.as_mut_ptr(), destination.len()) }
    }

    /// Copies to the payload area.
    pub(crate) fn copy_to_payload(&self, payload: u64, source: &[u8]) -> Result<(), PeerFault> {
        // SAFETY: the source is a reference, so it is valid, and no part of the shared memory, to which there are none.
        unsafe { self.copy_in(payload, source.as_ptr(), source.len()) }
    }

    #[inline]
    pub(crate) fn not_poisoned(&self) -> Result<(), PeerFault> {
        // The flag is set by a signal that strikes in the middle of the copy, on this very thread.
        compiler_fence(Ordering::SeqCst);
        if self.memory.poisoned() { Err(PeerFault::MemoryLost) } else { Ok(()) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// A tag's next request must not be taken for the one before it, which the daemon had taken in.
    #[test]
    fn a_record_is_of_the_request_with_its_number_alone() {
        let layout = Layout::new(1, 8, 65536).expect("within limits");
        let file = crate::memfd::unsealed(layout.total_bytes()).expect("a file");
        let memory = Arc::new(SessionMemory::map(file.as_fd(), layout).expect("mapped"));
        let ring = RingMemory::new(&memory, 0);
        assert_eq!(ring.read_record(7, 1), 0, "a new session has none");
        ring.write_record(7, 1, 40);
        ring.write_record(6, 2, 41);
        assert_eq!([ring.read_record(7, 1), ring.read_record(6, 2)], [40, 41]);
        assert_eq!([ring.read_record(7, 2), ring.read_record(6, 1)], [0, 0]);
        ring.write_record(7, 3, 42);
        assert_eq!([ring.read_record(7, 1), ring.read_record(7, 3)], [0, 42]);
    }
}
