//! Never give up what the disk refused.

use crate::{FailedExtent, FailurePolicy, Pressure, PressureVerdict, Verdict};
use holdfast_mutants::mutant;

/// Holds every failed extent, whatever it costs. When the budget is used up, new writes wait, and after the
/// stall timeout they are refused: a client that gets ENOSPC still has its data, a client whose data was
/// given up has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldForever {
    /// Milliseconds that a write waits for room before it is refused.
    pub stall_timeout_ms: u64,
}

impl Default for HoldForever {
    /// 30 s: as long as the kernel waits for a device before it calls it dead.
    fn default() -> Self {
        HoldForever { stall_timeout_ms: 30_000 }
    }
}

impl FailurePolicy for HoldForever {
    fn on_failure(&self, extent: FailedExtent) -> Verdict {
        if extent.for_good() { Verdict::Hold } else { Verdict::Retry }
    }

    fn on_pressure(&self, pressure: Pressure) -> PressureVerdict {
        if pressure.not_clean < pressure.budget {
            PressureVerdict::Admit
        } else if pressure.stalled_for(self.stall_timeout_ms) {
            if mutant!(HoldGivesUp) {
                return PressureVerdict::GiveUpOldest;
            }
            PressureVerdict::RefuseWrites
        } else {
            PressureVerdict::Stall
        }
    }

    fn write_through_while_refused(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        "hold-forever"
    }
}
