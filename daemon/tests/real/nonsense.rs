//! Hundreds of pieces of nonsense for one daemon that serves: configurations to reload, requests at the operators' socket, and
//! command lines. Each is refused by name, and nothing is changed by any. They lie in files, as seeds for fuzzers, too.

use crate::pattern::{ENOSPC, failure, pattern};
use crate::place::{KIB, MIB, Place, Volume};
use crate::running::Daemon;
use holdfast_ctl::Exit;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The files of a folder of the corpus, by name.
fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder of the tests");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut files: Vec<(String, Vec<u8>)> = paths
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

/// All that nonsense must not change.
fn everything(daemon: &Daemon<'_>) -> Vec<Value> {
    let mut volumes = daemon.must(&["volumes"]);
    for volume in volumes["volumes"].as_array_mut().expect("volumes") {
        // A probe comes nearer, whatever anybody says.
        volume["gate"] = Value::Null;
    }
    let held = daemon.must(&["extents", "vm1", "--state", "dirty"])["extents"][0]["length"].clone();
    let policies = ["vm1", "vm2"].map(|volume| daemon.must(&["policy", "show", volume]));
    let rest = [daemon.must(&["audit"]), daemon.must(&["sessions"]), daemon.must(&["fault", "vm1", "list"])];
    [volumes, held].into_iter().chain(policies).chain(rest).collect()
}

fn bad_configurations(daemon: &Daemon<'_>) -> usize {
    let config = daemon.place.file("holdfast.toml");
    let good = std::fs::read(&config).expect("a configuration");
    let files = corpus("config");
    for (name, text) in &files {
        std::fs::write(&config, text).expect("ours");
        let told = daemon.ctl(&["reload"]);
        assert_eq!(told.exit, Exit::Incomplete, "{name}: {told:?}");
        let message = told.json["error"]["message"].as_str().expect("words");
        let first = String::from_utf8_lossy(text);
        let says = first.lines().next().and_then(|line| line.strip_prefix("# says: ")).expect("its refusal");
        assert!(message.contains(says), "{name}: {says:?} is not in {message:?}");
        assert!(message.contains("holdfast.toml:"), "{name}: the place is said: {message:?}");
        assert!(!message.contains("??"), "{name}: {message:?}");
        let caret = |line: &str| {
            line.trim_start().strip_prefix('|').is_some_and(|drawn| drawn.trim_start().starts_with('^'))
        };
        assert!(message.lines().any(caret), "{name}: the line, and what of it is wrong: {message}");
    }
    std::fs::write(&config, good).expect("ours");
    files.len()
}

fn bad_requests(daemon: &Daemon<'_>) -> usize {
    let files = corpus("request");
    for (name, request) in &files {
        let mut stream = UnixStream::connect(daemon.place.admin()).expect("it listens");
        stream.write_all(request).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let mut words = name.trim_end_matches(".http").splitn(3, '-').skip(1);
        let (status, code) =
            (words.next().expect("a status"), words.next().expect("a code").replace('-', "_"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"));
        assert_eq!(body["error"]["code"], code.as_str(), "{name}: {body}");
        assert!(body["error"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{name}: {body}");
    }
    files.len()
}

fn bad_commands(daemon: &Daemon<'_>) -> usize {
    let files = corpus("command");
    for (name, words) in &files {
        let words = String::from_utf8_lossy(words);
        let told = daemon.ctl(&words.split_whitespace().collect::<Vec<_>>());
        assert!(matches!(told.exit, Exit::Usage | Exit::Incomplete), "{name}: {told:?}");
        let refused = told.json["error"]["message"].is_string() || !told.words.is_empty();
        assert!(refused, "{name}: nothing is said: {told:?}");
    }
    files.len()
}

#[test]
fn nonsense_is_refused_by_name_and_changes_nothing() {
    let mut place = Place::new();
    let volumes = ["vm1", "vm2"].map(|name| Volume::file(name, &place.file(name), 8 * MIB));
    place.add(&volumes);
    // By what it is started with: what an operator sets meanwhile, a reload rightly sets back.
    place.retry_by_hand();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC"]);
    client.write_at(&pattern(1, 0, 64 * KIB), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    let before = everything(&daemon);
    let pieces = bad_configurations(&daemon) + bad_requests(&daemon) + bad_commands(&daemon);
    assert!(pieces >= 200, "{pieces} pieces");
    assert_eq!(everything(&daemon), before, "nothing was changed");
    assert_eq!(daemon.must(&["reload"])["differences"], serde_json::json!([]), "as it was started");
    daemon.must(&["fault", "vm1", "clear"]);
    daemon.must(&["retry", "vm1", "--wait"]);
    drop(client);
    daemon.stop_clean();
}

/// `events --since 18446744073709551615` was a sum too large, and the end of a daemon whose panics abort: for whoever may look.
#[test]
fn numbers_at_the_end_of_their_range_are_answered() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm1", &place.file("vm1"), 8 * MIB)]);
    let daemon = Daemon::start(&place);
    let last = u64::MAX.to_string();
    for verb in [&["events"][..], &["audit"], &["extents", "vm1", "--state", "dirty"]] {
        let since = if verb.len() == 1 { "--since" } else { "--from" };
        let told = daemon.ctl(&[verb, &[since, &last]].concat());
        assert_eq!(told.exit, Exit::Ok, "{verb:?}: {told:?}");
    }
    for verb in [["operation", &last], ["cancel", &last], ["explain", "ffffffffffffffff"]] {
        let told = daemon.ctl(&verb);
        assert_eq!(told.exit, Exit::Usage, "{verb:?}: {told:?}");
    }
    let told = daemon.ctl(&["sessions", "kill", &last]);
    assert_eq!(told.exit, Exit::Usage, "{told:?}");
    daemon.must(&["drain"]);
    daemon.stop_clean();
}
