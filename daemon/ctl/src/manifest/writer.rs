//! Writing an export.

use super::{
    Checksum, FORMAT, HeldRefusal, LostRange, Manifest, RANGE_BYTES_MAX, SECTOR_BYTES, SavedRange, VERSION,
    path_beside,
};
use crate::api::{ExtentState, Time};
use crc_fast::{CrcAlgorithm::Crc64Nvme, Digest};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why an export was not written. What was written so far stays, without a manifest.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is an export, or something else, already.
    #[error("'{path}' is there already; an export overwrites nothing: name another file, or remove it")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {doing} '{path}': {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The path has no file name that JSON can hold.
    #[error("'{path}' does not end in the name of a file in UTF-8")]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// A piece that does not follow the ones before.
    #[error("the piece at {offset} of {length} bytes is not whole sectors, or not behind byte {free_from}")]
    Order {
        /// Its first byte.
        offset: u64,
        /// Its bytes.
        length: usize,
        /// The end of what was written.
        free_from: u64,
    },
}

/// What is known of the data besides its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its state, not `lost`.
    pub state: ExtentState,
    /// What the device said.
    pub refusal: Option<HeldRefusal>,
}

/// The range that may still grow.
struct Growing {
    offset: u64,
    length: u64,
    saved: Saved,
    digest: Digest,
}

/// An export that is being written: pieces in the order of their offsets, then [`ExportWriter::finish`].
pub struct ExportWriter {
    path: PathBuf,
    name: String,
    file: File,
    ranges: Vec<SavedRange>,
    growing: Option<Growing>,
    free_from: u64,
}

impl ExportWriter {
    /// Creates the data's file, for its owner only: it holds what clients wrote.
    ///
    /// # Errors
    /// [`WriteError`]; a file or a manifest that is there already is not touched.
    pub fn create(data: &Path) -> Result<ExportWriter, WriteError> {
        let name = data.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| WriteError::Name { path: data.to_owned() })?.to_owned();
        let manifest = path_beside(data);
        if manifest.symlink_metadata().is_ok() {
            return Err(WriteError::Exists { path: manifest });
        }
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).mode(0o600).open(data);
        let file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: data.to_owned() },
            _ => WriteError::Io { doing: "create", path: data.to_owned(), source },
        })?;
        Ok(ExportWriter {
            path: data.to_owned(),
            name,
            file,
            ranges: Vec::new(),
            growing: None,
            free_from: 0,
        })
    }

    /// Writes a piece of the volume. Pieces that touch and are alike become one range.
    ///
    /// # Errors
    /// [`WriteError`]; then the piece is not in the export, which can go on without it.
    pub fn append(&mut self, offset: u64, bytes: &[u8], saved: &Saved) -> Result<(), WriteError> {
        let length = bytes.len();
        let whole = offset.is_multiple_of(SECTOR_BYTES) && (length as u64).is_multiple_of(SECTOR_BYTES);
        if offset < self.free_from || !whole || offset.checked_add(length as u64).is_none() {
            return Err(WriteError::Order { offset, length, free_from: self.free_from });
        }
        self.file.write_all_at(bytes, offset).map_err(|source| self.failed("write", source))?;
        self.free_from = offset + length as u64;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let taken = self.grow(at, rest, saved);
            at += taken as u64;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Adds to the range that grows, or to a new one, as much as it may take; returns how much that is.
    fn grow(&mut self, at: u64, bytes: &[u8], saved: &Saved) -> usize {
        let follows = |growing: &Growing| {
            growing.offset + growing.length == at
                && growing.length < RANGE_BYTES_MAX
                && growing.saved == *saved
        };
        if !self.growing.as_ref().is_some_and(follows) {
            self.close_range();
        }
        let growing = self.growing.get_or_insert_with(|| Growing {
            offset: at,
            length: 0,
            saved: saved.clone(),
            digest: Digest::new(Crc64Nvme),
        });
        let room = usize::try_from(RANGE_BYTES_MAX - growing.length).expect("a few MiB");
        let taken = bytes.len().min(room);
        growing.digest.update(&bytes[..taken]);
        growing.length += taken as u64;
        taken
    }

    fn close_range(&mut self) {
        let Some(Growing { offset, length, saved: Saved { state, refusal }, digest }) = self.growing.take()
        else {
            return;
        };
        let crc64_nvme = Checksum(digest.finalize());
        self.ranges.push(SavedRange { offset, length, state, refusal, crc64_nvme });
    }

    /// Makes the data durable, then the manifest, and returns it.
    ///
    /// # Errors
    /// [`WriteError`]; then there is no manifest.
    pub fn finish(mut self, about: About) -> Result<Manifest, WriteError> {
        self.close_range();
        let About { made, made_by, volume, volume_bytes, identity, lost, notes } = about;
        let data_bytes = volume_bytes.unwrap_or(0).max(self.free_from);
        let sized = self.file.set_len(data_bytes).and_then(|()| self.file.sync_all());
        sized.map_err(|source| self.failed("make durable", source))?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            made,
            made_by,
            volume,
            volume_bytes,
            identity,
            data_file: self.name.clone(),
            data_bytes,
            ranges: std::mem::take(&mut self.ranges),
            lost,
            notes,
        };
        write_durably(&path_beside(&self.path), &manifest)?;
        Ok(manifest)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> WriteError {
        WriteError::Io { doing, path: self.path.clone(), source }
    }
}

/// What an export's writer knows of the volume: see the fields of [`Manifest`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of the same names in `Manifest` say it")]
pub struct About {
    pub made: Time,
    pub made_by: String,
    pub volume: String,
    pub volume_bytes: Option<u64>,
    pub identity: Option<String>,
    pub lost: Vec<LostRange>,
    pub notes: Vec<String>,
}

/// Under another name first, so that a manifest is there whole or not at all.
fn write_durably(path: &Path, manifest: &Manifest) -> Result<(), WriteError> {
    let mut json = serde_json::to_vec_pretty(manifest).expect("plain data serializes");
    json.push(b'\n');
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.map_err(|source| WriteError::Io { doing: "write the manifest", path: path.to_owned(), source })
}
