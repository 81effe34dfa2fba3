//! A disk that does not answer: its own volume says so, and no other one notices.

use crate::needs::can_use;
use crate::pattern::{EIO, check_backing, check_same, failure, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use crate::world::Fuse;
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::{Client, Error, Options, Queue};
use rustix::process::Signal;
use std::time::Duration;

/// One volume, whose operations are overdue after a moment.
fn impatient() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB).with(r#"io_timeout = "200ms""#)]);
    place
}

/// The flush comes back although the write never does; and the write is carried out once, when it can.
#[test]
fn a_flush_answers_although_a_write_hangs() {
    let place = impatient();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "h"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    let (errno, id) = failure(client.flush());
    assert_eq!(errno, EIO);
    assert!(id.is_some());
    assert_eq!(daemon.bytes("vm", "overdue"), 1, "it is still in flight");
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Incomplete);
    let mut data = vec![0; LINE as usize];
    client.read_at(&mut data, 0).expect("held");
    check_same(&data, &pattern(1, 0, LINE), "a read never goes back");
    // A newer write of the same line waits for the older one: at most one I/O a sector.
    client.write_at(&pattern(2, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, EIO);

    daemon.must(&["fault", "vm", "clear"]);
    eventually("the flush after the device came back", || client.flush().ok());
    eventually("health", || (daemon.ctl(&["status"]).exit == Exit::Ok).then_some(()));
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 2, 0, LINE);
}

/// What hangs is in no place but the arena: the end is no clean one, and it comes.
#[test]
fn an_end_comes_although_a_write_hangs() {
    let place = impatient();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "h"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, EIO);
    client.write_at(&pattern(2, 0, 2 * LINE), 0).expect("acknowledged");
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(place.has_arena(), "the data stays");
}

#[test]
fn a_flush_answers_although_the_device_flush_hangs() {
    let place = impatient();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "flush", "EIO", "--sequence", "h"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, EIO);
    daemon.must(&["fault", "vm", "clear"]);
    eventually("the flush after the device came back", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINE);
}

/// Requests of the volume beside, in each phase.
const ROUNDS: u64 = 100;

/// `ROUNDS` writes and reads on both reactors and some flushes of a volume that is well: each is answered with success.
fn work(daemon: &Daemon<'_>, version: u64) {
    let client = daemon.client("well");
    let (writes, flushes) = (daemon.count("well", "writes"), daemon.count("well", "flushes_ok"));
    for round in 0..ROUNDS {
        let at = (round % 2) * STRIPE + round * LINE;
        client.write_at(&pattern(version, at, LINE), at).expect("acknowledged");
        let mut data = vec![0; LINE as usize];
        client.read_at(&mut data, at).expect("read");
        check_same(&data, &pattern(version, at, LINE), "what was written");
        if round % 20 == 19 {
            client.flush().expect("its own disk is well");
        }
    }
    eventually("the counters", || {
        let counted = daemon.count("well", "writes") - writes == ROUNDS;
        // A flush counts once on each reactor.
        (counted && daemon.count("well", "flushes_ok") - flushes >= ROUNDS / 20).then_some(())
    });
    eventually("a clean budget", || (daemon.bytes("well", "not_clean_bytes") == 0).then_some(()));
}

/// Goes on before anybody waits for the daemon to end.
pub(crate) struct Stopped<'a>(pub(crate) &'a Fuse);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

/// The server of a FUSE file stops with a write in hand, which has the file's lock: no reactor waits for that lock, though
/// there is more to write to the file on each.
#[test]
fn a_fuse_server_that_stops_holds_no_reactor_up() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let mut place = Place::new();
    let directory = place.file("ill");
    std::fs::create_dir(&directory).expect("ours");
    let fuse = Fuse::start(&directory, 16 * MIB, &["memory", "16M"]);
    let ill = Volume::existing("ill", &fuse.file).with("budget = \"2MiB\"\nio_timeout = \"200ms\"");
    place.add(&[ill, Volume::file("well", &place.file("well"), 16 * MIB).with("budget = \"8MiB\"")]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("ill");
    fuse.signal(Signal::STOP);
    let stopped = Stopped(&fuse);
    for round in 0..8 {
        let at = (round % 2) * STRIPE + 2 * round * LINE;
        client.write_at(&pattern(1, at, LINE), at).expect("acknowledged");
    }
    assert_eq!(failure(client.flush()).0, EIO);
    work(&daemon, 1);
    drop(stopped);
    eventually("the flush after the server goes on", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
}

/// The kernel's threads carry out what both have to write, and those that hang leave threads for the others.
#[test]
fn a_fuse_server_that_stops_leaves_threads_for_another() {
    if !can_use(&["nbdkit", "nbdfuse", "umount"]) {
        return;
    }
    let mut place = Place::new();
    let served = ["ill", "well"].map(|name| {
        let directory = place.file(&format!("{name}-served"));
        std::fs::create_dir(&directory).expect("a directory");
        let fuse = Fuse::start(&directory, 8 * MIB, &["memory", "8M"]);
        let backing = format!(r#"{{ kind = "file", path = "{}" }}"#, fuse.file.display());
        place.add(&[Volume::over(name, backing).with(r#"io_timeout = "500ms""#)]);
        fuse
    });
    let daemon = Daemon::start(&place);
    let client = daemon.client("ill");
    served[0].signal(Signal::STOP);
    let goes_on = Stopped(&served[0]);
    // On both reactors, so that each has threads that wait.
    for at in [0, STRIPE] {
        client.write_at(&pattern(1, at, LINE), at).expect("acknowledged");
    }
    assert_eq!(failure(client.flush()).0, EIO, "the device says nothing");
    work(&daemon, 1);
    drop(goes_on);
    eventually("the flush after the device came back", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
}

#[test]
fn a_volume_that_refuses_and_then_hangs_takes_nothing_from_another() {
    let mut place = Place::new();
    let ill = Volume::file("ill", &place.file("ill"), 16 * MIB);
    let well = Volume::file("well", &place.file("well"), 16 * MIB);
    place.add(&[ill.with("budget = \"2MiB\"\nio_timeout = \"200ms\""), well.with("budget = \"8MiB\"")]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("ill");
    let budgets = [daemon.bytes("ill", "budget_bytes"), daemon.bytes("well", "budget_bytes")];
    work(&daemon, 1);

    daemon.must(&["fault", "ill", "add", "write", "ENOSPC", "--sequence", "X"]);
    let mut taken = Vec::new();
    for at in (0..16 * MIB).step_by(64 << 10) {
        match client.write_at(&pattern(1, at, 64 << 10), at) {
            Ok(()) => taken.push(at),
            Err(_) => break,
        }
    }
    assert!(!taken.is_empty() && taken.len() < 256, "its own budget ends it: {}", taken.len());
    assert!(client.flush().is_err());
    assert!(daemon.bytes("ill", "not_clean_bytes") <= budgets[0]);
    work(&daemon, 2);

    daemon.must(&["fault", "ill", "clear"]);
    daemon.must(&["fault", "ill", "add", "write", "ENOSPC", "--sequence", "hhhhhhhhhhhhhhhhX"]);
    client.write_at(&pattern(1, taken[0], LINE), taken[0]).expect("an overwrite of what is held");
    assert!(client.flush().is_err());
    eventually("something hangs", || (daemon.bytes("ill", "overdue") > 0).then_some(()));
    work(&daemon, 3);
    assert!(daemon.bytes("ill", "overdue") > 0, "it hung all the time");
    let now = [daemon.bytes("ill", "budget_bytes"), daemon.bytes("well", "budget_bytes")];
    assert_eq!(now, budgets);

    daemon.must(&["fault", "ill", "clear"]);
    eventually("the ill one is well", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
    for at in taken {
        check_backing(&place.file("ill"), 1, at, 64 << 10);
    }
    for round in 0..ROUNDS {
        check_backing(&place.file("well"), 3, (round % 2) * STRIPE + round * LINE, LINE);
    }
}

/// More requests wait for a volume that hangs than a reactor has places for: they wait in their rings, and the other
/// volume's are taken in.
#[test]
fn requests_of_a_volume_that_hangs_leave_places_for_those_of_another() {
    const SESSIONS: u64 = 3;
    const DEPTH: u32 = 256;
    let mut place = Place::new();
    let ill = Volume::file("ill", &place.file("ill"), 16 * MIB);
    place.change("[limits]", "[limits]\nrequests_max = 512");
    place.add(&[ill.with(r#"io_timeout = "200ms""#), Volume::file("well", &place.file("well"), 16 * MIB)]);
    let daemon = Daemon::start(&place);
    daemon.must(&["fault", "ill", "add", "read", "EIO", "--sequence", &"h".repeat(64)]);
    let options = Options { queue_depth: DEPTH, request_bytes: 4096, ..Options::default() };
    let connect = || Queue::connect(place.clients(), "ill", options.clone()).expect("a session");
    let mut queues: Vec<Queue> = (0..SESSIONS).map(|_| connect()).collect();
    for (queue, session) in queues.iter_mut().zip(0u64..) {
        for tag in 0..DEPTH {
            // All on one reactor; no read can join another's.
            let piece = session * u64::from(DEPTH) + u64::from(tag);
            let stripe = piece * 2 * LINE / STRIPE;
            queue.submit_read(tag, piece * 2 * LINE + stripe * STRIPE, 4096).expect("there is a tag");
        }
        queue.publish();
    }
    eventually("reads hang", || (daemon.bytes("ill", "overdue") > 0).then_some(()));
    for version in 1..=3 {
        work(&daemon, version);
    }

    daemon.must(&["fault", "ill", "clear"]);
    for queue in &mut queues {
        let mut done = Vec::new();
        while queue.in_flight() > 0 {
            queue.wait(&mut done).expect("the daemon is there");
        }
        assert!(done.iter().all(|one| one.result.is_ok()), "{done:?}");
    }
    drop(queues);
    daemon.stop_clean();
}

/// A client that gave its requests a time hears of it when the device says nothing; what was read too late goes nowhere,
/// and the session goes on.
#[test]
fn a_read_with_a_timeout_does_not_wait_for_a_device_that_hangs() {
    let place = impatient();
    let daemon = Daemon::start(&place);
    let request_timeout = Some(Duration::from_millis(100));
    let options = Options { request_timeout, ..Options::default() };
    let client = Client::connect(place.clients(), "vm", options).expect("a session");
    daemon.must(&["fault", "vm", "add", "read", "EIO", "--sequence", "h"]);
    let mut data = vec![0; LINE as usize];
    let late = client.read_at(&mut data, 0);
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    client.write_at(&pattern(1, 0, LINE), LINE).expect("acknowledged");
    daemon.must(&["fault", "vm", "clear"]);
    eventually("a read in time", || client.read_at(&mut data, 0).ok());
    drop(client);
    daemon.stop_clean();
}

/// An operator who adds a volume, or opens one again, is told in time that the disk does not answer; nothing has changed.
#[test]
fn a_volume_on_a_disk_that_does_not_answer_is_refused_in_time() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let directory = place.file("silent");
    std::fs::create_dir(&directory).expect("ours");
    let fuse = Fuse::start(&directory, 8 * MIB, &["memory", "8M"]);
    let daemon = Daemon::start(&place);
    fuse.signal(Signal::STOP);
    let stopped = Stopped(&fuse);
    let path = fuse.file.to_str().expect("plain");
    let added = daemon.ctl(&["volume", "add", "late", "--backing", path]);
    assert_eq!(added.exit, Exit::Incomplete, "{added:?}");
    let why = added.json["error"]["message"].to_string();
    assert!(why.contains("does not answer") && why.contains(path), "{added:?}");
    let reopened = daemon.ctl(&["volume", "reopen", "vm", "--path", path]);
    assert_eq!(reopened.exit, Exit::Incomplete, "{reopened:?}");
    assert!(reopened.json["error"]["message"].to_string().contains("does not answer"), "{reopened:?}");
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    client.flush().expect("its disk is well");
    drop(stopped);
    daemon.must(&["volume", "add", "late", "--backing", path]);
    drop(client);
    daemon.stop_clean();
}
