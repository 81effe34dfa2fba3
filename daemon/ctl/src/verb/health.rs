//! `health` and `runbook`.

use super::{Outcome, Run};
use crate::api::{HealthCode, Status, Versioned};
use crate::cli::{HealthVerb, RunbookArgs};
use crate::{Exit, text};
use serde::Serialize;

/// What to do about each code; the same file as in the source.
const RUNBOOK: &str = include_str!("../../../../docs/runbook.md");

/// A code with what is always true of it, for `--json`.
#[derive(Serialize)]
struct Code {
    code: HealthCode,
    worst: crate::api::Health,
    meaning: &'static str,
    safe: &'static str,
    cost: &'static str,
}

/// All of them.
#[derive(Serialize)]
struct Codes {
    codes: Vec<Code>,
}

/// A part of the runbook.
#[derive(Serialize)]
struct Entry<'a> {
    code: Option<HealthCode>,
    markdown: &'a str,
}

impl Run<'_, '_> {
    pub(super) fn health(&mut self, verb: Option<HealthVerb>) -> Outcome {
        if let Some(HealthVerb::Codes) = verb {
            let code = |code: HealthCode| {
                let facts = code.facts();
                Code { code, worst: facts.worst, meaning: facts.meaning, safe: facts.safe, cost: facts.cost }
            };
            let codes = Codes { codes: HealthCode::ALL.map(code).into() };
            self.print(&Versioned::of(codes), |_| text::codes());
            return Ok(Exit::Ok);
        }
        let answer = self.client.get("/v1/status")?;
        let status: Status = self.client.read(&answer)?;
        let exit = Exit::of_health(status.health);
        // The part of the answer that was asked about, not the volumes.
        let part = serde_json::json!({
            "health": status.health, "reasons": status.reasons, "notes": status.notes,
        });
        self.print(&Versioned::of(part), |invocation| match verb {
            None => text::health(&status),
            Some(_) => text::health_detail(&status, invocation),
        });
        Ok(exit)
    }

    /// Needs no daemon: it is read when none starts.
    pub(super) fn runbook(&mut self, args: &RunbookArgs) -> Outcome {
        let markdown = args.code.map_or(RUNBOOK, entry);
        self.print(&Versioned::of(Entry { code: args.code, markdown }), |_| markdown.to_owned());
        Ok(Exit::Ok)
    }
}

/// The part of the runbook under the heading of `code`.
fn entry(code: HealthCode) -> &'static str {
    let heading = format!("## {code}\n");
    let begin = RUNBOOK.find(&heading).expect("a test holds that every code has an entry");
    let rest = &RUNBOOK[begin..];
    let end = rest[heading.len()..].find("\n## ").map_or(rest.len(), |end| heading.len() + end + 1);
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_an_entry_and_every_entry_a_code() {
        let headings: Vec<&str> = RUNBOOK
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .filter(|name| name.starts_with("HF_"))
            .collect();
        let names = HealthCode::ALL.map(HealthCode::name);
        assert_eq!(headings, names, "in the order of the codes, the gravest first");
        let words: BTreeSet<&str> = RUNBOOK
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("HF_"))
            .collect();
        assert_eq!(words, names.into(), "nothing that is no code");
    }

    #[test]
    fn every_entry_says_what_it_means_what_is_safe_what_to_type_and_what_it_costs() {
        for code in HealthCode::ALL {
            let entry = entry(code);
            let mut at = 0;
            for part in ["**Means.**", "**Safe.**", "**Type.**", "**Costs.**"] {
                let found = entry[at..].find(part);
                at +=
                    found.unwrap_or_else(|| panic!("{code} has no {part} after the part before it: {entry}"));
            }
            assert!(entry.matches("## ").count() == 1, "{entry}");
        }
    }

    /// A command that does not parse helps nobody at 3 a.m.
    #[test]
    fn every_command_of_the_runbook_is_one_of_this_program() {
        let commands: Vec<&str> =
            RUNBOOK.lines().map(str::trim).filter(|line| line.starts_with("holdfastctl ")).collect();
        assert!(commands.len() >= HealthCode::ALL.len(), "{commands:?}");
        for command in commands {
            let words = command.split(" #").next().unwrap_or_default().split_whitespace();
            let parsed = Cli::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
        }
    }
}
