//! A file or block device under a volume, opened so that it is ours alone and does what it says.

use super::identity::{DomainKey, Identity, WriteCache};
use super::open::{self, Measured};
use super::{BackingError, Directness, Patience, Thin};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingKind {
    /// A block device.
    Block,
    /// A regular file.
    File,
}

/// What to open.
#[derive(Clone, Debug)]
pub struct BackingSpec {
    /// What it should be.
    pub kind: BackingKind,
    /// Where.
    pub path: PathBuf,
    /// Its bytes. Needed to create a file; whatever exists must have this size.
    pub size: Option<u64>,
    /// Whether a file that does not exist is made, sparse.
    pub create: bool,
    /// Whether a file may go through the page cache if there is no other way.
    pub buffered_allowed: bool,
    /// Bytes that the file may allocate; writes beyond get ENOSPC, overwrites never. A simulation, for files only.
    pub thin_limit: Option<u64>,
    /// Whether it is opened for reading only.
    pub read_only: bool,
}

/// An open backing. Its lock is on the description that its I/O uses: when this is dropped, and the last operation of
/// the rings it was attached to has ended, it is free for others.
#[derive(Debug)]
pub struct Backing {
    /// Shared with the rings that it is attached to.
    pub(super) fd: Arc<OwnedFd>,
    pub(super) known: Measured,
    /// The lock is ours.
    fenced: AtomicBool,
}

impl Backing {
    /// Opens, locks and measures it. Waits up to 2 seconds for a lock, since a killed daemon's takes a moment to go.
    ///
    /// # Errors
    /// [`BackingError`]. A file that this call created stays; it is empty or all zeroes.
    pub fn open(spec: &BackingSpec) -> Result<Backing, BackingError> {
        open::open(spec, false).map(|(fd, known)| Backing::of(fd, known))
    }

    /// The same for a daemon that takes an arena over: a file that operations of a dead process still hold is opened without
    /// its lock, which [`Backing::fence`] takes later. A block device that no living program has is waited for as long as the
    /// kernel says it is busy, because its exclusive claim goes with its opening: who cannot wait begins an
    /// [`Opening`](super::Opening).
    ///
    /// # Errors
    /// As [`Backing::open`].
    pub fn open_late(spec: &BackingSpec) -> Result<Backing, BackingError> {
        open::open(spec, true).map(|(fd, known)| Backing::of(fd, known))
    }

    pub(super) fn of(fd: OwnedFd, known: Measured) -> Backing {
        Backing { fd: Arc::new(fd), fenced: AtomicBool::new(known.fenced), known }
    }

    /// Whether the lock is ours: no operation of another process is in flight, and I/O may begin (mechanism M1).
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Tries to take the lock, once; whether it is ours now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn fence(&self) -> std::io::Result<bool> {
        if !self.is_fenced() && Patience::none().lock(&self.fd)? {
            self.fenced.store(true, Ordering::Release);
        }
        Ok(self.is_fenced())
    }

    /// The descriptor, to be registered with rings of this process. Never to be given to another one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.known.path
    }

    /// What it is.
    pub fn kind(&self) -> BackingKind {
        self.known.kind
    }

    /// Bytes, a multiple of [`Backing::block_bytes`].
    pub fn size(&self) -> u64 {
        self.known.size
    }

    /// The smallest unit it reads and writes whole: 512, 1024, 2048 or 4096.
    pub fn block_bytes(&self) -> u32 {
        self.known.block_bytes
    }

    /// Whether it bypasses the page cache, and how we know.
    pub fn directness(&self) -> Directness {
        self.known.directness
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.known.identity
    }

    /// What one flush of it covers.
    pub fn domain_key(&self) -> DomainKey {
        self.known.domain
    }

    /// What its disk says of its write cache.
    pub fn write_cache(&self) -> WriteCache {
        self.known.write_cache
    }

    /// Its simulated limit of space, if it has one.
    pub fn thin(&self) -> Option<&Arc<Thin>> {
        self.known.thin.as_ref()
    }
}
