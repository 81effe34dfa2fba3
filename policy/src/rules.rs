//! Which policy and which retry hold for which error class.

use core::fmt;

use crate::{ClassSet, ErrorClass, Policy, Retry};

/// One rule: for failures of these classes, this policy and this retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The classes it is for.
    pub classes: ClassSet,
    /// What becomes of their failures.
    pub policy: Policy,
    /// When they are tried again.
    pub retry: Retry,
}

impl Rule {
    fn check(&self, rule: usize) -> Result<(), RulesError> {
        let Retry { first_ms, max_ms, .. } = self.retry;
        if first_ms == 0 || max_ms < first_ms {
            return Err(RulesError::Backoff { rule, first_ms, max_ms });
        }
        match self.policy {
            Policy::HoldUntilPressure(policy) if !(1..=1000).contains(&policy.pressure) => {
                Err(RulesError::Pressure { rule, pressure: policy.pressure })
            }
            // Every floor is more than one attempt: without a second one nothing would ever be for good.
            Policy::EvictImmediately(_) if !self.retry.is_automatic() => {
                Err(RulesError::NeverForGood { rule })
            }
            _ => Ok(()),
        }
    }
}

/// The rules of a volume: every class has one, and every rule has a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Filled up with copies of the first rule behind `len`.
    rules: [Rule; Rules::CAPACITY],
    len: usize,
    /// For the class with number `n`, the position of its rule at `n - 1`.
    by_class: [usize; ErrorClass::ALL.len()],
}

impl Rules {
    /// The most rules that a volume can have: twice the number of classes, so that no sensible set is
    /// refused.
    pub const CAPACITY: usize = 8;

    /// Checks `rules` and puts them in force. The first rule that names a class is the one for it.
    ///
    /// # Errors
    /// What no operator can have meant: a class without a rule, a rule without a class left for it, more than
    /// [`CAPACITY`](Self::CAPACITY) rules, or a rule with numbers outside of their range.
    pub fn new(rules: &[Rule]) -> Result<Rules, RulesError> {
        if rules.len() > Self::CAPACITY {
            return Err(RulesError::TooMany { count: rules.len() });
        }
        let mut by_class = [0; ErrorClass::ALL.len()];
        let mut seen = ClassSet::EMPTY;
        for (at, rule) in rules.iter().enumerate() {
            rule.check(at)?;
            let new = rule.classes.difference(seen);
            if new.is_empty() {
                return Err(RulesError::Unreachable { rule: at });
            }
            new.iter().for_each(|class| by_class[slot_of(class)] = at);
            seen = seen.union(new);
        }
        if let Some(class) = ClassSet::ANY.difference(seen).iter().next() {
            return Err(RulesError::Unmatched { class });
        }
        let mut table = [rules[0]; Self::CAPACITY];
        table[..rules.len()].copy_from_slice(rules);
        Ok(Rules { rules: table, len: rules.len(), by_class })
    }

    /// The rule for failures of `class`.
    pub fn for_class(&self, class: ErrorClass) -> &Rule {
        &self.rules[self.by_class[slot_of(class)]]
    }

    /// The rules in the order in which they were written.
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules[..self.len]
    }
}

const fn slot_of(class: ErrorClass) -> usize {
    class as usize - 1
}

/// Why a set of rules is refused. Rules are counted from 0 here and from 1 in the messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RulesError {
    /// A failure of this class would have no rule.
    Unmatched {
        /// The class that no rule names.
        class: ErrorClass,
    },
    /// Every class of this rule is taken by rules before it, or it names none.
    Unreachable {
        /// The position of the rule.
        rule: usize,
    },
    /// More rules than fit.
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The pressure of a `hold-until-pressure` is not within 1..=1000 parts per 1000.
    Pressure {
        /// The position of the rule.
        rule: usize,
        /// What it says, in parts per 1000.
        pressure: u16,
    },
    /// The backoff is zero (a hot loop), or its end lies before its beginning.
    Backoff {
        /// The position of the rule.
        rule: usize,
        /// The first backoff, in milliseconds.
        first_ms: u64,
        /// The longest backoff, in milliseconds.
        max_ms: u64,
    },
    /// An `evict-immediately` that never tries a second time, so that no failure is ever for good.
    NeverForGood {
        /// The position of the rule.
        rule: usize,
    },
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RulesError::Unmatched { class } => write!(
                f,
                "no rule is for failures of class \"{class}\": add it to one, or end with a rule for \"any\""
            ),
            RulesError::Unreachable { rule } => write!(
                f,
                "rule {} is never used: rules before it take all its classes; remove it or move it up",
                rule + 1
            ),
            RulesError::TooMany { count } => {
                write!(f, "{count} rules are more than the {} a volume can have", Rules::CAPACITY)
            }
            RulesError::Pressure { rule, pressure } => write!(
                f,
                "rule {}: a pressure of {pressure} parts per 1000 of the budget is outside of 1..=1000",
                rule + 1
            ),
            RulesError::Backoff { rule, first_ms, max_ms } => write!(
                f,
                "rule {}: a backoff from {first_ms} ms to {max_ms} ms; it needs first >= 1 ms and max >= first",
                rule + 1
            ),
            RulesError::NeverForGood { rule } => write!(
                f,
                "rule {}: evict-immediately gives nothing up before a second attempt, and its retry allows none; \
                 allow one of timer, flush, overwrite",
                rule + 1
            ),
        }
    }
}

impl core::error::Error for RulesError {}
