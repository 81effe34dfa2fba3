//! Memory that the clients of a round and whoever started them share: a word that lets them begin, how far each is, and
//! the versions of their payloads.
#![allow(unsafe_code, reason = "maps memory that several processes write, as atomics")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::stamps::Versions;

/// Clients of a case, at most.
pub const CLIENTS_MAX: usize = 64;
/// Where versions begin: on a page.
const VERSIONS: usize = size_of::<Head>().next_multiple_of(4096);

/// What is written by one side each.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// Not 0: clients begin.
    pub(crate) go: CachePadded<AtomicU32>,
    /// Clients that are ready to begin.
    pub(crate) ready: CachePadded<AtomicU32>,
    /// Clients whose round is over.
    pub(crate) over: CachePadded<AtomicU32>,
    /// Requests that each has done.
    pub(crate) progress: [CachePadded<AtomicU64>; CLIENTS_MAX],
}

/// The memory, mapped.
#[derive(Debug)]
pub struct Board {
    map: MmapRaw,
    file: File,
    units: usize,
}

impl Board {
    /// New memory, zeroed, with versions for a set of so many bytes; 0: without.
    ///
    /// # Errors
    /// If there is none.
    pub fn create(span_bytes: u64) -> io::Result<Self> {
        let file = memfd_create("holdfast-perf-board", MemfdFlags::CLOEXEC)?;
        let units = usize::try_from(span_bytes.div_ceil(4096)).map_err(io::Error::other)?;
        ftruncate(&file, (VERSIONS + units * size_of::<AtomicU32>()) as u64)?;
        let board = Self::open(file)?;
        board.map.advise(Advice::PopulateWrite)?;
        Ok(board)
    }

    /// Maps what another process made.
    ///
    /// # Errors
    /// If `file` is no such memory.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes < VERSIONS {
            return Err(io::Error::other("standard input is not the memory of a round"));
        }
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        Ok(Self { map, file, units: (bytes - VERSIONS) / size_of::<AtomicU32>() })
    }

    /// The file that names it, for another process.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// What is known of a round.
    pub(crate) fn head(&self) -> &Head {
        // SAFETY: the mapping is page-aligned, not shorter than a `Head` (`open`), and lives as long as `&self`. All of
        // the struct is atomics, for which every content is valid and which other processes may change.
        unsafe { &*self.map.as_ptr().cast::<Head>() }
    }

    /// The versions, if there are any.
    #[must_use]
    pub fn versions(&self) -> Option<Versions<'_>> {
        // SAFETY: `open` found room for `units` words behind `VERSIONS`, which is a multiple of their alignment; they are
        // atomics, as above.
        let words = unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().add(VERSIONS).cast::<AtomicU32>(), self.units)
        };
        (self.units > 0).then_some(Versions::of(words))
    }

    /// Before a round: nobody is ready, and nothing done.
    pub(crate) fn reset(&self) {
        let head = self.head();
        [&head.go, &head.ready, &head.over].into_iter().for_each(|word| word.store(0, Relaxed));
        head.progress.iter().for_each(|count| count.store(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_another_one_reads() {
        let board = Board::create(3 * 4096 - 1).unwrap();
        let other = Board::open(board.file().unwrap().into()).unwrap();
        board.head().progress[CLIENTS_MAX - 1].store(7, Relaxed);
        assert_eq!(other.head().progress[CLIENTS_MAX - 1].load(Relaxed), 7);
        assert!(board.versions().unwrap().claim(8192, 4096));
        assert!(!other.versions().unwrap().claim(8192, 4096), "claimed in the other mapping");
        assert!(Board::create(0).unwrap().versions().is_none());
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let file = memfd_create("short", MemfdFlags::CLOEXEC).unwrap();
        assert!(Board::open(file).unwrap_err().to_string().contains("standard input"));
    }
}
