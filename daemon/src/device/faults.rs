//! Faults on demand: operations of a volume that fail or hang although its disk is well.
//!
//! Shared by a control thread, which changes the rules, and the reactors, which ask at each submit. Unarmed, asking is
//! one relaxed load. Armed, a reactor works from its own copy of the rules, and fetches a new one when their epoch has
//! changed, without ever waiting: if the control thread is just changing them, the old ones are good once more. A rule
//! counts matching operations of all reactors together, so that `x` fails exactly one.

use super::sequence::Step;
use super::{FaultParseError, Sequence};
use holdfast_engine::{ByteRange, Io, IoKind};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Which operations a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOperation {
    /// Reads.
    Read,
    /// Writes, zeroes and discards.
    Write,
    /// Flushes; they have no place, so that a rule's range does not matter to them.
    Flush,
    /// All of them; with a range, all but flushes.
    Any,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// Which operations.
    pub operation: FaultOperation,
    /// What those that fail are answered with, a Linux errno.
    pub errno: u16,
    /// Only operations that touch these bytes of the volume.
    pub range: Option<ByteRange>,
    /// What happens to them, one after the other.
    pub sequence: Sequence,
}

/// A rule and what it did so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultStatus {
    /// Its number, for [`Faults::remove`].
    pub id: u32,
    /// What it says.
    pub spec: FaultSpec,
    /// Operations that matched.
    pub matched: u64,
    /// Of those, the ones that failed or hung.
    pub acted: u64,
}

#[derive(Debug)]
struct Rule {
    id: u32,
    spec: FaultSpec,
    matched: AtomicU64,
    acted: AtomicU64,
}

#[derive(Debug, Default)]
struct Rules {
    list: Arc<Vec<Arc<Rule>>>,
    last_id: u32,
}

/// The rules of one volume.
#[derive(Debug, Default)]
pub struct Faults {
    armed: AtomicBool,
    epoch: AtomicU64,
    rules: RwLock<Rules>,
}

impl Faults {
    /// No rules.
    pub fn new() -> Arc<Faults> {
        Arc::new(Faults::default())
    }

    /// Adds a rule behind the others. Operations submitted after this returns see it.
    pub fn add(&self, spec: FaultSpec) -> u32 {
        self.change(|rules| {
            rules.last_id += 1;
            let id = rules.last_id;
            let rule = Rule { id, spec, matched: AtomicU64::new(0), acted: AtomicU64::new(0) };
            Arc::make_mut(&mut rules.list).push(Arc::new(rule));
            id
        })
    }

    /// Removes a rule; false if there is none such. What it hung is carried out when its reactor turns next: the caller
    /// wakes the reactors.
    pub fn remove(&self, id: u32) -> bool {
        self.change(|rules| {
            let before = rules.list.len();
            Arc::make_mut(&mut rules.list).retain(|rule| rule.id != id);
            rules.list.len() < before
        })
    }

    /// Removes all rules; says how many.
    pub fn clear(&self) -> usize {
        self.change(|rules| std::mem::take(&mut rules.list).len())
    }

    /// The rules in their order.
    pub fn list(&self) -> Vec<FaultStatus> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let status = |rule: &Arc<Rule>| FaultStatus {
            id: rule.id,
            spec: rule.spec.clone(),
            matched: rule.matched.load(Ordering::Relaxed),
            acted: rule.acted.load(Ordering::Relaxed),
        };
        rules.list.iter().map(status).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rules) -> T) -> T {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut rules);
        self.armed.store(!rules.list.is_empty(), Ordering::Relaxed);
        // SYNC POINT fault-epoch: Release under the lock, pairs with the Acquire in `FaultGate::refresh`.
        self.epoch.fetch_add(1, Ordering::Release);
        result
    }
}

/// What a reactor does with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultVerdict {
    Pass,
    Fail(i32),
    /// Until this rule is gone.
    Hang(u32),
}

/// A reactor's view of a volume's rules.
#[derive(Debug)]
pub(super) struct FaultGate {
    shared: Arc<Faults>,
    seen: u64,
    rules: Arc<Vec<Arc<Rule>>>,
}

impl FaultGate {
    pub(super) fn new(shared: Arc<Faults>) -> FaultGate {
        FaultGate { shared, seen: 0, rules: Arc::default() }
    }

    /// The verdict on an operation that is about to be submitted.
    #[inline]
    pub(super) fn judge(&mut self, io: &Io) -> FaultVerdict {
        if !self.shared.armed.load(Ordering::Relaxed) { FaultVerdict::Pass } else { self.judge_armed(io) }
    }

    /// The first rule that does not let it pass decides; each rule before it has counted it.
    #[cold]
    fn judge_armed(&mut self, io: &Io) -> FaultVerdict {
        self.refresh();
        for rule in self.rules.iter().filter(|rule| rule.spec.matches(io)) {
            let step = rule.spec.sequence.at(rule.matched.fetch_add(1, Ordering::Relaxed));
            if step == Step::Work {
                continue;
            }
            rule.acted.fetch_add(1, Ordering::Relaxed);
            let hangs = step == Step::Hang;
            return if hangs {
                FaultVerdict::Hang(rule.id)
            } else {
                FaultVerdict::Fail(-i32::from(rule.spec.errno))
            };
        }
        FaultVerdict::Pass
    }

    /// Whether a rule that hung an operation is still there.
    pub(super) fn still_hangs(&mut self, id: u32) -> bool {
        self.refresh();
        self.rules.iter().any(|rule| rule.id == id)
    }

    fn refresh(&mut self) {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch == self.seen {
            return;
        }
        // Readers do not keep each other out: this fails only while the control thread holds the lock.
        if let Ok(rules) = self.shared.rules.try_read() {
            self.rules = Arc::clone(&rules.list);
            self.seen = epoch;
        }
    }
}

impl FaultSpec {
    fn matches(&self, io: &Io) -> bool {
        let touches = |range: &ByteRange| range.offset < io.offset + io.length && io.offset < range.end();
        let in_range = self.range.as_ref().is_none_or(touches);
        match (self.operation, io.kind) {
            (FaultOperation::Flush, kind) => kind == IoKind::Flush,
            (FaultOperation::Any, IoKind::Flush) => self.range.is_none(),
            (FaultOperation::Any, _) => in_range,
            (FaultOperation::Read, kind) => kind == IoKind::Read && in_range,
            (FaultOperation::Write, kind) => !matches!(kind, IoKind::Read | IoKind::Flush) && in_range,
        }
    }
}

impl FromStr for FaultOperation {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<FaultOperation, FaultParseError> {
        match text {
            "read" => Ok(FaultOperation::Read),
            "write" => Ok(FaultOperation::Write),
            "flush" => Ok(FaultOperation::Flush),
            "any" => Ok(FaultOperation::Any),
            _ => Err(FaultParseError::Operation { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for FaultOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultOperation::Read => "read",
            FaultOperation::Write => "write",
            FaultOperation::Flush => "flush",
            FaultOperation::Any => "any",
        })
    }
}
