//! What operators get ready-made to watch the metrics: the reference, alert rules and a dashboard. Each names what exists.

use crate::metrics::{busy, scrape};
use crate::needs::can_use;
use crate::world::World;
use holdfast_daemon::admin::metrics::METRICS;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

const REFERENCE: &str = include_str!("../../../docs/metrics.md");
const RULES: &str = include_str!("../../../configs/monitoring/alerts.yml");
const RULE_TESTS: &str = include_str!("../../../configs/monitoring/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../../configs/monitoring/dashboard.json");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/monitoring");

/// Copy what this test prints into docs/metrics.md.
#[test]
fn the_reference_has_every_metric_as_the_catalogue_has_it_and_no_other() {
    let table: Vec<String> = METRICS.iter().map(|metric| metric.row()).collect();
    let rows: Vec<&str> = REFERENCE.lines().filter(|line| line.starts_with("| `holdfast_")).collect();
    assert!(rows == table, "docs/metrics.md should have:\n{}", table.join("\n"));
}

/// Every name that can be queried, with its labels.
fn queryable() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut names = BTreeMap::new();
    for metric in METRICS {
        let (name, labels) = (metric.full_name(), BTreeSet::from_iter(metric.labels.iter().copied()));
        if metric.kind_name() == "histogram" {
            for suffix in ["_bucket", "_count", "_sum"] {
                names.insert(format!("{name}{suffix}"), labels.clone());
            }
        }
        names.insert(name, labels);
    }
    names
}

/// The words that begin with `holdfast_`, each with the labels in the braces that follow.
fn used(text: &str) -> Vec<(String, Vec<String>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("holdfast_") {
        let before = rest[..at].chars().next_back();
        rest = &rest[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if before.is_some_and(is_word) {
            continue;
        }
        let braces = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let selectors = braces.map_or("", |(inner, _)| inner);
        let label = |one: &str| one.trim().split(|c| !is_word(c)).next().unwrap_or_default().to_owned();
        found
            .push((name.to_owned(), selectors.split(',').map(label).filter(|one| !one.is_empty()).collect()));
    }
    found
}

/// Labels that Prometheus adds itself.
const ADDED: [&str; 3] = ["instance", "job", "le"];

fn check(file: &str, text: &str) -> usize {
    let known = queryable();
    let used = used(text);
    for (name, labels) in &used {
        let has = known.get(name).unwrap_or_else(|| panic!("{file}: there is no metric {name}"));
        for label in labels {
            assert!(
                has.contains(label.as_str()) || ADDED.contains(&label.as_str()),
                "{file}: {name} has no {label}"
            );
        }
    }
    used.len()
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let names = used("sum(holdfast_nothing_total{a=\"1\", b!=\"x\"}) / rate(x_holdfast_y[5m])");
    assert_eq!(names, [("holdfast_nothing_total".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    assert!(std::panic::catch_unwind(|| check("a test", "holdfast_nothing_total")).is_err());
    assert!(std::panic::catch_unwind(|| check("a test", "holdfast_health{volume=\"a\"}")).is_err());
}

#[test]
fn the_alert_rules_use_metrics_that_exist() {
    assert!(check("alerts.yml", RULES) >= 12);
    assert!(check("alerts.test.yml", RULE_TESTS) >= 5);
}

/// What the panels of the dashboard ask for.
fn queries(panels: &Value, found: &mut Vec<String>) {
    for panel in panels.as_array().expect("a list of panels") {
        if let Some(inner) = panel.get("panels") {
            queries(inner, found);
        }
        for target in panel.get("targets").and_then(Value::as_array).into_iter().flatten() {
            found.push(target["expr"].as_str().expect("an expression").to_owned());
        }
    }
}

#[test]
fn the_dashboard_uses_metrics_that_exist_and_each_panel_asks_for_one() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut found = Vec::new();
    queries(&dashboard["panels"], &mut found);
    assert!(found.len() >= 15, "{found:?}");
    for query in &found {
        assert!(check("dashboard.json", query) > 0, "{query}");
    }
    check("dashboard.json", DASHBOARD);
    let shown: BTreeSet<String> = found.iter().flat_map(|query| used(query)).map(|(name, _)| name).collect();
    for needed in
        ["holdfast_health", "holdfast_volume_data_bytes", "holdfast_request_duration_seconds_bucket"]
    {
        assert!(shown.contains(needed), "no panel shows {needed}");
    }
}

#[test]
fn promtool_accepts_the_rules_and_they_fire_when_they_should() {
    if !can_use(&["promtool"]) {
        return;
    }
    for words in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let mut promtool = Command::new("promtool");
        let output = promtool.args(words).current_dir(FOLDER).output().expect("promtool runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {out}{err}");
    }
}

/// promtool reads the older text format, in which a counter is announced with the `_total` of its samples.
fn older(text: &str) -> String {
    let counters: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let line = |line: &str| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "HELP" | "TYPE", name, rest] if counters.contains(name) => {
                format!("# {} {name}_total {rest}\n", words[1])
            }
            ["#", "UNIT" | "EOF", ..] => String::new(),
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    if !can_use(&["promtool"]) {
        return;
    }
    let world = World::new();
    busy(&mut world.state());
    let text = older(&scrape(&world));
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
