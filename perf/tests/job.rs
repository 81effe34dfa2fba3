//! Jobs with the real program, and the real daemon where it is built. No figure is judged.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use holdfast_perf::outcome::{CaseOutcome, Contender, Outcome};

const JOB: &str = r#"# Does it run?
span = "2MiB"
cache = "32MiB"
seconds = 0.05
repeats = 2
verify = true

[[case]]
name = "mix"
reads_percent = 50
depth = 8

[[case]]
name = "open, <two> clients"
reads_percent = 30
depth = 4
block = 8192
pattern = "zipf"
clients = 2
rate = 2000
"#;

fn perf(folder: &Path, command: &str, job: &str) -> Output {
    let file = folder.join("small.toml");
    std::fs::write(&file, job).unwrap();
    Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args([command, "--force", "--json", "--report"])
        .arg(folder)
        .arg(&file)
        .output()
        .expect("the program starts")
}

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

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

#[test]
fn a_comparison_starts_its_daemon_checks_every_version_and_reports_every_round() {
    if !daemon_is_built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = perf(folder.path(), "compare", JOB);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let text = std::fs::read(folder.path().join("small-compare.json")).unwrap();
    let of_file: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(serde_json::to_value(&outcome).unwrap(), of_file, "nothing is lost on the way and back");
    let page = std::fs::read_to_string(folder.path().join("small-compare.html")).unwrap();
    let of_doors = |case: &CaseOutcome| {
        let doors = [Contender::HoldfastNbd, Contender::HoldfastVhost];
        doors.into_iter().filter(|&door| case.ratios.iter().any(|ratio| ratio.of == door)).count()
    };
    let charts: usize = outcome.cases.iter().map(|case| 4 + of_doors(case)).sum();
    assert_eq!(page.matches("<svg").count(), charts);
    assert!(page.contains("open, &lt;two&gt; clients") && !page.contains("<two>"));
    for elsewhere in ["<script", "<link", "src=", "url(", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert_eq!((outcome.job.as_str(), outcome.question.as_str()), ("small", "Does it run?"));
    assert!(outcome.daemon_config.as_ref().unwrap().contains("[[volume]]"));
    let mut files =
        vec![Contender::Holdfast, Contender::PageCache, Contender::Direct, Contender::HoldfastNbd];
    let (mut by_nbd, mut by_vhost) = (Vec::new(), Vec::new());
    for (program, nbd, vhost) in [
        ("nbdkit", Contender::Nbdkit, None),
        ("qemu-storage-daemon", Contender::QemuStorageDaemon, Some(Contender::QemuStorageDaemonVhost)),
    ] {
        // Who is not installed is named, and the others stand for themselves.
        if outcome.findings.iter().any(|finding| finding.contains(&format!("there is no {program} here"))) {
            assert!(!is_installed(program), "{program}");
        } else {
            by_nbd.push(nbd);
            by_vhost.extend(vhost);
        }
    }
    files.extend(&by_nbd);
    // The floor has one ring, for requests of 4 KiB, and a disk's socket one driver.
    let mut all = files.clone();
    all.insert(1, Contender::Floor);
    all.push(Contender::HoldfastVhost);
    all.extend(&by_vhost);
    for (case, (expected, by_vhost)) in outcome.cases.iter().zip([(all, by_vhost), (files, Vec::new())]) {
        assert_eq!(case.contenders.iter().map(|one| one.contender).collect::<Vec<_>>(), expected);
        let over = |who| case.ratios.iter().filter(move |ratio| ratio.of == who).map(|ratio| ratio.to);
        assert_eq!(over(Contender::Holdfast).collect::<Vec<_>>(), expected[1..]);
        assert_eq!(over(Contender::HoldfastNbd).collect::<Vec<_>>(), by_nbd, "like with like");
        assert_eq!(over(Contender::HoldfastVhost).collect::<Vec<_>>(), by_vhost, "like with like");
        for round in case.contenders.iter().flat_map(|one| &one.rounds) {
            assert!(round.requests > 0 && round.rate_per_s > 0.0 && !round.timeline.is_empty(), "{round:?}");
            assert!(round.p50_ns <= round.p99_ns && round.p99_99_ns <= round.max_ns, "{round:?}");
        }
        assert!(case.contenders.iter().all(|one| one.rounds.len() == 2));
    }
}

#[test]
fn a_run_prints_a_table_with_ratios_first() {
    if !daemon_is_built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    std::fs::write(&file, JOB).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["run", "--force"])
        .arg(&file)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} in:\n{text}"));
    assert!(place("Does it run?") < place("holdfast over") && place("holdfast over") < place("p99.99"));
    assert_eq!(text.contains("a debug build"), cfg!(debug_assertions), "{text}");
}

#[test]
fn a_wrong_job_is_refused_with_file_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let output = perf(folder.path(), "run", &JOB.replace("repeats", "repeat"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let told = json["error"].as_str().expect("the error, for who asked for JSON");
    assert!(!output.status.success() && json.as_object().is_some_and(|json| json.len() == 1));
    for part in ["small.toml", "line 5", "unknown field `repeat`"] {
        assert!(error.contains(part) && told.contains(part), "{part:?} in {error} and {told}");
    }
}

#[test]
fn without_force_a_core_for_two_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (job, testbed) = (folder.path().join("job.toml"), folder.path().join("testbed.toml"));
    std::fs::write(&job, JOB).unwrap();
    std::fs::write(&testbed, "# One core.\nclient_cores = [0]\nreactor_cores = [0]\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["run".as_ref(), job.as_os_str(), "--testbed".as_ref(), testbed.as_os_str()])
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("take turns") && error.contains("--force"), "{error}");
}

#[test]
fn peers_that_are_not_installed_are_left_out_loudly() {
    if !daemon_is_built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    std::fs::write(&file, JOB).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["compare", "--force"])
        .arg(&file)
        .env("PATH", folder.path())
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for program in ["nbdkit", "qemu-storage-daemon"] {
        let what = format!("there is no {program} here");
        assert!(error.contains(&what) && text.contains(&what), "{error}{text}");
    }
}

#[test]
fn a_client_that_no_job_started_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["client", "{}"])
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("is started by `run` and `compare` only"), "{error}");
}

/// Steps that cannot be done cost their own lines; the page has all, and the open loop has the rate that was asked for.
#[test]
fn a_suite_goes_on_behind_a_step_that_fails_and_its_page_has_both() {
    if !daemon_is_built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (jobs, report) = (folder.path().join("jobs"), folder.path().join("report"));
    std::fs::create_dir(&jobs).unwrap();
    let small = "# Is it small?\nspan = \"2MiB\"\ncache = \"32MiB\"\nseconds = 0.05\nrepeats = 1\n[[case]]\nname = \"open\"\n\
                 reads_percent = 0\ndepth = 8\nrate_of_peak = 0.5\nwanted = [{ over = \"floor\", rate = 0.001 }]\n";
    std::fs::write(jobs.join("small.toml"), small).unwrap();
    // No daemon has a cache for that.
    std::fs::write(jobs.join("large.toml"), small.replace("32MiB", "2MiB")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["suite", "--force", "--only", "small,large", "--jobs"])
        .arg(&jobs)
        .arg("--report")
        .arg(&report)
        .output()
        .expect("the program starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("1 of 2: run large") && words.contains("2 of 2: run small"), "{words}");
    let page = std::fs::read_to_string(report.join("suite.md")).unwrap();
    assert_eq!(page, String::from_utf8_lossy(&output.stdout));
    assert!(page.contains("FAILED") && page.contains("small: open"), "{page}");
    let suite: holdfast_perf::suite::Suite =
        serde_json::from_slice(&std::fs::read(report.join("suite.json")).unwrap()).unwrap();
    let why = suite.done[0].failed.as_deref().unwrap_or_default();
    assert!(why.contains("the daemon ended") && suite.done[1].failed.is_none(), "{page}");
    assert_eq!(suite.done[1].lines[0].wanted.as_deref(), Some("rate over floor at least 0.001"));
    assert!(suite.findings.iter().any(|finding| finding.contains("debug build")) == cfg!(debug_assertions));
    let outcome: Outcome =
        serde_json::from_slice(&std::fs::read(report.join("small-run.json")).unwrap()).unwrap();
    let case = &outcome.cases[0].case;
    assert_eq!(case.rate_of_peak, Some(0.5));
    assert!(case.rate.is_some_and(|rate| rate >= 1.0), "{case:?}");
}

/// In short form: what is dirty is written by the flush, and a figure has its aim and its repeats.
#[test]
fn write_back_is_measured_beside_a_direct_writer() {
    if !daemon_is_built() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["figures", "write-back", "--repeats", "2", "--span", "32MiB", "--json"])
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("JSON");
    assert!(output.status.success(), "{text}");
    let seen: Vec<holdfast_perf::figures::Figure> = serde_json::from_str(&text).expect("figures");
    assert_eq!(seen.len(), 5, "{text}");
    assert!(seen.iter().all(|figure| figure.repeats.len() == 2 && figure.value > 0.0), "{text}");
}
