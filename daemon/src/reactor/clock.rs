//! The daemon's clock.

use holdfast_engine::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since ten years before the daemon started, the same on every thread: what an earlier one has seen has its time, too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
    start_unix_ms: u64,
}

/// When the daemon starts.
const BEGIN_NS: u64 = BEFORE_MS * 1_000_000;
/// What can be told apart before that: ten years.
const BEFORE_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

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
        match at.0 {
            0 => 0,
            ns => (self.start_unix_ms + ns / 1_000_000).saturating_sub(BEFORE_MS),
        }
    }

    /// The time of this clock at a wall-clock time: the beginning of its ten years if that was earlier.
    pub fn instant(&self, unix_ms: u64) -> Instant {
        let since = (unix_ms + BEFORE_MS).saturating_sub(self.start_unix_ms);
        // Zero would be no time.
        Instant(1).after_ms(since)
    }

    /// When it started, in milliseconds since 1970.
    pub fn started_unix_ms(&self) -> u64 {
        self.start_unix_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an earlier daemon saw is told with its own time, not with the time of this one's start.
    #[test]
    fn times_before_the_start_are_times_too() {
        let clock = Clock::start();
        let start = clock.started_unix_ms();
        for unix_ms in [start - 86_400_000, start - 1, start, start + 1, start + 86_400_000] {
            assert_eq!(clock.unix_ms(clock.instant(unix_ms)), unix_ms);
        }
        assert_eq!(clock.unix_ms(Instant(0)), 0, "no time stays none");
        assert_ne!(clock.instant(0), Instant(0), "a time is never none");
        assert!(clock.instant(0) < clock.instant(start - 1) && clock.instant(start) <= clock.now());
    }
}
