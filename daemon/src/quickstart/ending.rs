//! The end: the disks, byte by byte.

use super::error::Error;
use super::expected::{Expected, total};
use super::pattern::PLAYGROUND;
use super::plan::Planned;
use super::transcript::{Transcript, step};
use holdfast_ctl::api::Extent;
use holdfast_ctl::size::binary;
use std::os::unix::fs::FileExt;

/// What must be on the disk in the end.
pub(super) struct Played {
    pub(super) volume: Planned,
    pub(super) expected: Expected,
    pub(super) lost: Vec<Extent>,
}

impl Played {
    /// Compares the disk, byte by byte, with what must be there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn compare(&self, transcript: &mut Transcript) -> Result<(), Error> {
        let wrong = self.expected.wrong_lines(&image(&self.volume)?, &self.lost);
        let what = step("end", "C1", self.volume.name());
        let seen = match wrong.first() {
            None => format!("{} right, {} of it lost", binary(PLAYGROUND), binary(total(&self.lost))),
            Some(first) => format!("{} lines wrong, the first at {first}", wrong.len()),
        };
        transcript.check(what, "all acknowledged but what is lost", &seen, wrong.is_empty());
        Ok(())
    }
}

/// The disk's own bytes, read past the daemon.
///
/// # Errors
/// If it cannot be read.
pub(super) fn image(volume: &Planned) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; usize::try_from(PLAYGROUND).expect("the playground is small")];
    let file = std::fs::File::open(&volume.path).map_err(Error::file(&volume.path, "open"))?;
    file.read_exact_at(&mut bytes, 0).map_err(Error::file(&volume.path, "read"))?;
    Ok(bytes)
}
