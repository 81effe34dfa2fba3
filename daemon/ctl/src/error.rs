//! What can go wrong here, with the exit code and, for `--json`, the same form as the daemon's own refusals.

use crate::Exit;
use crate::api::{ApiError, VERSION};
use std::path::PathBuf;

/// Why a verb was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answers.
    #[error("{what} '{}': {cause}", socket.display())]
    Unreachable {
        /// What that means.
        what: &'static str,
        /// The admin socket.
        socket: PathBuf,
        /// What happened.
        cause: String,
        /// The way out.
        remedy: String,
    },
    /// Somebody answers who speaks otherwise.
    #[error("the answer on '{}' cannot be understood: {cause}", socket.display())]
    Strange {
        /// The admin socket.
        socket: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The daemon refused.
    #[error("{}", error.message)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        error: ApiError,
    },
    /// Something of this machine is in the way.
    #[error("{message}")]
    Failed {
        /// What and why.
        message: String,
        /// The way out.
        remedy: String,
    },
    /// What was typed makes no sense, or needs a confirmation.
    #[error("{message}")]
    Usage {
        /// What and why.
        message: String,
        /// What to type.
        remedy: String,
    },
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Usage { message: message.into(), remedy: remedy.into() }
    }

    pub(crate) fn failed(message: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Failed { message: message.into(), remedy: remedy.into() }
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Error::Unreachable { .. } | Error::Strange { .. } => Exit::Unreachable,
            Error::Usage { .. } => Exit::Usage,
            Error::Failed { .. } => Exit::Incomplete,
            Error::Refused { status, .. } => match status {
                400 | 404 | 405 | 413 => Exit::Usage,
                403 => Exit::NotPermitted,
                500 => Exit::Internal,
                _ => Exit::Incomplete,
            },
        }
    }

    /// The error as the interface writes errors.
    pub(crate) fn as_api(&self) -> ApiError {
        let (code, remedy) = match self {
            Error::Refused { error, .. } => return error.clone(),
            Error::Unreachable { remedy, .. } => ("unreachable", remedy.clone()),
            Error::Strange { .. } => ("strange_answer", strange_remedy()),
            Error::Usage { remedy, .. } => ("usage", remedy.clone()),
            Error::Failed { remedy, .. } => ("failed", remedy.clone()),
        };
        ApiError { code: code.to_owned(), message: self.to_string(), remedy }
    }
}

fn strange_remedy() -> String {
    format!("This program speaks version {VERSION} of the interface: use the one that came with the daemon.")
}
