//! `health`, `health detail` and `health codes`.

use super::Column::Words;
use super::status::commands;
use super::{Invocation, labelled, plain, table};
use crate::api::{HealthCode, Reason, Status};

/// The verdict in a line, and the codes in a line each.
pub fn health(status: &Status) -> String {
    let mut out = format!("{}\n", status.health);
    let row = |reason: &Reason| vec![reason.code.to_string(), reason.health.to_string(), about(reason)];
    let all: Vec<_> = status.reasons.iter().chain(&status.notes).map(row).collect();
    if !all.is_empty() {
        out += &table(&[Words("CODE"), Words("STATE"), Words("ABOUT")], all);
    }
    out
}

/// Everything that is wrong, with what is safe, what to type and what it costs; then what should be known.
pub fn health_detail(status: &Status, invocation: &Invocation) -> String {
    let mut out = labelled("state", &status.health.to_string());
    if status.reasons.is_empty() {
        out += &labelled("status", "Every device takes what it is given. Nothing is held, nothing is lost.");
    }
    for reason in status.reasons.iter().chain(&status.notes) {
        out.push('\n');
        out += &format!("{} {} ({})\n", reason.code, reason.health, plain(&about(reason)));
        out += &labelled("status", &plain(&reason.status));
        out += &labelled("safe", &plain(&reason.safe));
        if !reason.action.is_empty() {
            out += &labelled("action", &plain(&reason.action));
        }
        out += &commands(reason, invocation);
        out += &labelled("cost", &plain(&reason.cost));
        out += &labelled("read", &invocation.command(&format!("holdfastctl runbook {}", reason.code)));
    }
    out
}

fn about(reason: &Reason) -> String {
    reason.volume.as_ref().map_or("daemon".to_owned(), |volume| format!("volume {volume}"))
}

/// Every code there is, with what it means.
pub fn codes() -> String {
    let row = |code: HealthCode| {
        let facts = code.facts();
        vec![facts.name.to_owned(), facts.worst.to_string(), facts.meaning.to_owned()]
    };
    table(&[Words("CODE"), Words("AT WORST"), Words("MEANS")], HealthCode::ALL.map(row))
}
