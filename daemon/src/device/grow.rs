//! Making a backing larger while it is in use.

use super::{Backing, BackingKind};
use rustix::fs::SeekFrom;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Why a backing does not grow.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// It writes whole blocks.
    #[error("{bytes} bytes are not whole blocks of {block_bytes}")]
    Blocks {
        /// As asked for.
        bytes: u64,
        /// What it writes whole.
        block_bytes: u32,
    },
    /// A block device does not grow by itself.
    #[error("its device has {found} bytes, fewer than {bytes}")]
    Device {
        /// As asked for.
        bytes: u64,
        /// What there is.
        found: u64,
    },
    /// The kernel refuses.
    #[error("its backing cannot grow to {bytes} bytes: {source}")]
    Io {
        /// As asked for.
        bytes: u64,
        /// The kernel's answer.
        source: rustix::io::Errno,
    },
}

impl GrowError {
    /// The way out.
    pub const fn remedy(&self) -> &'static str {
        match self {
            GrowError::Blocks { .. } => "Give a size in whole blocks.",
            GrowError::Device { .. } => {
                "Let the device grow first (lvextend, the storage's own tools), then do it again."
            }
            GrowError::Io { .. } => "Mend the backing, or make room under it.",
        }
    }
}

impl Backing {
    /// Whether it can have `bytes`, as far as can be known without trying.
    ///
    /// # Errors
    /// [`GrowError`].
    pub fn check_growth(&self, bytes: u64) -> Result<(), GrowError> {
        if !bytes.is_multiple_of(u64::from(self.known.block_bytes)) {
            return Err(GrowError::Blocks { bytes, block_bytes: self.known.block_bytes });
        }
        let found = self.bytes_now(bytes)?;
        match self.known.kind {
            BackingKind::Block if found < bytes => Err(GrowError::Device { bytes, found }),
            BackingKind::Block | BackingKind::File => Ok(()),
        }
    }

    /// Makes it have `bytes` at least: a file is extended by a hole; a device has them, or it is an error. Never makes it
    /// smaller.
    ///
    /// # Errors
    /// [`GrowError`].
    pub fn grow(&self, bytes: u64) -> Result<(), GrowError> {
        self.check_growth(bytes)?;
        if self.bytes_now(bytes)? < bytes {
            rustix::fs::ftruncate(&self.fd, bytes).map_err(|source| GrowError::Io { bytes, source })?;
        }
        Ok(())
    }

    /// What it has now. Nothing uses the position of the description: all I/O says where.
    fn bytes_now(&self, bytes: u64) -> Result<u64, GrowError> {
        rustix::fs::seek(&self.fd, SeekFrom::End(0)).map_err(|source| GrowError::Io { bytes, source })
    }
}

/// What a ring keeps of a backing that is attached to it.
pub(super) struct Kept {
    fd: Arc<OwnedFd>,
    kind: BackingKind,
    /// As [`Backing`] has it.
    pub(super) may_wait: bool,
}

impl Kept {
    pub(super) fn of(backing: &Backing) -> Kept {
        Kept { fd: Arc::clone(&backing.fd), kind: backing.kind(), may_wait: backing.known.may_wait }
    }

    /// Its description, which is not closed while somebody has this.
    pub(super) fn file(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Whether it is a device that has become shorter than `bytes`. One that cannot be asked is not known to be.
    pub(super) fn ends_before(&self, bytes: u64) -> bool {
        // A file's end may be its server's to tell, which a reactor must not wait for.
        self.kind == BackingKind::Block
            && rustix::fs::seek(&self.fd, SeekFrom::End(0)).is_ok_and(|found| found < bytes)
    }
}
