//! Bringing exported data back: every checksum is verified before the first byte is written.

use super::{CHUNK, Progress};
use crate::error::Error;
use crate::manifest::{Export, Manifest, ReadError, SavedRange};
use holdfast_ringbuf::client::{self, Client};
use std::path::Path;

/// Exported data that was verified.
pub(crate) struct Package(Export);

impl Package {
    /// Reads the manifest and all of the data.
    pub(crate) fn verify(path: &Path, progress: bool) -> Result<Package, Error> {
        let export = Export::open(path).map_err(nonsense)?;
        let mut progress = Progress::new("verify".to_owned(), export.manifest().saved_bytes(), progress);
        let mut data = Vec::new();
        for range in &export.manifest().ranges {
            export.read(range, &mut data).map_err(nonsense)?;
            progress.add(range.length);
        }
        Ok(Package(export))
    }

    /// What it says of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        self.0.manifest()
    }

    /// Whether this can be written to a volume at all.
    pub(crate) fn check_volume(&self, name: &str, client: &Client, other: bool) -> Result<(), Error> {
        let (manifest, volume) = (self.manifest(), client.volume());
        let refuse = |message: String, remedy: &str| Err(Error::usage(message, remedy));
        if manifest.volume != name && !other {
            let message = format!("this is data of volume '{}', not of '{name}'.", manifest.volume);
            return refuse(message, "Nothing was changed. If that is meant, add --other-volume.");
        }
        if volume.read_only {
            let message = format!("volume '{name}' is read only.");
            return refuse(message, "Nothing was changed. See 'read_only' of the volume.");
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
}

/// Writes everything and flushes. Each range is verified once more, as it is written.
pub(crate) fn write_back(package: &Package, client: &Client, progress: bool) -> Result<u64, Error> {
    let manifest = package.manifest();
    let mut progress = Progress::new("import".to_owned(), manifest.saved_bytes(), progress);
    let (mut data, mut written) = (Vec::new(), 0);
    for range in &manifest.ranges {
        package.0.read(range, &mut data).map_err(|error| stopped(&error, written))?;
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

fn nonsense(error: ReadError) -> Error {
    let remedy = "Nothing was changed. Give the FILE that 'export' or 'holdfastd salvage' wrote, with its FILE.json; if it \
                  is damaged, another copy.";
    Error::usage(format!("{error}."), remedy)
}

fn stopped(error: &ReadError, written: u64) -> Error {
    Error::failed(
        format!("{written} bytes were written, then: {error}."),
        "The file changed since it was verified. Take another copy, and do it again.",
    )
}

fn refused(error: &client::Error, written: u64) -> Error {
    Error::failed(
        format!("{written} bytes were written, then: {error}."),
        "Do it again when 'holdfastctl status' is well: it writes the same once more.",
    )
}
