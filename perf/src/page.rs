//! A job's report as one HTML page that needs nothing else: no script, no font, no other file.

use crate::chart::{columns, curve, percentiles, time_line};
use crate::outcome::{CaseOutcome, Contender, Outcome};
use crate::statistics::Repeats;
use crate::table;
use crate::trouble::Trouble;

const STYLE: &str = "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}\
    pre{overflow-x:auto;background:#f5f5f5;padding:1em}svg{max-width:100%;height:auto}\
    .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(24em,1fr));gap:1em}";

/// The whole page.
///
/// # Errors
/// None is known: a chart that cannot be drawn.
pub fn html(outcome: &Outcome) -> anyhow::Result<String> {
    let title = escaped(&format!("{} of {}", outcome.kind, outcome.job));
    let mut charts = curves(outcome)?;
    charts += &outcome.cases.iter().map(section).collect::<anyhow::Result<String>>()?;
    let config = outcome.daemon_config.as_deref().unwrap_or("a daemon that ran before");
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<pre>{text}</pre>\n{charts}\
         <h2>The daemon's configuration</h2>\n<pre>{config}</pre>\n</body></html>\n",
        text = escaped(&table::text(outcome)),
        config = escaped(config),
    ))
}

/// Of a job whose cases differ in the rate of write-back: what is left of the rate of hits. Reads and writes apart.
fn curves(outcome: &Outcome) -> anyhow::Result<String> {
    if outcome.settings.trouble != Some(Trouble::WriteBack) {
        return Ok(String::new());
    }
    let mut charts = Vec::new();
    let mut shares: Vec<f64> = outcome.cases.iter().map(|case| case.case.reads_percent).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    for reads in shares {
        let of_share = outcome.cases.iter().filter(|case| case.case.reads_percent == reads);
        let points: Vec<_> = of_share
            .filter_map(|case| {
                let written = case.contenders[0].write_back_bytes_per_s()?;
                Some((written.median / 1e6, &case.ratios.first()?.rate))
            })
            .collect();
        let title = format!("rate of hits ({reads}% reads) over the rate without write-back");
        charts.push(curve(&title, "MB/s written back", &points)?);
    }
    Ok(format!("<h2>Hits while write-back runs</h2>\n<div class=\"charts\">{}</div>\n", charts.join("\n")))
}

fn section(case: &CaseOutcome) -> anyhow::Result<String> {
    let rates: Vec<_> = case.contenders.iter().map(|one| (one.contender, &one.rate_per_s)).collect();
    let mut charts = vec![
        columns("requests a second", &rates, false)?,
        percentiles("time of a request", &case.contenders)?,
        time_line("requests a second over the time, round after round", &case.contenders)?,
    ];
    if !case.ratios.is_empty() {
        let ratios = ratios_of(case, Contender::Holdfast);
        charts.insert(0, columns("Holdfast's rate over that of", &ratios, true)?);
    }
    for (door, name) in [(Contender::HoldfastVhost, "vhost-user"), (Contender::HoldfastNbd, "NBD")] {
        let ratios = ratios_of(case, door);
        if !ratios.is_empty() {
            let title = format!("The rate of Holdfast's {name} door over that of");
            charts.insert(1, columns(&title, &ratios, true)?);
        }
    }
    let name = escaped(&case.case.name);
    Ok(format!("<h2>{name}</h2>\n<div class=\"charts\">{}</div>\n", charts.join("\n")))
}

fn ratios_of(case: &CaseOutcome, who: Contender) -> Vec<(Contender, &Repeats)> {
    let of = case.ratios.iter().filter(|ratio| ratio.of == who);
    of.map(|ratio| (ratio.to, &ratio.rate)).collect()
}

/// Job files and machines are not ours: their words are text, never markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
