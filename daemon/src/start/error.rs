//! Why the daemon does not start.

use crate::arena::ArenaError;
use crate::device::{BackingError, DiskError};
use crate::ledger::{LedgerError, RegisterError};
use std::io;
use std::path::PathBuf;

/// Why the daemon does not start. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel lacks what cannot be done without.
    #[error("this kernel cannot run Holdfast: {what}: {found}. {remedy}")]
    Kernel {
        /// What was looked at.
        what: &'static str,
        /// What was found.
        found: String,
        /// The way out.
        remedy: String,
    },
    /// The directory of the ledger cannot be made.
    #[error(
        "the state directory '{path}' cannot be made: {source}; make it, or set another 'daemon.state_dir'"
    )]
    StateDir {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A frontend.
    #[error(transparent)]
    Nbd(#[from] crate::nbd::NbdError),
    /// Another one.
    #[error(transparent)]
    Vhost(#[from] crate::vhost::VhostError),
    /// A volume's backing.
    #[error("volume '{volume}': {source}")]
    Backing {
        /// Which.
        volume: String,
        /// Why.
        source: BackingError,
    },
    /// It was told to end while it waited for a device.
    #[error(
        "told to end while {} of volume '{volume}' did not answer; nothing was served, and nothing was changed",
        path.display()
    )]
    Interrupted {
        /// Which.
        volume: String,
        /// Where its device is.
        path: PathBuf,
    },
    /// A volume that is not what is on record.
    #[error("volume '{volume}': {source}")]
    Register {
        /// Which.
        volume: String,
        /// Why.
        source: RegisterError,
    },
    /// The volume's data is in an arena that is not the one of this configuration.
    #[error(
        "volume '{volume}' has data in an arena of this boot that is not at {}: start with the 'arena.path' that it was \
         used with last, and stop it there with SIGTERM; or give that data up: start once with --discard-arena",
        path.display()
    )]
    OtherArena {
        /// Which.
        volume: String,
        /// Where the arena of this configuration is.
        path: PathBuf,
    },
    /// The newest data of a backing is in another daemon's cache.
    #[error(
        "volume '{volume}': the newest data of {} is not there, but with the daemon whose state directory is '{}', as its \
         volume '{known_as}'. Start that one and stop it with SIGTERM; if its cache is gone for good, what is on the backing \
         is all there is: `{remedy}`, then start again",
        path.display(), state_dir.display()
    )]
    StaleOrigin {
        /// Which.
        volume: String,
        /// Its backing.
        path: PathBuf,
        /// The other daemon's directory.
        state_dir: PathBuf,
        /// What it is called there.
        known_as: String,
        /// The command that takes the mark off.
        remedy: String,
    },
    /// Nobody can say whether the newest data of a backing is in another daemon's cache.
    #[error("volume '{volume}': cannot read whose cache has newer data of {}: {source}", path.display())]
    Mark {
        /// Which.
        volume: String,
        /// Its backing.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ledger cannot make durable that data of an earlier boot, or of a damaged arena, is lost.
    #[error(
        "volume '{volume}': data that was in memory is lost, because the host went down or the arena is damaged, and the \
         ledger cannot record that: {text}; give the ledger's file system room, then start again"
    )]
    LossNotRecorded {
        /// Which.
        volume: String,
        /// What the ledger's disk said.
        text: String,
    },
    /// A device's blocks are larger than a line.
    #[error(
        "volume '{volume}': its device writes blocks of {block_bytes} bytes, more than a line: set 'arena.line' to {block_bytes}"
    )]
    Block {
        /// Which.
        volume: String,
        /// What the device wants.
        block_bytes: u32,
    },
    /// The cache's memory.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The arena turned out smaller than the settings count on.
    #[error(
        "the arena has {slots} slots for each reactor, but the settings need {needed}: its pages are too large for \
         its size; set a larger 'arena.size'"
    )]
    ArenaSlots {
        /// What there is.
        slots: u32,
        /// What is needed.
        needed: u64,
    },
    /// A reactor's ring to the kernel.
    #[error("reactor {reactor}: {source}")]
    Disk {
        /// Which.
        reactor: u32,
        /// Why.
        source: DiskError,
    },
    /// The clients' socket.
    #[error(
        "the socket '{path}' cannot be made: {source}; its directory must exist and be writable to the daemon"
    )]
    Door {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The operators' socket.
    #[error(transparent)]
    Admin(#[from] crate::admin::BindError),
    /// The TCP port.
    #[error(transparent)]
    Port(#[from] crate::admin::PortError),
    /// The kernel has no threads, descriptors or memory left.
    #[error("{what}: {source}")]
    Resource {
        /// For what.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
