//! How a run says that a promise was broken, and how often each was put to the test.

use std::cell::Cell;

/// The promises of the design that a run can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clause {
    /// Durable flush.
    C1,
    /// No lie after loss.
    C2,
    /// Level-triggered errors.
    C3,
    /// A flush never harms.
    C4,
    /// Reads never go back.
    C5,
    /// Bounded harm.
    C6,
    /// Written is not stable.
    C7,
    /// Civil retries.
    C8,
    /// Nothing is forgotten.
    C9,
    /// Host death.
    C11,
    /// The in-flight fence.
    M1,
    /// One device operation a sector.
    M2,
    /// Failed means recorded.
    M7,
    /// Given up is recorded first.
    M8,
    /// A timeout is told only of what can no longer happen.
    M9,
    /// What waits for the device waits.
    M10,
    /// Verdicts on lines, one probe at a time.
    M12,
    /// The seam between engine and shell.
    Seam,
    /// Everything ends in the end.
    Liveness,
}

impl Clause {
    /// All of them.
    pub const ALL: [Clause; 19] = [
        Clause::C1,
        Clause::C2,
        Clause::C3,
        Clause::C4,
        Clause::C5,
        Clause::C6,
        Clause::C7,
        Clause::C8,
        Clause::C9,
        Clause::C11,
        Clause::M1,
        Clause::M2,
        Clause::M7,
        Clause::M8,
        Clause::M9,
        Clause::M10,
        Clause::M12,
        Clause::Seam,
        Clause::Liveness,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Clause::C1 => "C1 durable flush",
            Clause::C2 => "C2 no lie after loss",
            Clause::C3 => "C3 level-triggered",
            Clause::C4 => "C4 a flush never harms",
            Clause::C5 => "C5 reads never go back",
            Clause::C6 => "C6 bounded harm",
            Clause::C7 => "C7 written is not stable",
            Clause::C8 => "C8 retry is civil",
            Clause::C9 => "C9 nothing is forgotten",
            Clause::C11 => "C11 host death",
            Clause::M1 => "M1 in-flight fence",
            Clause::M2 => "M2 one operation a sector",
            Clause::M7 => "M7 failed means recorded",
            Clause::M8 => "M8 recorded, then given up",
            Clause::M10 => "M10 write-through waits",
            Clause::M12 => "M12 one probe at a time",
            Clause::M9 => "M9 a timeout is final",
            Clause::Seam => "seam",
            Clause::Liveness => "liveness",
        }
    }
}

thread_local! {
    static CHECKS: [Cell<u64>; Clause::ALL.len()] = const { [const { Cell::new(0) }; Clause::ALL.len()] };
}

/// Counts a check of `clause` and ends the run if it does not hold.
///
/// # Panics
/// If `holds` is false: a promise is broken, and whoever drives the run adds the seed and the way to repeat it.
pub fn demand(clause: Clause, holds: bool, what: impl FnOnce() -> String) {
    CHECKS.with(|checks| checks[clause as usize].set(checks[clause as usize].get() + 1));
    assert!(holds, "{clause:?} is broken: {}", what());
}

/// How often each clause was checked on this thread since it began.
pub fn checks() -> [u64; Clause::ALL.len()] {
    CHECKS.with(|checks| std::array::from_fn(|at| checks[at].get()))
}
