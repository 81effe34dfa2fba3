//! The floor's memory: what the two processes share, and the span that one of them copies to and from.
#![allow(unsafe_code, reason = "maps memory that two processes write, and copies to and from it")]

use core::ptr::{NonNull, copy_nonoverlapping};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use serde::Serialize;

use super::ring::{DEPTH_MAX, RingMemory};
use crate::offsets::BLOCK;
use crate::window::Window;

/// Where the windows begin: behind the ring, on a page.
const WINDOWS: usize = size_of::<RingMemory>().next_multiple_of(BLOCK);
/// Ring and windows, up to the next huge page of 2 MiB.
const SHARED_BYTES: usize = (WINDOWS + DEPTH_MAX as usize * BLOCK).next_multiple_of(2 << 20);

/// The pages that a piece of memory lies on. The numbers go through shared memory, where 0 is "not there yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Pages {
    /// Reserved huge pages (hugetlb).
    Huge = 1,
    /// Ordinary memory for which the kernel was asked to use huge pages: it may have done so.
    Advised,
    /// 4 KiB.
    Ordinary,
}

/// Ring and windows, mapped.
#[derive(Debug)]
pub struct Shared {
    map: MmapRaw,
    pages: Pages,
}

impl Shared {
    /// New memory, zeroed, on huge pages if any are free, and the file that names it.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        Self::create_on(Pages::Huge).or_else(|_| Self::create_on(Pages::Ordinary))
    }

    fn create_on(pages: Pages) -> io::Result<(Self, OwnedFd)> {
        let huge = if pages == Pages::Huge { MemfdFlags::HUGETLB } else { MemfdFlags::empty() };
        let file = memfd_create("holdfast-floor", MemfdFlags::CLOEXEC | huge)?;
        ftruncate(&file, SHARED_BYTES as u64)?;
        let file = File::from(file);
        let map = MmapOptions::new().len(SHARED_BYTES).map_raw(&file)?;
        map.advise(Advice::PopulateWrite)?;
        Ok((Self { map, pages }, file.into()))
    }

    /// Maps what another process made.
    ///
    /// # Errors
    /// If `file` is not such memory.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        if file.metadata()?.len() != SHARED_BYTES as u64 {
            return Err(io::Error::other("standard input is not the floor's shared memory"));
        }
        let map = MmapOptions::new().len(SHARED_BYTES).map_raw(&file)?;
        map.advise(Advice::PopulateWrite)?;
        Ok(Self { map, pages: Pages::Ordinary })
    }

    /// What it lies on, as its creator knows.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &RingMemory {
        // SAFETY: the mapping is page-aligned, longer than a `RingMemory`, and lives as long as `&self`. All of the
        // struct is atomics, for which every content is valid and which other processes may change.
        unsafe { &*self.map.as_ptr().cast::<RingMemory>() }
    }

    /// A tag's window.
    ///
    /// # Panics
    /// If the tag is not below `DEPTH_MAX`.
    #[must_use]
    #[inline]
    pub fn window(&self, tag: u32) -> Window<'_> {
        assert!(tag < DEPTH_MAX, "tag {tag}");
        // SAFETY: `SHARED_BYTES` has room for `DEPTH_MAX` windows behind `WINDOWS`, and the tag is below that.
        let start = unsafe { self.map.as_mut_ptr().add(WINDOWS + tag as usize * BLOCK) };
        let start = NonNull::new(start).expect("a mapping is not at address 0");
        // SAFETY: page-aligned, a whole block inside the mapping (above), which lives as long as `&self`.
        unsafe { Window::new(start) }
    }
}

/// Private memory to copy to and from.
#[derive(Debug)]
pub struct Span {
    map: MmapRaw,
    pages: Pages,
}

impl Span {
    /// `bytes` (whole blocks), touched, on huge pages if enough are free.
    ///
    /// # Errors
    /// If there is no memory, or it is less than a block.
    pub fn new(bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)? / BLOCK * BLOCK;
        if bytes == 0 {
            return Err(io::Error::other("a span of less than one block of 4 KiB"));
        }
        let huge =
            MmapOptions::new().len(bytes.next_multiple_of(2 << 20)).huge(Some(21)).populate().map_anon();
        if let Ok(map) = huge {
            return Ok(Self { map: map.into(), pages: Pages::Huge });
        }
        let map = MmapRaw::from(MmapOptions::new().len(bytes).map_anon()?);
        let advised = map.advise(Advice::HugePage).is_ok();
        map.advise(Advice::PopulateWrite)?;
        Ok(Self { map, pages: if advised { Pages::Advised } else { Pages::Ordinary } })
    }

    /// What it lies on.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Whole blocks, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn block(&self, offset: u64) -> *mut u8 {
        let offset = usize::try_from(offset).expect("an offset in the address space");
        assert!(offset <= self.map.len() - BLOCK, "offset {offset} of {}", self.map.len());
        // SAFETY: inside the mapping (assert above).
        unsafe { self.map.as_mut_ptr().add(offset) }
    }

    /// Copies a window to the span.
    ///
    /// # Panics
    /// If the block is not inside the span, as in `load`.
    #[inline]
    pub fn store(&mut self, offset: u64, window: Window<'_>) {
        let block = self.block(offset);
        // SAFETY: a whole block of the span (`block`), which nobody else refers to (`&mut self`), and a whole window of
        // other memory (`Window::new`).
        unsafe { copy_nonoverlapping(window.start(), block, BLOCK) };
    }

    /// Copies a block of the span to a window.
    #[inline]
    pub fn load(&self, offset: u64, window: Window<'_>) {
        // SAFETY: as in `store`, the other way round.
        unsafe { copy_nonoverlapping(self.block(offset), window.start(), BLOCK) };
    }
}
