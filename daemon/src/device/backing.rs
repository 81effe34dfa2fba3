//! A file or block device under a volume, opened so that it is ours alone and does what it says.

use super::identity::{DomainKey, Identity, WriteCache};
use super::{BackingError, Directness, Patience, Thin, open};
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
    pub(super) path: PathBuf,
    pub(super) kind: BackingKind,
    pub(super) size: u64,
    pub(super) block_bytes: u32,
    pub(super) directness: Directness,
    /// Its operations are not tried in a ring, which would wait: [`FileSystem::may_wait`](super::FileSystem).
    pub(super) may_wait: bool,
    pub(super) identity: Identity,
    pub(super) domain: DomainKey,
    pub(super) write_cache: WriteCache,
    pub(super) thin: Option<Arc<Thin>>,
    /// The lock is ours.
    pub(super) fenced: AtomicBool,
}

impl Backing {
    /// Opens, locks and measures it. Waits up to 2 seconds for a lock, since a killed daemon's takes a moment to go.
    ///
    /// # Errors
    /// [`BackingError`]. A file that this call created stays; it is empty or all zeroes.
    pub fn open(spec: &BackingSpec) -> Result<Backing, BackingError> {
        match spec.kind {
            BackingKind::Block => open::block_device(spec),
            BackingKind::File => open::file(spec, false),
        }
    }

    /// The same for a daemon that takes an arena over: a file that operations of a dead process still hold is opened without
    /// its lock, which [`Backing::fence`] takes later. A block device is waited for as in [`Backing::open`], because its
    /// exclusive claim goes with its opening.
    ///
    /// # Errors
    /// As [`Backing::open`].
    pub fn open_late(spec: &BackingSpec) -> Result<Backing, BackingError> {
        match spec.kind {
            BackingKind::Block => open::block_device(spec),
            BackingKind::File => open::file(spec, true),
        }
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
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> BackingKind {
        self.kind
    }

    /// Bytes, a multiple of [`Backing::block_bytes`].
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The smallest unit it reads and writes whole: 512, 1024, 2048 or 4096.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Whether it bypasses the page cache, and how we know.
    pub fn directness(&self) -> Directness {
        self.directness
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What one flush of it covers.
    pub fn domain_key(&self) -> DomainKey {
        self.domain
    }

    /// What its disk says of its write cache.
    pub fn write_cache(&self) -> WriteCache {
        self.write_cache
    }

    /// Its simulated limit of space, if it has one.
    pub fn thin(&self) -> Option<&Arc<Thin>> {
        self.thin.as_ref()
    }
}
