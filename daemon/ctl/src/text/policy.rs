//! `policy` and `reload`.

use super::Column::Words;
use super::{plain, table};
use crate::api::{Difference, FlushKind, Policy, PolicyKind, PolicyRule, Reloaded, RetryCause, VolumePolicy};
use crate::size::duration;

/// What holds for a volume; after a change, what changed.
pub fn policy(answer: &VolumePolicy) -> String {
    let mut out = policy_table(&answer.policy);
    if !answer.differences.is_empty() {
        out.push('\n');
        out += &differences(&answer.differences);
        out += if answer.dry_run {
            "Nothing was changed: this was a trial.\n"
        } else {
            "In force until the next start or reload: write it into the configuration to keep it.\n"
        };
    } else if answer.dry_run {
        out += "\nNothing would change.\n";
    }
    if let Some(message) = &answer.unconfirmed {
        out += &format!("{}\nIt would be refused without --yes-lose-data.\n", plain(message));
    }
    out
}

/// The rules of a volume, a line each, and what a flush does.
pub(super) fn policy_table(policy: &Policy) -> String {
    let columns =
        [Words("CLASS"), Words("POLICY"), Words("GIVES UP"), Words("WRITES WAIT"), Words("TRIED AGAIN")];
    let flush = match (policy.flush_on_failure, policy.flush_timeout_ms) {
        (FlushKind::Stall, Some(timeout)) => {
            format!("waits up to {}, then answers with the error", duration(timeout))
        }
        _ => "answers at once with the error".to_owned(),
    };
    table(&columns, policy.rules.iter().map(rule_row)) + &format!("\nA flush that cannot succeed {flush}.\n")
}

fn rule_row(rule: &PolicyRule) -> Vec<String> {
    let gives_up = match (rule.kind, rule.pressure_permille) {
        (PolicyKind::EvictImmediately, _) => "when it failed for good".to_owned(),
        (PolicyKind::HoldUntilPressure, Some(parts)) => {
            format!("from {}.{}% of the budget", parts / 10, parts % 10)
        }
        _ => "never".to_owned(),
    };
    let on: Vec<&str> = rule.retry_on.iter().map(|cause| cause_name(*cause)).collect();
    let waits = format!("{} to {}", duration(rule.retry_first_ms), duration(rule.retry_max_ms));
    vec![
        plain(&rule.classes.join(", ")),
        rule.kind.name().to_owned(),
        gives_up,
        rule.stall_timeout_ms.map_or("-".to_owned(), duration),
        if on.is_empty() {
            "by an operator only".to_owned()
        } else {
            format!("on {}, every {waits}", on.join(", "))
        },
    ]
}

const fn cause_name(cause: RetryCause) -> &'static str {
    match cause {
        RetryCause::Timer => "timer",
        RetryCause::Flush => "flush",
        RetryCause::Overwrite => "overwrite",
        RetryCause::Operator => "operator",
    }
}

/// What a reload changed, or would change.
pub fn reloaded(reloaded: &Reloaded) -> String {
    let config = plain(&reloaded.config);
    if reloaded.differences.is_empty() {
        return format!("'{config}' is what is in force: nothing to change.\n");
    }
    let restart = reloaded.differences.iter().any(|difference| difference.needs_restart);
    differences(&reloaded.differences)
        + match (reloaded.dry_run, restart) {
            (true, true) => "Nothing was changed: this was a trial, and a reload would be refused.\n",
            (true, false) => "Nothing was changed: this was a trial.\n",
            (false, _) => "In force now.\n",
        }
}

/// What another budget changed, or would change.
pub fn budget_set(set: &Reloaded) -> String {
    if set.differences.is_empty() {
        return "That is its budget already: nothing to change.\n".to_owned();
    }
    let end = if set.dry_run {
        "Nothing was changed: this was a trial.\n".to_owned()
    } else {
        "In force until the next start or reload: write it into the configuration to keep it.\n".to_owned()
    };
    differences(&set.differences) + &end
}

fn differences(differences: &[Difference]) -> String {
    let line = |difference: &Difference| {
        let restart = if difference.needs_restart { " (needs a restart)" } else { "" };
        let (key, before, after) =
            (plain(&difference.key), plain(&difference.before), plain(&difference.after));
        format!("{key}: {before} -> {after}{restart}\n")
    };
    differences.iter().map(line).collect()
}
