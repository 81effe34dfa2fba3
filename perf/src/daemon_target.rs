//! A running daemon as a target: a volume through the client library's queue.
#![allow(unsafe_code, reason = "uses the windows of a queue, which are raw memory")]

use std::path::Path;

use anyhow::Context;
use holdfast_ringbuf::client::{Done, Options, Queue};

use crate::load::{LoadError, Operation, Target};
use crate::offsets::BLOCK_BYTES;
use crate::window::Window;

const BLOCK: u32 = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);
/// Fruitless polls after which the core is offered to others: some 100 us.
const SPINS: u32 = 1 << 12;

/// A session of its own for each depth, as the depth is a session's property.
#[derive(Debug)]
pub struct DaemonTarget {
    queue: Queue,
    block: u32,
    answers: Vec<Done>,
    fruitless: u32,
}

impl DaemonTarget {
    /// Opens a session that keeps `depth` requests of 4 KiB in flight.
    ///
    /// # Errors
    /// If the daemon refuses, or grants less, or the volume is shorter than the span or has larger blocks.
    pub fn connect(socket: &Path, volume: &str, depth: u32, span_bytes: u64) -> anyhow::Result<Self> {
        Self::connect_sized(socket, volume, depth, span_bytes, BLOCK)
    }

    /// The same with requests of `block` bytes.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect_sized(
        socket: &Path,
        volume: &str,
        depth: u32,
        span_bytes: u64,
        block: u32,
    ) -> anyhow::Result<Self> {
        let options = Options { queue_depth: depth, request_bytes: block, ..Options::default() };
        let queue = Queue::connect(socket, volume, options)
            .with_context(|| format!("volume {volume:?} at {}", socket.display()))?;
        let info = queue.volume();
        anyhow::ensure!(
            queue.depth() >= depth && queue.window_bytes() >= block,
            "the daemon grants a depth of {} and requests of {} bytes; {depth} and {block} are needed",
            queue.depth(),
            queue.window_bytes(),
        );
        anyhow::ensure!(
            span_bytes <= info.bytes && info.block_bytes <= block,
            "volume {volume:?} has {} bytes in blocks of {}: a span of {span_bytes} bytes in blocks of {block} does \
             not fit; choose a smaller --span",
            info.bytes,
            info.block_bytes,
        );
        Ok(Self { queue, block, answers: Vec::with_capacity(depth as usize), fruitless: 0 })
    }

    /// Makes what was written durable, so that a round does not begin with the write-back of an earlier one.
    ///
    /// # Errors
    /// If the volume cannot flush, or the daemon is gone.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        self.queue.submit_flush(0)?;
        self.answers.clear();
        self.queue.wait(&mut self.answers)?;
        self.answers.iter().try_for_each(accepted)
    }
}

fn accepted(answer: &Done) -> Result<(), LoadError> {
    answer.result.map_err(|failure| LoadError::Refused { errno: failure.errno })
}

impl Target for DaemonTarget {
    #[inline]
    fn window(&self, tag: u32) -> Window<'_> {
        // SAFETY: a queue's window is page-aligned shared memory, of at least `block` bytes (checked in `connect_sized`), and
        // valid as long as the queue is, which `&self` keeps alive.
        unsafe { Window::sized(self.queue.window(tag), self.block as usize) }
    }

    #[inline]
    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        match operation {
            Operation::Write => self.queue.submit_filled(tag, offset, self.block, false)?,
            Operation::Read => self.queue.submit_read(tag, offset, self.block)?,
        }
        Ok(())
    }

    #[inline]
    fn publish(&mut self) {
        self.queue.publish_lazily();
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        self.answers.clear();
        if self.queue.poll(&mut self.answers)? == 0 {
            self.fruitless += 1;
            if self.fruitless == SPINS {
                self.fruitless = 0;
                std::thread::yield_now();
            }
            std::hint::spin_loop();
            return Ok(());
        }
        self.fruitless = 0;
        for answer in &self.answers {
            accepted(answer)?;
            done.push(answer.tag);
        }
        Ok(())
    }
}
