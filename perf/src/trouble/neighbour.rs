//! A client of the volume next door: it writes at a given rate, waits for nobody, and takes refusals as they come.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;
use holdfast_ringbuf::client::{Done, Error, Options, Queue};

/// Bytes of a write at a rate.
const BLOCK: u32 = 64 << 10;
const DEPTH: u32 = 32;
/// Between two looks at the clock: the core is shared with the client that is measured.
const PAUSE: Duration = Duration::from_millis(1);

/// A session.
#[derive(Debug)]
pub(super) struct Neighbour {
    queue: Queue,
    idle: Vec<u32>,
    done: Vec<Done>,
    refused: u64,
}

impl Neighbour {
    pub(super) fn connect(socket: &Path, volume: &str) -> anyhow::Result<Self> {
        let options = Options { queue_depth: DEPTH, request_bytes: BLOCK, ..Options::default() };
        let queue = Queue::connect(socket, volume, options)?;
        ensure!(
            queue.depth() >= DEPTH && queue.window_bytes() >= BLOCK,
            "volume {volume:?} grants a depth of {} and requests of {} bytes; {DEPTH} and {BLOCK} are needed",
            queue.depth(),
            queue.window_bytes(),
        );
        let idle = (0..DEPTH).collect();
        Ok(Self { queue, idle, done: Vec::with_capacity(DEPTH as usize), refused: 0 })
    }

    /// Writes `length` bytes at each offset, and returns when all are acknowledged.
    pub(super) fn write(&mut self, offsets: impl Iterator<Item = u64>, length: u32) -> anyhow::Result<()> {
        let before = self.refused;
        for offset in offsets {
            while self.idle.is_empty() {
                self.take()?;
            }
            self.start(offset, length)?;
        }
        while self.idle.len() < DEPTH as usize {
            self.take()?;
        }
        ensure!(self.refused == before, "{} writes of the neighbour were refused", self.refused - before);
        Ok(())
    }

    /// All of a volume, so that no later write finds a block that the file system has not initialised.
    pub(super) fn fill(&mut self) -> anyhow::Result<()> {
        let bytes = self.queue.volume().bytes / u64::from(BLOCK) * u64::from(BLOCK);
        self.write((0..bytes).step_by(BLOCK as usize), BLOCK)?;
        ensure!(self.flush()?, "the neighbour's device refuses, and nobody told it to");
        Ok(())
    }

    /// Whether all that was written is on stable media now.
    pub(super) fn flush(&mut self) -> anyhow::Result<bool> {
        while self.idle.len() < DEPTH as usize {
            self.take()?;
        }
        self.done.clear();
        self.queue.submit_flush(0)?;
        self.queue.wait(&mut self.done)?;
        Ok(self.done.iter().all(|done| done.result.is_ok()))
    }

    /// Writes so many bytes a second until told otherwise. What finds no room in the queue is left out: a device that
    /// hangs must not hold this client.
    pub(super) fn write_at_rate(&mut self, bytes_per_s: u64, over: &AtomicBool) -> Result<(), Error> {
        let blocks = self.queue.volume().bytes / u64::from(BLOCK);
        let (began, mut arrived, mut next) = (Instant::now(), 0, 0);
        while !over.load(Relaxed) {
            let due = u128::from(bytes_per_s) * began.elapsed().as_micros() / 1_000_000 / u128::from(BLOCK);
            self.take()?;
            while arrived < due {
                arrived += 1;
                if !self.idle.is_empty() {
                    self.start(next % blocks * u64::from(BLOCK), BLOCK)?;
                    next += 1;
                }
            }
            self.queue.publish();
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn start(&mut self, offset: u64, length: u32) -> Result<(), Error> {
        let tag = self.idle.pop().expect("the caller looked");
        self.queue.fill(tag, &[u8::try_from(offset >> 12 & 0x7f).expect("seven bits"); BLOCK as usize])?;
        self.queue.submit_filled(tag, offset, length, false)
    }

    fn take(&mut self) -> Result<(), Error> {
        self.done.clear();
        if self.queue.poll(&mut self.done)? == 0 {
            std::thread::yield_now();
        }
        self.refused += self.done.iter().filter(|done| done.result.is_err()).count() as u64;
        self.idle.extend(self.done.iter().map(|done| done.tag));
        Ok(())
    }
}
