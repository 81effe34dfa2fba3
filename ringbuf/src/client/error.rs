//! What can go wrong for a client.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::limits::VOLUME_NAME_BYTES_MAX;
use crate::request::Opcode;
use crate::volume::FailureId;
use crate::wire::VERSION;

/// Why there is no session.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody listens, or this process may not connect.
    #[error("{path}: {source}; is holdfastd running, and may this user open its socket?")]
    Socket {
        /// The daemon's socket.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// A name that no volume can have.
    #[error("{name:?} is no volume name: 1 to {VOLUME_NAME_BYTES_MAX} bytes, no control characters")]
    Name {
        /// As asked for.
        name: String,
    },
    /// The daemon said no.
    #[error("refused: {reason} (errno {errno})")]
    Refused {
        /// ENOENT: unknown volume; EACCES: not for this user; EPROTONOSUPPORT: another version ...
        errno: i32,
        /// The daemon's own words.
        reason: String,
    },
    /// What answered speaks another version of the protocol.
    #[error("the daemon speaks protocol version {theirs}, this client {VERSION}: use matching versions")]
    Version {
        /// The daemon's version.
        theirs: u32,
    },
    /// What answered is no Holdfast daemon, or a broken one.
    #[error("the daemon's answer is out of order: {0}")]
    Malformed(&'static str),
    /// The connection broke off or took too long.
    #[error("the handshake was not finished: {0}")]
    Handshake(#[source] io::Error),
    /// The session's memory could not be mapped.
    #[error("the session's shared memory: {0}")]
    Memory(#[source] io::Error),
}

/// What the daemon answered to a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// A positive errno.
    pub errno: i32,
    /// For a failed flush: its name, for `holdfastctl explain`.
    pub failure: Option<FailureId>,
}

/// Why a request was not carried out, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The daemon carried it out and reports a failure.
    #[error("{operation} of {length} bytes at {offset}: {}{}", io::Error::from_raw_os_error(*errno), explain(failure))]
    Io {
        /// What was asked for.
        operation: Opcode,
        /// Bytes from the start of the volume; of the part that failed, if the request was split.
        offset: u64,
        /// Bytes.
        length: u64,
        /// A positive errno: EIO, ENOSPC, EROFS, EINVAL ...
        errno: i32,
        /// For a failed flush: its name.
        failure: Option<FailureId>,
    },
    /// The request's time was over, and it will not happen any more.
    #[error("{operation} of {length} bytes at {offset}: not carried out in time")]
    TimedOut {
        /// What was asked for.
        operation: Opcode,
        /// Bytes from the start of the volume.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// The range passes the volume's end. Nothing was sent.
    #[error("{length} bytes at {offset} pass the end of a volume of {volume_bytes} bytes")]
    OutOfRange {
        /// Bytes from the start of the volume.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Bytes of the volume.
        volume_bytes: u64,
    },
    /// The range is not made of whole blocks. Nothing was sent.
    #[error("{length} bytes at {offset} are not whole blocks of {block_bytes} bytes")]
    Unaligned {
        /// Bytes from the start of the volume.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// An empty request, or one longer than a queue's window. Nothing was sent.
    #[error("{length} bytes in one request: possible are 1 to {length_max}")]
    Length {
        /// As asked for.
        length: u64,
        /// Bytes of a window.
        length_max: u64,
    },
    /// A tag that the queue does not have. Nothing was sent.
    #[error("tag {tag} of a queue of depth {depth}")]
    Tag {
        /// As given.
        tag: u32,
        /// Tags are below this.
        depth: u32,
    },
    /// The tag's request is not done. Nothing was sent.
    #[error("tag {tag} is still in flight")]
    TagInUse {
        /// As given.
        tag: u32,
    },
    /// The session is over: the daemon died or ended it. Whether requests in flight were carried out is not known.
    #[error("the session is over: the daemon has closed the connection")]
    Disconnected,
    /// The session is over, and the daemon does not open it again: the volume was removed, or is not for this user any more.
    /// Whether requests in flight were carried out is not known.
    #[error("the session is over: {reason}")]
    TurnedAway {
        /// A positive errno: ENOENT, EACCES ...
        errno: i32,
        /// The daemon's own words.
        reason: String,
    },
    /// The daemon broke the protocol; the session is over.
    #[error("the daemon broke the protocol: {0}")]
    Protocol(&'static str),
}

fn explain(failure: &Option<FailureId>) -> String {
    failure.map_or(String::new(), |id| format!(" (see `holdfastctl explain {id}`)"))
}

impl Error {
    /// The error for a request that the daemon answered with a failure.
    pub(super) fn answered(operation: Opcode, offset: u64, length: u64, answer: Failure) -> Self {
        if answer.errno == rustix::io::Errno::TIMEDOUT.raw_os_error() {
            return Self::TimedOut { operation, offset, length };
        }
        Self::Io { operation, offset, length, errno: answer.errno, failure: answer.failure }
    }

    /// The errno that a block device would report.
    #[must_use]
    pub fn errno(&self) -> i32 {
        use rustix::io::Errno;
        let errno = match self {
            Self::Io { errno, .. } => return *errno,
            Self::TimedOut { .. } => Errno::TIMEDOUT,
            Self::Disconnected | Self::TurnedAway { .. } => Errno::NOTCONN,
            Self::Protocol(_) => Errno::PROTO,
            Self::OutOfRange { .. } | Self::Unaligned { .. } | Self::Length { .. } | Self::Tag { .. } => {
                Errno::INVAL
            }
            Self::TagInUse { .. } => Errno::BUSY,
        };
        errno.raw_os_error()
    }

    /// The name of what made a flush fail.
    #[must_use]
    pub fn failure_id(&self) -> Option<FailureId> {
        if let Self::Io { failure, .. } = self { *failure } else { None }
    }
}

impl Failure {
    /// The answer of the whole from the answers of its parts: the worst errno and the highest id.
    ///
    /// ENOSPC is the mildest: it says that *all* that fails is held and waits for room. EIO says that data is lost.
    pub(super) fn join(self, other: Self) -> Self {
        let severity = |errno: i32| match rustix::io::Errno::from_raw_os_error(errno) {
            rustix::io::Errno::IO => 2,
            rustix::io::Errno::NOSPC => 0,
            _ => 1,
        };
        let worse = if severity(other.errno) > severity(self.errno) { other } else { self };
        Self { errno: worse.errno, failure: self.failure.max(other.failure) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_to_the_worst() {
        let part = |errno, id: Option<u64>| Failure { errno, failure: id.map(FailureId) };
        let (eio, enospc, einval) = (5, 28, 22);
        assert_eq!(part(enospc, Some(9)).join(part(eio, Some(4))), part(eio, Some(9)));
        assert_eq!(part(eio, None).join(part(enospc, Some(4))), part(eio, Some(4)));
        assert_eq!(part(enospc, None).join(part(einval, None)), part(einval, None));
        assert_eq!(part(enospc, Some(1)).join(part(enospc, Some(2))), part(enospc, Some(2)));
    }

    #[test]
    fn a_failed_flush_says_how_to_learn_more() {
        let error = Error::answered(Opcode::Flush, 0, 0, Failure { errno: 28, failure: Some(FailureId(17)) });
        assert!(error.to_string().ends_with("(see `holdfastctl explain 0000000000000011`)"), "{error}");
        assert_eq!((error.errno(), error.failure_id()), (28, Some(FailureId(17))));
    }
}
