//! What is on record about one lost piece: the loss, and what a rescission would bring back.

use super::record::{Cause, Failure};

/// One giving-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) failure: Failure,
    pub(super) generation: u64,
    pub(super) reactor: u32,
    pub(super) cause: Cause,
}

/// How many losses of one piece are kept, so that a file of losses stays bounded however often a sector is lost.
pub(super) const DEPTH_MAX: usize = 4;

/// The losses of one piece that nothing healed yet, oldest first, never empty.
///
/// One would do if a loss on record always happened. It may be rescinded: newer data had arrived before the memory was
/// freed. Then what was true before is true again: an older loss (of which the newer data is not stable yet, so that
/// forgetting it would let a flush succeed after a crash), or that the data is held and not stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Losses {
    stack: Vec<Loss>,
    /// What was on record as not stable when the first of them came.
    pub(super) held: Option<Failure>,
    /// The first failure id whose set has the newest.
    pub(super) since: u64,
}

impl Losses {
    /// A first loss.
    pub(super) fn new(loss: Loss, held: Option<Failure>, since: u64) -> Losses {
        Losses { stack: vec![loss], held, since }
    }

    /// Losses as the store has them; `None` if that is none or too many.
    pub(super) fn from_rows(stack: Vec<Loss>, held: Option<Failure>, since: u64) -> Option<Losses> {
        (1..=DEPTH_MAX).contains(&stack.len()).then_some(Losses { stack, held, since })
    }

    /// The same losses over something else that was held.
    pub(super) fn with_held(mut self, held: Option<Failure>) -> Losses {
        self.held = held;
        self
    }

    /// All of them, oldest first.
    pub(super) fn stack(&self) -> &[Loss] {
        &self.stack
    }

    /// The newest.
    pub(super) fn newest(&self) -> &Loss {
        self.stack.last().expect("never empty")
    }

    /// Puts a newer one on top. If there are too many, the second-oldest goes: the oldest happened for certain, and
    /// the newest are the ones that may yet be rescinded.
    pub(super) fn push(&mut self, loss: Loss) {
        if self.stack.len() == DEPTH_MAX {
            self.stack.remove(1);
        }
        self.stack.push(loss);
    }

    /// Takes back what `reactor` put on record for `generation`. `Some(true)` if it was there and others remain,
    /// `Some(false)` if it was the only one, `None` if it is not there.
    pub(super) fn rescind(&mut self, reactor: u32, generation: u64) -> Option<bool> {
        let at =
            self.stack.iter().rposition(|loss| loss.reactor == reactor && loss.generation == generation)?;
        if self.stack.len() == 1 {
            return Some(false);
        }
        self.stack.remove(at);
        Some(true)
    }
}
