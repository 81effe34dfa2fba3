//! Many requests in flight, one owner.

use std::os::fd::AsFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use super::connection::Connection;
use super::lives::Lives;
use super::slots::Slot;
use super::{ConnectError, Error, Failure, Options};
use crate::index::{Consumer, Producer};
use crate::volume::VolumeInfo;

/// Fruitless polls after which the socket is asked whether the daemon is alive: some 100 us of polling.
const POLLS_BETWEEN_CHECKS: u32 = 4096;

/// A request that has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// As submitted; free for the next request.
    pub tag: u32,
    /// How it ended.
    pub result: Result<(), Failure>,
}

/// A session with one owner, who keeps up to `depth` requests in flight.
///
/// A request is named by a tag below `depth`, and each tag owns a *window* of `window_bytes` in shared memory, through
/// which its data goes. The way of a request: fill the window (writes), `submit_...`, `publish`, `poll` or `wait`
/// until its [`Done`] comes, take the data from the window (reads). Requests complete in any order; two that overlap
/// and are in flight together are carried out in either order.
///
/// Nothing here allocates after connecting; no system call is made but to wake a sleeping reactor and to sleep.
#[derive(Debug)]
pub struct Queue {
    pub(super) connection: Arc<Connection>,
    pub(super) submissions: Box<[Producer]>,
    pub(super) completions: Box<[Consumer]>,
    /// Parts in flight at each reactor: rings without any are not looked at.
    pub(super) flying: Box<[u32]>,
    pub(super) slots: Box<[Slot]>,
    pub(super) in_flight: u32,
    pub(super) sequence: u64,
    pub(super) timeout_ms: u32,
    fruitless_polls: u32,
    /// What it takes to outlive the daemon.
    pub(super) lives: Lives,
}

impl Queue {
    /// Opens a session for `volume` with the daemon that listens at `socket_path`.
    ///
    /// # Errors
    /// If nobody listens, or the daemon refuses, or the handshake is not finished in time.
    pub fn connect(
        socket_path: impl AsRef<Path>,
        volume: &str,
        options: Options,
    ) -> Result<Self, ConnectError> {
        let connection = Connection::open(socket_path.as_ref(), volume, &options)?;
        let lives = Lives::new(socket_path.as_ref(), volume, &options, connection.windows.depth);
        let (entries, reactors) = (connection.entries, connection.rings.len());
        Ok(Self {
            submissions: (0..reactors).map(|_| Producer::new(entries)).collect(),
            completions: (0..reactors).map(|_| Consumer::new(entries)).collect(),
            flying: vec![0; reactors].into(),
            slots: vec![Slot::default(); connection.windows.depth as usize].into(),
            in_flight: 0,
            sequence: 0,
            timeout_ms: options.timeout_ms(),
            fruitless_polls: 0,
            lives,
            connection: Arc::new(connection),
        })
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> VolumeInfo {
        self.connection.volume
    }

    /// The session's id in the daemon.
    #[must_use]
    pub fn session_id(&self) -> u64 {
        self.connection.session
    }

    /// Changes when the daemon's cache died with unflushed data.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.connection.incarnation
    }

    /// Tags, and requests in flight; at most what was wished.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.connection.windows.depth
    }

    /// Bytes of a tag's window, and of the longest read or write.
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        self.connection.windows.bytes
    }

    /// Requests submitted and not yet reported done.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The first byte of a tag's window, `window_bytes` long, valid until the next [`Queue::poll`] or [`Queue::wait`]: when
    /// the daemon was started again, windows are elsewhere, with what was in them. The daemon reads or writes it
    /// while the tag is in flight: use it only when it is not, and make no reference to it that lives longer.
    ///
    /// # Panics
    /// If the tag is not below the depth.
    #[must_use]
    pub fn window(&self, tag: u32) -> NonNull<u8> {
        self.connection.window(tag)
    }

    /// Makes what was submitted visible to the daemon; `poll` and `wait` begin with it.
    pub fn publish(&mut self) {
        for (reactor, submissions) in self.submissions.iter_mut().enumerate() {
            if submissions.publish(self.connection.rings[reactor].sq_tail()) {
                self.connection.wake(reactor);
            }
        }
    }

    /// Publishes, and appends what is done to `done`; how many. Does not wait. Allocates only if `done` has less room
    /// than there are requests in flight. If the daemon is gone this tries to find its successor, now and then, and sends
    /// it what was not answered.
    ///
    /// # Errors
    /// If the session is over. What was appended is valid.
    pub fn poll(&mut self, done: &mut Vec<Done>) -> Result<usize, Error> {
        if self.lives.is_lost() {
            return self.revive(done);
        }
        self.publish();
        let before = done.len();
        for reactor in 0..self.completions.len() {
            if self.flying[reactor] > 0 {
                self.take_completions(reactor, done)?;
            }
        }
        let count = done.len() - before;
        match self.check_alive(count) {
            Err(Error::Disconnected) => self.lose(done).map(|found| count + found),
            other => other.map(|()| count),
        }
    }

    pub(super) fn take_completions(&mut self, reactor: usize, done: &mut Vec<Done>) -> Result<(), Error> {
        let ring = &self.connection.rings[reactor];
        let completions = &mut self.completions[reactor];
        let jumped = |_| Error::Protocol("the completion ring's index jumped");
        while let Some(place) = completions.next(ring.cq_tail()).map_err(jumped)? {
            let completion = ring.read_completion(place);
            let tag = completion.tag;
            let slot =
                self.slots.get_mut(tag as usize).ok_or(Error::Protocol("an answer to an unknown tag"))?;
            let answered = slot.answer(reactor, &completion)?;
            self.flying[reactor] -= 1;
            if let Some(result) = answered {
                let result = self.lives.answered(tag, result);
                self.in_flight -= 1;
                done.push(Done { tag, result });
            }
        }
        completions.release(ring.cq_head());
        Ok(())
    }

    /// Who only polls must notice a dead daemon, too.
    fn check_alive(&mut self, progress: usize) -> Result<(), Error> {
        if progress > 0 || self.in_flight == 0 {
            self.fruitless_polls = 0;
            return Ok(());
        }
        self.fruitless_polls += 1;
        if self.fruitless_polls < POLLS_BETWEEN_CHECKS {
            return Ok(());
        }
        self.fruitless_polls = 0;
        if self.connection.gone() { Err(Error::Disconnected) } else { Ok(()) }
    }

    /// As `poll`, and waits until at least one request is done; 0 only if none is in flight.
    ///
    /// # Errors
    /// As [`Queue::poll`].
    pub fn wait(&mut self, done: &mut Vec<Done>) -> Result<usize, Error> {
        loop {
            let count = self.poll(done)?;
            if count > 0 || self.in_flight == 0 {
                return Ok(count);
            }
            if self.lives.is_lost() {
                self.lives.pause();
                continue;
            }
            match self.connection.wait() {
                Err(Error::Disconnected) => {
                    let count = self.lose(done)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                waited => waited?,
            }
        }
    }

    /// Ends the session. Requests in flight may or may not be carried out.
    pub fn close(self) {
        self.connection.shut();
    }
}

impl AsFd for Queue {
    /// The connection, to be watched for a hang-up. Do not read from it.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.connection.socket()
    }
}
