//! `--backing`: a disk of the user's, which is overwritten.

use super::error::Error;
use super::pattern::PLAYGROUND;
use super::plan::Disk;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// What is at `path`, if it may be played on.
///
/// # Errors
/// If it is not there, not a file or block device, too small, or nobody said that it may be overwritten.
pub(super) fn look(path: &Path, yes: bool) -> Result<Disk, Error> {
    let refused = |why: String| Error::Backing { path: path.to_owned(), why };
    let found = std::fs::metadata(path).map_err(Error::file(path, "look at it"))?;
    let disk = match found.file_type() {
        kind if kind.is_file() => Disk::File,
        kind if kind.is_block_device() => Disk::Block,
        _ => return Err(refused("it is neither a file nor a block device; name one".to_owned())),
    };
    // A block device's metadata has no size.
    let mut file = File::open(path).map_err(Error::file(path, "open it"))?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(Error::file(path, "find its size"))?;
    if bytes < PLAYGROUND {
        return Err(refused(format!(
            "it has {bytes} bytes, and {PLAYGROUND} are needed; `truncate -s 64M` makes a sparse file longer"
        )));
    }
    if !yes {
        return Err(refused(format!(
            "its first {PLAYGROUND} bytes would be overwritten, and nothing was changed; if that is meant, add --yes"
        )));
    }
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_played_on_that_is_not_meant_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        assert!(look(&path, true).is_err(), "it is not there");
        assert!(look(folder.path(), true).is_err(), "it is a folder");
        let file = File::create(&path).expect("a file");
        file.set_len(PLAYGROUND - 4096).expect("it can be sparse");
        assert!(look(&path, true).unwrap_err().to_string().contains("truncate"));
        file.set_len(PLAYGROUND).expect("it can be sparse");
        assert!(look(&path, false).unwrap_err().to_string().contains("--yes"));
        assert!(matches!(look(&path, true), Ok(Disk::File)));
    }
}
