//! A virtual machine's memory, as its front end has shared it: what a queue's addresses mean, and whether it is still there.
#![allow(unsafe_code, reason = "guards mapped memory against SIGBUS, and copies between it and slots")]

use super::fault::VhostFault;
use super::flight::Flights;
use super::seat::VhostSeat;
use holdfast_ringbuf::fault_guard::{self, GuardedRange};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// Regions of one machine: what the protocol's largest table holds.
pub(super) const REGIONS_MAX: usize = 32;
/// What one guard covers: below its limit of 4 GiB, and a multiple of every huge page's size, so that zero pages can take
/// its place whatever it is made of.
const GUARD_BYTES: usize = 2 << 30;
/// All of a machine's memory; more than its guards could be had for.
const BYTES_MAX: u64 = 1 << 40;

/// One region, as the front end names it.
#[derive(Clone, Debug)]
pub(super) struct Region {
    /// Where the guest sees it.
    pub(super) guest: u64,
    pub(super) bytes: u64,
    /// Where the front end sees it: the addresses of rings are told this way.
    pub(super) user: u64,
    /// Where it begins in the file.
    pub(super) offset: u64,
    pub(super) file: Arc<File>,
}

/// Why memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestError {
    /// The table makes no sense.
    #[error("memory table: {0}")]
    Table(String),
    /// The kernel does not map it, or there are too many ranges to guard.
    #[error("guest memory of {bytes} bytes at {guest:#x} cannot be mapped: {source}")]
    Map {
        /// Its address.
        guest: u64,
        /// Its size.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// Mapped and guarded. Whatever goes missing of it reads as zeroes and is noticed by [`GuestMemory::check`].
#[derive(Debug)]
pub(super) struct GuestMemory {
    // Declared, so dropped, before `map`: a range leaves the guards' table before its addresses can be used anew.
    guards: Vec<GuardedRange>,
    map: GuestMemoryMmap,
    /// The process's count of faults when all guards were looked at last.
    faults: AtomicU64,
    regions: Vec<Region>,
}

impl GuestMemory {
    /// Maps `regions`, in any order.
    ///
    /// # Errors
    /// [`GuestError`]; nothing is mapped then.
    pub(super) fn map(regions: &[Region]) -> Result<GuestMemory, GuestError> {
        let mut regions = regions.to_vec();
        regions.sort_by_key(|region| region.guest);
        check_table(&regions)?;
        let faults = AtomicU64::new(fault_guard::faults());
        let mut guards = Vec::new();
        let mut mapped = Vec::new();
        for region in &regions {
            mapped.push(Arc::new(map_region(region, &mut guards)?));
        }
        let map = GuestMemoryMmap::from_arc_regions(mapped)
            .map_err(|error| GuestError::Table(error.to_string()))?;
        Ok(GuestMemory { guards, map, faults, regions })
    }

    /// What the queues' code reads and writes rings with.
    pub(super) fn map_ref(&self) -> &GuestMemoryMmap {
        &self.map
    }

    /// The guest's address of an address of the front end's.
    pub(super) fn guest_address(&self, user: u64) -> Option<GuestAddress> {
        let within = |region: &&Region| user >= region.user && user - region.user < region.bytes;
        let region = self.regions.iter().find(within)?;
        Some(GuestAddress(region.guest + (user - region.user)))
    }

    /// Whether all that was accessed so far was there.
    ///
    /// # Errors
    /// [`VhostFault::MemoryLost`]: what was read since the last call may be zeroes that nobody wrote.
    pub(super) fn check(&self) -> Result<(), VhostFault> {
        let faults = fault_guard::faults();
        if faults == self.faults.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.guards.iter().any(GuardedRange::poisoned) {
            return Err(VhostFault::MemoryLost);
        }
        self.faults.store(faults, Ordering::Relaxed);
        Ok(())
    }

    /// Looks whether every page of a range is there: a load each, of bytes that are about to be copied.
    pub(super) fn touch(&self, address: u64, length: usize) -> Result<(), VhostFault> {
        let slice = self.map.get_slice(GuestAddress(address), length).map_err(|_| VhostFault::Address)?;
        let guard = slice.ptr_guard();
        let (start, mut at) = (guard.as_ptr(), 0);
        while at < length {
            // SAFETY: inside the slice, which lies in a mapping that lives as long as `self`. A volatile load of a byte
            // that the guest may be writing: its value is not used.
            unsafe { start.add(at).read_volatile() };
            at += 4096 - (start.addr() + at) % 4096;
        }
        Ok(())
    }

    /// # Safety
    /// As [`VhostSeat::gather`].
    unsafe fn gather(
        &self,
        flights: &Flights,
        buffer: u64,
        destination: *mut u8,
        length: u32,
    ) -> Result<(), VhostFault> {
        flights.pieces(buffer, u64::from(length), |address, at, bytes| {
            let slice = self.map.get_slice(GuestAddress(address), bytes).map_err(|_| VhostFault::Address)?;
            // SAFETY: source: `get_slice` has checked that it lies in one mapping, which lives as long as `self`;
            // destination: `pieces` hands out bytes below `length` only, the rest is the caller's promise. The guest may
            // write the source meanwhile: the bytes are then torn, which is its own loss.
            unsafe { std::ptr::copy_nonoverlapping(slice.ptr_guard().as_ptr(), destination.add(at), bytes) };
            Ok(())
        })?;
        self.check()
    }

    /// # Safety
    /// As [`VhostSeat::scatter`].
    unsafe fn scatter(
        &self,
        flights: &Flights,
        buffer: u64,
        source: *const u8,
        length: u32,
    ) -> Result<(), VhostFault> {
        flights.pieces(buffer, u64::from(length), |address, at, bytes| {
            let slice = self.map.get_slice(GuestAddress(address), bytes).map_err(|_| VhostFault::Address)?;
            // SAFETY: as in `gather`, the other way; nobody holds a reference to a guest's memory.
            unsafe { std::ptr::copy_nonoverlapping(source.add(at), slice.ptr_guard_mut().as_ptr(), bytes) };
            Ok(())
        })?;
        self.check()
    }
}

impl VhostSeat {
    /// Copies `length` bytes of a request's data, from `buffer` on, out of the guest.
    ///
    /// # Errors
    /// [`VhostFault`]: `destination` holds what nobody meant; the session is over.
    ///
    /// # Safety
    /// `destination` is valid for writes of `length` bytes, and no guest's memory.
    pub(crate) unsafe fn gather(
        &self,
        buffer: u64,
        destination: *mut u8,
        length: u32,
    ) -> Result<(), VhostFault> {
        let (guest, flights) = self.memory();
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { guest.gather(flights, buffer, destination, length) }
    }

    /// Copies `length` bytes into a request's data, from `buffer` on.
    ///
    /// # Errors
    /// [`VhostFault`]: the guest does not see them; the session is over.
    ///
    /// # Safety
    /// `source` is valid for reads of `length` bytes, and no guest's memory.
    pub(crate) unsafe fn scatter(
        &self,
        buffer: u64,
        source: *const u8,
        length: u32,
    ) -> Result<(), VhostFault> {
        let (guest, flights) = self.memory();
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { guest.scatter(flights, buffer, source, length) }
    }
}

fn check_table(regions: &[Region]) -> Result<(), GuestError> {
    if regions.is_empty() || regions.len() > REGIONS_MAX {
        return Err(GuestError::Table(format!("{} regions are not 1 to {REGIONS_MAX}", regions.len())));
    }
    let mut all = 0u64;
    for region in regions {
        let fits = region.guest.checked_add(region.bytes).is_some()
            && region.user.checked_add(region.bytes).is_some()
            && region.offset.checked_add(region.bytes).is_some_and(|end| i64::try_from(end).is_ok());
        let whole = region.bytes > 0 && region.offset.is_multiple_of(4096);
        all = all.saturating_add(region.bytes);
        if !fits || !whole || all > BYTES_MAX {
            let Region { guest, bytes, offset, .. } = region;
            let text =
                format!("{bytes} bytes at {guest:#x}, from byte {offset} of their file, cannot be mapped");
            return Err(GuestError::Table(text));
        }
    }
    Ok(())
}

fn map_region(region: &Region, guards: &mut Vec<GuardedRange>) -> Result<GuestRegionMmap, GuestError> {
    let &Region { guest, bytes, offset, .. } = region;
    let failed = |source| GuestError::Map { guest, bytes, source };
    let length = usize::try_from(bytes).map_err(|error| failed(io::Error::other(error)))?;
    let file = FileOffset::from_arc(Arc::clone(&region.file), offset);
    let mapping = MmapRegion::from_file(file, length).map_err(|error| failed(io::Error::other(error)))?;
    guard_all(mapping.as_ptr(), length, guards).map_err(failed)?;
    GuestRegionMmap::new(mapping, GuestAddress(guest))
        .ok_or_else(|| GuestError::Table(format!("{bytes} bytes at {guest:#x} end beyond all addresses")))
}

/// Guards a mapping, piece by piece: all of its pages, the last of which it may not need whole.
pub(super) fn guard_all(start: *mut u8, length: usize, guards: &mut Vec<GuardedRange>) -> io::Result<()> {
    let length = length.next_multiple_of(4096);
    for at in (0..length).step_by(GUARD_BYTES) {
        let piece = GUARD_BYTES.min(length - at);
        // SAFETY: the piece lies in a mapping of whole pages that the caller owns and unmaps after the guards are gone, and
        // to which there are no references: all access is by volatile slices, atomics and copies.
        guards.push(unsafe { fault_guard::guard(start.wrapping_add(at), piece) }?);
    }
    Ok(())
}
