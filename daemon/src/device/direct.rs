//! Proof that I/O bypasses the page cache.
//!
//! An O_DIRECT open that succeeds proves nothing. What proves it: `statx` gives an alignment for direct I/O
//! (STATX_DIOALIGN, Linux 6.1), and the file system is none that is known to fall back. Block devices always do. FUSE
//! gives no alignment; its kernel side passes O_DIRECT requests to the server as they are, so there an open with
//! O_DIRECT and one read that comes back must do, and what the server does with it is the server's word.

use super::FileSystem;
use super::error::NotDirect;
use rustix::fs::{AtFlags, StatxFlags};
use std::os::fd::{AsFd, BorrowedFd};

/// How we know that a backing is direct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `statx` says so.
    Statx,
    /// It is a block device.
    BlockDevice,
    /// FUSE took O_DIRECT and a read of it worked.
    FuseProbe,
}

/// Whether a backing bypasses the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directness {
    /// It does.
    Direct(Proof),
    /// It does not, and that was allowed by name.
    Buffered(NotDirect),
}

/// What direct I/O on a file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Direct {
    pub(super) proof: Proof,
    /// Alignment of offsets and lengths.
    pub(super) block_bytes: u32,
}

/// Proves it for a regular file that was opened with O_DIRECT.
pub(super) fn prove(fd: BorrowedFd<'_>, file_system: FileSystem, size: u64) -> Result<Direct, NotDirect> {
    if matches!(file_system, FileSystem::Tmpfs | FileSystem::HugeTlb | FileSystem::Btrfs) {
        return Err(NotDirect::PageCache(file_system));
    }
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let aligned = found.ok().filter(|found| {
        let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::DIOALIGN);
        told && found.stx_dio_offset_align > 0 && found.stx_dio_mem_align <= 512
    });
    match aligned {
        // A line's sectors are 512 bytes: what may be smaller is not used.
        Some(found) => Ok(Direct { proof: Proof::Statx, block_bytes: found.stx_dio_offset_align.max(512) }),
        None if file_system == FileSystem::Fuse => {
            probe_fuse(fd, size).ok_or(NotDirect::Unproven(file_system))
        }
        None => Err(NotDirect::Unproven(file_system)),
    }
}

/// The smallest read that FUSE's server answers; an empty file has nothing to read and is taken at its word.
fn probe_fuse(fd: BorrowedFd<'_>, size: u64) -> Option<Direct> {
    let works = |bytes: usize| {
        let mut buffer = vec![0; bytes + 4096];
        let aligned = buffer.as_ptr().align_offset(4096);
        let read = rustix::io::pread(fd.as_fd(), &mut buffer[aligned..aligned + bytes], 0);
        read.is_ok_and(|got| got == bytes || (got as u64) == size)
    };
    let block_bytes = [512, 4096].into_iter().find(|bytes| works(*bytes))?;
    Some(Direct { proof: Proof::FuseProbe, block_bytes: u32::try_from(block_bytes).ok()? })
}
