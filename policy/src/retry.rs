//! When a failed extent is tried again.

/// Who may cause another attempt, and how far apart attempts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// The daemon tries again by itself after [`backoff_ms`](Retry::backoff_ms).
    pub on_timer: bool,
    /// A client's flush causes an attempt.
    pub on_flush: bool,
    /// An overwrite of the failed line causes an attempt.
    pub on_overwrite: bool,
    /// Milliseconds until the second attempt, and the least distance of any two; at least 1.
    pub first_ms: u64,
    /// Milliseconds that no backoff exceeds; at least `first_ms`.
    pub max_ms: u64,
}

impl Default for Retry {
    /// All three causes; 100 ms (an order above the worst answer of a healthy device) to 30 s (the kernel's
    /// own time-out of a device command: to ask more rarely would be felt when the disk heals, more often
    /// gains nothing).
    fn default() -> Self {
        Retry { on_timer: true, on_flush: true, on_overwrite: true, first_ms: 100, max_ms: 30_000 }
    }
}

impl Retry {
    /// Milliseconds to wait after the `attempts`-th failed attempt (0 counts as 1): `first_ms`, doubled with
    /// each, moved by up to 20% either way by a hash of `seed` and `attempts`, within `first_ms * 0.8 ..=
    /// max_ms`.
    ///
    /// The same arguments give the same answer. The curve flattens at 5/6 of `max_ms`, so that the jitter has
    /// room below the cap: cutting afterwards would send all that are late at the same moment, which jitter
    /// is there to prevent.
    pub fn backoff_ms(&self, attempts: u32, seed: u64) -> u64 {
        let doublings = attempts.saturating_sub(1);
        let steep = u128::from(self.first_ms) << doublings.min(64);
        let flat = u128::from(self.max_ms) * 5 / 6;
        let share = 800 + u128::from(mix(seed ^ u64::from(attempts)) % 401);
        let jittered = steep.min(flat) * share / 1000;
        let least = u128::from(self.first_ms) * 4 / 5;
        u64::try_from(jittered.max(least)).unwrap_or(u64::MAX).min(self.max_ms.max(self.first_ms))
    }

    /// Milliseconds that lie at least between two attempts on one extent, whoever asks; only an operator's
    /// retry may pass by it. It can exceed a jittered first backoff: the later of the two counts.
    pub const fn floor_ms(&self) -> u64 {
        self.first_ms
    }

    /// Whether anything but an operator causes an attempt.
    pub const fn is_automatic(&self) -> bool {
        self.on_timer || self.on_flush || self.on_overwrite
    }
}

/// The finalizer of splitmix64: every bit of the input moves about half of the output's bits.
const fn mix(input: u64) -> u64 {
    let mut word = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
