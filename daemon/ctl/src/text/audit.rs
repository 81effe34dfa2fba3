//! `audit`.

use super::stats::Around;
use super::{Invocation, plain};
use crate::api::{Audit, AuditRow};

/// Who changed what, a line each.
pub fn audit(page: &Audit, invocation: &Invocation) -> String {
    if page.rows.is_empty() {
        return "Nobody changed anything.\n".to_owned();
    }
    let line = |row: &AuditRow| {
        let (number, at) = (row.number, plain(&row.at.rfc3339));
        format!("{number} {at} {}: {}\n", plain(&row.who), plain(&row.verb))
    };
    let lines: String = page.rows.iter().map(line).collect();
    let around = Around { verb: "audit", missed: page.missed, earlier: page.earlier, later: page.later };
    around.of(&lines, page.next, invocation)
}
