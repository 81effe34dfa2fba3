//! Nonsense is refused in words, and changes nothing.

use crate::world::{World, run};
use holdfast_ctl::Exit;

/// Each command line, and what must be in the words of its refusal.
const COMMAND_LINES: &[(&str, &str)] = &[
    ("", "Usage"),
    ("frobnicate", "unrecognized subcommand"),
    ("extents vm1", "--state"),
    ("extents vm1 --state sad", "possible values: dirty, unstable, failed, lost"),
    ("extents vm1 --state lost --limit 0", "0 is not in"),
    ("extents vm9 --state lost", "There is no volume 'vm9'.\n  There are: vm1, vm2."),
    ("explain --from 4096", "there is no id"),
    ("explain xyz", "is no failure id"),
    ("explain 0123", "No failure with the id 0000000000000123"),
    ("retry", "<VOLUME|--all>"),
    ("retry vm1 --all", "cannot be used with"),
    ("retry nosuch", "There is no volume 'nosuch'."),
    ("retry ../../etc", "There is no volume '../../etc'."),
    ("retry vm1 --class sad", "There is no error class 'sad'.\n  There are: transient, space, medium, gone."),
    ("retry vm1 --range 5", "is no range: write OFFSET:LENGTH"),
    ("retry vm1 --range 0:0", "its length must be 1 or more"),
    ("retry vm1 --range 0:100", "multiples of 512"),
    ("retry vm1 --range 10GiB:4KiB", "which has 10737418240 bytes"),
    ("retry vm1 --range 18446744073709551104:4KiB", "is no range"),
    ("drop vm1", "--yes-lose-data"),
    ("ack-loss vm1", "--yes"),
    ("drain vm7", "There is no volume 'vm7'."),
    ("fault vm1 add trim EIO", "possible values: read, write, flush"),
    ("fault vm1 add write ENOTHING", "'ENOTHING' is no error number."),
    ("fault vm1 add write EIO --sequence Xw", "'Xw' is no sequence of faults."),
    ("fault vm1 add flush EIO --range 0:512", "A flush has no range."),
    ("grow-thin vm1 lots", "is no size"),
    ("grow-thin vm1 0", "cannot grow by 0 bytes"),
    ("operation 7", "There is no operation 7."),
    ("events --limit 100000", "is not in"),
    ("audit --limit 0", "is not in"),
    ("stats --watch 1ms", "is no pause"),
    ("health sad", "unrecognized subcommand"),
    ("runbook HF_SAD", "is no health code"),
    ("sessions kill x", "'x' is no number"),
    ("operation vm1", "'vm1' is no number"),
    ("cancel vm1", "'vm1' is no number"),
    ("sessions kill 18446744073709551615", "There is no session"),
    ("policy show vm9", "There is no volume 'vm9'."),
    ("policy set vm1", "required arguments"),
    ("policy set vm1 --class sad --kind hold-forever", "There is no error class 'sad'."),
    ("policy set vm1 --pressure 200%", "is no share"),
    ("policy set vm1 --kind hold-forever --pressure 50%", "Only 'hold-until-pressure' has a pressure."),
    ("policy set vm1 --stall-timeout soon", "is no time"),
    ("policy set vm1 --stall-timeout 3days", "is not within 0 ms to 86400000 ms"),
    ("policy set vm1 --retry-first 1h --retry-max 1s", "That is no policy"),
    ("policy set vm1 --retry-on operator,timer", "stands alone"),
    ("policy set vm1 --flush-timeout 5m", "Only a flush that stalls has a timeout."),
    ("policy set vm1 --class space --flush-on-failure report", "cannot be used with"),
    ("volume resize vm1 lots", "is no size"),
    ("volume show vm9", "There is no volume 'vm9'."),
    ("export vm1 --failed", "--to"),
    ("export vm1 --to x", "required arguments"),
    ("export vm1 --failed --dirty --to x", "cannot be used with"),
    ("import vm1", "--from"),
    ("shutdown --abandon", "--yes-lose-data"),
];

#[test]
fn command_lines_that_make_no_sense() {
    let world = World::new();
    for (words, expected) in COMMAND_LINES {
        let ran = world.ctl(words);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""), "{words}: {ran:?}");
        assert!(ran.err.contains(expected), "{words}: expected '{expected}' in: {}", ran.err);
    }
    assert!(world.state().commands.is_empty());
}

/// A program that reads JSON gets its refusals as JSON, those of the daemon and our own.
#[test]
fn refusals_are_json_when_asked_for() {
    let world = World::new();
    for (words, code) in [("retry vm9", "unknown_volume"), ("drop vm1", "usage"), ("explain 1", "not_found")]
    {
        let ran = world.ctl(&format!("{words} --json"));
        assert_eq!(ran.exit, Exit::Usage);
        let error = &ran.json()["error"];
        assert_eq!(error["code"], code, "{words}");
        assert!(error["message"].is_string() && error["remedy"].is_string(), "{words}");
    }
}

#[test]
fn what_is_off_says_how_to_switch_it_on() {
    let world = World::new();
    world.state().faults = None;
    for words in ["fault vm1 list", "fault vm1 clear", "fault vm1 add write EIO"] {
        let ran = world.ctl(words);
        assert_eq!(ran.exit, Exit::Incomplete, "{words}");
        assert!(ran.err.contains("Set 'fault_injection = true'"), "{words}: {ran:?}");
    }
}

#[test]
fn a_daemon_that_is_not_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("none.sock");
    let ran = run(vec!["status".into(), "--socket".into(), socket.clone().into()]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unreachable, ""));
    let expected =
        format!("holdfastctl: no daemon answers on '{}': No such file or directory", socket.display());
    assert!(ran.err.starts_with(&expected), "{ran:?}");
    for part in ["Is holdfastd running", "journalctl -u holdfast", "holdfastd salvage"] {
        assert!(ran.err.contains(part), "what to type next: {ran:?}");
    }
    let json = run(vec!["status".into(), "--json".into(), "--socket".into(), socket.into()]).json();
    assert_eq!(json["error"]["code"], "unreachable");
}

/// Each request as method, path and body, and the status and code of its refusal.
const REQUESTS: &[(&str, &str, &str, u16, &str)] = &[
    ("POST", "/", "", 405, "method_not_allowed"),
    ("GET", "/page.html", "", 404, "not_found"),
    ("GET", "/page.js/../../etc/passwd", "", 404, "not_found"),
    ("POST", "/metrics", "", 405, "method_not_allowed"),
    ("GET", "/v1/volumes/vm1/map?cells=x", "", 400, "bad_request"),
    ("GET", "/v1/nothing", "", 404, "not_found"),
    ("POST", "/v1/status", "", 405, "method_not_allowed"),
    ("GET", "/v1/volumes/vm1/retry", "", 405, "method_not_allowed"),
    ("GET", "/v1/volumes/vm1/extents", "", 400, "bad_request"),
    ("GET", "/v1/explain?limit=0", "", 400, "bad_request"),
    ("GET", "/v1/explain?limit=101", "", 400, "bad_request"),
    ("GET", "/v1/volumes/vm1/extents?state=sad", "", 400, "bad_request"),
    ("GET", "/v1/volumes/vm1/extents?state=lost&from=-1", "", 400, "bad_request"),
    ("GET", "/v1/volumes/vm1/extents?state=lost&limit=0", "", 400, "bad_request"),
    ("GET", "/v1/volumes/vm1/extents?state=lost&limit=99999999999999999999", "", 400, "bad_request"),
    ("GET", "/v1/volumes/vm1/extents?state=lost&limit=4097", "", 400, "bad_request"),
    ("GET", "/v1/explain/%00", "", 400, "bad_request"),
    ("GET", "/v1/volumes/%FF/fault", "", 400, "bad_request"),
    ("POST", "/v1/volumes/%FF/retry", "", 400, "bad_request"),
    ("GET", "/v1/events?since=x", "", 400, "bad_request"),
    ("GET", "/v1/operations/x", "", 404, "not_found"),
    ("GET", "/v1/operations/-1", "", 404, "not_found"),
    ("POST", "/v1/volumes/vm1/retry", "{", 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/retry", "[]", 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/retry", r#"{"rang":null}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/retry", r#"{"range":{"offset":0}}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/retry", r#"{"range":{"offset":-512,"length":512}}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/retry", r#"{"range":{"offset":0,"length":0}}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/drop", "", 400, "unconfirmed"),
    ("POST", "/v1/volumes/vm1/drop", r#"{"yes_lose_data":false}"#, 400, "unconfirmed"),
    ("POST", "/v1/volumes/vm1/drop", r#"{"yes_lose_data":"yes"}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/ack-loss", "{}", 400, "unconfirmed"),
    ("POST", "/v1/volumes/vm1/drain", r#"{"now":true}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm9/drain", "", 404, "unknown_volume"),
    ("POST", "/v1/volumes/vm1/fault", "{}", 400, "bad_request"),
    (
        "POST",
        "/v1/volumes/vm1/fault",
        r#"{"operation":"write","errno":"0","sequence":"x"}"#,
        400,
        "bad_request",
    ),
    ("POST", "/v1/volumes/vm1/grow-thin", "{}", 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/grow-thin", r#"{"add_bytes":1e30}"#, 400, "bad_request"),
    ("POST", "/v1/shutdown", r#"{"abandon":true}"#, 400, "unconfirmed"),
    ("POST", "/v1/volumes/vm1/policy", r#"{"kind":"sad"}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/policy", r#"{"pressure_permille":70000}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/policy", r#"{"stall_timeout_ms":-1}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/policy", r#"{"retry_on":[]}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm9/policy", "{}", 404, "unknown_volume"),
    ("POST", "/v1/reload", r#"{"dry_run":1}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/resize", "{}", 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/resize", r#"{"size_bytes":1e30}"#, 400, "bad_request"),
    ("POST", "/v1/volumes/vm1/resize", r#"{"size_bytes":0}"#, 400, "bad_request"),
    ("DELETE", "/v1/sessions/x", "", 404, "not_found"),
    ("DELETE", "/v1/sessions/0", "", 404, "not_found"),
    ("GET", "/v1/audit?since=x", "", 400, "bad_request"),
    ("GET", "/v1/audit?limit=0", "", 400, "bad_request"),
];

#[test]
fn requests_that_make_no_sense() {
    let world = World::new();
    for (method, path, body, status, code) in REQUESTS {
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
        let answer = world.raw(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path} {body}: {answer}");
        let (_, json) = answer.split_once("\r\n\r\n").expect("a body");
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(
            (&json["version"], &json["error"]["code"]),
            (&1.into(), &(*code).into()),
            "{method} {path} {body}"
        );
        assert_ne!(json["error"]["remedy"], "", "{method} {path} {body}");
    }
    let state = world.state();
    assert!(state.commands.is_empty() && state.shutdown.is_none());
}
