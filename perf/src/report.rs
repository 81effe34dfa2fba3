//! A report as a table for people: ratios first.

use std::fmt::Write;

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::cases::{CaseReport, Figures, Report, SpanReport};
use crate::load::Operation;
use crate::statistics::Repeats;

/// The whole report as text.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = machine(report);
    for finding in &report.findings {
        line(&mut text, &format!("! {finding}"));
    }
    for span in &report.spans {
        line(&mut text, "");
        line(&mut text, &heading(span));
        line(&mut text, &table(span).to_string());
    }
    line(
        &mut text,
        "\nMedian of the repeats, and in brackets (max - min) / median. Times include touching the payload.",
    );
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string can grow");
}

fn machine(report: &Report) -> String {
    let (machine, settings) = (&report.machine, &report.settings);
    let mut text = String::new();
    let virtual_machine = if machine.virtual_machine { ", virtual machine" } else { "" };
    line(&mut text, &format!("{}{virtual_machine}, Linux {}", machine.cpu_model, machine.kernel));
    line(
        &mut text,
        &format!(
            "cores {:?}, client on {}, server on {}{}; huge pages {} free of {}, transparent: {}",
            machine.cores,
            settings.client_core,
            settings.server_core,
            if machine.smt_siblings { " (hyperthreads of one core)" } else { "" },
            machine.huge_pages_free,
            machine.huge_pages,
            machine.transparent_huge_pages,
        ),
    );
    line(
        &mut text,
        &format!(
            "load {} before; during the run {:.1}% stolen, the client preempted {:.1} times a second",
            machine.load, report.during.steal_percent, report.during.client_preemptions_per_s,
        ),
    );
    line(
        &mut text,
        &format!(
            "{} rounds of {} s for each figure, seed {}; cache line there and back: {}",
            settings.repeats,
            settings.seconds,
            settings.seed,
            nanoseconds(&report.ping_pong_ns),
        ),
    );
    text
}

fn heading(span: &SpanReport) -> String {
    format!(
        "4 KiB over {}{}, floor's span on {:?} pages; one copy into it: {}",
        ByteSize::b(span.span_bytes).display().iec(),
        if span.hot_in_l3 { " (L3-hot)" } else { "" },
        span.span_pages,
        nanoseconds(&span.copy_ns),
    )
}

fn table(span: &SpanReport) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    let beside = span.cases.iter().any(|case| case.beside.is_some());
    let of_floor = ["floor rate /s", "floor p50", "floor p99"];
    if beside {
        let of_daemon = ["rate / floor", "p50 / floor", "rate /s", "p50", "p99"];
        table.set_header([&["case"][..], &of_daemon, &of_floor].concat());
    } else {
        table.set_header([&["case"][..], &of_floor].concat());
    }
    for case in &span.cases {
        table.add_row(row(case));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(report: &CaseReport) -> Vec<String> {
    let operation = if report.case.operation == Operation::Write { "write" } else { "read" };
    let mut row = vec![format!("{operation}, depth {}", report.case.depth)];
    if let Some(beside) = &report.beside {
        row.push(ratio(&beside.rate_ratio));
        row.push(ratio(&beside.p50_ratio));
        row.extend(figures(&beside.daemon));
    }
    row.extend(figures(&report.floor));
    row
}

fn figures(figures: &Figures) -> [String; 3] {
    [rate(&figures.rate_per_s), nanoseconds(&figures.p50_ns), nanoseconds(&figures.p99_ns)]
}

pub(crate) fn ratio(figure: &Repeats) -> String {
    format!("{:.2} ({:.0}%)", figure.median, figure.spread * 100.0)
}

pub(crate) fn rate(figure: &Repeats) -> String {
    format!("{:.0} K ({:.0}%)", figure.median / 1000.0, figure.spread * 100.0)
}

pub(crate) fn nanoseconds(figure: &Repeats) -> String {
    format!("{:.0} ns ({:.0}%)", figure.median, figure.spread * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_with_their_spread() {
        let figure = Repeats::new(vec![900.0, 1000.0, 1100.0]);
        assert_eq!(nanoseconds(&figure), "1000 ns (20%)");
        assert_eq!(rate(&figure), "1 K (20%)");
        assert_eq!(ratio(&Repeats::new(vec![0.75])), "0.75 (0%)");
    }
}
