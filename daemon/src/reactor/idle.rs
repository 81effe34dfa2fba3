//! When a reactor that finds nothing to do goes to sleep.

use crate::config::Idle;
use holdfast_engine::Instant;
use std::time::Duration;

/// How long an adaptive reactor spins before it sleeps: a wake-up costs a client about as much (PERFORMANCE: an eventfd
/// round trip is 90 us), so spinning longer than twice that loses more than it saves.
const SPIN_NS: u64 = 200_000;
/// Idle turns after which a spinning reactor offers its core to others: on a core of its own that costs nothing.
const YIELD_AFTER: u32 = 1024;
/// The longest sleep: what a heartbeat may lag.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Counts idle turns.
#[derive(Debug)]
pub(super) struct Idler {
    mode: Idle,
    since: Option<Instant>,
    turns: u32,
}

/// What to do after an idle turn.
pub(super) enum Rest {
    Spin,
    Yield,
    Sleep(Duration),
}

impl Idler {
    pub(super) fn new(mode: Idle) -> Idler {
        Idler { mode, since: None, turns: 0 }
    }

    pub(super) fn busy(&mut self) {
        self.since = None;
        self.turns = 0;
    }

    /// After an idle turn; `wake` is when there will be something to do anyway.
    pub(super) fn rest(&mut self, now: Instant, wake: Instant) -> Rest {
        let since = *self.since.get_or_insert(now);
        self.turns += 1;
        let spun = now.since_ns(since) >= SPIN_NS;
        match self.mode {
            Idle::Adaptive if spun => {
                let left = Duration::from_nanos(wake.since_ns(now));
                if left.is_zero() { Rest::Yield } else { Rest::Sleep(left.min(SLEEP_MAX)) }
            }
            _ if self.turns.is_multiple_of(YIELD_AFTER) => Rest::Yield,
            _ => Rest::Spin,
        }
    }
}
