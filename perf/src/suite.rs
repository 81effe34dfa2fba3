//! Everything that the project wants of its speed, asked one question after the other, and one page that says what was
//! found: each job of a folder, the figures that are no rates, and restarts. Each step is a process of its own, so that
//! one that fails costs its own lines and no others.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::{Deserialize, Serialize};

use crate::figures::Figure;
use crate::job::Job;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::restart;
use crate::testbed::Testbed;

/// What a restart of a million lines may take until the first read is answered.
const RESTART_MS_MAX: f64 = 300.0;
/// The cache that has as many, of 4 KiB.
const RESTART_CACHE: u64 = 4 << 30;

/// What to ask.
#[derive(Debug)]
pub struct Request {
    /// Jobs are the TOML files in it.
    pub jobs: PathBuf,
    /// Names of steps; all of them if there is none.
    pub only: Vec<String>,
    /// A file, handed on to each step.
    pub testbed: Option<PathBuf>,
    /// A folder that gets each job's report, and the page.
    pub report: PathBuf,
    /// Hand `--force` on.
    pub force: bool,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A job with a trouble, beside itself.
    Run,
    /// A job beside all others.
    Compare,
    Figures,
    Restart,
}

impl Kind {
    fn verb(self) -> &'static str {
        match self {
            Kind::Run => "run",
            Kind::Compare => "compare",
            Kind::Figures => "figures",
            Kind::Restart => "restart",
        }
    }
}

/// One line of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The step, and the row of its table.
    pub of: String,
    /// What is wanted.
    pub wanted: String,
    /// The median that was found, and what it lies between.
    pub found: String,
    /// Whether it is what is wanted.
    pub reached: bool,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Its name.
    pub step: String,
    /// The verb of this program that it was.
    pub verb: String,
    /// How long it took.
    pub seconds: f64,
    /// What the project wants of it; empty if that is nothing.
    pub lines: Vec<Line>,
    /// What speaks against believing it.
    pub findings: Vec<String>,
    /// Why there is nothing, if it failed.
    pub failed: Option<String>,
}

/// The page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// The commit that this program was built from.
    pub revision: String,
    /// Where it was measured.
    pub machine: Machine,
    /// The testbed's file, as it was written; empty if there was none.
    pub testbed: String,
    /// What was done, in order.
    pub done: Vec<Done>,
    /// What has not been done yet.
    pub left: Vec<String>,
}

impl Suite {
    /// Whether everything was measured and is as it is wanted.
    #[must_use]
    pub fn all_reached(&self) -> bool {
        let fine = |done: &Done| done.failed.is_none() && done.lines.iter().all(|line| line.reached);
        self.left.is_empty() && self.done.iter().all(fine)
    }

    /// The page, in Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        let Machine { cpu_model, kernel, cores, .. } = &self.machine;
        let mut text = String::from("# What was wanted, and what was found\n\n");
        let mut say = |line: &str| writeln!(text, "{line}").expect("a string can grow");
        say(&format!("Commit {}; {cpu_model}, {} cores, Linux {kernel}.", self.revision, cores.len()));
        let testbed: Vec<_> = self.testbed.lines().filter(|line| !line.starts_with('#')).collect();
        if !testbed.is_empty() {
            say(&format!("Testbed: `{}`.", testbed.join("; ")));
        }
        let lines = || self.done.iter().flat_map(|done| &done.lines);
        let (all, reached) = (lines().count(), lines().filter(|line| line.reached).count());
        let failed = self.done.iter().filter(|done| done.failed.is_some()).count();
        say(&format!(
            "{reached} of {all} are reached. Steps: {} done, {failed} of them failed, {} left.\n",
            self.done.len(),
            self.left.len()
        ));
        let mut table = markdown(&["of", "wanted", "found: median (least to most)", ""]);
        for line in lines() {
            let word = if line.reached { "reached" } else { "NOT REACHED" };
            table.add_row([&line.of, &line.wanted, &line.found, word]);
        }
        say(&format!("{table}\n"));
        let mut table = markdown(&["step", "took", "found"]);
        for done in &self.done {
            let found = match (&done.failed, done.lines.len()) {
                (Some(why), _) => format!("FAILED: {why}"),
                (None, 0) => "measured; nothing is wanted of it".to_owned(),
                (None, all) => {
                    format!("{} of {all} reached", done.lines.iter().filter(|line| line.reached).count())
                }
            };
            table.add_row([format!("{} {}", done.verb, done.step), format!("{:.0} s", done.seconds), found]);
        }
        for step in &self.left {
            table.add_row([step.clone(), String::new(), "not done".to_owned()]);
        }
        say(&format!("{table}\n"));
        let mut findings: Vec<&String> = Vec::new();
        for finding in self.done.iter().flat_map(|done| &done.findings) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        if !findings.is_empty() {
            say("What speaks against these figures, on this machine or in one of the steps:\n");
            findings.iter().for_each(|finding| say(&format!("* {finding}")));
        }
        text
    }

    fn save(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, text) in [("suite.md", self.page()), ("suite.json", serde_json::to_string_pretty(self)?)] {
            // A page is never half of one.
            let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
            fs::write(&new, text)
                .and_then(|()| fs::rename(&new, &path))
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn markdown(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    table
}

/// Carries the suite out, and keeps its page up to date in the folder of the report. `look` is told what is done next.
///
/// # Errors
/// A job is none, a name is no step's, or the page cannot be written. A step that fails is a line of the page.
pub fn run(request: &Request, machine: Machine, mut look: impl FnMut(&str)) -> anyhow::Result<Suite> {
    let steps = chosen(steps(&request.jobs)?, &request.only)?;
    let testbed = match &request.testbed {
        Some(file) => fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?,
        None => String::new(),
    };
    Testbed::parse(&testbed).context("the testbed")?;
    fs::create_dir_all(&request.report).with_context(|| request.report.display().to_string())?;
    let left = steps.iter().map(|step| step.name.clone()).collect();
    let mut suite =
        Suite { revision: env!("HOLDFAST_REVISION").into(), machine, testbed, done: Vec::new(), left };
    let begun = Instant::now();
    for (number, step) in (1..).zip(&steps) {
        look(&format!(
            "{number} of {}: {} {} ({} so far)",
            steps.len(),
            step.kind.verb(),
            step.name,
            minutes(begun.elapsed())
        ));
        let since = Instant::now();
        let found = carry_out(step, request);
        suite.left.remove(0);
        suite.done.push(done(step, since.elapsed(), found));
        suite.save(&request.report)?;
    }
    Ok(suite)
}

fn minutes(elapsed: Duration) -> String {
    format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}

/// Jobs by their names, then what is no job.
fn steps(jobs: &Path) -> anyhow::Result<Vec<Step>> {
    let entries = fs::read_dir(jobs).with_context(|| format!("jobs in {}", jobs.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let mut steps = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "toml")) {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let job = Job::parse(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        steps.push(Step { name, kind: if job.trouble.is_some() { Kind::Run } else { Kind::Compare } });
    }
    ensure!(!steps.is_empty(), "there is no job in {}", jobs.display());
    steps.sort_by(|one, other| one.name.cmp(&other.name));
    let figures = ["idle", "flushes", "sessions", "write-back"];
    steps.extend(figures.map(|line| Step { name: format!("figures-{line}"), kind: Kind::Figures }));
    steps.push(Step { name: "restart".to_owned(), kind: Kind::Restart });
    Ok(steps)
}

fn chosen(steps: Vec<Step>, only: &[String]) -> anyhow::Result<Vec<Step>> {
    let known = || steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ");
    for name in only {
        ensure!(steps.iter().any(|step| step.name == *name), "{name:?} is no step; there are {}", known());
    }
    Ok(steps.into_iter().filter(|step| only.is_empty() || only.contains(&step.name)).collect())
}

/// What a step has found.
#[derive(Debug, PartialEq)]
struct Found {
    lines: Vec<Line>,
    findings: Vec<String>,
}

fn done(step: &Step, took: Duration, found: anyhow::Result<Found>) -> Done {
    let (found, failed) = match found {
        Ok(found) => (found, None),
        Err(why) => (Found { lines: Vec::new(), findings: Vec::new() }, Some(format!("{why:#}"))),
    };
    let Found { lines, findings } = found;
    let (name, verb) = (step.name.clone(), step.kind.verb().to_owned());
    Done { step: name, verb, seconds: took.as_secs_f64(), lines, findings, failed }
}

fn carry_out(step: &Step, request: &Request) -> anyhow::Result<Found> {
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
            command.arg(step.name.strip_prefix("figures-").unwrap_or(&step.name));
        }
        Kind::Restart => {}
    }
    if let Some(testbed) = request.testbed.as_ref().filter(|_| step.kind != Kind::Restart) {
        command.arg("--testbed").arg(testbed);
    }
    // Its progress and its words are for whoever looks on.
    let output = command.arg("--json").stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "it ended with {}; its words are above", output.status);
    let text = String::from_utf8(output.stdout).context("its report")?;
    found(step, &text).context("its report")
}

fn found(step: &Step, text: &str) -> anyhow::Result<Found> {
    Ok(match step.kind {
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

fn of_job(outcome: &Outcome) -> Vec<Line> {
    let cases =
        outcome.cases.iter().flat_map(|case| case.verdicts.iter().map(move |verdict| (case, verdict)));
    let line = |(case, verdict): (&crate::outcome::CaseOutcome, &crate::wanted::Verdict)| {
        let found = &verdict.found;
        Line {
            of: format!("{}: {}", outcome.job, case.case.name),
            wanted: verdict.wanted.clone(),
            found: between(found.median, found.min, found.max),
            reached: verdict.reached,
        }
    };
    cases.map(line).collect()
}

fn of_figure(figure: &Figure) -> Line {
    let least = figure.repeats.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figure.repeats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Line {
        of: figure.what.clone(),
        wanted: figure.wanted.clone(),
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
        wanted: if wanted { format!("at most {RESTART_MS_MAX}") } else { "nothing".to_owned() },
        found: between(median, least, most),
        reached: !wanted || median <= RESTART_MS_MAX,
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
        job(folder.path(), "a.toml", "trouble = \"hold\"");
        fs::write(folder.path().join("note.md"), "no job").expect("written");
        let all = steps(folder.path()).expect("jobs");
        let seen: Vec<_> = all.iter().map(|step| (step.name.as_str(), step.kind.verb())).collect();
        assert_eq!(seen[..3], [("a", "run"), ("b", "compare"), ("figures-idle", "figures")]);
        assert_eq!(seen.last(), Some(&("restart", "restart")));
        let some = chosen(all.clone(), &["restart".to_owned(), "b".to_owned()]).expect("steps");
        assert_eq!(some.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["b", "restart"]);
        let error = chosen(all, &["c".to_owned()]).expect_err("no step").to_string();
        assert!(error.contains("\"c\" is no step") && error.contains("figures-write-back"), "{error}");
        fs::write(folder.path().join("c.toml"), "span = 1").expect("written");
        assert!(format!("{:#}", steps(folder.path()).expect_err("no job")).contains("c.toml"));
    }

    #[test]
    fn figures_and_restarts_are_read_as_they_are_printed() {
        let step = |kind| Step { name: "x".to_owned(), kind };
        let figures = r#"[{ "what": "share", "value": 0.5, "repeats": [0.25, 0.5, 1.0], "wanted": "at most 1", "reached": true }]"#;
        let found = found(&step(Kind::Figures), figures).expect("figures");
        assert_eq!((found.lines[0].found.as_str(), found.lines[0].reached), ("0.50 (0.25 to 1.00)", true));
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
            super::found(&step(Kind::Restart), &text).expect("a restart").lines.remove(0)
        };
        assert!(restart(4, 300.0).reached && restart(4, 300.0).wanted == "at most 300");
        assert!(!restart(4, 301.0).reached);
        assert!(restart(8, 900.0).reached && restart(8, 900.0).wanted == "nothing");
        assert_eq!(restart(1, 150.0).found, "150 (149 to 152)");
        assert!(super::found(&step(Kind::Restart), "nonsense").is_err());
    }

    #[test]
    fn the_page_says_what_is_missing_and_that_is_not_all_reached() {
        let line = |reached| Line {
            of: "write-hit: write".to_owned(),
            wanted: "rate over floor at least 0.75".to_owned(),
            found: "0.70 (0.60 to 0.80)".to_owned(),
            reached,
        };
        let machine = Machine::inspect(vec![0, 1], 1, 0);
        let step = |kind| Step { name: "write-hit".to_owned(), kind };
        let found =
            |reached| Ok(Found { lines: vec![line(reached)], findings: vec!["other load".to_owned()] });
        let mut suite = Suite {
            revision: "abc".to_owned(),
            machine,
            testbed: "# Two cores.\ncache = \"1GiB\"\n".to_owned(),
            done: vec![done(&step(Kind::Compare), Duration::from_secs(61), found(true))],
            left: Vec::new(),
        };
        assert!(suite.all_reached());
        suite.left.push("restart".to_owned());
        assert!(!suite.all_reached(), "{}", suite.page());
        assert!(suite.page().contains("not done"));
        suite.left.clear();
        suite.done.push(done(&step(Kind::Run), Duration::ZERO, found(false)));
        assert!(!suite.all_reached());
        suite.done[1] = done(&step(Kind::Run), Duration::ZERO, Err(anyhow::anyhow!("no room")));
        assert!(!suite.all_reached());
        let page = suite.page();
        for words in
            ["1 of 1 are reached", "FAILED: no room", "61 s", "`cache = \"1GiB\"`", "0.70 (0.60 to 0.80)"]
        {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert_eq!(page.matches("other load").count(), 1, "once, whoever found it: {page}");
    }
}
