//! Time, as the engine knows it: a number that somebody passes in.

use core::ops::Add;

/// A point in time in nanoseconds since an epoch that the shell chose (the host's boot, or zero in a simulation).
///
/// The engine never reads a clock: every entry point takes `now`, so that the same events give the same run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// A time that no clock reaches.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is not earlier.
    pub const fn since_ns(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds from `earlier` to `self`; zero if `earlier` is not earlier.
    pub const fn since_ms(self, earlier: Instant) -> u64 {
        self.since_ns(earlier) / 1_000_000
    }

    /// The time `milliseconds` later; [`Instant::NEVER`] if that cannot be expressed.
    pub const fn after_ms(self, milliseconds: u64) -> Instant {
        Instant(self.0.saturating_add(milliseconds.saturating_mul(1_000_000)))
    }
}

impl Add<core::time::Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: core::time::Duration) -> Instant {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanoseconds))
    }
}
