//! How a device gets a session of the daemon's.

use super::device::Disk;
use crate::reactor::Seat;
use holdfast_engine::SessionId;
use std::sync::mpsc::Receiver;

/// The process at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A session that was given out.
#[derive(Debug)]
pub struct Ticket {
    /// Its name.
    pub session: SessionId,
    /// Says once that every reactor has let the session go, with the fault if there was one.
    pub over: Receiver<Option<String>>,
}

/// Makes the seats of a session, one for each reactor.
pub type MakeSeats = Box<dyn FnOnce(SessionId) -> Vec<Seat> + Send>;

/// Who gives sessions out.
pub trait Office: Send + Sync {
    /// A session of a volume, if it is still the one that the disk was made from.
    ///
    /// # Errors
    /// In words, why there is none.
    fn seat(&self, disk: &Disk, peer: Peer, make: MakeSeats) -> Result<Ticket, String>;

    /// Ends a session: its ticket says when that is done.
    fn leave(&self, session: SessionId);
}
