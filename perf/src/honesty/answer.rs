//! What was seen at a step.

use std::fmt;
use std::io;

use rustix::io::Errno;
use serde::{Serialize, Serializer};

use super::patience::ANSWER_MAX;
use super::stamp::Found;

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Success,
    /// It was refused with this errno.
    Refused(i32),
    /// What the blocks hold.
    Contents(Vec<Found>),
    /// What an operator was told, or why there was nobody to ask.
    Words(String),
    /// No answer within [`ANSWER_MAX`].
    None,
}

impl Answer {
    /// Of a call that may fail, or never return.
    pub(super) fn of<T>(result: Option<Result<T, io::Error>>, success: impl FnOnce(T) -> Self) -> Self {
        match result {
            None => Answer::None,
            Some(Ok(value)) => success(value),
            Some(Err(error)) => {
                error.raw_os_error().map_or_else(|| Answer::Words(error.to_string()), Answer::Refused)
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Success => f.write_str("ok"),
            Answer::Refused(errno) => f.write_str(&errno_name(*errno)),
            Answer::Contents(found) => {
                let words: Vec<String> = found.iter().map(Found::to_string).collect();
                f.write_str(&words.join(", "))
            }
            Answer::Words(words) => f.write_str(words),
            Answer::None => write!(f, "no answer in {} s", ANSWER_MAX.as_secs()),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of an errno, as far as disks and file systems answer with it.
pub(super) fn errno_name(errno: i32) -> String {
    let known = [
        (Errno::IO, "EIO"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::ROFS, "EROFS"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NXIO, "ENXIO"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::UCLEAN, "EUCLEAN"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::SHUTDOWN, "ESHUTDOWN"),
        (Errno::NOENT, "ENOENT"),
    ];
    let found = known.iter().find(|(known, _)| known.raw_os_error() == errno);
    found.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}
