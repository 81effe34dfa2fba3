//! One daemon a state directory.

use super::error::LedgerError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock, held as long as it lives. The kernel drops it with the process, however that dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it, without waiting. It is a file of its own, because the ledger's own file is replaced by renaming.
    pub(super) fn take(state_dir: &Path) -> Result<Lock, LedgerError> {
        let path = || state_dir.to_owned();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .open(state_dir.join("ledger.lock"))
            .map_err(|source| LedgerError::Directory { path: path(), source })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(LedgerError::InUse { path: path() }),
            Err(errno) => Err(LedgerError::Directory { path: path(), source: errno.into() }),
        }
    }
}
