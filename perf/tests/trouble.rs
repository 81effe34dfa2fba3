//! The suite's jobs with a trouble, in short form: each runs to its end, and reports what happened when. No figure is judged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_perf::outcome::{Contender, Outcome};
use toml::{Table, Value};

/// The daemon that jobs start; without it, and unless it is demanded, the test is skipped and says so.
fn daemon_is_built() -> bool {
    let daemon = PathBuf::from(env!("CARGO_BIN_EXE_holdfast-perf")).with_file_name("holdfastd");
    if daemon.is_file() {
        return true;
    }
    assert!(std::env::var_os("HOLDFAST_REQUIRE_REAL").is_none(), "{} is not built", daemon.display());
    eprintln!("skipped: build {} first (cargo build -p holdfast-daemon)", daemon.display());
    false
}

/// The suite's jobs that have a trouble.
fn jobs() -> Vec<(String, Table)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let jobs = files.filter(|path| path.is_file()).map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap().parse::<Table>().unwrap())
    });
    jobs.filter(|(_, job)| job.contains_key("trouble")).collect()
}

/// Shorter in every way.
fn shortened(job: &mut Table) {
    for (key, value) in [
        ("seconds", Value::Float(0.3)),
        ("repeats", Value::Integer(1)),
        ("span", "2MiB".into()),
        ("cache", "160MiB".into()),
    ] {
        job.insert(key.into(), value);
    }
    if job.contains_key("extents") {
        job.insert("extents".into(), Value::Integer(500));
    }
    let cases = job["case"].as_array_mut().unwrap();
    *cases = cases.split_off(cases.len() - 1);
    for case in cases {
        let case = case.as_table_mut().unwrap();
        if case.contains_key("rate") {
            case.insert("rate".into(), Value::Float(2000.0));
        }
    }
}

fn run(folder: &Path, name: &str, job: &Table) -> Outcome {
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, format!("# Does it run?\n{job}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["run", "--force", "--json", "--report"])
        .arg(folder)
        .arg(&file)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON and nothing else")
}

/// What is said of the moments of a troubled round.
fn expected(trouble: &str) -> &'static [&'static str] {
    match trouble {
        "refuse" => &["refuses", "well again"],
        "hang" => &["hangs", "well again"],
        "retry" => &["retry", "all is written"],
        "restart" => &["killed", "answers"],
        "hold" | "write-back" => &[],
        other => panic!("{other}"),
    }
}

#[test]
fn every_trouble_has_a_job_that_runs_and_marks_its_time_line() {
    if !daemon_is_built() {
        return;
    }
    let mut seen = BTreeSet::new();
    for (name, mut job) in jobs() {
        let trouble = job["trouble"].as_str().unwrap().to_owned();
        shortened(&mut job);
        let folder = tempfile::tempdir().unwrap();
        let outcome = run(folder.path(), &name, &job);
        assert_eq!(outcome.cases.len(), 1, "{name}");
        for case in &outcome.cases {
            let [troubled, undisturbed] = &case.contenders[..] else { panic!("{name}: {case:?}") };
            assert_eq!(troubled.contender, Contender::Holdfast);
            assert_eq!(undisturbed.contender, Contender::Undisturbed);
            assert_eq!(case.ratios[0].to, Contender::Undisturbed);
            assert_eq!((troubled.rounds.len(), undisturbed.rounds.len()), (1, 1));
            for round in &troubled.rounds {
                let marks: Vec<_> = round.marks.iter().map(|mark| mark.what.as_str()).collect();
                assert_eq!(marks, expected(&trouble), "{name}");
                assert!(round.marks.iter().all(|mark| mark.at_s >= 0.075), "{name}: {:?}", round.marks);
            }
            let quiet = |round: &holdfast_perf::outcome::RoundOutcome| round.marks.is_empty();
            assert!(undisturbed.rounds.iter().all(quiet), "{name}");
        }
        let page = std::fs::read_to_string(folder.path().join(format!("{name}-run.html"))).unwrap();
        assert_eq!(page.contains("Hits while write-back runs</h2>"), trouble == "write-back", "{name}");
        for what in expected(&trouble).iter().take(1) {
            assert!(page.matches(what).count() > 2, "{name}: {what} is in the text and in the time line");
        }
        seen.insert(trouble);
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn writes_are_written_back_with_the_trouble_and_not_without() {
    if !daemon_is_built() {
        return;
    }
    let (name, mut job) = jobs().into_iter().find(|(name, _)| name == "write-back").unwrap();
    shortened(&mut job);
    job.insert("seconds".into(), Value::Float(1.0));
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &name, &job);
    // Its last case's hits are reads: all that is written is the neighbour's.
    let [troubled, undisturbed] = &outcome.cases[0].contenders[..] else { panic!("two contenders") };
    let written = |who: &holdfast_perf::outcome::ContenderOutcome| who.write_back_bytes_per_s().unwrap().max;
    assert!(written(troubled) > 1e6, "{}", written(troubled));
    assert!(written(undisturbed) < written(troubled) / 10.0, "{}", written(undisturbed));
}

#[test]
fn a_trouble_is_neither_compared_nor_brought_to_a_daemon_that_runs() {
    let (name, job) = jobs().into_iter().find(|(name, _)| name == "fault-hang").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{name}.toml"));
    std::fs::write(&file, format!("# Does it?\n{job}")).unwrap();
    for (arguments, what) in [
        (&["compare", "--force"][..], "use `run`"),
        (&["run", "--force", "--socket", "/nonexistent", "--volume", "v"], "leave --socket out"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
            .args(arguments)
            .arg(&file)
            .output()
            .expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(what), "{error}");
    }
}
