//! What an operator who only watches sees of a real daemon: the map, latencies and counts, over TCP with a token.

use crate::pattern::{ENOSPC, failure, pattern};
use crate::place::{LINE, MIB, Place, Volume, free_ports};
use crate::running::{Daemon, eventually};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A place whose daemon listens at a port, which is free as far as anybody knows; with this mode of the token's file.
fn place(mode: u32) -> (Place, SocketAddr) {
    let mut place = Place::new();
    let [free] = free_ports();
    let file = place.file("token");
    std::fs::write(&file, TOKEN).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    place.change(
        "[debug]\n",
        &format!("[http]\nlisten = \"{free}\"\ntoken_file = \"{}\"\n[debug]\n", file.display()),
    );
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    (place, free)
}

fn ask(port: SocketAddr, path: &str) -> Value {
    let stream = TcpStream::connect(port).expect("the daemon listens");
    let answer = crate::running::get(stream, path, &format!("authorization: Bearer {TOKEN}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    serde_json::from_str(body).expect("JSON")
}

fn cells(port: SocketAddr) -> String {
    ask(port, "/v1/volumes/vm/map?cells=8")["cells"].as_str().expect("cells").to_owned()
}

/// Stripes of 1 MiB lie on two reactors in turn: the map has each where it is in the volume.
#[test]
fn the_map_shows_where_what_is_failed_and_lost_lies() {
    let (place, port) = place(0o600);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    assert_eq!(cells(port), "........");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    for offset in [2 * MIB + 512 * 1024, 5 * MIB] {
        client.write_at(&pattern(1, offset, LINE), offset).expect("acknowledged");
    }
    assert_eq!(failure(client.flush()).0, ENOSPC);
    eventually("both are shown as failed", || (cells(port) == "..f..f..").then_some(()));
    daemon.must(&["drop", "vm", "--range", "5MiB:4KiB", "--yes-lose-data"]);
    eventually("one is shown as lost", || (cells(port) == "..f..l..").then_some(()));
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    daemon.must(&["ack-loss", "vm", "--yes"]);
    eventually("nothing is left to show", || (cells(port) == "........").then_some(()));
}

/// As many as there were, and in a time in which they can have been.
#[test]
fn every_request_and_every_device_operation_is_measured() {
    let (place, port) = place(0o600);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    let begun = std::time::Instant::now();
    for round in 0..50 {
        client.write_at(&pattern(round, 0, LINE), 0).expect("acknowledged");
    }
    client.flush().expect("a healthy disk");
    let mut block = vec![0; usize::try_from(LINE).expect("small")];
    client.read_at(&mut block, 0).expect("a hit");
    let longest_ns = u64::try_from(begun.elapsed().as_nanos()).expect("short");
    let counts = |latencies: &Value, place: &str, operation: &str| {
        let all = latencies["volumes"][0][place].as_array().expect("a list").clone();
        let found = all.iter().find(|one| one["operation"] == operation).cloned().unwrap_or_default();
        (found["count"].as_u64().unwrap_or(0), found["sum_ns"].as_u64().unwrap_or(0))
    };
    // The last turn's measurements are made when its successor begins.
    eventually("all is counted", || {
        (counts(&ask(port, "/v1/latencies"), "requests", "read").0 == 1).then_some(())
    });
    let latencies = ask(port, "/v1/latencies");
    let (writes, write_ns) = counts(&latencies, "requests", "write");
    assert_eq!(writes, 50);
    assert!(0 < write_ns && write_ns < longest_ns * 50, "{write_ns} of {longest_ns}");
    // The client asks each of the two reactors.
    assert_eq!(counts(&latencies, "requests", "flush").0, 2);
    for operation in ["write", "flush"] {
        let (count, sum_ns) = counts(&latencies, "device", operation);
        assert!(count > 0 && sum_ns > 0, "device {operation}: {latencies}");
    }
    let metrics = daemon.metrics();
    let line = "holdfast_request_duration_seconds_count{volume=\"vm\",operation=\"write\"} 50\n";
    assert!(metrics.contains(line), "{metrics}");
    drop(client);
    daemon.stop_clean();
}

#[test]
fn a_token_that_others_can_read_keeps_the_daemon_from_starting() {
    let (place, port) = place(0o644);
    let mut daemon = Daemon::spawn(&place, &[], |_| {});
    let (status, log) = daemon.wait();
    assert_ne!(status.code(), Some(0), "{log}");
    assert!(log.contains("has mode 0644") && log.contains("chmod 0600"), "{log}");
    assert!(TcpStream::connect(port).is_err(), "nobody listens");
}
