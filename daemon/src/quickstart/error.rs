//! Why the quickstart could not be played to its end. What the daemon did wrong is no error but a mismatch.

use holdfast_ringbuf::client;
use std::io;
use std::path::PathBuf;

/// Why it stopped: the thing, the cause, the way out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the cache needs {needed} bytes on a tmpfs, and /dev/shm {problem}; {remedy}")]
    Memory { needed: u64, problem: String, remedy: &'static str },
    #[error("{path}: cannot {doing}: {source}")]
    File { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("no folder for the volumes' files: {0}; set TMPDIR to a folder that this user may write to")]
    NoFolder(String),
    #[error("{path} is no place to play: {why}")]
    Backing { path: PathBuf, why: String },
    #[error("the daemon could not be started: {0}")]
    Spawn(#[source] io::Error),
    #[error("the daemon ended ({status}) before it was told to; its last words:\n{words}")]
    DaemonEnded { status: String, words: String },
    #[error("the daemon did not {what} within {seconds} s; its last words:\n{words}")]
    DaemonSlow { what: &'static str, seconds: u64, words: String },
    #[error("a session with volume '{volume}': {source}")]
    Connect { volume: String, source: client::ConnectError },
    #[error("volume '{volume}': {source}")]
    Volume { volume: String, source: client::Error },
    #[error("`holdfastctl {command}` exits with {code}: {words}")]
    Operator { command: String, code: u8, words: String },
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
}

impl Error {
    /// An error of `doing` something with a file.
    pub(super) fn file<E: Into<io::Error>>(
        path: impl Into<PathBuf>,
        doing: &'static str,
    ) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |source| Error::File { path, doing, source: source.into() }
    }
}
