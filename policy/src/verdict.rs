//! The facts a policy sees, the verdicts it may return, and the trait between the two.

use crate::{ErrorClass, EvictImmediately, HoldForever, HoldUntilPressure};

/// The facts about an extent whose write-back failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailedExtent {
    /// What kind of refusal the last one was.
    pub class: ErrorClass,
    /// The errno of the last refusal.
    pub errno: u16,
    /// Attempts that failed, the first one included.
    pub attempts: u32,
    /// Milliseconds since the first failure.
    pub age_ms: u64,
}

impl FailedExtent {
    /// Whether both floors of its class are reached. Below them no verdict but [`Verdict::Retry`] is
    /// permitted.
    pub const fn for_good(self) -> bool {
        let floor = self.class.floor();
        self.attempts >= floor.attempts && self.age_ms >= floor.elapsed_ms
    }
}

/// The facts about a volume's use of its budget, summed over reactors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pressure {
    /// Slots of the volume that are not clean: dirty, writing, unstable, failed, condemned.
    pub not_clean: u64,
    /// Slots that the volume may have in those states.
    pub budget: u64,
    /// Milliseconds that the oldest stalled write of the volume has waited; `None` if none waits.
    pub stalled_ms: Option<u64>,
}

impl Pressure {
    /// Whether a write has waited for at least `timeout_ms`.
    pub(crate) const fn stalled_for(self, timeout_ms: u64) -> bool {
        match self.stalled_ms {
            Some(stalled_ms) => stalled_ms >= timeout_ms,
            None => false,
        }
    }
}

/// What becomes of a failed extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Too early to judge: the floors of the class are not reached.
    Retry,
    /// Keep it, and go on trying by the rules of [`Retry`](crate::Retry).
    Hold,
    /// Record the loss, then free the memory.
    GiveUp,
}

/// What becomes of a volume's new writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PressureVerdict {
    /// Take them.
    Admit,
    /// Let them wait.
    Stall,
    /// Give up the failure that is oldest, to make room; ask again for the next one.
    GiveUpOldest,
    /// Answer the waiting and the new ones with ENOSPC.
    RefuseWrites,
}

/// A failure policy: facts in, verdict out. It can keep, change or call nothing.
pub trait FailurePolicy {
    /// Judges an extent whose write-back failed. [`Verdict::Retry`] as long as it is not
    /// [`for_good`](FailedExtent::for_good), whatever the policy.
    fn on_failure(&self, extent: FailedExtent) -> Verdict;

    /// Judges a volume that wants to take one more write.
    fn on_pressure(&self, pressure: Pressure) -> PressureVerdict;

    /// Whether new writes of a volume are acknowledged only after their write-back while its disk refuses.
    fn write_through_while_refused(&self) -> bool;

    /// The name in configuration and answers.
    fn name(&self) -> &'static str;
}

/// One of the built-in policies. An enum and not a trait object: a rule is `Copy`, lives in a fixed table,
/// and no verdict costs an indirect call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Give up, and say so.
    EvictImmediately(EvictImmediately),
    /// Hold until the volume's budget runs short.
    HoldUntilPressure(HoldUntilPressure),
    /// Never give up.
    HoldForever(HoldForever),
}

macro_rules! chosen {
    ($policy:expr, $chosen:ident => $answer:expr) => {
        match $policy {
            Policy::EvictImmediately($chosen) => $answer,
            Policy::HoldUntilPressure($chosen) => $answer,
            Policy::HoldForever($chosen) => $answer,
        }
    };
}

impl FailurePolicy for Policy {
    fn on_failure(&self, extent: FailedExtent) -> Verdict {
        chosen!(self, policy => policy.on_failure(extent))
    }

    fn on_pressure(&self, pressure: Pressure) -> PressureVerdict {
        chosen!(self, policy => policy.on_pressure(pressure))
    }

    fn write_through_while_refused(&self) -> bool {
        chosen!(self, policy => policy.write_through_while_refused())
    }

    fn name(&self) -> &'static str {
        chosen!(self, policy => policy.name())
    }
}
