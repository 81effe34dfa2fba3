//! `audit`.

use super::plain;
use crate::api::{Audit, AuditRow};

/// Who changed what, a line each.
pub fn audit(page: &Audit) -> String {
    let mut out = String::new();
    if page.missed > 0 {
        out += &format!("({} older rows are forgotten)\n", page.missed);
    }
    if page.rows.is_empty() {
        return out + "Nobody changed anything.\n";
    }
    let line = |row: &AuditRow| {
        let (number, at) = (row.number, plain(&row.at.rfc3339));
        format!("{number} {at} {}: {}\n", plain(&row.who), plain(&row.verb))
    };
    out + &page.rows.iter().map(line).collect::<String>()
}
