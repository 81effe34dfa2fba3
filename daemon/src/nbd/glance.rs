//! When a connection's reader looks for an answer by itself instead of leaving it to the writer: whoever has one request in
//! flight at a time would wait for the writer to wake up, which takes longer than a hit.

use std::time::{Duration, Instant};

/// How long a reader looks: a hit is answered in a few microseconds, and a miss or a reactor that sleeps takes longer.
const LOOK: Duration = Duration::from_micros(20);
/// Requests at most that are left to the writer after looking in vain.
const SKIPS_MAX: u32 = 64;

/// Learns whether looking is worth its time.
#[derive(Debug)]
pub(super) struct Glances {
    /// How long a look takes at most.
    time: Duration,
    /// Requests that are still left to the writer.
    left: u32,
    /// How many were, the last time.
    last: u32,
}

impl Default for Glances {
    fn default() -> Glances {
        Glances::of(LOOK)
    }
}

impl Glances {
    /// With looks of another length than [`LOOK`].
    pub(super) fn of(time: Duration) -> Glances {
        Glances { time, left: 0, last: 0 }
    }

    /// Whether to look for the answer of the next request.
    pub(super) fn next(&mut self) -> bool {
        let look = self.left == 0;
        self.left = self.left.saturating_sub(1);
        look
    }

    /// Looks until `found` says that there is nothing to look for any more, or it takes too long. Whether that came.
    ///
    /// # Errors
    /// As `found`.
    pub(super) fn look<E>(&mut self, mut found: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
        let deadline = Instant::now() + self.time;
        loop {
            if found()? {
                self.last = 0;
                return Ok(true);
            }
            if Instant::now() >= deadline {
                self.last = (self.last * 2).clamp(1, SKIPS_MAX);
                self.left = self.last;
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_in_vain_becomes_rare_and_success_forgives() {
        let mut glances = Glances::default();
        let skipped = |glances: &mut Glances| (0..).take_while(|_| !glances.next()).count();
        let vain = || Ok::<_, ()>(false);
        let skips: Vec<_> = (0..9)
            .map(|_| {
                let before = skipped(&mut glances);
                assert_eq!(glances.look(vain), Ok(false));
                before
            })
            .collect();
        assert_eq!(skips, [0, 1, 2, 4, 8, 16, 32, 64, 64]);
        assert_eq!(skipped(&mut glances), 64);
        assert_eq!(glances.look(|| Ok::<_, ()>(true)), Ok(true));
        assert_eq!(skipped(&mut glances), 0);
        assert_eq!(glances.look(|| Err(5)), Err(5));
    }
}
