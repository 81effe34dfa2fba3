//! The file behind a session's shared memory.
//!
//! Ordinary shared memory, never hugetlb: huge pages come from a pool that the cache itself lives on, and a hole in
//! them cannot be sealed away.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};

/// A file of `bytes` that can neither shrink nor grow.
pub(crate) fn create(bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create("holdfast-session", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file)
}

/// Once the client has its mapping: nobody gets another writable one, and nobody punches a hole (which SHRINK and GROW
/// alone permit). Fails if the client sealed the seals first.
pub(crate) fn seal_writes(file: impl AsFd) -> io::Result<()> {
    Ok(fcntl_add_seals(file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?)
}

/// The client's check that the daemon cannot pull the memory away under it.
pub(crate) fn check(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    let needed = SealFlags::SHRINK | SealFlags::GROW;
    if !fcntl_get_seals(file)?.contains(needed) {
        return Err(io::Error::other("the session memory is not sealed against shrinking"));
    }
    let found = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
    if found != bytes {
        return Err(io::Error::other(format!("the session memory has {found} bytes instead of {bytes}")));
    }
    Ok(())
}

/// What `create` would be without its seals.
#[cfg(test)]
pub(crate) fn unsealed(bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create("holdfast-test", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes)?;
    Ok(file)
}
