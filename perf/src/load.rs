//! The load generator: a closed loop of 4 KiB requests that keeps a depth, touches every payload, and checks every read.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use holdfast_ringbuf::client;
use serde::Serialize;

use crate::offsets::{BLOCK_BYTES, Offsets};
use crate::window::{Window, stamp, sum_of};

/// One request in so many is timed: two looks at the clock cost some 50 ns, which at each would be seen in the rate.
const SAMPLE_EVERY: u32 = 8;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The client fills a window, the other side takes it.
    Write,
    /// The other side fills a window, the client reads all of it.
    Read,
}

/// The other side, as the generator sees it: tags below some depth, each with a window.
pub trait Target {
    /// The window of a tag that is not in flight.
    fn window(&self, tag: u32) -> Window<'_>;

    /// Queues a request for the block at `offset` through the tag's window.
    ///
    /// # Errors
    /// If the other side is gone.
    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError>;

    /// Makes what was queued visible to the other side.
    fn publish(&mut self);

    /// Publishes, and appends the tags that are done. Does not wait, but gives the core away now and then while nothing
    /// is.
    ///
    /// # Errors
    /// If a request was refused, or the other side is gone.
    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError>;
}

/// A run without a figure.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The session ended or its rules were broken.
    #[error("the session with the daemon failed")]
    Session(#[from] client::Error),
    /// The daemon refused a request.
    #[error(
        "the daemon refused a request with errno {errno}; figures need a healthy volume: see holdfastctl status"
    )]
    Refused {
        /// As the daemon answered.
        errno: i32,
    },
    /// A read returned what was not written there.
    #[error("the read at byte {offset} returned wrong data: its words sum to {found:#x}, not {expected:#x}")]
    WrongData {
        /// Of the block, in bytes.
        offset: u64,
        /// Sum of the words that the warm-up wrote.
        expected: u64,
        /// Sum of the words in the window.
        found: u64,
    },
    /// An open loop without a request.
    #[error(
        "at {rate_per_s} a second nothing arrived in {seconds} s, so there is no figure; let the job's rounds be longer \
         (seconds = ...) or its rate higher (rate = ...)"
    )]
    NothingArrived {
        /// Of this client, a second.
        rate_per_s: f64,
        /// Length of the round.
        seconds: f64,
    },
    /// A file that Holdfast is compared with.
    #[error("the file beside Holdfast cannot be read or written")]
    File(#[from] std::io::Error),
    /// The floor's other process ended.
    #[error("the floor's second process ended in the middle of a round: {status}")]
    FloorGone {
        /// As the system tells it.
        status: String,
    },
}

/// One round's orders.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What all its requests do.
    pub operation: Operation,
    /// Requests in flight.
    pub depth: u32,
    /// Chooses offsets and payloads. Rounds that read what another wrote need its seed.
    pub seed: u64,
    /// Offsets are below this many bytes.
    pub span_bytes: u64,
    /// Length of the round.
    pub duration: Duration,
}

/// What a round showed.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Completed requests a second.
    pub rate_per_s: f64,
    /// Median time of a request in ns, touching its payload included: from before the window is filled (writes) or the
    /// submission (reads) until the completion was seen (writes) or the window was read (reads).
    pub p50_ns: f64,
    /// The same for all but one in a hundred.
    pub p99_ns: f64,
}

/// Writes the whole span once, block after block, so that every later request is a hit and every read can be checked.
///
/// # Errors
/// If the other side refuses or goes.
pub fn warm_up<T: Target>(target: &mut T, load: &Load) -> Result<(), LoadError> {
    let mut blocks = (0..load.span_bytes / BLOCK_BYTES).map(|block| block * BLOCK_BYTES);
    let mut idle: Vec<u32> = (0..load.depth).collect();
    let mut in_flight = 0;
    loop {
        while let Some(tag) = idle.pop() {
            let Some(offset) = blocks.next() else { break };
            target.window(tag).fill(stamp(offset, load.seed));
            target.submit(tag, Operation::Write, offset)?;
            in_flight += 1;
        }
        if in_flight == 0 {
            return Ok(());
        }
        let before = idle.len();
        target.poll(&mut idle)?;
        in_flight -= idle.len() - before;
    }
}

/// Keeps `load.depth` requests in flight for `load.duration`.
///
/// # Errors
/// If a request is refused, a read returns what was not written, or the other side goes.
pub fn run_round<T: Target>(target: &mut T, load: &Load) -> Result<Round, LoadError> {
    let mut run = Run::new(target, load);
    for tag in 0..load.depth {
        run.start(tag)?;
    }
    let mut done = Vec::with_capacity(load.depth as usize);
    while !run.over {
        run.take(&mut done)?;
        for &tag in &done {
            run.finish(tag)?;
            run.start(tag)?;
            run.target.publish();
        }
    }
    let round = run.figures();
    let mut in_flight = load.depth as usize;
    while in_flight > 0 {
        run.take(&mut done)?;
        in_flight -= done.len();
    }
    Ok(round)
}

struct Run<'round, T> {
    target: &'round mut T,
    load: &'round Load,
    offsets: Offsets,
    /// By tag: the offset in flight, and when it began if it is timed.
    flying: Vec<(u64, Option<Instant>)>,
    began: Instant,
    completed: u64,
    until_sample: u32,
    latencies: Histogram<u64>,
    last_seen: Instant,
    over: bool,
}

impl<'round, T: Target> Run<'round, T> {
    fn new(target: &'round mut T, load: &'round Load) -> Self {
        let began = Instant::now();
        Self {
            target,
            load,
            offsets: Offsets::new(load.seed, load.span_bytes),
            flying: vec![(0, None); load.depth as usize],
            began,
            completed: 0,
            until_sample: 1,
            // Up to a minute, in three digits: allocated here, never later.
            latencies: Histogram::new_with_max(60_000_000_000, 3).expect("constants that it accepts"),
            last_seen: began,
            over: false,
        }
    }

    #[inline]
    fn start(&mut self, tag: u32) -> Result<(), LoadError> {
        self.until_sample -= 1;
        let timed = self.until_sample == 0;
        if timed {
            self.until_sample = SAMPLE_EVERY;
        }
        let offset = self.offsets.draw();
        self.flying[tag as usize] = (offset, timed.then(Instant::now));
        if self.load.operation == Operation::Write {
            self.target.window(tag).fill(stamp(offset, self.load.seed));
        }
        self.target.submit(tag, self.load.operation, offset)
    }

    #[inline]
    fn take(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        done.clear();
        self.target.poll(done)
    }

    #[inline]
    fn finish(&mut self, tag: u32) -> Result<(), LoadError> {
        let (offset, timed) = self.flying[tag as usize];
        if self.load.operation == Operation::Read {
            let (expected, found) = (sum_of(stamp(offset, self.load.seed)), self.target.window(tag).sum());
            if found != expected {
                return Err(LoadError::WrongData { offset, expected, found });
            }
        }
        self.completed += 1;
        if let Some(began) = timed {
            self.last_seen = Instant::now();
            let taken = u64::try_from((self.last_seen - began).as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(taken);
            self.over |= self.last_seen - self.began >= self.load.duration;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "figures, not counts: 2^53 is more than any of them")]
    fn figures(&self) -> Round {
        let percentile = |share| self.latencies.value_at_quantile(share) as f64;
        Round {
            rate_per_s: self.completed as f64 / (self.last_seen - self.began).as_secs_f64(),
            p50_ns: percentile(0.5),
            p99_ns: percentile(0.99),
        }
    }
}

#[cfg(test)]
mod tests;
