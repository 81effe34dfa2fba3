//! What is printed: a line for each step, with what was expected and what was seen.

use std::fmt::Display;
use std::io::Write;

/// The steps so far, and how many did not hold.
///
/// Output that nobody reads any more (`| head`) is no reason to stop half-way and leave a daemon behind: errors of
/// standard output are ignored.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    steps: u32,
    mismatches: u32,
}

/// A step of the timeline: when it is, which promises it shows, what happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// `t0` to `t8`, as in the timeline.
    pub(super) when: &'static str,
    /// `C1 C3`.
    pub(super) promises: &'static str,
    /// What happens.
    pub(super) what: &'static str,
}

/// A step, in the order in which it reads.
pub(super) const fn step(when: &'static str, promises: &'static str, what: &'static str) -> Step {
    Step { when, promises, what }
}

impl Transcript {
    /// A line of text.
    pub(super) fn say(&self, text: impl Display) {
        _ = writeln!(std::io::stdout(), "{text}");
    }

    /// The heading of a policy, with the names of the columns.
    pub(super) fn heading(&self, name: &str, meaning: &str) {
        self.say(format_args!("\n{name}: {meaning}"));
        self.row(["", "", "what happens", "expected", "seen"], "");
    }

    /// A step with its outcome. Returns whether it held.
    pub(super) fn check(&mut self, step: Step, expected: &str, seen: &str, holds: bool) -> bool {
        self.steps += 1;
        self.mismatches += u32::from(!holds);
        let mark = if holds { "" } else { "   <== MISMATCH" };
        self.row([step.when, step.promises, step.what, expected, seen], mark);
        holds
    }

    fn row(&self, [when, promises, what, expected, seen]: [&str; 5], mark: &str) {
        let row = format!("  {when:3} {promises:6} {what:42} {expected:36} {seen}");
        self.say(format_args!("{}{mark}", row.trim_end()));
    }

    /// Whether all that was expected was seen, and something was.
    pub(super) fn holds(&self) -> bool {
        self.mismatches == 0 && self.steps > 0
    }

    /// How it went, in a line.
    pub(super) fn summary(&self) -> String {
        match self.mismatches {
            0 => format!("All {} steps were as expected.", self.steps),
            some => format!("MISMATCH: {some} of {} steps were not as expected.", self.steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mismatch_spoils_all_and_no_step_proves_nothing() {
        let mut transcript = Transcript::default();
        assert!(!transcript.holds());
        let step = step("t3", "C3", "flush");
        assert!(transcript.check(step, "success", "success", true));
        assert!(transcript.holds());
        assert!(!transcript.check(step, "success", "EIO", false));
        assert!(transcript.check(step, "success", "success", true));
        assert!(!transcript.holds());
        assert_eq!(transcript.summary(), "MISMATCH: 1 of 3 steps were not as expected.");
    }
}
