//! Give up what the disk refused for good, and record the loss.

use crate::{FailedExtent, FailurePolicy, Pressure, PressureVerdict, Verdict};

/// Gives a failed extent up as soon as it is for good. Memory never fills with data that cannot be written;
/// the price is a recorded loss, and slow writes while the disk refuses, so that nothing more is acknowledged
/// only to be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EvictImmediately {}

impl FailurePolicy for EvictImmediately {
    fn on_failure(&self, extent: FailedExtent) -> Verdict {
        if extent.for_good() { Verdict::GiveUp } else { Verdict::Retry }
    }

    fn on_pressure(&self, pressure: Pressure) -> PressureVerdict {
        if pressure.not_clean < pressure.budget { PressureVerdict::Admit } else { PressureVerdict::Stall }
    }

    fn write_through_while_refused(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "evict-immediately"
    }
}
