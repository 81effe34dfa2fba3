//! The record of a daemon that has ended, for reading only: no lock is taken, no file is made.

use super::LedgerError;
use super::disk::{Directory, Disk};
use super::facade::HISTORY_MAX;
use super::load::{self, LoadError};
use super::record::{LostRecord, NotStableRecord, OpenMark};
use super::store::VERSION;
use std::path::Path;

/// What is on record of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedVolume {
    /// Its name; any text.
    pub name: String,
    /// The device or file itself.
    pub identity: String,
    /// Its bytes.
    pub size: u64,
    /// Where its data was when it was used last, unless it was drained since.
    pub mark: Option<OpenMark>,
    /// What somebody was told is held, in the order of offsets.
    pub not_stable: Vec<NotStableRecord>,
    /// What was given up, in the order of offsets.
    pub lost: Vec<LostRecord>,
}

/// Reads the record in `state_dir`: its volumes in the order in which they came to it. None if it has no ledger.
///
/// # Errors
/// The ledger cannot be read, is damaged, or is of another version.
pub fn archived(state_dir: &Path) -> Result<Option<Vec<ArchivedVolume>>, LedgerError> {
    let disk = Directory::new(state_dir);
    let path = || disk.path().to_owned();
    let file = disk.read().map_err(|source| LedgerError::Read { path: path(), source })?;
    let Some(file) = file else { return Ok(None) };
    let memory = load::load(&file, HISTORY_MAX).map_err(|error| match error {
        LoadError::Damaged(what) => LedgerError::Damaged { path: path(), what },
        LoadError::Version(found) => LedgerError::Version { path: path(), found, known: VERSION },
    })?;
    let volumes = memory.volumes.into_values().map(|volume| ArchivedVolume {
        not_stable: volume.not_stable_records().collect(),
        lost: volume.lost_records().collect(),
        name: volume.name,
        identity: volume.identity,
        size: volume.size,
        mark: volume.mark,
    });
    Ok(Some(volumes.collect()))
}
