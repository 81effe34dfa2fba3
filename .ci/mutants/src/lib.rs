//! Deliberate bugs: a proof that the simulator and the tests can fail.
//!
//! Each [`Mutant`] is one place (at times two that must err together) where the code asks `mutant!(NAME)` and, if that bug
//! was chosen, does the wrong thing. In a normal build the question is a constant `false` and leaves no trace. With
//! `--cfg mutants` all of them are in one build, and the variable `HOLDFAST_MUTANT` chooses one when the process starts.
//! `cargo xtask mutants` builds that once and shows for each bug which suite kills it, with seed or test.
//!
//! A bug that nothing kills is a check that is missing: the check is added, the bug stays.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(mutants)]
extern crate std;

mod list;

pub use list::{Mutant, Place};

/// The variable that chooses a bug by its name.
pub const VARIABLE: &str = "HOLDFAST_MUTANT";

/// Whether the bug of this name is to be done: `if mutant!(MergeCopiesNothing) { .. }`.
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::Mutant::$name.is_on()
    };
}

impl Mutant {
    /// Whether this bug was chosen; never, in a normal build.
    #[cfg(not(mutants))]
    #[inline(always)]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether this bug was chosen.
    ///
    /// # Panics
    /// If the variable names a bug that there is not: a run that proves nothing must not look like one that does.
    #[cfg(mutants)]
    pub fn is_on(self) -> bool {
        static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
            Some(
                Mutant::from_name(&name).unwrap_or_else(|| panic!("{VARIABLE}: there is no mutant `{name}`")),
            )
        });
        *chosen == Some(self)
    }

    /// The bug of this name.
    pub fn from_name(name: &str) -> Option<Mutant> {
        Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Mutant;

    /// Each rule of the contract is taken out at least once, and there are slips of the hand besides.
    #[test]
    fn every_rule_has_a_mutant() {
        for rule in ["M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9", "M10", "M11", "M12", "M13", "slip"]
        {
            assert!(Mutant::ALL.iter().any(|mutant| mutant.rule() == rule), "no mutant of {rule}");
        }
        assert!(Mutant::ALL.iter().all(|&mutant| Mutant::from_name(mutant.name()) == Some(mutant)));
    }
}
