//! Bringing exported data back: every checksum is verified before the first byte is written.

use super::export::hexadecimal;
use super::manifest::{Manifest, SavedRange, manifest_path};
use super::{CHUNK, Progress};
use crate::error::Error;
use holdfast_ringbuf::client::Client;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Exported data that was verified.
pub(crate) struct Package {
    pub(crate) manifest: Manifest,
    file: File,
    path: PathBuf,
}

impl Package {
    /// Reads the manifest and all of the data.
    pub(crate) fn verify(path: &Path, progress: bool) -> Result<Package, Error> {
        let manifest = Manifest::read(&manifest_path(path))?;
        let nonsense = |what: String| {
            Error::usage(
                format!("'{}': {what}.", path.display()),
                "Nothing was changed. Give the FILE that 'export' wrote.",
            )
        };
        let file = File::open(path).map_err(|error| nonsense(error.to_string()))?;
        let length = file.metadata().map_err(|error| nonsense(error.to_string()))?.len();
        let end = manifest.ranges.last().map_or(0, |range| range.offset + range.length);
        if length < end {
            return Err(nonsense(format!("it has {length} bytes, and the manifest speaks of {end}")));
        }
        let package = Package { manifest, file, path: path.to_owned() };
        let mut progress = Progress::new("verify".to_owned(), package.manifest.data_bytes(), progress);
        let mut data = Vec::new();
        for range in &package.manifest.ranges {
            package.read(range, &mut data)?;
            progress.add(range.length);
        }
        Ok(package)
    }

    /// Whether this can be written to a volume at all.
    pub(crate) fn check_volume(&self, name: &str, client: &Client, other: bool) -> Result<(), Error> {
        let (manifest, volume) = (&self.manifest, client.volume());
        let refuse = |message: String, remedy: &str| Err(Error::usage(message, remedy));
        if manifest.volume != name && !other {
            let message = format!("this is data of volume '{}', not of '{name}'.", manifest.volume);
            return refuse(message, "Nothing was changed. If that is meant, add --other-volume.");
        }
        if volume.read_only {
            return refuse(
                format!("volume '{name}' is read only."),
                "Nothing was changed. See 'read_only' of the volume.",
            );
        }
        let end = manifest.ranges.last().map_or(0, |range| range.offset + range.length);
        if end > volume.bytes {
            let message =
                format!("the data reaches to byte {end}, and volume '{name}' has {}.", volume.bytes);
            return refuse(
                message,
                "Nothing was changed. Give a volume that is as large as the one that was exported.",
            );
        }
        let block = u64::from(volume.block_bytes);
        let whole =
            |range: &SavedRange| range.offset.is_multiple_of(block) && range.length.is_multiple_of(block);
        if !manifest.ranges.iter().all(whole) {
            let message =
                format!("volume '{name}' has blocks of {block} bytes, and the data is not in whole ones.");
            return refuse(message, "Nothing was changed. Give a volume with the same block size.");
        }
        Ok(())
    }

    /// The bytes of a range, as they were saved.
    fn read(&self, range: &SavedRange, data: &mut Vec<u8>) -> Result<(), Error> {
        data.resize(usize::try_from(range.length).expect("a piece is 16 MiB at most"), 0);
        let read = self.file.read_exact_at(data, range.offset);
        read.map_err(|error| {
            Error::failed(
                format!("'{}' cannot be read: {error}.", self.path.display()),
                "Mend the file, then do it again.",
            )
        })?;
        let found = hexadecimal(&Sha256::digest(&*data));
        if found == range.sha256 {
            return Ok(());
        }
        let (offset, length) = (range.offset, range.length);
        let message = format!(
            "'{}' is not what was exported: {length} bytes at {offset} have the checksum {found}, not {}.",
            self.path.display(),
            range.sha256
        );
        Err(Error::usage(message, "No byte of that range was written. Take another copy of the file."))
    }
}

/// Writes everything and flushes. Each range is verified once more, as it is written.
pub(crate) fn write_back(package: &Package, client: &Client, progress: bool) -> Result<u64, Error> {
    let manifest = &package.manifest;
    let mut progress = Progress::new("import".to_owned(), manifest.data_bytes(), progress);
    let (mut data, mut written) = (Vec::new(), 0);
    for range in &manifest.ranges {
        package.read(range, &mut data)?;
        for (index, chunk) in data.chunks(CHUNK).enumerate() {
            let offset = range.offset + (index * CHUNK) as u64;
            client.write_at(chunk, offset).map_err(|error| refused(&error, written))?;
            written += chunk.len() as u64;
            progress.add(chunk.len() as u64);
        }
    }
    client.flush().map_err(|error| refused(&error, written))?;
    Ok(written)
}

fn refused(error: &holdfast_ringbuf::client::Error, written: u64) -> Error {
    Error::failed(
        format!("{written} bytes were written, then: {error}."),
        "Do it again when 'holdfastctl status' is well: it writes the same once more.",
    )
}
