//! What the doctor found, for people and for programs.

use serde::Serialize;
use std::fmt::Write;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// The daemon runs, slower or less safely than it might.
    Warn,
    /// The daemon will not start, or a promise does not hold.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What: a stable word for programs.
    pub(super) check: &'static str,
    /// Of which volume, core or path; empty if there is only one.
    pub(super) of: String,
    pub(super) level: Level,
    /// What was found.
    pub(super) found: String,
    /// What that means; empty if all is well.
    pub(super) means: String,
    /// The command or setting that mends it; empty if all is well.
    pub(super) mend: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(check, Level::Ok, found, "", "")
    }

    pub(super) fn warn(
        check: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding::new(check, Level::Warn, found, means, mend)
    }

    pub(super) fn fail(
        check: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding::new(check, Level::Fail, found, means, mend)
    }

    fn new(
        check: &'static str,
        level: Level,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        let (found, means, mend) = (found.into(), means.into(), mend.into());
        Finding { check, of: String::new(), level, found, means, mend }
    }

    /// The same, said of one among several.
    pub(super) fn of(mut self, of: impl ToString) -> Finding {
        self.of = of.to_string();
        self
    }
}

/// The worst of them.
pub(super) fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// One line each; what is wrong has two more.
pub(super) fn to_text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { check, of, level, found, means, mend } in findings {
        let level = match level {
            Level::Ok => "ok  ",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        let of = if of.is_empty() { String::new() } else { format!(" ({of})") };
        _ = writeln!(out, "{level}  {check}{of}: {found}");
        for (label, text) in [("means", means), ("mend", mend)] {
            if !text.is_empty() {
                _ = writeln!(out, "      {label:>5}: {text}");
            }
        }
    }
    out
}
