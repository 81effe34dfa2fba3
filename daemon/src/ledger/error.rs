//! What keeps a ledger from being opened or a volume from being put in it.

use std::io;
use std::path::PathBuf;

/// Why there is no ledger. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state directory cannot be used.
    #[error("cannot use the state directory {}: {source}; it must exist and be writable for this user", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("the state directory {} is in use by another daemon; stop that one, or give this one its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read the ledger {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file is not what a ledger wrote.
    #[error(
        "the ledger {} is damaged: {what}. It says which data was lost, so it is neither used nor overwritten. Restore \
         it from a backup; or move it away, which forgets every loss on record: check the data of all volumes first",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file is of another version.
    #[error("the ledger {} has version {found}; this daemon reads version {known} only: use the one that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
}

/// Why a volume is not taken. What is on record of it stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name stands for another device, of which something is still on record.
    #[error(
        "volume {name} was `{recorded}` and is `{found}` now, and the ledger still has {records} failed or lost ranges \
         of it{}. Give it its old backing, or another name", if *open { ", and it was not drained" } else { "" }
    )]
    OtherDevice {
        /// The volume.
        name: String,
        /// The identity on record.
        recorded: String,
        /// The identity given.
        found: String,
        /// How many ranges are on record.
        records: usize,
        /// Whether it was in use and not drained.
        open: bool,
    },
    /// The device is on record under another name.
    #[error(
        "the backing `{identity}` of volume {name} is on record as volume {recorded}, which is not clean; use that name"
    )]
    OtherName {
        /// The name given.
        name: String,
        /// The name on record.
        recorded: String,
        /// The device.
        identity: String,
    },
    /// It is smaller than what is on record.
    #[error(
        "volume {name} has {size} bytes now, but the ledger has failed or lost ranges of it up to byte {end}"
    )]
    Shrunk {
        /// The volume.
        name: String,
        /// Its size now, in bytes.
        size: u64,
        /// The end of the last range on record.
        end: u64,
    },
    /// The name or size makes no sense.
    #[error(
        "volume name `{name}` with {size} bytes: a name has 1 to {} bytes, a volume at least 1",
        super::rows::TEXT_MAX
    )]
    Invalid {
        /// The name given.
        name: String,
        /// The size given, in bytes.
        size: u64,
    },
}
