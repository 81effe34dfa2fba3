//! A reactor's slots: where they are, and the copies that involve nothing but them.
#![allow(unsafe_code, reason = "copies between raw slot memory, bounds checked here")]

use holdfast_engine::{SECTOR_BYTES, SlotId};
use std::ptr::NonNull;
use std::sync::Arc;

const SECTOR: u32 = 512;
const _: () = assert!(SECTOR as u64 == SECTOR_BYTES);

/// Bytes of a line of the processor's caches, on every processor that [`prefetch_line`] knows.
const PROCESSOR_LINE: usize = 64;

/// A piece of mapped memory that holds slots, never unmapped.
#[derive(Clone, Copy, Debug)]
pub struct SegmentMemory {
    pub(super) base: NonNull<u8>,
    pub(super) bytes: usize,
}

impl SegmentMemory {
    /// Its first byte, page-aligned.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Its length in bytes, at most [`super::SEGMENT_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Where slots are. Gives addresses and touches nothing, so copies of it may be anywhere.
#[derive(Clone, Debug)]
pub struct SlotAddresses {
    segments: Arc<[SegmentMemory]>,
    slots: u32,
    line_bytes: u32,
    /// A segment has `1 << segment_shift` slots; the last may have fewer.
    segment_shift: u32,
}

// SAFETY: the pointers are to mappings that are never unmapped; this type does not read or write through them, it
// computes addresses. Whoever dereferences one argues for itself.
unsafe impl Send for SlotAddresses {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for SlotAddresses {}

impl SlotAddresses {
    pub(super) fn new(
        segments: Arc<[SegmentMemory]>,
        slots: u32,
        line_bytes: u32,
        segment_bytes: u64,
    ) -> Self {
        let held: usize = segments.iter().map(|segment| segment.bytes).sum();
        assert!(
            slots as usize * line_bytes as usize <= held,
            "{slots} slots of {line_bytes} in {held} bytes"
        );
        assert!(line_bytes.is_power_of_two() && segment_bytes.is_power_of_two(), "odd sizes");
        let segment_shift = segment_bytes.trailing_zeros() - line_bytes.trailing_zeros();
        SlotAddresses { segments, slots, line_bytes, segment_shift }
    }

    /// Slots there are.
    pub fn count(&self) -> u32 {
        self.slots
    }

    /// Bytes of a line, and so of a slot.
    pub fn line_bytes(&self) -> u32 {
        self.line_bytes
    }

    /// The pieces of memory, to be registered with io_uring in this order.
    pub fn segments(&self) -> &[SegmentMemory] {
        &self.segments
    }

    /// Which of [`SlotAddresses::segments`] holds the slot.
    pub fn segment_of(&self, slot: SlotId) -> u16 {
        u16::try_from(slot.0 >> self.segment_shift).expect("fewer than 65,536 segments of 1 GiB")
    }

    /// The address of `length` bytes from byte `at` of a slot.
    ///
    /// # Panics
    /// If that is not inside one slot: only a bug of ours can ask for it.
    pub fn address(&self, slot: SlotId, at: u32, length: u32) -> *mut u8 {
        assert!(slot.0 < self.slots, "slot {} of {}", slot.0, self.slots);
        let fits = at.checked_add(length).is_some_and(|end| end <= self.line_bytes);
        assert!(fits, "bytes {at} + {length} of a slot of {}", self.line_bytes);
        let segment = self.segments[(slot.0 >> self.segment_shift) as usize].base;
        let within = (slot.0 & ((1 << self.segment_shift) - 1)) as usize;
        segment.as_ptr().wrapping_add(within * self.line_bytes as usize + at as usize)
    }
}

/// A reactor's slots. One owner: every copy goes through `&mut`, and no second `Slots` of the same memory exists.
///
/// The device is the only other party: a read of it fills slots, a write reads them. The engine copies into no slot
/// that is the target of an operation in flight (mechanism M3).
#[derive(Debug)]
pub struct Slots {
    addresses: SlotAddresses,
}

impl Slots {
    /// `addresses` must be of memory that no other `Slots` has.
    pub(super) fn new(addresses: SlotAddresses) -> Slots {
        Slots { addresses }
    }

    /// Where they are.
    pub fn addresses(&self) -> &SlotAddresses {
        &self.addresses
    }

    /// Bytes of a line.
    pub fn line_bytes(&self) -> u32 {
        self.addresses.line_bytes
    }

    /// The address of `length` bytes from byte `at` of a slot, for a copy from or to a client's payload.
    ///
    /// # Panics
    /// As [`SlotAddresses::address`].
    pub fn address(&mut self, slot: SlotId, at: u32, length: u32) -> *mut u8 {
        self.addresses.address(slot, at, length)
    }

    /// Brings a slot's memory near, because a copy to it is about to be asked for: where the cache is larger than the
    /// processor's, that memory is far, and its misses would come in the midst of the copy. Changes nothing.
    ///
    /// # Panics
    /// As [`SlotAddresses::address`].
    #[inline]
    pub fn prefetch(&self, slot: SlotId) {
        let bytes = self.addresses.line_bytes;
        let base = self.addresses.address(slot, 0, bytes);
        for at in (0..bytes as usize).step_by(PROCESSOR_LINE) {
            prefetch_line(base.wrapping_add(at));
        }
    }

    /// Copies the sectors of `mask`, one bit a sector, to the same places in another slot.
    ///
    /// # Panics
    /// If a slot or a sector of the mask does not exist, or both slots are the same.
    pub fn copy_between(&mut self, from: SlotId, to: SlotId, mask: u32) {
        assert!(from != to, "slot {} merges into itself", to.0);
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros();
            let count = (rest >> first).trailing_ones();
            self.copy_sectors(from, to, first, count);
            rest &= !holdfast_engine::sector_mask(first, count);
        }
    }

    fn copy_sectors(&mut self, from: SlotId, to: SlotId, first: u32, count: u32) {
        let (at, length) = (first * SECTOR, count * SECTOR);
        let source = self.addresses.address(from, at, length);
        let target = self.addresses.address(to, at, length);
        // SAFETY: `address` has checked that both ranges are inside their slots, which are mapped for good; slots do
        // not overlap and these two differ (asserted by the caller); `&mut self` keeps other copies of ours out.
        unsafe { target.copy_from_nonoverlapping(source, length as usize) }
    }

    /// Stores zeroes.
    ///
    /// # Panics
    /// As [`SlotAddresses::address`].
    pub fn zero(&mut self, slot: SlotId, at: u32, length: u32) {
        let target = self.addresses.address(slot, at, length);
        // SAFETY: inside one mapped slot (checked by `address`); `&mut self` keeps other copies of ours out.
        unsafe { target.write_bytes(0, length as usize) }
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// As [`SlotAddresses::address`].
    pub fn copy_in(&mut self, slot: SlotId, at: u32, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("less than a line");
        let target = self.addresses.address(slot, at, length);
        // SAFETY: inside one mapped slot (checked by `address`), to which no reference is ever made, so that `bytes`
        // cannot overlap it; `&mut self` keeps other copies of ours out.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// As [`SlotAddresses::address`].
    pub fn copy_out(&self, slot: SlotId, at: u32, bytes: &mut [u8]) {
        let length = u32::try_from(bytes.len()).expect("less than a line");
        let source = self.addresses.address(slot, at, length);
        // SAFETY: as in `copy_in`, the other way; `&self` keeps out copies of ours that write.
        unsafe { source.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) }
    }
}

/// Asks for one line of the processor's cache; elsewhere than on x86-64, nothing.
#[inline]
fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint. It reads and writes nothing that a program can see, and never faults, whatever the address is (Intel
    // SDM, PREFETCHh); every x86-64 has it.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
