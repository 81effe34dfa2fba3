//! A client that was let in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::DaemonRing;
use crate::memory::SessionMemory;
use crate::socket;

/// A live session. Its parts go where they are needed: each ring to its reactor, the socket to the control thread.
///
/// The session is over when the socket hangs up or is closed. The memory is unmapped with the last ring.
#[derive(Debug)]
pub struct Session {
    /// As offered.
    pub id: u64,
    /// One for each reactor, in their order.
    pub rings: Vec<DaemonRing>,
    /// The connection. Nothing is sent over it any more: readable means that the client is gone, or misbehaves.
    pub socket: OwnedFd,
    /// Size, whether it is locked, whether it was poisoned by SIGBUS.
    pub memory: Arc<SessionMemory>,
}

impl Session {
    /// Whether the client is gone. Never blocks.
    #[must_use]
    pub fn hung_up(&self) -> bool {
        socket::hung_up(&self.socket)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
