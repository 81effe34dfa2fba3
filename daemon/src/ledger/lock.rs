//! One daemon a state directory.

use super::error::LedgerError;
use crate::device::lock_unless_alive;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock, held as long as it lives. The kernel drops it with the process, however that dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it; one that a dead daemon still has is waited for. It is a file of its own, because the ledger's own file is replaced by renaming.
    pub(super) fn take(state_dir: &Path) -> Result<Lock, LedgerError> {
        let path = || state_dir.to_owned();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .open(state_dir.join("ledger.lock"))
            .map_err(|source| LedgerError::Directory { path: path(), source })?;
        match lock_unless_alive(&file) {
            Ok(true) => Ok(Lock { _file: file }),
            Ok(false) => Err(LedgerError::InUse { path: path() }),
            Err(source) => Err(LedgerError::Directory { path: path(), source }),
        }
    }
}
