//! The end of a daemon: clean, with data that its disk refuses, and in the middle of its clients' work.

use crate::pattern::{EIO, check_backing, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::{Error, Options};

const AT: (u64, u64) = (STRIPE - 32 * KIB, 64 * KIB);

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    place
}

/// A daemon that holds [`AT`], which its disk refuses.
fn holding<'a>(place: &'a Place, arguments: &[&str]) -> Daemon<'a> {
    let daemon = Daemon::start_with(place, arguments, |_| {});
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    client.flush().expect("the disk is well");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    client.write_at(&pattern(2, AT.0, AT.1), AT.0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, EIO);
    daemon
}

#[test]
fn a_clean_end_writes_what_nobody_flushed() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, AT.0, AT.1), AT.0).expect("acknowledged");
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!place.has_arena());
    check_backing(&place.file("vm"), 1, AT.0, AT.1);
    assert!(client.flush().is_err_and(|error| error == Error::Disconnected));
    // Nothing keeps the next one from starting.
    Daemon::start(&place).stop_clean();
}

/// A socket at which nobody listens is the sign of a daemon that was killed: the doctor says so, and one that has ended in peace
/// is not to be searched for.
#[test]
fn an_end_leaves_no_socket_behind() {
    let mut place = place();
    place.open_nbd("");
    place.open_vhost("vm", "");
    for held in [false, true] {
        let daemon = if held { holding(&place, &[]) } else { Daemon::start(&place) };
        let sockets = [place.clients(), place.admin(), place.nbd(), place.vhost()];
        let there = || sockets.iter().map(|path| path.exists()).collect::<Vec<_>>();
        assert_eq!(there(), [true; 4]);
        let (status, log) = daemon.stop();
        assert_eq!(status.code(), Some(i32::from(held)), "{log}");
        assert_eq!(there(), [false; 4], "clients, operators, NBD, a machine");
    }
}

#[test]
fn an_end_with_held_data_fails_and_keeps_it() {
    let place = place();
    let daemon = holding(&place, &[]);
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("--abandon") && log.contains("--discard-arena"), "what to do is said: {log}");
    assert!(log.contains("16"), "how much is said: {log}");
    assert!(place.has_arena(), "the data stays");

    let mut again = Daemon::start(&place);
    assert_eq!(again.extents("vm", "failed"), [AT], "held by the next daemon");
    assert!(again.log().contains("16 failed"), "{}", again.log());
    again.kill();
    let daemon = Daemon::start_with(&place, &["--discard-arena"], |_| {});
    assert_eq!(daemon.extents("vm", "lost"), [AT], "what was given up is on record");
    assert_eq!(failure(daemon.client("vm").flush()).0, EIO);
    let mut data = vec![0; LINE as usize];
    assert_eq!(failure(daemon.client("vm").read_at(&mut data, AT.0)).0, EIO);
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Faulted);
    drop(daemon);
}

#[test]
fn an_abandoning_end_records_the_loss_and_the_next_daemon_knows_it() {
    let place = place();
    let daemon = holding(&place, &["--abandon"]);
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!place.has_arena());

    let daemon = Daemon::start(&place);
    assert_eq!(daemon.extents("vm", "lost"), [AT]);
    let client = daemon.client("vm");
    let first = failure(client.flush());
    assert_eq!(first.0, EIO);
    let told = daemon.must(&["explain", &format!("{:016x}", first.1.expect("a name"))]);
    assert_eq!(crate::running::ranges(&told), [AT], "{told}");
    assert_eq!(failure(daemon.client("vm").flush()), first);
    let mut data = vec![0; LINE as usize];
    assert_eq!(failure(client.read_at(&mut data, AT.0)).0, EIO);
    client.read_at(&mut data, 0).expect("beside the loss");

    daemon.must(&["ack-loss", "vm", "--yes"]);
    client.flush().expect("acknowledged");
    client.read_at(&mut data, AT.0).expect("as the disk has it");
    drop(client);
    daemon.stop_clean();
    // And it stays so.
    let daemon = Daemon::start(&place);
    daemon.client("vm").flush().expect("acknowledged for good");
    assert_eq!(daemon.extents("vm", "lost"), []);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINE);
}

#[test]
fn an_operator_can_end_it_too() {
    let place = place();
    let mut daemon = holding(&place, &[]);
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["shutdown"]);
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!place.has_arena());
    check_backing(&place.file("vm"), 2, AT.0, AT.1);
}

/// Whatever a client was told is written when the end was clean: also what came while the daemon drained.
#[test]
fn what_is_acknowledged_during_the_end_is_not_lost() {
    let place = place();
    for round in 1..=4u64 {
        let mut daemon = Daemon::start(&place);
        let acknowledged: Vec<u64> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4u64)
                .map(|number| {
                    // One that does not wait for the next daemon.
                    let alone = Options { queue_depth: 8, reconnect: None, ..Options::default() };
                    let client = daemon.client_with("vm", alone);
                    scope.spawn(move || {
                        let mut last = 0;
                        for version in 1.. {
                            let at = number * (STRIPE + LINE);
                            let tagged = (round << 32) + version;
                            if client.write_at(&pattern(tagged, at, LINE), at).is_err() {
                                break;
                            }
                            last = tagged;
                        }
                        last
                    })
                })
                .collect();
            eventually("they work", || (daemon.count("vm", "writes") > 100).then_some(()));
            daemon.terminate();
            let (status, log) = daemon.wait();
            assert_eq!(status.code(), Some(0), "{log}");
            workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
        });
        for (number, last) in (0..).zip(acknowledged) {
            let at: u64 = number * (STRIPE + LINE);
            let found = crate::pattern::on_backing(&place.file("vm"), at, LINE);
            // The one request that was in flight at the end may have been carried out without an answer.
            let next = pattern(last + 1, at, LINE);
            assert!(found == pattern(last, at, LINE) || found == next, "client {number} of round {round}");
        }
    }
}

/// What is given up at a start is on record as lost, and what is healed after that stays so.
#[test]
fn what_a_killed_daemon_held_can_be_given_up_at_the_next_start() {
    let place = place();
    let mut daemon = holding(&place, &[]);
    daemon.kill();
    let daemon = Daemon::start_with(&place, &["--discard-arena"], |_| {});
    daemon.must(&["ack-loss", "vm", "--yes"]);
    let client = daemon.client("vm");
    client.write_at(&pattern(3, 0, LINE), 0).expect("acknowledged");
    client.flush().expect("the disk is well");
    drop(client);
    let mut daemon = daemon;
    daemon.kill();
    let daemon = Daemon::start(&place);
    daemon.client("vm").flush().expect("nothing was lost");
    daemon.stop_clean();
    check_backing(&place.file("vm"), 3, 0, LINE);
}
