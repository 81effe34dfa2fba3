//! `[events]`: somebody is told of a failure, its end and a drain, by a program or by a webhook, and no client waits for it.

use crate::pattern::{ENOSPC, failure, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

fn place(events: &str) -> Place {
    let mut place = Place::new();
    place.change("[debug]\n", &format!("[events]\n{events}\n[debug]\n"));
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB).with("budget = \"8MiB\"")]);
    place
}

/// A place whose daemon appends each event, in a line, to a file; after a pause of so many seconds.
fn told_by_program(pause: u32) -> (Place, PathBuf) {
    let mut place = place("exec = [\"/bin/sh\", \"-c\", \"SCRIPT\"]");
    let told = place.file("told");
    place.change("SCRIPT", &format!("line=$(cat); sleep {pause}; echo \\\"$line\\\" >> {}", told.display()));
    (place, told)
}

fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a whole event")).collect()
}

/// Makes the disk refuse one line until it is mended, then drains: what [`STORY`] tells.
fn live_through_it(daemon: &Daemon<'_>) {
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    eventually("the failure is seen", || (daemon.bytes("vm", "failed_bytes") > 0).then_some(()));
    eventually("the failure is counted", || counted(daemon, "first_failure").then_some(()));
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    eventually("the flush after that", || client.flush().ok());
    eventually("its end is counted", || counted(daemon, "healed").then_some(()));
    daemon.must(&["drain", "vm"]);
}

const STORY: [&str; 3] = ["first_failure", "healed", "drained"];

fn counted(daemon: &Daemon<'_>, event: &str) -> bool {
    let text = daemon.metrics();
    text.lines().any(|line| line == format!("holdfast_events_total{{event=\"{event}\"}} 1"))
}

fn names(told: &[Value]) -> Vec<&str> {
    told.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

#[test]
fn a_program_is_told_the_story_in_its_order() {
    let (place, told) = told_by_program(0);
    let daemon = Daemon::start(&place);
    live_through_it(&daemon);
    eventually("all is told", || (lines(&told).len() >= 3).then_some(()));
    let events = lines(&told);
    assert_eq!(names(&events), STORY);
    assert_eq!((events[0]["version"].as_u64(), events[0]["volume"].as_str()), (Some(1), Some("vm")));
    assert_eq!(events[0]["bytes"]["failed_bytes"], LINE);
    assert_eq!(events[0]["command"], "holdfastctl extents vm --state failed");
    assert_eq!(events[1]["bytes"]["failed_bytes"], 0);
    let metrics = daemon.metrics();
    assert!(metrics.contains("holdfast_event_deliveries_total{result=\"delivered\"} 3\n"), "{metrics}");
    daemon.stop_clean();
    // The end of the daemon drains, too, and waits for who is told of it.
    assert_eq!(names(&lines(&told)).last(), Some(&"drained"));
    assert_eq!(lines(&told).len(), 4);
}

/// The program takes longer than the whole story: clients and operators notice nothing.
#[test]
fn nobody_waits_for_a_slow_program() {
    let (place, told) = told_by_program(1000);
    let daemon = Daemon::start(&place);
    live_through_it(&daemon);
    let client = daemon.client("vm");
    for round in 0..100 {
        client.write_at(&pattern(round, 0, LINE), 0).expect("acknowledged");
        client.flush().expect("a healthy disk");
    }
    assert_eq!(lines(&told).len(), 0, "it still sleeps");
    drop(client);
    daemon.stop_clean();
}

/// A webhook that answers its first request with an error and the rest with 204.
fn webhook() -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, told) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let event = request(&stream);
            let status = if number == 0 { "503 Busy" } else { "204 No Content" };
            stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).expect("it listens");
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    (port, told)
}

fn request(stream: &TcpStream) -> Value {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut first = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if first.is_empty() {
            first.clone_from(&line);
        }
        let lower = line.to_ascii_lowercase();
        if let Some(number) = lower.strip_prefix("content-length:") {
            length = number.trim().parse().expect("a number");
        }
        if line == "\r\n" {
            break;
        }
    }
    assert_eq!(first, "POST /hold?to=oncall HTTP/1.1\r\n");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

#[test]
fn a_webhook_that_was_busy_is_told_again() {
    let (port, told) = webhook();
    let place = place(&format!("webhook = \"http://127.0.0.1:{port}/hold?to=oncall\""));
    let daemon = Daemon::start(&place);
    live_through_it(&daemon);
    let events: Vec<Value> = told.iter().take(4).collect();
    assert_eq!(names(&events), ["first_failure", "first_failure", "healed", "drained"]);
    assert_eq!(events[0], events[1], "the same event, not another one like it");
    eventually("all is delivered", || {
        daemon.metrics().contains("holdfast_event_deliveries_total{result=\"delivered\"} 3\n").then_some(())
    });
    daemon.stop_clean();
}

/// Nobody listens there: it is tried as often as allowed, counted and said.
#[test]
fn a_webhook_that_is_not_there_is_given_up() {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("bound").port();
    let place = place(&format!("webhook = \"http://127.0.0.1:{free}/\"\nattempts = 2"));
    let daemon = Daemon::start(&place);
    live_through_it(&daemon);
    eventually("it is given up", || {
        daemon.metrics().contains("holdfast_event_deliveries_total{result=\"failed\"} 3\n").then_some(())
    });
    let log = daemon.log();
    assert!(log.contains("was not told: Connection refused"), "{log}");
    assert!(log.contains("(attempt 2 of 2)"), "{log}");
    daemon.stop_clean();
}

/// The disk refuses until the volume's budget is all but used; the operator then gives it up, and accepts that.
#[test]
fn a_budget_that_fills_and_a_loss_are_told() {
    let (place, told) = told_by_program(0);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    let budget = daemon.bytes("vm", "budget_bytes");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    // Both reactors' shares of the budget fill alike; 64 KiB at a time, to just above 80%.
    let step = 16 * LINE;
    let needed = (budget * 81).div_ceil(100).next_multiple_of(step);
    assert!(needed <= 8 * MIB, "the volume is large enough: {needed}");
    for offset in (0..needed).step_by(usize::try_from(step).expect("small")) {
        client.write_at(&pattern(1, offset, step), offset).expect("acknowledged");
    }
    eventually("both are told", || (lines(&told).len() >= 2).then_some(()));
    daemon.must(&["drop", "vm", "--yes-lose-data"]);
    eventually("the loss is told", || (lines(&told).len() >= 3).then_some(()));
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["ack-loss", "vm", "--yes"]);
    eventually("its end is told, when the rest is written", || {
        client.flush().ok();
        daemon.ctl(&["ack-loss", "vm", "--yes"]);
        (lines(&told).len() >= 4).then_some(())
    });
    let events = lines(&told);
    let mut names = names(&events);
    // The first failure and the full budget may be seen in one look, or one before the other.
    names[..2].sort_unstable();
    assert_eq!(names[..4], ["budget", "first_failure", "lost", "healed"]);
    assert!(events[2]["bytes"]["lost_bytes"].as_u64() > Some(0), "{}", events[2]);
    drop(client);
    daemon.stop_clean();
}
