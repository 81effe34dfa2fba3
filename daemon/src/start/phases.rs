//! Where the time of a start goes, in the log: clients wait for all of it.

use std::time::Instant;

/// The steps of a start, one behind the other.
pub(super) struct Phases {
    begun: Instant,
    last: Instant,
}

impl Phases {
    /// Begins now.
    pub(super) fn begin() -> Phases {
        let now = Instant::now();
        Phases { begun: now, last: now }
    }

    /// A step is done: says how long it took, and how long the start has taken so far, both in milliseconds.
    pub(super) fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        tracing::info!(
            step,
            ms = milliseconds(self.last, now),
            so_far_ms = milliseconds(self.begun, now),
            "start"
        );
        self.last = now;
    }
}

/// To a tenth.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    (to.duration_since(from).as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn milliseconds_are_told_to_a_tenth() {
        let from = Instant::now();
        for (microseconds, told) in [(0, 0.0), (49, 0.0), (51, 0.1), (12_345, 12.3), (2_000_060, 2_000.1)] {
            assert_eq!(milliseconds(from, from + Duration::from_micros(microseconds)), told);
        }
    }
}
