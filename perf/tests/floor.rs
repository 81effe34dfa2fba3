//! The program itself: two real processes, and a report that can be read. No figure is judged.

use std::fs::read_to_string;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast-perf")).args(arguments).output().expect("the program starts")
}

fn positive(figure: &Value, repeats: usize) {
    let values = figure["repeats"].as_array().expect("repeats");
    assert!(values.len() == repeats && values.iter().all(|value| value.as_f64().unwrap() > 0.0), "{figure}");
    let (min, median, max) = (figure["min"].as_f64(), figure["median"].as_f64(), figure["max"].as_f64());
    assert!(min <= median && median <= max, "{figure}");
}

#[test]
fn the_floor_prints_a_report_that_is_json() {
    let arguments =
        ["floor", "--seconds", "0.2", "--repeats", "2", "--span", "1MiB", "--span", "3MiB", "--json"];
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!((&report["version"], &report["kind"]), (&Value::from(1), &Value::from("floor")));
    assert_eq!(report["machine"]["debug_build"], Value::from(cfg!(debug_assertions)));
    positive(&report["ping_pong_ns"], 8);
    let spans = report["spans"].as_array().expect("spans");
    assert_eq!([&spans[0]["span_bytes"], &spans[1]["span_bytes"]], [1 << 20, 3 << 20]);
    for span in spans {
        positive(&span["copy_ns"], 2);
        let cases = span["cases"].as_array().expect("cases");
        let names: Vec<(&str, u64)> = cases
            .iter()
            .map(|case| (case["operation"].as_str().unwrap(), case["depth"].as_u64().unwrap()))
            .collect();
        assert_eq!(names, [("write", 1), ("write", 32), ("read", 1), ("read", 32)]);
        for case in cases {
            assert!(case.get("rate_ratio").is_none(), "no daemon, no ratio");
            for figure in ["rate_per_s", "p50_ns", "p99_ns"] {
                positive(&case["floor"][figure], 2);
            }
        }
    }
}

#[test]
fn the_floor_prints_a_table_for_people() {
    let output = run(&["floor", "--seconds", "0.01", "--repeats", "1", "--span", "1MiB"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["write, depth 32", "read, depth 1", "floor p50", "1.0 MiB"] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
    assert_eq!(text.contains("a debug build"), cfg!(debug_assertions), "{text}");
}

#[test]
fn a_span_without_a_block_and_a_core_that_is_not_there_are_refused() {
    let output = run(&["floor", "--span", "4095"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("less than one block"));
    let output = run(&["floor", "--client-core", "1000"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("core 1000 cannot be used"));
    let output = run(&["floor", "--server-core", "1000"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("second process ended"));
}

#[test]
fn the_second_process_ends_when_the_first_is_killed() {
    let mut first = Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["floor", "--seconds", "600", "--span", "1MiB"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let children = format!("/proc/{0}/task/{0}/children", first.id());
    let second = eventually("a second process", || {
        read_to_string(&children).unwrap().split_whitespace().next().map(str::to_owned)
    });
    first.kill().expect("it runs");
    first.wait().expect("it was killed");
    // Whoever inherits it may leave it a zombie.
    eventually("its end", || match read_to_string(format!("/proc/{second}/stat")) {
        Ok(stat) => stat.contains(") Z ").then_some(()),
        Err(_) => Some(()),
    });
}

/// Asks for 20 s at most.
fn eventually<R>(what: &str, mut ask: impl FnMut() -> Option<R>) -> R {
    for _ in 0..2000 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("did not happen: {what}");
}
