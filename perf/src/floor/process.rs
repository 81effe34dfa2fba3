//! The floor as a target: the same program run again on the other core, and this end of the ring to it.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use super::memory::{Pages, Shared};
use super::ring::{Client, RingMemory};
use super::serve::{Phase, SPINS, order};
use crate::load::{LoadError, Operation, Target};
use crate::window::Window;

/// How long the other process may take for its start, touching its span included.
const START_MAX: Duration = Duration::from_secs(60);

/// A running second process. It sleeps, except during a session.
#[derive(Debug)]
pub struct Floor {
    child: Child,
    shared: Shared,
    span_bytes: u64,
}

impl Floor {
    /// Starts this program again as `floor-server` on `core`, with a span of so many bytes.
    ///
    /// # Errors
    /// If it cannot be started, or has no memory.
    pub fn start(core: usize, span_bytes: u64) -> io::Result<Self> {
        let (shared, file) = Shared::create()?;
        let child = Command::new(std::env::current_exe()?)
            .arg("floor-server")
            .args(["--core", &core.to_string(), "--span-bytes", &span_bytes.to_string()])
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::from(file))
            .stdout(Stdio::null())
            .spawn()?;
        let mut floor = Self { child, shared, span_bytes };
        floor.await_ready()?;
        Ok(floor)
    }

    /// What the other process's span lies on.
    #[must_use]
    pub fn span_pages(&self) -> Pages {
        match self.shared.ring().ready.load(Acquire) {
            word if word == Pages::Huge as u32 => Pages::Huge,
            word if word == Pages::Advised as u32 => Pages::Advised,
            _ => Pages::Ordinary,
        }
    }

    /// Of the other process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn await_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while self.shared.ring().ready.load(Acquire) == 0 {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the floor's second process ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the floor's second process was not ready within 60 s"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The shared memory.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Bytes of the other process's span.
    #[must_use]
    pub fn span_bytes(&self) -> u64 {
        self.span_bytes
    }

    /// Has the other process do something until the session is dropped.
    pub fn session(&mut self, phase: Phase) -> Session<'_> {
        order(&self.shared, phase);
        let Self { child, shared, .. } = self;
        Session { client: Client::new(shared), shared, child, fruitless: 0 }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        order(&self.shared, Phase::Quit);
        // It answers within a sleep; its end is of no further interest.
        let _ = self.child.wait();
    }
}

/// This end of the ring, as a target.
#[derive(Debug)]
pub struct Session<'floor> {
    client: Client<'floor>,
    shared: &'floor Shared,
    child: &'floor mut Child,
    fruitless: u32,
}

impl Session<'_> {
    pub(super) fn ring(&self) -> &RingMemory {
        self.shared.ring()
    }

    #[inline]
    pub(super) fn fruitful(&mut self) {
        self.fruitless = 0;
    }

    /// One more look that found nothing.
    #[inline]
    pub(super) fn fruitless(&mut self) -> Result<(), LoadError> {
        self.fruitless += 1;
        if self.fruitless == SPINS {
            return self.look_around();
        }
        std::hint::spin_loop();
        Ok(())
    }

    /// The slow path of waiting: the other process may be gone, or wait for this core.
    #[cold]
    fn look_around(&mut self) -> Result<(), LoadError> {
        self.fruitless = 0;
        std::thread::yield_now();
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(LoadError::FloorGone { status: status.to_string() }),
            Err(error) => Err(LoadError::FloorGone { status: error.to_string() }),
        }
    }
}

impl Target for Session<'_> {
    #[inline]
    fn window(&self, tag: u32) -> Window<'_> {
        self.shared.window(tag)
    }

    #[inline]
    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        self.client.submit(tag, operation, offset);
        Ok(())
    }

    #[inline]
    fn publish(&mut self) {
        self.client.publish();
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        self.client.publish();
        let before = done.len();
        self.client.poll(done);
        if done.len() == before {
            return self.fruitless();
        }
        self.fruitful();
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        order(self.shared, Phase::Parked);
    }
}
