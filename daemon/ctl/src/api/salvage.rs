//! What `export` and `import` come to. The daemon has no part in it but its lists and its rings.

use serde::{Deserialize, Serialize};

/// What an export came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The volume's name.
    pub volume: String,
    /// The states that were saved.
    pub states: Vec<String>,
    /// The file; none if there was nothing to save.
    pub file: Option<String>,
    /// The manifest.
    pub manifest: Option<String>,
    /// Ranges in the file.
    pub ranges: u64,
    /// Bytes of them.
    pub saved_bytes: u64,
    /// Bytes that should be there and could not be read.
    pub unreadable_bytes: u64,
    /// Bytes that are not on stable media either and were not asked for, in whole lines: what waits behind what failed.
    pub other_bytes: u64,
    /// Bytes that a client overwrote meanwhile.
    pub changed_bytes: u64,
    /// Bytes that came meanwhile, and are not in the file.
    pub came_bytes: u64,
    /// Bytes that were saved and are not in that state any more.
    pub left_bytes: u64,
}

/// What an import came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The volume that was written to.
    pub volume: String,
    /// The volume that was exported.
    pub exported_from: String,
    /// Ranges in the file.
    pub ranges: u64,
    /// Bytes of them, all verified.
    pub verified_bytes: u64,
    /// What the export says that one should know before it is written back.
    pub notes: Vec<String>,
    /// Bytes written, and on stable media.
    pub written_bytes: u64,
    /// Nothing was written: it was only tried.
    pub dry_run: bool,
}
