//! Waiting for a queue's answers without holding the queue.

use std::sync::Arc;

use super::connection::Connection;
use super::{Error, Queue};

/// Waits for the answers of a [`Queue`] that somebody else goes on submitting to.
///
/// A queue has one owner, and [`Queue::wait`] keeps it. Where requests come from one place and answers go to another (a
/// socket's reader and writer), the queue lies behind a lock, and who waits for answers must not hold it: it waits here,
/// then takes the lock for a [`Queue::poll`]. One waiter at a time.
#[derive(Debug)]
pub struct Waiter {
    connection: Arc<Connection>,
}

impl Waiter {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        Self { connection: Arc::clone(connection) }
    }

    /// Returns when an answer is there that was not polled yet: spins for a while, then sleeps. Without a request in
    /// flight that is never.
    ///
    /// # Errors
    /// If the session is over.
    pub fn wait(&self) -> Result<(), Error> {
        self.connection.wait()
    }

    /// Ends the session, as [`Queue::close`]: who waits returns.
    pub fn close(&self) {
        self.connection.shut();
    }
}

impl Queue {
    /// A way to wait for this queue's answers on another thread.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.connection())
    }
}
