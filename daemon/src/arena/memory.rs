//! Mappings: of the arena's files, and of zeroed memory that is touched as it is needed.
//!
//! Never a slice over slot memory: the device and clients' copies change it behind any reference. What is borrowed
//! here is atomics only.
#![allow(unsafe_code, reason = "turns mapped memory into atomics and pointers")]

use holdfast_engine::Header;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A shared, writable mapping of a whole file.
pub(super) struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps the first `bytes` of the file, a multiple of the page of its file system and not 0.
    pub(super) fn of(file: &File, bytes: u64) -> io::Result<Mapping> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        assert!(length > 0, "an empty mapping");
        MmapOptions::new().len(length).map_raw(file).map(|raw| Mapping { raw })
    }

    /// Fills the page tables.
    pub(super) fn populate(&self) -> io::Result<()> {
        self.populate_part(0, self.raw.len())
    }

    /// The same, of a part that begins at a page.
    pub(super) fn populate_part(&self, offset: usize, length: usize) -> io::Result<()> {
        loop {
            match self.raw.advise_range(Advice::PopulateWrite, offset, length) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Keeps it from being swapped out.
    pub(super) fn lock(&self) -> io::Result<()> {
        self.raw.lock()
    }

    /// The same, of a part that begins at a page.
    pub(super) fn lock_part(&self, offset: usize, length: usize) -> io::Result<()> {
        assert!(offset + length <= self.raw.len(), "locks past a mapping of {}", self.raw.len());
        // SAFETY: in bounds (asserted) of a mapping that `self` keeps; to lock pages changes nothing in them.
        Ok(unsafe { rustix::mm::mlock(self.raw.as_mut_ptr().add(offset).cast(), length) }?)
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The first `count` headers.
    pub(super) fn headers(&self, count: usize) -> &[Header] {
        assert!(count * size_of::<Header>() <= self.raw.len(), "{count} headers in {} bytes", self.raw.len());
        // SAFETY: the mapping is page-aligned, at least that long (asserted) and lives as long as `self`, which the
        // result borrows. Header is repr(C) of four AtomicU64, for which every bit pattern is valid, and is changed
        // through atomics only, here and in whatever other process maps the file. Nobody shortens the file: the
        // directory is ours by `flock`, the files by mode 0600, and the host's root is trusted.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().cast::<Header>(), count) }
    }

    /// The 8 bytes at `offset`.
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(
            offset.is_multiple_of(8) && offset + 8 <= self.raw.len(),
            "word {offset} of {}",
            self.raw.len()
        );
        // SAFETY: in bounds and aligned (asserted; the base is page-aligned), and as in `headers` every bit pattern is
        // valid and this word is only ever touched as an atomic: `write` is not used on a range that holds one.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(offset).cast::<u64>()) }
    }

    /// `count` words from `offset` on.
    pub(super) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        assert!(
            offset.is_multiple_of(8) && offset + count * 8 <= self.raw.len(),
            "{count} words at {offset} of {}",
            self.raw.len()
        );
        // SAFETY: as in `word`, for `count` of them; what is borrowed here is not written by `write`.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(offset).cast::<AtomicU64>(), count) }
    }

    /// A copy of the bytes at `offset`.
    pub(super) fn read<const BYTES: usize>(&self, offset: usize) -> [u8; BYTES] {
        assert!(offset + BYTES <= self.raw.len(), "reads past a mapping of {}", self.raw.len());
        let mut bytes = [0; BYTES];
        // SAFETY: in bounds (asserted); the array is ours and does not overlap a mapping. Whoever changes the bytes
        // meanwhile tears the copy, which is checked before it is believed.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(self.raw.as_ptr().add(offset), BYTES) }
        bytes
    }

    /// Stores bytes, before anybody else looks at the file.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.raw.len(), "writes past a mapping of {}", self.raw.len());
        // SAFETY: in bounds (asserted); `&mut self` says that no header or word of this mapping is borrowed; a fresh
        // mapping does not overlap `bytes`.
        unsafe { self.raw.as_mut_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Keeps the mapping for as long as the process lives.
    ///
    /// Deliberate: its memory is registered with io_uring and the target of device I/O, which may outlive whoever
    /// drops what. A daemon has one arena; the kernel unmaps it at exit.
    pub(super) fn leak(self) -> &'static Mapping {
        Box::leak(Box::new(self))
    }

    /// The first byte.
    pub(super) fn base(&self) -> NonNull<u8> {
        NonNull::new(self.raw.as_mut_ptr()).expect("mmap returns no null page")
    }
}

/// Zeroed words for a dirty index or a bitmap, kept until the process ends. A page of them takes memory when it is
/// first written, so that an index over a large volume costs what the dirty part of it needs.
///
/// # Errors
/// The kernel's, when the address space has no such room.
pub fn zeroed_words(count: usize) -> io::Result<&'static [AtomicU64]> {
    if count == 0 {
        return Ok(&[]);
    }
    let bytes = count.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
    let raw = MmapRaw::from(MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?);
    let base = raw.as_mut_ptr().cast::<AtomicU64>();
    std::mem::forget(raw);
    // SAFETY: an anonymous private mapping of `bytes`, page-aligned, zeroed, a valid AtomicU64 in every word; it is
    // never unmapped (forgotten just above), so 'static holds; nothing else has its address.
    Ok(unsafe { std::slice::from_raw_parts(base, count) })
}

/// Gives the memory of words back that [`zeroed_words`] made and nobody writes any more: they are zero again, and take
/// memory again only where they are written. Who reads them meanwhile finds them as they were, or zero.
pub fn give_back_words(words: &'static [AtomicU64]) {
    let bytes = size_of_val(words);
    if bytes == 0 {
        return;
    }
    // SAFETY: the range is a whole anonymous private mapping of `zeroed_words`, which is never unmapped. Dropping its pages
    // makes every word 0, a valid AtomicU64; a reader in another thread sees the old or the new value of each.
    let given = unsafe {
        rustix::mm::madvise(words.as_ptr().cast_mut().cast(), bytes, rustix::mm::Advice::LinuxDontNeed)
    };
    // The kernel refuses only what is no mapping; then the pages stay ours, which costs memory and nothing else.
    let _ = given;
}
