//! An export of a volume's held data: a sparse file with the bytes at the volume's own offsets, and beside it a
//! manifest in JSON that says which ranges of the file are meant, what they are, and their checksums.
//!
//! ```text
//! vm1.img         as long as the volume; a hole wherever nothing was held
//! vm1.img.json    a Manifest; written last, so that an export without one is known to be half done
//! ```
//! `holdfastctl export` and `holdfastd salvage` write it ([`ExportWriter`]), `holdfastctl import` reads it ([`Export`]).
//! Only what [`Manifest::ranges`] names may be written back: outside of it the file reads as zeroes that nobody wrote.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Export, ReadError};
pub use writer::{About, ExportWriter, Saved, WriteError};

use crate::api::{Errno, ExtentState, Range, Refusal, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};

/// What [`Manifest::kind`] says.
pub const KIND: &str = "holdfast-export";
/// The version that this release writes and reads. It changes when a field changes its meaning or goes, not when one
/// is added.
pub const VERSION: u32 = 1;
/// Bytes of a range at most: a damaged byte of an export costs no more than this, and an import holds no more in memory.
pub const RANGE_BYTES_MAX: u64 = 16 << 20;
/// Ranges are whole sectors of so many bytes.
pub const SECTOR_BYTES: u64 = 512;

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// [`KIND`].
    pub kind: String,
    /// The program that made it: a release of the daemon, or `holdfastd salvage` with its own.
    pub release: String,
    /// The volume's name.
    pub volume: String,
    /// What its device is known by: serial and namespace, or file system and inode. Empty if nobody could tell.
    pub identity: String,
    /// The contents of the cache at that time: a daemon's incarnation, or an arena's id. Empty if nobody could tell.
    pub incarnation: String,
    /// The volume's size, and that of the data's file. If nobody could tell (an arena without its ledger): the end of the
    /// last range.
    pub size_bytes: u64,
    /// Offsets and lengths are multiples of it; a power of two, 512 or more.
    pub block_bytes: u32,
    /// The states that were saved.
    pub states: Vec<String>,
    /// When it was begun.
    pub began: Time,
    /// When the data was all in the file.
    pub ended: Time,
    /// What is in it, in the order of offsets, without overlap; none longer than [`RANGE_BYTES_MAX`].
    pub ranges: Vec<SavedRange>,
    /// What should be there and could not be read.
    pub unreadable: Vec<Unreadable>,
    /// What the volume did meanwhile; nothing, if no daemon ran.
    pub meanwhile: Meanwhile,
    /// What is on record as given up: acknowledged data that is in no place any more, this export included.
    #[serde(default)]
    pub lost: Vec<LostRange>,
    /// What whoever writes it back should know, a sentence each; empty if all is well.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A range of the volume whose bytes are in the data's file at the same offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRange {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes, at least one block and at most [`RANGE_BYTES_MAX`].
    pub length: u64,
    /// `dirty`, `unstable` or `failed`; never `lost`.
    pub state: ExtentState,
    /// What the device said; none if it never refused it. An arena alone keeps no times: 1970, then.
    pub refusal: Option<Refusal>,
    /// The checksum of the bytes.
    pub sha256: Checksum,
    /// A client wrote it while it was saved: the file has one of the two, the volume has the newer one.
    pub changed_meanwhile: bool,
    /// It was not in the first list: it came while the others were saved.
    pub came_meanwhile: bool,
}

/// Bytes that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The first byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What a read of it got.
    pub errno: Errno,
}

/// What happened while the export ran, because the volume went on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meanwhile {
    /// Saved, and no more in the state: written back, or given up. The file has what it was.
    pub left: Vec<Range>,
    /// Bytes of saved ranges that a client overwrote.
    pub changed_bytes: u64,
    /// Bytes that came into the state, and were saved, too.
    pub came_bytes: u64,
}

/// A range on record as lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes, at least 1.
    pub length: u64,
    /// What the device said; none if that is not known.
    pub refusal: Option<Refusal>,
}

/// A SHA-256, written as 64 hexadecimal digits: `sha256sum` checks it, too.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> String {
        checksum.to_string()
    }
}

/// A text that is no checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no checksum: one is 64 hexadecimal digits")]
pub struct BadChecksum(String);

impl TryFrom<String> for Checksum {
    type Error = BadChecksum;

    fn try_from(text: String) -> Result<Checksum, BadChecksum> {
        let mut bytes = [0; 32];
        let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (index, byte) in bytes.iter_mut().enumerate().filter(|_| digits) {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).expect("two hexadecimal digits");
        }
        if digits { Ok(Checksum(bytes)) } else { Err(BadChecksum(text)) }
    }
}

/// Why a text is no manifest that can be used. Numbers of ranges count from 0.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no JSON, or lacks a field, or has one of another kind.
    #[error("it is not the JSON of a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// It is something else's.
    #[error("its kind is '{found}', not '{KIND}'")]
    Kind {
        /// What it says.
        found: String,
    },
    /// It is of another version.
    #[error("it has version {found}, this release reads {VERSION}: use the release that wrote it")]
    Version {
        /// What it says.
        found: u32,
    },
    /// Blocks that no device has.
    #[error("its blocks have {found} bytes; they are a power of two from 512 to 65536")]
    Block {
        /// What it says.
        found: u32,
    },
    /// A range that cannot be.
    #[error("its range {index} ({offset}:{length}) {what}")]
    Range {
        /// Which.
        index: usize,
        /// Its first byte.
        offset: u64,
        /// Its bytes.
        length: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Manifest {
    /// Reads one, believing nothing.
    ///
    /// # Errors
    /// [`ManifestError`]: what is returned otherwise keeps what the fields' documentation says.
    pub fn parse(json: &[u8]) -> Result<Manifest, ManifestError> {
        // Kind and version first: another version may lack fields, and must not be called broken.
        let head: Head = serde_json::from_slice(json)?;
        if head.kind != KIND {
            return Err(ManifestError::Kind { found: head.kind });
        }
        if head.version != VERSION {
            return Err(ManifestError::Version { found: head.version });
        }
        let manifest: Manifest = serde_json::from_slice(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if !self.block_bytes.is_power_of_two() || !(512..=65_536).contains(&self.block_bytes) {
            return Err(ManifestError::Block { found: self.block_bytes });
        }
        let mut free_from = 0;
        for (index, range) in self.ranges.iter().enumerate() {
            free_from = range.check(free_from, self.size_bytes, self.block_bytes).map_err(|what| {
                let &SavedRange { offset, length, .. } = range;
                ManifestError::Range { index, offset, length, what }
            })?;
        }
        Ok(())
    }

    /// Bytes of all ranges.
    pub fn saved_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.length).sum()
    }
}

#[derive(Deserialize)]
struct Head {
    kind: String,
    version: u32,
}

impl SavedRange {
    /// Returns its end, or what is wrong with it after ranges that end at `free_from`, in a volume that ends at `end`.
    fn check(&self, free_from: u64, end: u64, block_bytes: u32) -> Result<u64, &'static str> {
        let block = u64::from(block_bytes);
        let whole = self.offset.is_multiple_of(block) && self.length.is_multiple_of(block);
        match self.offset.checked_add(self.length) {
            _ if !whole => Err("is not of whole blocks"),
            _ if self.length == 0 || self.length > RANGE_BYTES_MAX => Err("has a length that no export has"),
            _ if self.state == ExtentState::Lost => Err("says that it is lost, and has data"),
            _ if self.offset < free_from => Err("overlaps the one before it, or comes before it"),
            Some(range_end) if range_end <= end => Ok(range_end),
            _ => Err("reaches over the end of the volume"),
        }
    }
}

/// Where the manifest of a data file is: the same name with `.json` after it.
pub fn path_beside(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}
