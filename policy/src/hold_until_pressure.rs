//! Hold what the disk refused until the volume's budget runs short.

use crate::{FailedExtent, FailurePolicy, Pressure, PressureVerdict, Verdict};

/// Holds every failed extent. When the volume is over its pressure, its new writes wait; when the oldest of
/// them has waited for the stall timeout, the oldest failure is given up; where nothing has failed, because the
/// device refuses only flushes or answers nothing at all, the write is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldUntilPressure {
    /// The share of the budget from which the volume is under pressure, in parts per 1000; 1..=1000.
    pub pressure: u16,
    /// Milliseconds that a write waits before a failure is given up for it.
    pub stall_timeout_ms: u64,
}

impl Default for HoldUntilPressure {
    /// 0.900 of the budget, 30 s: as long as the kernel waits for a device before it calls it dead.
    fn default() -> Self {
        HoldUntilPressure { pressure: 900, stall_timeout_ms: 30_000 }
    }
}

impl HoldUntilPressure {
    /// Products and not a quotient, so that no budget is so small that its threshold rounds to nothing.
    fn is_over(self, pressure: Pressure) -> bool {
        u128::from(pressure.not_clean) * 1000 >= u128::from(pressure.budget) * u128::from(self.pressure)
    }
}

impl FailurePolicy for HoldUntilPressure {
    fn on_failure(&self, extent: FailedExtent) -> Verdict {
        if extent.for_good() { Verdict::Hold } else { Verdict::Retry }
    }

    fn on_pressure(&self, pressure: Pressure) -> PressureVerdict {
        if !self.is_over(pressure) {
            PressureVerdict::Admit
        } else if pressure.stalled_for(self.stall_timeout_ms) {
            PressureVerdict::GiveUpOldest
        } else {
            PressureVerdict::Stall
        }
    }

    fn write_through_while_refused(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        "hold-until-pressure"
    }
}
