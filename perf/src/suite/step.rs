//! The suite's questions: which there are, how each is asked, and what it found.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::{Line, Request};
use crate::figures::Figure;
use crate::job::Job;
use crate::outcome::{CaseOutcome, Outcome};
use crate::restart;
use crate::testbed::Testbed;

/// What a restart of a million lines may take until the first read is answered.
const RESTART_MS_MAX: f64 = 300.0;
/// The cache that has as many, of 4 KiB.
const RESTART_CACHE: u64 = 4 << 30;
/// What write-back is asked to write.
const WRITE_BACK_SPAN: &str = "4GiB";
/// Whoever is compared where everything is installed: the floor, Holdfast three times, and five others.
const COMPARED: f64 = 9.0;
/// The same by itself: with a trouble and without, or Holdfast and the floor.
const ALONE: f64 = 2.0;
/// What a step takes beside its rounds: a daemon that starts, files that are filled.
const SET_UP_S: f64 = 20.0;
/// Figures and restarts; seen on two cores.
const OTHERS_S: f64 = 90.0;

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// How long it will take, roughly.
    pub(super) seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A job with a trouble, beside itself; and one whose rate is a part of Holdfast's peak, beside the floor: others could not
    /// follow, and it would say nothing of them.
    Run,
    /// A job beside all others.
    Compare,
    Figures,
    Restart,
}

impl Kind {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Compare => "compare",
            Kind::Figures => "figures",
            Kind::Restart => "restart",
        }
    }
}

/// Jobs by their names, then what is no job.
pub(super) fn steps(jobs: &Path) -> anyhow::Result<Vec<Step>> {
    let entries = fs::read_dir(jobs).with_context(|| format!("jobs in {}", jobs.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let mut steps = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "toml")) {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let job = Job::parse(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let alone = job.trouble.is_some() || job.cases.iter().any(|case| case.rate_of_peak.is_some());
        let (kind, beside) = if alone { (Kind::Run, ALONE) } else { (Kind::Compare, COMPARED) };
        let rounds = f64::from(job.repeats) * beside * job.cases.iter().map(|_| job.seconds).sum::<f64>();
        steps.push(Step { name, kind, seconds: SET_UP_S + rounds });
    }
    ensure!(!steps.is_empty(), "there is no job in {}", jobs.display());
    steps.sort_by(|one, other| one.name.cmp(&other.name));
    let other = |name: String, kind| Step { name, kind, seconds: OTHERS_S };
    let figures = ["idle", "flushes", "sessions", "write-back"];
    steps.extend(figures.map(|line| other(format!("figures-{line}"), Kind::Figures)));
    steps.push(other("restart".to_owned(), Kind::Restart));
    Ok(steps)
}

pub(super) fn chosen(steps: Vec<Step>, only: &[String]) -> anyhow::Result<Vec<Step>> {
    let known = || steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ");
    for name in only {
        ensure!(steps.iter().any(|step| step.name == *name), "{name:?} is no step; there are {}", known());
    }
    Ok(steps.into_iter().filter(|step| only.is_empty() || only.contains(&step.name)).collect())
}

/// What a step has found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) lines: Vec<Line>,
    pub(super) findings: Vec<String>,
}

/// Asks it: this program, run again.
pub(super) fn carry_out(step: &Step, request: &Request, testbed: &Testbed) -> anyhow::Result<Found> {
    let program = std::env::current_exe().context("which program is this?")?;
    let mut command = Command::new(program);
    command.arg(step.kind.verb());
    match step.kind {
        Kind::Run | Kind::Compare => {
            command.arg(request.jobs.join(format!("{}.toml", step.name)));
            command.arg("--report").arg(&request.report);
            command.args(request.force.then_some("--force"));
        }
        Kind::Figures => {
            let line = step.name.strip_prefix("figures-").unwrap_or(&step.name);
            command.args([line, "--span", WRITE_BACK_SPAN]);
        }
        Kind::Restart => {
            command.arg("--directory").arg(&testbed.directory);
            if let Some(arena) = &testbed.arena_path {
                command.arg("--arena").arg(arena);
            }
        }
    }
    if let Some(file) = request.testbed.as_ref().filter(|_| step.kind != Kind::Restart) {
        command.arg("--testbed").arg(file);
    }
    // Its progress and its words are for whoever looks on.
    let output = command.arg("--json").stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout).context("its report")?;
    if !output.status.success() {
        let why: Option<serde_json::Value> =
            text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        match why.as_ref().and_then(|why| why["error"].as_str()) {
            Some(why) => bail!("{why}"),
            None => bail!("it ended with {}", output.status),
        }
    }
    found(step.kind, &text).context("its report")
}

fn found(kind: Kind, text: &str) -> anyhow::Result<Found> {
    Ok(match kind {
        Kind::Run | Kind::Compare => {
            let outcome: Outcome = serde_json::from_str(text)?;
            Found { lines: of_job(&outcome), findings: outcome.findings }
        }
        Kind::Figures => {
            let figures: Vec<Figure> = serde_json::from_str(text)?;
            Found { lines: figures.iter().map(of_figure).collect(), findings: Vec::new() }
        }
        Kind::Restart => {
            let starts =
                text.lines().map(serde_json::from_str).collect::<Result<Vec<restart::Outcome>, _>>()?;
            Found { lines: starts.iter().map(of_restart).collect(), findings: Vec::new() }
        }
    })
}

/// What is wanted over somebody who was not measured was not found.
fn of_job(outcome: &Outcome) -> Vec<Line> {
    outcome.cases.iter().flat_map(|case| of_case(&outcome.job, case)).collect()
}

fn of_case(job: &str, case: &CaseOutcome) -> Vec<Line> {
    let wanted = case.case.wanted.iter().flat_map(crate::wanted::Wanted::words);
    let line = |wanted: String| {
        let verdict = case.verdicts.iter().find(|verdict| verdict.wanted == wanted);
        Line {
            of: format!("{job}: {}", case.case.name),
            wanted: Some(wanted),
            found: verdict.map_or_else(
                || "NOT MEASURED".to_owned(),
                |verdict| between(verdict.found.median, verdict.found.min, verdict.found.max),
            ),
            reached: verdict.is_some_and(|verdict| verdict.reached),
        }
    };
    wanted.map(line).collect()
}

fn of_figure(figure: &Figure) -> Line {
    let least = figure.repeats.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figure.repeats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Line {
        of: figure.what.clone(),
        wanted: Some(figure.wanted.clone()),
        found: between(figure.value, least, most),
        reached: figure.reached,
    }
}

/// Smaller caches have to be as fast, larger ones have more to look at.
fn of_restart(outcome: &restart::Outcome) -> Line {
    let [least, median, most] = outcome.least_median_most();
    let gib = outcome.cache >> 30;
    let wanted = outcome.cache <= RESTART_CACHE;
    Line {
        of: format!("first read after a restart, {gib} GiB, {} lines, in ms", outcome.lines),
        wanted: wanted.then(|| format!("at most {RESTART_MS_MAX}")),
        found: between(median, least, most),
        reached: wanted && median <= RESTART_MS_MAX,
    }
}

fn between(median: f64, least: f64, most: f64) -> String {
    let digits = if median.abs() < 100.0 { 2 } else { 0 };
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(folder: &Path, name: &str, more: &str) {
        let text = format!("# Is it?\nspan = \"1MiB\"\n{more}\n[[case]]\nname = \"a\"\nreads_percent = 0\n");
        fs::write(folder.join(name), text).expect("written");
    }

    #[test]
    fn a_folder_s_jobs_are_steps_and_figures_and_restarts_come_after_them() {
        let folder = tempfile::tempdir().expect("a folder");
        job(folder.path(), "b.toml", "");
        let peak =
            "# Is it?\nspan = \"1MiB\"\n[[case]]\nname = \"a\"\nreads_percent = 0\nrate_of_peak = 0.5\n";
        fs::write(folder.path().join("b2.toml"), peak).expect("written");
        job(folder.path(), "a.toml", "trouble = \"hold\"");
        fs::write(folder.path().join("note.md"), "no job").expect("written");
        let all = steps(folder.path()).expect("jobs");
        let seen: Vec<_> = all.iter().map(|step| (step.name.as_str(), step.kind.verb())).collect();
        assert_eq!(seen[..4], [("a", "run"), ("b", "compare"), ("b2", "run"), ("figures-idle", "figures")]);
        assert_eq!(seen.last(), Some(&("restart", "restart")));
        // Five rounds of a second, of two and of nine contenders.
        assert_eq!([all[0].seconds, all[1].seconds], [SET_UP_S + 10.0, SET_UP_S + 45.0]);
        let some = chosen(all.clone(), &["restart".to_owned(), "b".to_owned()]).expect("steps");
        assert_eq!(some.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["b", "restart"]);
        let error = chosen(all, &["c".to_owned()]).expect_err("no step").to_string();
        assert!(error.contains("\"c\" is no step") && error.contains("figures-write-back"), "{error}");
        fs::write(folder.path().join("c.toml"), "span = 1").expect("written");
        assert!(format!("{:#}", steps(folder.path()).expect_err("no job")).contains("c.toml"));
    }

    #[test]
    fn figures_and_restarts_are_read_as_they_are_printed() {
        let figures = r#"[{ "what": "share", "value": 0.5, "repeats": [0.25, 0.5, 1.0], "wanted": "at most 1", "reached": true }]"#;
        let figures = found(Kind::Figures, figures).expect("figures");
        assert_eq!(
            (figures.lines[0].found.as_str(), figures.lines[0].reached),
            ("0.50 (0.25 to 1.00)", true)
        );
        let restart = |gib: u64, ms: f64| {
            let start = restart::Outcome {
                cache: gib << 30,
                reactors: 1,
                lines: 7,
                not_clean: 3,
                failed: 1,
                first_read_ms: vec![ms, ms + 2.0, ms - 1.0],
            };
            let text = serde_json::to_string(&start).expect("plain values");
            found(Kind::Restart, &text).expect("a restart").lines.remove(0)
        };
        assert!(restart(4, 300.0).reached && restart(4, 300.0).wanted.as_deref() == Some("at most 300"));
        assert!(!restart(4, 301.0).reached);
        assert_eq!((restart(8, 100.0).reached, restart(8, 100.0).wanted), (false, None));
        assert_eq!(restart(1, 150.0).found, "150 (149 to 152)");
        assert!(found(Kind::Restart, "nonsense").is_err());
    }

    /// A server that is not installed has no ratio, and what is wanted over it is not reached thereby.
    #[test]
    fn what_is_wanted_over_somebody_who_was_not_measured_is_a_line_that_is_not_reached() {
        let text = "# Is it?\nspan = \"1MiB\"\n[[case]]\nname = \"a\"\nreads_percent = 0\n\
                    wanted = [{ over = \"floor\", rate = 0.5 }, { over = \"page-cache\", rate = 5.0, p50 = 0.5 }]\n";
        let case = Job::parse(text).expect("a job").cases.remove(0);
        let verdict = crate::wanted::Verdict {
            wanted: case.wanted[0].words().remove(0),
            found: crate::statistics::Repeats::new(vec![0.75]),
            reached: true,
        };
        let outcome =
            CaseOutcome { case, ratios: Vec::new(), verdicts: vec![verdict], contenders: Vec::new() };
        let lines = of_case("job", &outcome);
        let seen: Vec<_> = lines.iter().map(|line| (line.found.as_str(), line.reached)).collect();
        assert_eq!(seen, [("0.75 (0.75 to 0.75)", true), ("NOT MEASURED", false), ("NOT MEASURED", false)]);
        assert_eq!(lines[2].wanted.as_deref(), Some("p50 over page cache at most 0.5"));
    }
}
