//! What requests cost, in instructions: counted by valgrind under gungraun (`perf/benches/count.rs`), compared with what
//! the repository says (`perf/instructions.toml`). A count is the same on every run and under any load, so that a few too
//! many show; it is another with each compiler and processor, so that each has its own baseline.

use crate::step::{Failed, Step, root};
use std::collections::BTreeMap;
use std::process::Command;
use toml::{Table, Value};

/// The runner that belongs to the library of the root's Cargo.toml.
const RUNNER: &str = "gungraun-runner 0.20.0";
/// A subject may cost so many parts of a hundred more than its baseline.
const TOLERANCE_PERCENT: u64 = 3;
/// The same of a reactor's turn, which looks at the clock: whether its counters are shown to others is a matter of time.
const TOLERANCE_OF_TURNS_PERCENT: u64 = 20;
/// Relative to the root.
const BASELINES: &str = "perf/instructions.toml";
/// What libc chooses its copies by, as far as valgrind shows it to a program.
const FEATURES: [&str; 4] = ["avx2", "avx512f", "erms", "fsrm"];

/// Something that is counted.
struct Subject {
    name: &'static str,
    what: &'static str,
    /// The requests of a benchmark.
    requests: u64,
    /// Its copies of 4 KiB, which are libc's and are taken off.
    copies: u64,
    /// What a request may cost, whatever the baseline says.
    limit: Option<u64>,
}

const fn subject(name: &'static str, requests: u64, copies: u64, what: &'static str) -> Subject {
    Subject { name, what, requests, copies, limit: None }
}

const fn limited(limit: u64, subject: Subject) -> Subject {
    Subject { limit: Some(limit), ..subject }
}

const COPY: Subject = subject("copy lines", 32, 0, "libc's copy of 4 KiB, which the turns below are without");
const EMPTY: Subject =
    subject("apply empty", 2048, 0, "engine: the sixteenth part of a turn without requests");
const ASKED: Subject =
    subject("apply asked", 2048, 0, "the same, and a request that is made: the others are without this");
const SUBJECTS: &[Subject] = &[
    limited(450, subject("apply write", 2048, 0, "engine: 4 KiB written over a dirty line")),
    limited(300, subject("apply read", 2048, 0, "engine: 4 KiB read, a hit")),
    subject("apply partial", 2048, 0, "engine: 512 bytes written over a dirty line"),
    subject("apply write_long", 2048, 0, "engine: 64 KiB written over dirty lines, a line"),
    subject("apply read_long", 2048, 0, "engine: 64 KiB read, a hit, a line"),
    subject("apply miss", 2048, 0, "engine: 4 KiB read, a miss, with fill and replacement"),
    subject("apply cycle", 2048, 0, "engine: 4 KiB written over a clean line, with its write-back"),
    EMPTY,
    ASKED,
    subject("mark plane", 2048, 0, "index: a mark set or taken off"),
    subject("next_run plane", 2048, 0, "index: the next run, 64 lines away"),
    subject("submit client", 32, 0, "client: a write submitted and published"),
    subject("poll client", 32, 0, "client: its answer taken"),
    subject("pop daemon", 32, 0, "ring: a request popped and checked"),
    subject("answer daemon", 32, 0, "ring: recorded and answered"),
    COPY,
    subject("turn write", 32, 32, "reactor: a write hit of a turn of 32, engine and ring included"),
    subject("turn read", 32, 32, "reactor: a read hit of a turn of 32"),
    subject("turn one_write", 1, 1, "reactor: a turn with one write hit"),
    subject("turn one_read", 1, 1, "reactor: a turn with one read hit"),
    subject("turn empty", 1, 0, "reactor: a turn that finds nothing"),
];

/// Instructions of each subject, all its requests together.
type Counts = BTreeMap<String, u64>;

/// Counts every subject, prints a table, and compares with the baseline of this compiler and processor. Without one, or
/// with `--rebaseline`, writes it and says so loudly.
pub(crate) fn count(arguments: &[String]) -> Result<(), Failed> {
    let rebaseline = match arguments {
        [] => false,
        [word] if word == "--rebaseline" => true,
        _ => return failed(format!("count takes --rebaseline or nothing, not {arguments:?}"), "see above"),
    };
    let missing = missing();
    if !missing.is_empty() {
        return failed(
            format!("NOTHING WAS COUNTED: there is no {}", missing.join(", and no ")),
            "`apt-get install valgrind`, `cargo install gungraun-runner --locked --version` as it says, or leave counting to a \
             machine that has them",
        );
    }
    let counts = run()?;
    let mut over = print(&counts);
    let mut baselines = Baselines::read()?;
    let here = Tag::of_this_machine();
    match baselines.find(&here) {
        Some(before) if !rebaseline => over.extend(compare(&counts, &before)),
        before => {
            let why = if before.is_some() { "as asked" } else { "none is of this compiler and processor" };
            baselines.put(&here, &counts)?;
            println!(
                "\n!!! RE-BASELINED ({why}): {here:?}\n!!! nothing was compared; look at the change of {BASELINES} and commit it"
            );
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    failed(
        format!("more instructions than allowed:\n  {}", over.join("\n  ")),
        "callgrind_annotate on target/gungraun/**/callgrind.*.out shows where; if it is worth that, `cargo xtask count --rebaseline`",
    )
}

fn failed(what: String, way_out: &str) -> Result<(), Failed> {
    Err(Failed { what, way_out: way_out.into() })
}

/// Whether there is something to count with.
pub(crate) fn is_installed() -> bool {
    missing().is_empty()
}

/// What counting needs and is not there.
fn missing() -> Vec<&'static str> {
    let valgrind = said("valgrind", &["--version"]).is_some();
    // Without a library that called it, it says its version in its complaint, or nothing; what counts is that it is there.
    let runner = Command::new("gungraun-runner").arg("--version").output().is_ok();
    let all = [("valgrind", valgrind), (RUNNER, runner)];
    all.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

/// What a program that ends well prints.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run() -> Result<Counts, Failed> {
    let words = "bench --locked --quiet --package holdfast-perf --bench count -- --nosummary --color=never";
    let text = Step::cargo(words)
        .advise("what it printed says why; a subject that panics is not counted")
        .output()?;
    let counts = parsed(&text);
    let absent = SUBJECTS.iter().find(|subject| !counts.contains_key(subject.name));
    match absent {
        None => Ok(counts),
        Some(subject) => Err(Failed {
            what: format!("`{}` was not counted; the benchmark printed:\n{text}", subject.name),
            way_out: "give it the name that this program has for it, or mend it".into(),
        }),
    }
}

/// The counts in what gungraun prints: `count::requests::apply write:"write"`, then `  Instructions:   836480|...`.
fn parsed(text: &str) -> Counts {
    let mut counts = Counts::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(count) = line.trim_start().strip_prefix("Instructions:") {
            if let Ok(count) = count.split('|').next().unwrap_or_default().trim().parse() {
                counts.insert(core::mem::take(&mut name), count);
            }
        } else if let Some((_, words)) = line.split_once("::requests::") {
            name = words.split_once(':').map_or(words, |(name, _)| name).trim().to_owned();
        }
    }
    counts
}

/// Prints the table; what is over its limit.
fn print(counts: &Counts) -> Vec<String> {
    println!("\ninstructions a request:");
    let mut over = Vec::new();
    let copy = counts[COPY.name] / COPY.requests;
    let asking = counts[ASKED.name].saturating_sub(counts[EMPTY.name]);
    for subject in SUBJECTS {
        // What the benchmark does to hand a request over is not the engine's.
        let asks = subject.name.starts_with("apply") && ![EMPTY.name, ASKED.name].contains(&subject.name);
        let others = subject.copies * copy + if asks { asking } else { 0 };
        let cost = counts[subject.name].saturating_sub(others) / subject.requests;
        let limit = subject.limit.map_or(String::new(), |limit| format!("at most {limit}"));
        println!("  {:<16} {cost:>6}  {:<66} {limit}", subject.name, subject.what);
        if subject.limit.is_some_and(|limit| cost > limit) {
            over.push(format!("{}: {cost} a request, {limit}", subject.name));
        }
    }
    over
}

/// What costs more than its baseline and the tolerance.
fn compare(counts: &Counts, before: &Counts) -> Vec<String> {
    let mut over = Vec::new();
    for (name, &count) in counts {
        let Some(&allowed) = before.get(name) else {
            over.push(format!("{name}: not in the baseline"));
            continue;
        };
        let tolerance = if name.starts_with("turn") { TOLERANCE_OF_TURNS_PERCENT } else { TOLERANCE_PERCENT };
        if count * 100 > allowed * (100 + tolerance) {
            over.push(format!("{name}: {count} instead of {allowed}, more than {tolerance}% over"));
        } else if count * (100 + tolerance) < allowed * 100 {
            println!(
                "  {name} is better than its baseline by more than {tolerance}%: --rebaseline keeps that"
            );
        }
    }
    over
}

/// What a count depends on beside the code.
#[derive(Debug, PartialEq, Eq)]
struct Tag {
    compiler: String,
    processor: String,
    valgrind: String,
}

impl Tag {
    fn of_this_machine() -> Tag {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = flags.lines().find(|line| line.starts_with("flags")).unwrap_or_default().to_owned();
        let has = |feature: &&str| flags.split_whitespace().any(|flag| flag == *feature);
        let features: Vec<&str> = FEATURES.into_iter().filter(has).collect();
        Tag {
            compiler: said("rustc", &["--version"]).unwrap_or_default(),
            processor: format!("{} {}", std::env::consts::ARCH, features.join(" ")),
            valgrind: said("valgrind", &["--version"]).unwrap_or_default(),
        }
    }

    fn of(table: &Table) -> Tag {
        let word = |key| table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Tag { compiler: word("compiler"), processor: word("processor"), valgrind: word("valgrind") }
    }
}

const HEAD: &str = "\
# Instructions of each subject of perf/benches/count.rs, all its requests together, for each compiler and processor that
# counted. Written by `cargo xtask count`, which fails above +3% and divides by the requests in what it prints.
";

/// The file of baselines.
struct Baselines(Table);

impl Baselines {
    fn read() -> Result<Baselines, Failed> {
        let text = std::fs::read_to_string(root().join(BASELINES)).unwrap_or_default();
        let table = text.parse().map_err(|error| Failed {
            what: format!("{BASELINES}: {error}"),
            way_out: "mend it, or remove it and count again".into(),
        });
        Ok(Baselines(table?))
    }

    fn all(&self) -> impl Iterator<Item = &Table> {
        let list = self.0.get("baseline").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_table)
    }

    fn find(&self, tag: &Tag) -> Option<Counts> {
        let table = self.all().find(|table| Tag::of(table) == *tag)?;
        let counts = table.get("instructions")?.as_table()?.iter();
        let count = |value: &Value| value.as_integer().and_then(|count| u64::try_from(count).ok());
        Some(counts.filter_map(|(name, value)| Some((name.clone(), count(value)?))).collect())
    }

    fn put(&mut self, tag: &Tag, counts: &Counts) -> Result<(), Failed> {
        let mut list: Vec<Value> =
            self.all().filter(|table| Tag::of(table) != *tag).cloned().map(Value::Table).collect();
        let count = |count: &u64| Value::Integer(i64::try_from(*count).expect("below 2^63"));
        let counts: Table = counts.iter().map(|(name, number)| (name.clone(), count(number))).collect();
        let words = [("compiler", &tag.compiler), ("processor", &tag.processor), ("valgrind", &tag.valgrind)];
        let mut table: Table =
            words.into_iter().map(|(key, word)| (key.into(), word.as_str().into())).collect();
        table.insert("instructions".into(), Value::Table(counts));
        list.push(Value::Table(table));
        self.0.insert("baseline".into(), Value::Array(list));
        let text = format!("{HEAD}\n{}", self.0);
        std::fs::write(root().join(BASELINES), text).map_err(|error| Failed {
            what: format!("{BASELINES} could not be written: {error}"),
            way_out: "the counts are above".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_the_runner_prints() {
        let text = "count::requests::apply write:\"write\"\n  Instructions:      836480|836480   (No change)\n\
                    count::requests::mark plane:()\n  Instructions:       20000|N/A   (*****)\n  L1 Hits:  1|N/A\n";
        let counts = parsed(text);
        assert_eq!(counts.len(), 2);
        assert_eq!((counts["apply write"], counts["mark plane"]), (836_480, 20_000));
    }

    #[test]
    fn three_parts_of_a_hundred_more_are_allowed_and_no_more() {
        let counts = |count| Counts::from([("apply write".to_owned(), count)]);
        assert!(compare(&counts(1030), &counts(1000)).is_empty());
        assert_eq!(compare(&counts(1031), &counts(1000)).len(), 1);
        let turn = |count| Counts::from([("turn empty".to_owned(), count)]);
        assert!(compare(&turn(1200), &turn(1000)).is_empty());
        assert_eq!(compare(&turn(1201), &turn(1000)).len(), 1);
        assert_eq!(compare(&counts(1), &Counts::new()).len(), 1, "what has no baseline is no success");
    }

    #[test]
    fn a_baseline_is_found_under_its_own_tag_alone() {
        let tag =
            |compiler: &str| Tag { compiler: compiler.into(), processor: "x".into(), valgrind: "v".into() };
        let text = "[[baseline]]\ncompiler = \"a\"\nprocessor = \"x\"\nvalgrind = \"v\"\n[baseline.instructions]\n\
                    \"apply read\" = 7\n";
        let baselines = Baselines(text.parse().expect("a table"));
        assert_eq!(baselines.find(&tag("a")), Some(Counts::from([("apply read".to_owned(), 7)])));
        assert_eq!(baselines.find(&tag("b")), None);
    }

    #[test]
    fn every_subject_is_one_of_the_benchmark() {
        let benchmark = include_str!("../../../perf/benches/count.rs");
        for subject in SUBJECTS {
            let (function, id) = subject.name.split_once(' ').expect("two words");
            assert!(benchmark.contains(&format!("fn {function}(")), "{function}");
            assert!(benchmark.contains(&format!("#[bench::{id}(")), "{id}");
        }
    }
}
