//! `extents`, `explain` and `fault`.

use super::Column::{Numbers, Words};
use super::{Invocation, labelled, plain, table};
use crate::api::{Explanation, Extent, Extents, Faults, Range, Report, Reports, Time};
use crate::size::binary;

/// A listing; offsets and lengths are exact, because they are typed back in.
pub fn extents(page: &Extents, invocation: &Invocation) -> String {
    let (volume, state) = (plain(&page.volume), page.state);
    if page.extents.is_empty() && page.next.is_none() {
        return format!("Volume '{volume}' has no {state} extents here.\n");
    }
    let next = page.next.map(|next| format!("holdfastctl extents {volume} --state {state} --from {next}"));
    rows(&page.extents) + &more(next, invocation)
}

/// What a failed flush reported.
pub fn explanation(page: &Explanation, invocation: &Invocation) -> String {
    let volume = plain(&page.volume);
    let told = format!(
        "A flush of volume '{volume}' failed with {} ({}), first reported {}. {}",
        page.errno.name,
        page.errno.meaning,
        page.reported.rfc3339,
        if page.unresolved {
            "It is still true: what is listed is not on stable media."
        } else {
            "It is over: all that is listed was healed, discarded or acknowledged since."
        }
    );
    let next = page.next.map(|next| format!("holdfastctl explain {} --from {next}", page.id));
    labelled("failure", &page.id.to_string())
        + &labelled("status", &told)
        + "\n"
        + &rows(&page.extents)
        + &more(next, invocation)
}

/// The failed flushes that were reported last.
pub fn reports(reports: &Reports, invocation: &Invocation) -> String {
    let Some(last) = reports.reports.last() else {
        return "No flush has failed, as far back as is known.\n".to_owned();
    };
    let row = |report: &Report| {
        let now = if report.unresolved { "still true" } else { "over" };
        vec![report.id.to_string(), plain(&report.volume), report.reported.rfc3339.clone(), now.to_owned()]
    };
    let columns = [Words("FAILURE"), Words("VOLUME"), Words("FIRST REPORTED"), Words("NOW")];
    let command = invocation.command(&format!("holdfastctl explain {}", last.id));
    table(&columns, reports.reports.iter().map(row)) + &format!("\nWhat the last one was: {command}\n")
}

fn more(next: Option<String>, invocation: &Invocation) -> String {
    next.map_or(String::new(), |command| format!("There are more: {}\n", invocation.command(&command)))
}

fn rows(extents: &[Extent]) -> String {
    let columns = [
        Numbers("OFFSET"),
        Numbers("LENGTH"),
        Numbers("SIZE"),
        Words("STATE"),
        Words("CLASS"),
        Words("ERRNO"),
        Numbers("TRIES"),
        Words("FIRST"),
        Words("LAST"),
    ];
    table(&columns, extents.iter().map(row))
}

fn row(extent: &Extent) -> Vec<String> {
    let mut row = vec![
        extent.offset.to_string(),
        extent.length.to_string(),
        binary(extent.length),
        extent.state.to_string(),
    ];
    match &extent.refusal {
        Some(refusal) => row.extend([
            plain(&refusal.class),
            plain(&refusal.errno.name),
            refusal.attempts.to_string(),
            time(&refusal.first),
            time(&refusal.last),
        ]),
        None => row.extend(["-", "-", "0", "-", "-"].map(str::to_owned)),
    }
    row
}

/// What waits behind a device that refuses everything has the device's word, but was never tried.
fn time(time: &Time) -> String {
    if time.unix_ms == 0 { "-".to_owned() } else { plain(&time.rfc3339) }
}

/// The faults in force.
pub fn faults(faults: &Faults) -> String {
    if faults.faults.is_empty() {
        return format!("Volume '{}' has no faults injected.\n", plain(&faults.volume));
    }
    let columns = [Words("OPERATION"), Words("ERRNO"), Words("RANGE"), Words("SEQUENCE")];
    let place = |range: Option<Range>| {
        range.map_or("everywhere".to_owned(), |range| format!("{}:{}", range.offset, range.length))
    };
    let rows = faults.faults.iter().map(|fault| {
        let operation = fault.operation.name().to_owned();
        vec![operation, plain(&fault.errno), place(fault.range), plain(&fault.sequence)]
    });
    table(&columns, rows)
}
