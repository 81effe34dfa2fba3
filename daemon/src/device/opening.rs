//! The opening of a backing, while it lasts: a server or a disk that does not answer lasts as long as it likes.

use super::errand::Errand;
use super::open::{self, Measured};
use super::{Backing, BackingError, BackingSpec};
use std::path::PathBuf;
use std::time::Duration;

/// A backing that is being opened. Who drops it waits no more: it is closed again as soon as it is open.
pub struct Opening {
    path: PathBuf,
    errand: Errand<Result<Measured, BackingError>>,
}

impl Opening {
    /// Begins to open it, beside the caller. As [`Backing::open`], or, with `late`, [`Backing::open_late`].
    ///
    /// # Errors
    /// [`BackingError::Io`]: there is nobody to open it.
    pub fn begin(spec: BackingSpec, late: bool) -> Result<Opening, BackingError> {
        let path = spec.path.clone();
        let work = move || match open::open(&spec, late) {
            Ok((fd, measured)) => (Ok(measured), Some(fd)),
            Err(error) => (Err(error), None),
        };
        let errand = Errand::send(work).map_err(|source| BackingError::Io {
            path: path.clone(),
            doing: "find a thread to open it",
            source,
        })?;
        Ok(Opening { path, errand })
    }

    /// The backing, if it is open within `span`, or why it is not; to be asked for once.
    pub fn wait(&self, span: Duration) -> Option<Result<Backing, BackingError>> {
        let lost = |source| BackingError::Io { path: self.path.clone(), doing: "take it over", source };
        Some(match self.errand.wait(span)? {
            Ok((Ok(measured), Some(fd))) => Ok(Backing::of(fd, measured)),
            Ok((Err(error), _)) => Err(error),
            Ok((Ok(_), None)) => unreachable!("what was measured was opened"),
            Err(source) => Err(lost(source)),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}
