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

use crate::api::{Errno, ExtentState, Time};
use crc_fast::CrcAlgorithm::Crc64Nvme;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// What [`Manifest::format`] says.
pub const FORMAT: &str = "holdfast-export";
/// The version that this release writes and reads. It changes when a field changes its meaning or goes, not when one
/// is added.
pub const VERSION: u32 = 1;
/// Bytes of a range at most: a damaged byte of an export costs no more than this.
pub const RANGE_BYTES_MAX: u64 = 16 << 20;
/// Ranges are whole sectors of so many bytes.
pub const SECTOR_BYTES: u64 = 512;

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// When it was made.
    pub made: Time,
    /// By which program: `holdfastctl export`, `holdfastd salvage`.
    pub made_by: String,
    /// The volume's name.
    pub volume: String,
    /// Its size in bytes; none if nobody could tell (an arena without its ledger).
    pub volume_bytes: Option<u64>,
    /// What the volume was on: device serial and namespace, or file system and inode. None if nobody could tell.
    pub identity: Option<String>,
    /// The name of the data's file, in the manifest's own directory.
    pub data_file: String,
    /// How long that file is, in bytes.
    pub data_bytes: u64,
    /// What is in it, in the order of offsets, without overlap. Neighbours that are alike are one, up to
    /// [`RANGE_BYTES_MAX`].
    pub ranges: Vec<SavedRange>,
    /// What is on record as given up: acknowledged data that is in no place any more, this export included.
    pub lost: Vec<LostRange>,
    /// What whoever writes it back should know, a sentence each; empty if all is well.
    pub notes: Vec<String>,
}

/// A range of the volume whose bytes are in the data's file at the same offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRange {
    /// Its first byte, a multiple of 512.
    pub offset: u64,
    /// Its bytes, a multiple of 512, at least 512 and at most [`RANGE_BYTES_MAX`].
    pub length: u64,
    /// `dirty`, `unstable` or `failed`; never `lost`.
    pub state: ExtentState,
    /// What the device said; none if it never refused it.
    pub refusal: Option<HeldRefusal>,
    /// The checksum of the bytes.
    pub crc64_nvme: Checksum,
}

/// A range on record as lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes, at least 1.
    pub length: u64,
    /// What the device said; none if that is not known.
    pub refusal: Option<HeldRefusal>,
}

/// What a device said about a range, as far as it is known: an arena alone keeps no times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRefusal {
    /// The error class: `transient`, `space`, `medium`, `gone`.
    pub class: String,
    /// The device's last word.
    pub errno: Errno,
    /// How often it was tried, at least.
    pub attempts: u32,
    /// The first failure.
    pub first: Option<Time>,
    /// The last failure.
    pub last: Option<Time>,
}

/// A CRC-64/NVME, written as 16 hexadecimal digits: a JSON reader may keep numbers in floating point.
///
/// It finds damage, not forgery; 64 bits because an export may have millions of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Checksum(pub u64);

impl Checksum {
    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum(crc_fast::checksum(Crc64Nvme, bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> String {
        checksum.to_string()
    }
}

/// A text that is no checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no checksum: one is 16 hexadecimal digits")]
pub struct BadChecksum(String);

impl TryFrom<String> for Checksum {
    type Error = BadChecksum;

    fn try_from(text: String) -> Result<Checksum, BadChecksum> {
        let sixteen = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(&text, 16) {
            Ok(number) if sixteen => Ok(Checksum(number)),
            _ => Err(BadChecksum(text)),
        }
    }
}

/// Why a text is no manifest that can be used. Numbers of ranges count from 0.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no JSON, or lacks a field, or has one of another kind.
    #[error("it is not the JSON of a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// It is something else's.
    #[error("its format is '{found}', not '{FORMAT}'")]
    Format {
        /// What it says.
        found: String,
    },
    /// It is of another version.
    #[error("it has version {found}, this release reads {VERSION}: use the release that wrote it")]
    Version {
        /// What it says.
        found: u32,
    },
    /// The data's file would lie elsewhere.
    #[error("its data_file {found:?} is no name of a file in its own directory")]
    DataFile {
        /// What it says.
        found: String,
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
        // Format and version first: another version may lack fields, and must not be called broken.
        let head: Head = serde_json::from_slice(json)?;
        if head.format != FORMAT {
            return Err(ManifestError::Format { found: head.format });
        }
        if head.version != VERSION {
            return Err(ManifestError::Version { found: head.version });
        }
        let manifest: Manifest = serde_json::from_slice(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let mut components = Path::new(&self.data_file).components();
        let only = (components.next(), components.next());
        if !matches!(only, (Some(std::path::Component::Normal(name)), None) if name == self.data_file.as_str())
        {
            return Err(ManifestError::DataFile { found: self.data_file.clone() });
        }
        let end = self.data_bytes.min(self.volume_bytes.unwrap_or(u64::MAX));
        let mut free_from = 0;
        for (index, range) in self.ranges.iter().enumerate() {
            free_from = range.check(free_from, end).map_err(|what| {
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
    format: String,
    version: u32,
}

impl SavedRange {
    /// Returns its end, or what is wrong with it after ranges that end at `free_from`, in a file that ends at `end`.
    fn check(&self, free_from: u64, end: u64) -> Result<u64, &'static str> {
        let whole = self.offset.is_multiple_of(SECTOR_BYTES) && self.length.is_multiple_of(SECTOR_BYTES);
        match self.offset.checked_add(self.length) {
            _ if !whole => Err("is not of whole sectors of 512 bytes"),
            _ if self.length == 0 || self.length > RANGE_BYTES_MAX => Err("has a length that no export has"),
            _ if self.state == ExtentState::Lost => Err("says that it is lost, and has data"),
            _ if self.offset < free_from => Err("overlaps the one before it, or comes before it"),
            Some(range_end) if range_end <= end => Ok(range_end),
            _ => Err("reaches over the end of the volume or of the data's file"),
        }
    }
}

/// Where the manifest of a data file is: the same name with `.json` after it.
pub fn path_beside(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}
