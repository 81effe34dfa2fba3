//! Error classes: what kind of refusal a device's answer is, and how long it must last before it counts as
//! final.

use core::fmt;

/// What kind of refusal an error of the backing device is.
///
/// The class, not the errno, chooses policy and retry: an operator thinks "the pool is full", not "28". The
/// numbers are stored in slot headers and in the ledger and never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ErrorClass {
    /// Time-outs, lost paths and links, busy devices: likely to pass by itself.
    Transient = 1,
    /// Nothing can be allocated below us: passes when somebody adds or frees space.
    Space = 2,
    /// These blocks cannot be written (or read); their neighbours can.
    Medium = 3,
    /// The device, or our right to write to it, is not there: passes when somebody repairs that.
    Gone = 4,
}

impl ErrorClass {
    /// Every class, in the order of its number.
    pub const ALL: [ErrorClass; 4] =
        [ErrorClass::Transient, ErrorClass::Space, ErrorClass::Medium, ErrorClass::Gone];

    /// The name in configuration, answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorClass::Transient => "transient",
            ErrorClass::Space => "space",
            ErrorClass::Medium => "medium",
            ErrorClass::Gone => "gone",
        }
    }

    /// The class with this number; `None` for a number that is no class (a header that was tampered with).
    pub const fn from_u8(number: u8) -> Option<ErrorClass> {
        match number {
            1 => Some(ErrorClass::Transient),
            2 => Some(ErrorClass::Space),
            3 => Some(ErrorClass::Medium),
            4 => Some(ErrorClass::Gone),
            _ => None,
        }
    }

    /// The class with this [`name`](Self::name), exactly as written; `None` if there is none.
    pub fn from_name(name: &str) -> Option<ErrorClass> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether one failure of this class says something about the whole device, so that only a probe goes out
    /// until it passes. A medium failure says nothing about any other block and never gates one.
    pub const fn gates(self) -> bool {
        !matches!(self, ErrorClass::Medium)
    }

    /// What must have been tried before a failure of this class is "for good".
    ///
    /// | class | attempts | since first failure | why |
    /// |---|---|---|---|
    /// | transient | 5 | 30 s | the kernel's own time-out of an NVMe or SCSI command is 30 s: a path that fails over within one must not cost data |
    /// | space | 2 | 1 s | an allocator's answer is exact; the second try only excludes a race with a pool that was being extended |
    /// | medium | 3 | 1 s | the device retried and remapped before it answered; three tries exclude a torn answer, more only wear it |
    /// | gone | 3 | 10 s | a reset or a re-enumeration of a device takes seconds, and looks like a removal until it is over |
    pub const fn floor(self) -> Floor {
        match self {
            ErrorClass::Transient => Floor { attempts: 5, elapsed_ms: 30_000 },
            ErrorClass::Space => Floor { attempts: 2, elapsed_ms: 1_000 },
            ErrorClass::Medium => Floor { attempts: 3, elapsed_ms: 1_000 },
            ErrorClass::Gone => Floor { attempts: 3, elapsed_ms: 10_000 },
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The least that must have happened before a failure is "for good": both, not either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floor {
    /// Attempts that failed, the first one included.
    pub attempts: u32,
    /// Milliseconds since the first failure.
    pub elapsed_ms: u64,
}

/// A set of error classes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassSet(u8);

impl ClassSet {
    /// No class.
    pub const EMPTY: ClassSet = ClassSet(0);

    /// Every class; `"any"` in configuration.
    pub const ANY: ClassSet = ClassSet::from_classes(&ErrorClass::ALL);

    /// The set of these classes; naming one twice is harmless.
    pub const fn from_classes(classes: &[ErrorClass]) -> ClassSet {
        let mut bits = 0;
        let mut at = 0;
        while at < classes.len() {
            bits |= classes[at].bit();
            at += 1;
        }
        ClassSet(bits)
    }

    /// Whether `class` is in the set.
    pub const fn contains(self, class: ErrorClass) -> bool {
        self.0 & class.bit() != 0
    }

    /// Adds `class`.
    pub const fn insert(&mut self, class: ErrorClass) {
        self.0 |= class.bit();
    }

    /// Whether the set has no class.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The classes of both sets together.
    pub const fn union(self, other: ClassSet) -> ClassSet {
        ClassSet(self.0 | other.0)
    }

    /// The classes of this set that are not in `other`.
    pub const fn difference(self, other: ClassSet) -> ClassSet {
        ClassSet(self.0 & !other.0)
    }

    /// The classes in the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = ErrorClass> {
        ErrorClass::ALL.into_iter().filter(move |class| self.contains(*class))
    }
}

impl From<ErrorClass> for ClassSet {
    fn from(class: ErrorClass) -> ClassSet {
        ClassSet(class.bit())
    }
}

impl FromIterator<ErrorClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = ErrorClass>>(classes: I) -> ClassSet {
        classes.into_iter().fold(ClassSet::EMPTY, |set, class| set.union(class.into()))
    }
}

impl fmt::Debug for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
