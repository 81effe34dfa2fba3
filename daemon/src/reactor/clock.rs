//! The daemon's clock.

use holdfast_engine::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the daemon started, the same on every thread; begins at one second, so that no time is zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
    start_unix_ms: u64,
}

const BEGIN_NS: u64 = 1_000_000_000;

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_unix_ms = u64::try_from(unix.as_millis()).unwrap_or(0);
        Clock { start: std::time::Instant::now(), start_unix_ms }
    }

    /// A clock that stands still for its first hour: for whoever counts instructions, which must not depend on what is due
    /// by then on a machine of this speed.
    pub fn standing() -> Clock {
        let clock = Clock::start();
        // `elapsed` of what is still to come is nothing.
        Clock { start: clock.start + std::time::Duration::from_secs(3600), ..clock }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        Instant(BEGIN_NS + u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX >> 1))
    }

    /// Milliseconds since 1970 at a time of this clock, as far as the wall clock was right when it started.
    pub fn unix_ms(&self, at: Instant) -> u64 {
        if at.0 == 0 { 0 } else { self.start_unix_ms + at.0.saturating_sub(BEGIN_NS) / 1_000_000 }
    }

    /// The time of this clock at a wall-clock time, or its beginning if that was earlier.
    pub fn instant(&self, unix_ms: u64) -> Instant {
        Instant(BEGIN_NS).after_ms(unix_ms.saturating_sub(self.start_unix_ms))
    }

    /// When it started, in milliseconds since 1970.
    pub fn started_unix_ms(&self) -> u64 {
        self.start_unix_ms
    }
}
