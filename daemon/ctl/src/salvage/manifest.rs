//! What is written beside exported data, so that nobody has to guess what it is.

use super::spans::Span;
use crate::api::{Errno, Range, Refusal, Time};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What tells our manifests from other JSON.
pub(super) const KIND: &str = "holdfast-export";

/// The version of the form.
pub(super) const MANIFEST_VERSION: u32 = 1;

/// The largest manifest that is read: some two million ranges.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;

/// Bytes that one checksum covers at most: what an import holds in memory at a time.
pub(super) const PIECE_BYTES_MAX: u64 = 16 << 20;

/// What an export consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub(crate) version: u32,
    /// [`KIND`].
    pub(crate) kind: String,
    /// The release that wrote it.
    pub(crate) release: String,
    /// The name of the volume.
    pub(crate) volume: String,
    /// What the volume's device is known by.
    pub(crate) identity: String,
    /// The contents of the daemon's cache at that time.
    pub(crate) incarnation: String,
    /// The volume's size, and that of the file.
    pub(crate) size_bytes: u64,
    /// Offsets and lengths are multiples of it.
    pub(crate) block_bytes: u32,
    /// The states that were saved.
    pub(crate) states: Vec<String>,
    /// When the first list of extents was asked for.
    pub(crate) began: Time,
    /// When the data was all in the file.
    pub(crate) ended: Time,
    /// What is in the file, at its own offsets in the volume; the rest of the file is a hole.
    pub(crate) ranges: Vec<SavedRange>,
    /// What should be there and could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// What the volume did meanwhile.
    pub(crate) meanwhile: Meanwhile,
}

/// Saved bytes that share a checksum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedRange {
    /// The first byte.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// The state it was in when it was listed.
    pub(crate) state: String,
    /// Why the device did not take it.
    pub(crate) refusal: Option<Refusal>,
    /// The checksum of the bytes in the file, hexadecimal.
    pub(crate) sha256: String,
    /// A client wrote it while it was saved: the file has one of the two, the volume has the newer one.
    pub(crate) changed_meanwhile: bool,
    /// It was not in the first list: it came while the others were saved.
    pub(crate) came_meanwhile: bool,
}

/// Bytes that a client gets an error for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unreadable {
    /// The first byte.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// What a read of it got.
    pub(crate) errno: Errno,
}

/// What happened while the export ran, because the volume went on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meanwhile {
    /// Saved, and no more in the state: written back, or given up. The file has what it was.
    pub(crate) left: Vec<Range>,
    /// Bytes of saved ranges that a client overwrote.
    pub(crate) changed_bytes: u64,
    /// Bytes that came into the state, and were saved, too.
    pub(crate) came_bytes: u64,
}

impl Manifest {
    /// Bytes of data in the file.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.length).sum()
    }

    /// Reads one and checks that it makes sense by itself.
    pub(super) fn read(path: &Path) -> Result<Manifest, Error> {
        let nonsense = |what: String| {
            let message = format!("the manifest '{}' makes no sense: {what}.", path.display());
            Error::usage(
                message,
                "Nothing was changed. Give the FILE that 'export' wrote, with its FILE.json.",
            )
        };
        let length = std::fs::metadata(path).map_err(|error| nonsense(error.to_string()))?.len();
        if length > MANIFEST_BYTES_MAX {
            return Err(nonsense(format!("it has {length} bytes, more than {MANIFEST_BYTES_MAX}")));
        }
        let bytes = std::fs::read(path).map_err(|error| nonsense(error.to_string()))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| nonsense(error.to_string()))?;
        manifest.check().map_err(nonsense)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != KIND || self.version != MANIFEST_VERSION {
            return Err(format!("it is a '{}' of version {}", self.kind, self.version));
        }
        if !self.block_bytes.is_power_of_two() || !(512..=65_536).contains(&self.block_bytes) {
            return Err(format!("blocks of {} bytes", self.block_bytes));
        }
        let block = u64::from(self.block_bytes);
        let mut end = 0;
        for SavedRange { offset, length, .. } in &self.ranges {
            let next = offset.checked_add(*length);
            let inside = next.is_some_and(|next| next <= self.size_bytes);
            let whole = offset.is_multiple_of(block) && length.is_multiple_of(block);
            if *offset < end || !inside || !whole || !(1..=PIECE_BYTES_MAX).contains(length) {
                return Err(format!(
                    "the range {offset}:{length} overlaps another one, is out of order, out of the volume or not in whole \
                     blocks"
                ));
            }
            end = next.unwrap_or(end);
        }
        Ok(())
    }
}

/// Where the manifest of exported data is.
pub(crate) fn manifest_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

/// Spans as plain ranges.
pub(super) fn ranges(spans: &[Span]) -> Vec<Range> {
    spans.iter().map(|span| Range { offset: span.offset, length: span.end - span.offset }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(ranges: &[(u64, u64)]) -> Manifest {
        let saved = |&(offset, length): &(u64, u64)| SavedRange {
            offset,
            length,
            state: "failed".to_owned(),
            refusal: None,
            sha256: String::new(),
            changed_meanwhile: false,
            came_meanwhile: false,
        };
        Manifest {
            version: MANIFEST_VERSION,
            kind: KIND.to_owned(),
            release: String::new(),
            volume: "vm1".to_owned(),
            identity: String::new(),
            incarnation: String::new(),
            size_bytes: 1 << 20,
            block_bytes: 512,
            states: Vec::new(),
            began: Time::from_unix_ms(0),
            ended: Time::from_unix_ms(0),
            ranges: ranges.iter().map(saved).collect(),
            unreadable: Vec::new(),
            meanwhile: Meanwhile::default(),
        }
    }

    #[test]
    fn ranges_are_ordered_whole_blocks_inside_the_volume() {
        assert_eq!(manifest(&[(0, 512), (512, 1024), (1 << 19, 1 << 19)]).check(), Ok(()));
        let bad: [&[(u64, u64)]; 7] = [
            &[(0, 0)],
            &[(0, 100)],
            &[(1, 512)],
            &[(512, 512), (0, 512)],
            &[(0, 1024), (512, 512)],
            &[(1 << 20, 512)],
            &[(u64::MAX - 511, 512)],
        ];
        for ranges in bad {
            assert!(manifest(ranges).check().is_err(), "{ranges:?}");
        }
        let foreign = Manifest { kind: "other".to_owned(), ..manifest(&[]) };
        assert!(foreign.check().is_err());
        let odd = Manifest { block_bytes: 0, ..manifest(&[]) };
        assert!(odd.check().is_err());
    }
}
