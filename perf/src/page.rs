//! A job's report as one HTML page that needs nothing else: no script, no font, no other file.

use crate::chart::{columns, percentiles, time_line};
use crate::outcome::{CaseOutcome, Outcome};
use crate::table;

const STYLE: &str = "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}\
    pre{overflow-x:auto;background:#f5f5f5;padding:1em}svg{max-width:100%;height:auto}\
    .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(24em,1fr));gap:1em}";

/// The whole page.
///
/// # Errors
/// None is known: a chart that cannot be drawn.
pub fn html(outcome: &Outcome) -> anyhow::Result<String> {
    let title = escaped(&format!("{} of {}", outcome.kind, outcome.job));
    let charts = outcome.cases.iter().map(section).collect::<anyhow::Result<String>>()?;
    let config = outcome.daemon_config.as_deref().unwrap_or("a daemon that ran before");
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<pre>{text}</pre>\n{charts}\
         <h2>The daemon's configuration</h2>\n<pre>{config}</pre>\n</body></html>\n",
        text = escaped(&table::text(outcome)),
        config = escaped(config),
    ))
}

fn section(case: &CaseOutcome) -> anyhow::Result<String> {
    let rates: Vec<_> = case.contenders.iter().map(|one| (one.contender, &one.rate_per_s)).collect();
    let mut charts = vec![
        columns("requests a second", &rates, false)?,
        percentiles("time of a request", &case.contenders)?,
        time_line("requests a second over the time, round after round", &case.contenders)?,
    ];
    if !case.ratios.is_empty() {
        let ratios: Vec<_> = case.ratios.iter().map(|ratio| (ratio.to, &ratio.rate)).collect();
        charts.insert(0, columns("Holdfast's rate over that of", &ratios, true)?);
    }
    let name = escaped(&case.case.name);
    Ok(format!("<h2>{name}</h2>\n<div class=\"charts\">{}</div>\n", charts.join("\n")))
}

/// Job files and machines are not ours: their words are text, never markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
