//! One client's round: a closed loop that keeps a depth, or an open loop that keeps to a schedule.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hdrhistogram::iterators::IterationValue;
use serde::{Deserialize, Serialize};

use crate::arrivals::{Arrivals, Gaps};
use crate::chance::{Chance, of_2_32};
use crate::job::Case;
use crate::load::{LoadError, Operation, Target};
use crate::places::Places;
use crate::stamps::Stamps;

/// In a closed loop one request in so many is timed, see `load`.
const SAMPLE_EVERY: u32 = 8;
/// An open loop that falls behind is given up after so many times its length, and its first answer.
const OVERRUN: u32 = 4;

/// What a client does in one round.
#[derive(Debug)]
pub struct Orders<'round> {
    /// The load of all clients.
    pub case: &'round Case,
    /// This client's part of the set, in bytes.
    pub part: Range<u64>,
    /// Of places, directions and arrivals: another one for each client and round.
    pub seed: u64,
    /// What payloads hold.
    pub stamps: Stamps<'round>,
    /// Length of the round.
    pub duration: Duration,
    /// Told now and then how many requests are done; only this client writes it.
    pub progress: &'round AtomicU64,
}

/// What a client saw.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests done in the time.
    pub completed: u64,
    /// The time.
    pub seconds: f64,
    /// In ns. Closed loop: of one in eight, touching the payload included. Open loop: of all, from their arrival on.
    pub latencies: Histogram<u64>,
    /// Arrivals of an open loop that were given up because it had fallen too far behind. Their waiting is among the
    /// latencies.
    pub unserved: u64,
}

impl Tally {
    /// Requests a second; 0 if none was done.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
    pub fn rate_per_s(&self) -> f64 {
        self.completed as f64 / self.seconds.max(1e-9)
    }
}

/// A tally on its way from one process to another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    completed: u64,
    seconds: f64,
    unserved: u64,
    /// Times and how often each was seen, as the histogram's classes have them.
    latencies: Vec<(u64, u64)>,
}

impl From<&Tally> for Told {
    fn from(tally: &Tally) -> Self {
        let class = |class: IterationValue<u64>| (class.value_iterated_to(), class.count_at_value());
        let latencies = tally.latencies.iter_recorded().map(class).collect();
        Self { completed: tally.completed, seconds: tally.seconds, unserved: tally.unserved, latencies }
    }
}

impl From<Told> for Tally {
    fn from(told: Told) -> Self {
        let mut latencies = empty();
        for (value, count) in told.latencies {
            latencies.saturating_record_n(value, count);
        }
        Self { completed: told.completed, seconds: told.seconds, latencies, unserved: told.unserved }
    }
}

/// Up to a minute, in three digits: allocated before a round, never later.
fn empty() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("constants that it accepts")
}

/// Carries orders out.
///
/// # Errors
/// If a request is refused, a read returns what was not written, or the other side goes.
pub fn run<T: Target>(target: &mut T, orders: &Orders<'_>) -> Result<Tally, LoadError> {
    let mut client = Client::new(target, orders);
    match orders.case.rate {
        None => client.closed_loop()?,
        Some(rate) => client.open_loop(rate / f64::from(orders.case.clients), orders.case.arrivals)?,
    }
    client.drain()?;
    Ok(client.tally)
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    operation: Operation,
    offset: u64,
    /// When its time begins; `None`: it is not timed.
    from: Option<Instant>,
}

struct Client<'round, T> {
    target: &'round mut T,
    orders: &'round Orders<'round>,
    places: Places,
    directions: Chance,
    reads: u64,
    flying: Vec<Flight>,
    in_flight: usize,
    done: Vec<u32>,
    began: Instant,
    tally: Tally,
}

impl<'round, T: Target> Client<'round, T> {
    fn new(target: &'round mut T, orders: &'round Orders<'round>) -> Self {
        let case = orders.case;
        let part_bytes = orders.part.end - orders.part.start;
        let latencies = empty();
        let depth = case.depth as usize;
        Self {
            target,
            orders,
            places: Places::new(case.pattern(), part_bytes, case.block, orders.seed),
            directions: Chance::new(!orders.seed),
            reads: of_2_32(case.reads_percent),
            flying: vec![Flight { operation: Operation::Read, offset: 0, from: None }; depth],
            in_flight: 0,
            done: Vec::with_capacity(depth),
            began: Instant::now(),
            tally: Tally { completed: 0, seconds: 0.0, latencies, unserved: 0 },
        }
    }

    fn closed_loop(&mut self) -> Result<(), LoadError> {
        let mut until_sample = 1;
        let mut sample = || {
            until_sample -= 1;
            (until_sample == 0).then(|| {
                until_sample = SAMPLE_EVERY;
                Instant::now()
            })
        };
        for tag in 0..self.orders.case.depth {
            self.start(tag, sample())?;
        }
        loop {
            self.take()?;
            for next in 0..self.done.len() {
                let tag = self.done[next];
                if let Some(seen) = self.finish(tag)?
                    && seen - self.began >= self.orders.duration
                {
                    self.over(seen);
                    // The rest of `done` is finished where all that flies is.
                    self.done.drain(..=next);
                    return Ok(());
                }
                self.start(tag, sample())?;
                self.target.publish();
            }
            self.done.clear();
        }
    }

    /// A request's time begins when it was to arrive, however late it is sent: who is kept waiting by requests before
    /// it waits, too.
    fn open_loop(&mut self, rate_per_s: f64, gaps: Gaps) -> Result<(), LoadError> {
        let mut arrivals = Arrivals::new(gaps, rate_per_s, self.orders.seed.rotate_left(32));
        let mut idle: Vec<u32> = (0..self.orders.case.depth).collect();
        let end = self.orders.duration;
        let mut due = Duration::from_nanos(arrivals.next_ns());
        loop {
            let now = self.began.elapsed();
            while due <= now && due < end {
                let Some(tag) = idle.pop() else { break };
                self.start(tag, Some(self.began + due))?;
                due = Duration::from_nanos(arrivals.next_ns());
            }
            self.take()?;
            for next in 0..self.done.len() {
                let tag = self.done[next];
                self.finish(tag)?;
                idle.push(tag);
            }
            self.done.clear();
            let over = now >= end && due >= end && self.in_flight == 0;
            // A round without an answer is no figure: it goes on until there is one.
            if over || (now >= end * OVERRUN && self.tally.completed > 0) {
                break;
            }
        }
        if self.tally.completed == 0 {
            return Err(LoadError::NothingArrived { rate_per_s, seconds: end.as_secs_f64() });
        }
        let given_up = self.began.elapsed();
        while due < end {
            self.record(given_up - due);
            self.tally.unserved += 1;
            due = Duration::from_nanos(arrivals.next_ns());
        }
        self.over(self.began + given_up);
        Ok(())
    }

    fn over(&mut self, at: Instant) {
        self.tally.seconds = (at - self.began).as_secs_f64();
        self.orders.progress.store(self.tally.completed, Relaxed);
    }

    fn drain(&mut self) -> Result<(), LoadError> {
        loop {
            for next in 0..self.done.len() {
                self.check(self.done[next])?;
            }
            self.done.clear();
            if self.in_flight == 0 {
                return Ok(());
            }
            self.take()?;
        }
    }

    #[inline]
    fn start(&mut self, tag: u32, from: Option<Instant>) -> Result<(), LoadError> {
        let Orders { case, part, stamps, .. } = self.orders;
        let offset = loop {
            let offset = part.start + self.places.draw();
            if stamps.claim(offset, case.block) {
                break offset;
            }
        };
        let read = self.directions.happens(self.reads);
        let operation = if read { Operation::Read } else { Operation::Write };
        self.flying[tag as usize] = Flight { operation, offset, from };
        if operation == Operation::Write {
            stamps.fill(self.target.window(tag), offset);
        }
        self.in_flight += 1;
        self.target.submit(tag, operation, offset)
    }

    #[inline]
    fn take(&mut self) -> Result<(), LoadError> {
        self.target.poll(&mut self.done)
    }

    /// The end of a request; when, if it was timed.
    #[inline]
    fn finish(&mut self, tag: u32) -> Result<Option<Instant>, LoadError> {
        let from = self.check(tag)?;
        self.tally.completed += 1;
        let Some(from) = from else { return Ok(None) };
        let seen = Instant::now();
        self.record(seen - from);
        self.orders.progress.store(self.tally.completed, Relaxed);
        Ok(Some(seen))
    }

    #[inline]
    fn check(&mut self, tag: u32) -> Result<Option<Instant>, LoadError> {
        let Flight { operation, offset, from } = self.flying[tag as usize];
        let Orders { case, stamps, .. } = self.orders;
        self.in_flight -= 1;
        if operation == Operation::Read {
            stamps.check(self.target.window(tag), offset)?;
        }
        stamps.release(offset, case.block);
        Ok(from)
    }

    fn record(&mut self, taken: Duration) {
        self.tally.latencies.saturating_record(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests;
