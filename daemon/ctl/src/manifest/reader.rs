//! Reading an export back. Manifest and data may have been through anybody's hands.

use super::{Checksum, Manifest, ManifestError, SavedRange, path_beside};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a manifest at most; one of a million ranges has 400 MB.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// Why an export, or a range of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
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
    /// The manifest.
    #[error("the manifest '{path}' cannot be used: {source}")]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// The data's file is not the one that was written.
    #[error("the data's file '{path}' has {found} bytes, its manifest says {expected}")]
    Length {
        /// Which.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// The bytes are not those that were exported.
    #[error("'{path}' is damaged between {offset} and {}: checksum {found}, its manifest says {expected}", offset + length)]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The range's first byte.
        offset: u64,
        /// Its bytes.
        length: u64,
        /// The checksum of what is there.
        found: Checksum,
        /// What the manifest says.
        expected: Checksum,
    },
}

/// An export that is open for reading.
#[derive(Debug)]
pub struct Export {
    manifest: Manifest,
    path: PathBuf,
    file: File,
}

impl Export {
    /// Opens the export whose data is in `data`; its manifest is beside it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(data: &Path) -> Result<Export, ReadError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| ReadError::Io { doing, path, source }
        };
        let path = path_beside(data);
        let json = read_bounded(&path).map_err(failed("read the manifest", &path))?;
        let manifest = Manifest::parse(&json).map_err(|source| ReadError::Manifest { path, source })?;
        // The manifest names the file: a copy under another name is as good, one in another directory is not meant.
        let file = File::open(data).map_err(failed("open", data))?;
        let found = file.metadata().map_err(failed("look at", data))?.len();
        if found != manifest.data_bytes {
            let (path, expected) = (data.to_owned(), manifest.data_bytes);
            return Err(ReadError::Length { path, found, expected });
        }
        Ok(Export { manifest, path: data.to_owned(), file })
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads a range of the manifest into `bytes`, which becomes as long as it, and compares its checksum.
    ///
    /// # Errors
    /// [`ReadError`]; then what is in `bytes` must not be used.
    pub fn read(&self, range: &SavedRange, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
        let &SavedRange { offset, length, crc64_nvme: expected, .. } = range;
        bytes.resize(usize::try_from(length).expect("a checked range has a few MiB"), 0);
        let path = || self.path.clone();
        self.file.read_exact_at(bytes, offset).map_err(|source| ReadError::Io {
            doing: "read",
            path: path(),
            source,
        })?;
        let found = Checksum::of(bytes);
        if found == expected {
            return Ok(());
        }
        Err(ReadError::Damaged { path: path(), offset, length, found, expected })
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut json = Vec::new();
    File::open(path)?.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut json)?;
    if json.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(io::Error::other("it has more than 1 GiB"));
    }
    Ok(json)
}
