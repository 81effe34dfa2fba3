//! Everything that the project wants of its speed, asked one question after the other, and one page that says what was
//! found: each job of a folder, the figures that are no rates, and restarts. Each step is a process of its own, so that
//! one that fails costs its own lines and no others.

mod step;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::preflight::{Preflight, preflight};
use crate::testbed::Testbed;
use step::{Found, Step, carry_out, chosen, steps};

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

/// One line of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The step, and the row of its table.
    pub of: String,
    /// What is wanted; none where a figure stands beside others and has no aim of its own.
    pub wanted: Option<String>,
    /// The median that was found, and what it lies between.
    pub found: String,
    /// Whether something is wanted, and was found.
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

impl Done {
    fn wanted(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.wanted.is_some())
    }

    fn reached(&self) -> impl Iterator<Item = &Line> {
        self.wanted().filter(|line| line.reached)
    }
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
    /// What speaks against this machine.
    pub findings: Vec<String>,
    /// What was done, in order.
    pub done: Vec<Done>,
    /// What has not been done yet.
    pub left: Vec<String>,
}

impl Suite {
    /// Whether everything was measured and is as it is wanted.
    #[must_use]
    pub fn all_reached(&self) -> bool {
        let fine = |done: &Done| done.failed.is_none() && done.wanted().count() == done.reached().count();
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
        let all = self.done.iter().flat_map(Done::wanted).count();
        let reached = self.done.iter().flat_map(Done::reached).count();
        let failed = self.done.iter().filter(|done| done.failed.is_some()).count();
        say(&format!(
            "{reached} of {all} are reached. Steps: {} done, {failed} of them failed, {} left.\n",
            self.done.len(),
            self.left.len()
        ));
        let mut table = markdown(&["of", "wanted", "found: median (least to most)", ""]);
        for line in self.done.iter().flat_map(|done| &done.lines) {
            let (wanted, word) = match (&line.wanted, line.reached) {
                (None, _) => ("-", ""),
                (Some(wanted), true) => (wanted.as_str(), "reached"),
                (Some(wanted), false) => (wanted.as_str(), "NOT REACHED"),
            };
            table.add_row([&line.of, wanted, &line.found, word]);
        }
        say(&format!("{table}\n"));
        let mut table = markdown(&["step", "took", "found"]);
        for done in &self.done {
            let found = match (&done.failed, done.wanted().count()) {
                (Some(why), _) => format!("FAILED: {}", why.lines().collect::<Vec<_>>().join("; ")),
                (None, 0) => "measured; nothing is wanted of it".to_owned(),
                (None, all) => format!("{} of {all} reached", done.reached().count()),
            };
            table.add_row([format!("{} {}", done.verb, done.step), format!("{:.0} s", done.seconds), found]);
        }
        for step in &self.left {
            table.add_row([step.clone(), String::new(), "not done".to_owned()]);
        }
        say(&format!("{table}\n"));
        let mut findings: Vec<&String> = Vec::new();
        for finding in self.findings.iter().chain(self.done.iter().flat_map(|done| &done.findings)) {
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

/// Carries the suite out on the cores that this process may use, and keeps its page up to date in the folder of the
/// report. `look` is told what is done next.
///
/// # Errors
/// A job is none, a name is no step's, no figure would mean anything here, or the page cannot be written. A step that
/// fails is a line of the page.
pub fn run(request: &Request, cores: Vec<usize>, mut look: impl FnMut(&str)) -> anyhow::Result<Suite> {
    let steps = chosen(steps(&request.jobs)?, &request.only)?;
    let text = match &request.testbed {
        Some(file) => fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?,
        None => String::new(),
    };
    let mut testbed = Testbed::parse(&text).context("the testbed")?;
    testbed.settle(&cores);
    let machine = Machine::inspect(cores, testbed.client_cores[0], testbed.reactor_cores[0]);
    let Preflight { refusals, flags } = preflight(&machine, &testbed, 1);
    ensure!(
        request.force || refusals.is_empty(),
        "preflight: {}; --force measures all the same",
        refusals.join("; ")
    );
    fs::create_dir_all(&request.report).with_context(|| request.report.display().to_string())?;
    let mut suite = Suite {
        revision: env!("HOLDFAST_REVISION").into(),
        machine,
        testbed: text,
        findings: refusals.into_iter().chain(flags).collect(),
        done: Vec::new(),
        left: steps.iter().map(|step| step.name.clone()).collect(),
    };
    // Whatever lies there is of another run.
    suite.save(&request.report)?;
    let begun = Instant::now();
    for (number, step) in (1..).zip(&steps) {
        let left = steps[number - 1..].iter().map(|step| step.seconds).sum();
        look(&format!(
            "{number} of {}: {} {} ({} so far, some {} to go)",
            steps.len(),
            step.kind.verb(),
            step.name,
            minutes(begun.elapsed()),
            minutes(Duration::from_secs_f64(left)),
        ));
        let since = Instant::now();
        let found = carry_out(step, request, &testbed);
        suite.left.remove(0);
        suite.done.push(done(step, since.elapsed(), found));
        suite.save(&request.report)?;
    }
    Ok(suite)
}

fn minutes(elapsed: Duration) -> String {
    format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}

fn done(step: &Step, took: Duration, found: anyhow::Result<Found>) -> Done {
    let (found, failed) = match found {
        Ok(found) => (found, None),
        Err(why) => (Found::default(), Some(format!("{why:#}"))),
    };
    let Found { lines, findings } = found;
    let (name, verb) = (step.name.clone(), step.kind.verb().to_owned());
    Done { step: name, verb, seconds: took.as_secs_f64(), lines, findings, failed }
}

#[cfg(test)]
mod tests {
    use super::step::Kind;
    use super::*;

    #[test]
    fn the_page_says_what_is_missing_and_that_is_not_all_reached() {
        let line = |reached| Line {
            of: "write-hit: write".to_owned(),
            wanted: Some("rate over floor at least 0.75".to_owned()),
            found: "0.70 (0.60 to 0.80)".to_owned(),
            reached,
        };
        let machine = Machine::inspect(vec![0, 1], 1, 0);
        let step = |kind| Step { name: "write-hit".to_owned(), kind, seconds: 1.0 };
        let found =
            |reached| Ok(Found { lines: vec![line(reached)], findings: vec!["other load".to_owned()] });
        let mut suite = Suite {
            revision: "abc".to_owned(),
            machine,
            testbed: "# Two cores.\ncache = \"1GiB\"\n".to_owned(),
            findings: vec!["other load".to_owned(), "no huge pages".to_owned()],
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
        suite.done[1] = done(&step(Kind::Run), Duration::ZERO, Err(anyhow::anyhow!("no room\nbelow")));
        assert!(!suite.all_reached());
        let beside = Line { of: "8 GiB".to_owned(), wanted: None, found: "240".to_owned(), reached: false };
        suite.done[0].lines.push(beside);
        let page = suite.page();
        for words in [
            "1 of 1 are reached",
            "FAILED: no room; below",
            "61 s",
            "`cache = \"1GiB\"`",
            "0.70 (0.60 to 0.80)",
            "| 8 GiB",
            "* no huge pages",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert_eq!(page.matches("other load").count(), 1, "once, whoever found it: {page}");
        suite.done.remove(1);
        assert!(suite.all_reached(), "what has no aim is not missed: {}", suite.page());
    }
}
