//! The client's side of a step: what a flush answered, and what a walk over lines found.

use super::error::Error;
use super::expected::{Expected, Found, covers};
use super::pattern::LINE;
use holdfast_ctl::api::{Extent, FailureId};
use holdfast_ringbuf::client::{self, Client};
use rustix::io::Errno;
use std::fmt;

/// What a flush answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All is on stable media.
    Stable,
    /// It is not, and this is why.
    Failed {
        /// ENOSPC or EIO.
        errno: Errno,
        /// The name of the failure.
        id: Option<FailureId>,
    },
}

impl Flushed {
    /// Flushes.
    ///
    /// # Errors
    /// If the session is over.
    pub(super) fn of(client: &Client, volume: &str) -> Result<Flushed, Error> {
        match refusal(client.flush(), volume)? {
            None => Ok(Flushed::Stable),
            Some((errno, id)) => Ok(Flushed::Failed { errno, id }),
        }
    }

    /// The errno, if it failed.
    pub(super) fn errno(self) -> Option<Errno> {
        if let Flushed::Failed { errno, .. } = self { Some(errno) } else { None }
    }

    /// The id, if it failed with one.
    pub(super) fn id(self) -> Option<FailureId> {
        if let Flushed::Failed { id, .. } = self { id } else { None }
    }
}

impl fmt::Display for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flushed::Stable => f.write_str("success"),
            Flushed::Failed { errno, id: Some(id) } => write!(f, "{}, id {id}", name(*errno)),
            Flushed::Failed { errno, id: None } => write!(f, "{}, no id", name(*errno)),
        }
    }
}

/// An error of the disk's apart from those of the session.
///
/// # Errors
/// If the session is over, or a request made no sense.
pub(super) fn refusal(
    answer: Result<(), client::Error>,
    volume: &str,
) -> Result<Option<(Errno, Option<FailureId>)>, Error> {
    match answer {
        Ok(()) => Ok(None),
        Err(client::Error::Io { errno, failure, .. }) => {
            Ok(Some((Errno::from_raw_os_error(errno), failure.map(|id| FailureId(id.0)))))
        }
        Err(source) => Err(Error::Volume { volume: volume.to_owned(), source }),
    }
}

/// The name of an errno, as far as they come up here.
pub(super) fn name(errno: Errno) -> String {
    match errno {
        Errno::NOSPC => "ENOSPC".to_owned(),
        Errno::IO => "EIO".to_owned(),
        other => format!("errno {}", other.raw_os_error()),
    }
}

/// What a walk over lines found, in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// The newest acknowledged write, or in its place one that was refused.
    pub(super) newest: usize,
    /// EIO, and listed as lost.
    pub(super) lost: usize,
    /// Something older: a read went back.
    pub(super) older: usize,
    /// What nobody wrote, another error, EIO without a loss, or no EIO in spite of one.
    pub(super) wrong: usize,
}

impl Walk {
    /// Reads the lines at these offsets. What was lost before must answer EIO, and nothing may that is not lost after.
    ///
    /// # Errors
    /// If the session is over, or the losses cannot be listed.
    pub(super) fn over(
        client: &Client,
        volume: &str,
        lines: &[u64],
        expected: &Expected,
        lost: impl Fn() -> Result<Vec<Extent>, Error>,
    ) -> Result<Walk, Error> {
        let before = lost()?;
        let mut found = Vec::new();
        for &offset in lines {
            let mut line = vec![0; usize::try_from(LINE).expect("a line is short")];
            let refused = refusal(client.read_at(&mut line, offset), volume)?;
            found.push((offset, refused.map_or_else(|| Ok(expected.judge_line(offset, &line)), Err)));
        }
        let after = lost()?;
        let mut walk = Walk::default();
        for (offset, found) in found {
            match found {
                Ok(Found::Newest | Found::Refused) if !covers(&before, offset) => walk.newest += 1,
                Ok(Found::Older) => walk.older += 1,
                Err((Errno::IO, _)) if covers(&after, offset) => walk.lost += 1,
                _ => walk.wrong += 1,
            }
        }
        Ok(walk)
    }

    /// Whether no read lied.
    pub(super) fn holds(self) -> bool {
        self.older == 0 && self.wrong == 0
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "new in {} lines", self.newest)?;
        let rest = [(self.lost, "EIO (lost) in"), (self.older, "OLD in"), (self.wrong, "WRONG in")];
        rest.iter()
            .filter(|(lines, _)| *lines > 0)
            .try_for_each(|(lines, what)| write!(f, ", {what} {lines}"))
    }
}
