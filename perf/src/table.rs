//! A job's report for the terminal: ratios first.

use std::fmt::Write;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::job::Case;
use crate::outcome::{CaseOutcome, Contender, ContenderOutcome, Outcome};
use crate::report::{nanoseconds, rate, ratio};
use crate::statistics::Repeats;

/// The whole report as text.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a string can grow");
    line(&outcome.question);
    line(&format!(
        "{} of {} at {}; {}, Linux {}; clients on {:?}, reactors on {:?}",
        outcome.kind,
        outcome.job,
        outcome.revision,
        outcome.machine.cpu_model,
        outcome.machine.kernel,
        outcome.testbed.client_cores,
        outcome.testbed.reactor_cores,
    ));
    let job = &outcome.settings;
    line(&format!(
        "set of {}, {} rounds of {} s for each figure, seed {}{}",
        ByteSize::b(job.span).display().iec(),
        job.repeats,
        job.seconds,
        job.seed,
        if job.verify { ", every version checked" } else { "" },
    ));
    if let Some(ping_pong) = &outcome.ping_pong_ns {
        line(&format!("cache line there and back: {}", nanoseconds(ping_pong)));
    }
    for finding in &outcome.findings {
        line(&format!("! {finding}"));
    }
    line(&format!("\n{}", ratios(outcome)));
    if outcome.cases.iter().any(|case| !case.verdicts.is_empty()) {
        line(&format!("\n{}", verdicts(outcome)));
    }
    line(&format!("\n{}", figures(outcome)));
    line(
        "\nMedian of the repeats, and in brackets (max - min) / median. Times include touching the payload.",
    );
    if let Some(trouble) = outcome.settings.trouble {
        line(&format!("Undisturbed: the same load, but not that {}.", trouble.name()));
    }
    text + &outcome.cases.iter().map(beside).collect::<String>()
}

/// What happened beside a case: when, in each of its rounds, and what devices were given.
fn beside(case: &CaseOutcome) -> String {
    let mut text = String::new();
    let of = |who: &ContenderOutcome| format!("{}, {}", name(case), who.contender.name());
    for who in &case.contenders {
        for (round, marks) in (1..).zip(who.rounds.iter().map(|round| &round.marks)) {
            let marks: Vec<_> =
                marks.iter().map(|mark| format!("{:.2} s {}", mark.at_s, mark.what)).collect();
            if !marks.is_empty() {
                text += &format!("{}, round {round}: {}\n", of(who), marks.join(", "));
            }
        }
        if let Some(written) = who.write_back_bytes_per_s() {
            let megabytes = written.median / 1e6;
            text +=
                &format!("{}: {megabytes:.0} MB/s written back ({:.0}%)\n", of(who), written.spread * 100.0);
        }
    }
    text
}

fn ratios(outcome: &Outcome) -> Table {
    let mut table = table(&["case", "holdfast over", "rate", "p50", "p99"], 2);
    for case in &outcome.cases {
        for other in &case.ratios {
            let figures = [&other.rate, &other.p50, &other.p99].map(ratio);
            let alike = other.of != Contender::Holdfast;
            let to =
                if alike { format!("{} (so is holdfast)", other.to.name()) } else { other.to.name().into() };
            table.add_row([name(case), to].into_iter().chain(figures));
        }
        if case.ratios.is_empty() {
            table.add_row([name(case), "nothing".into()]);
        }
    }
    table
}

fn verdicts(outcome: &Outcome) -> Table {
    let mut table = table(&["case", "wanted", "", "is"], 3);
    for case in &outcome.cases {
        for verdict in &case.verdicts {
            let word = if verdict.reached { "reached" } else { "NOT REACHED" };
            table.add_row([name(case), verdict.wanted.clone(), word.into(), ratio(&verdict.found)]);
        }
    }
    table
}

fn figures(outcome: &Outcome) -> Table {
    let header = ["case", "who", "rate /s", "MB/s", "p50", "p99", "p99.9", "p99.99", "unserved"];
    let mut table = table(&header, 2);
    for case in &outcome.cases {
        for contender in &case.contenders {
            table.add_row(row(case, contender));
        }
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "figures, not counts")]
fn row(case: &CaseOutcome, who: &ContenderOutcome) -> Vec<String> {
    let all = |figure: fn(&crate::outcome::RoundOutcome) -> u64| {
        Repeats::new(who.rounds.iter().map(|round| figure(round) as f64).collect())
    };
    let megabytes = who.rate_per_s.median * case.case.block as f64 / 1e6;
    let unserved: u64 = who.rounds.iter().map(|round| round.unserved).sum();
    vec![
        name(case),
        who.contender.name().into(),
        rate(&who.rate_per_s),
        format!("{megabytes:.0}"),
        time(&who.p50_ns),
        time(&who.p99_ns),
        time(&all(|round| round.p99_9_ns)),
        time(&all(|round| round.p99_99_ns)),
        unserved.to_string(),
    ]
}

/// In ns as long as that is readable.
fn time(figure: &Repeats) -> String {
    if figure.median < 100_000.0 {
        return nanoseconds(figure);
    }
    format!("{:.0} us ({:.0}%)", figure.median / 1000.0, figure.spread * 100.0)
}

fn name(outcome: &CaseOutcome) -> String {
    let Case { name, rate, .. } = &outcome.case;
    match rate {
        Some(rate) => format!("{name} (open, {rate:.0}/s)"),
        None => name.clone(),
    }
}

fn table(header: &[&str], words: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_told_in_microseconds() {
        assert_eq!(time(&Repeats::new(vec![99_999.0])), "99999 ns (0%)");
        assert_eq!(time(&Repeats::new(vec![1_500_000.0])), "1500 us (0%)");
    }
}
