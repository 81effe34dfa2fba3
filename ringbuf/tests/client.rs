//! The whole client library against a daemon of byte vectors.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod ram_disk;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use holdfast_ringbuf::FailureId;
use holdfast_ringbuf::client::{Client, ConnectError, Error, Options, Queue};
use holdfast_ringbuf::request::Opcode;
use ram_disk::{RamDisk, STRIPE_BYTES, VOLUME_BYTES};

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed).collect()
}

fn connect(daemon: &RamDisk) -> Client {
    Client::connect(&daemon.path, "ram", Options::default()).expect("a session")
}

/// Thread-safe by its type; a queue may move to another thread, and has one owner.
const _: fn() = || {
    fn shared<T: Clone + Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<Client>();
    moved::<Queue>();
};

#[test]
fn a_session_knows_its_volume() {
    let daemon = RamDisk::start(3);
    let client = connect(&daemon);
    let volume = client.volume();
    assert_eq!((volume.bytes, volume.block_bytes, volume.line_bytes), (VOLUME_BYTES, 512, 4096));
    assert_eq!((volume.stripe_bytes, volume.read_only), (STRIPE_BYTES, false));
    assert_eq!((client.incarnation(), client.session_id()), (77, 1));
}

/// The yields after the spins were added without a look at how many there are, and the first wait ended the process.
#[test]
fn who_wants_to_spin_for_ever_may() {
    let daemon = RamDisk::start(1);
    let options = Options { spins: u32::MAX, ..Options::default() };
    let client = Client::connect(&daemon.path, "ram", options).expect("a session");
    client.write_at(&pattern(1, 512), 0).expect("a write");
    client.flush().expect("a flush");
}

#[test]
fn a_write_across_all_stripes_comes_back_and_every_piece_goes_to_its_owner() {
    let daemon = RamDisk::start(3);
    let client = connect(&daemon);
    let data = pattern(1, VOLUME_BYTES as usize - 1024);
    client.write_at(&data, 512).expect("a write");
    assert_eq!(daemon.disk.bytes.lock().unwrap()[512..][..data.len()], data);
    let mut back = vec![0; data.len()];
    client.read_at(&mut back, 512).expect("a read");
    assert!(back == data);
    let seen = daemon.disk.seen.lock().unwrap();
    for part in seen.iter() {
        assert_eq!(u64::from(part.reactor), part.offset / STRIPE_BYTES % 3, "{part:?}");
        assert_eq!(part.offset / STRIPE_BYTES, (part.offset + part.length - 1) / STRIPE_BYTES, "{part:?}");
    }
    let written: u64 = seen.iter().filter(|part| part.opcode == Opcode::Write).map(|part| part.length).sum();
    assert_eq!(written, data.len() as u64);
}

#[test]
fn every_operation_reaches_the_reactors_it_concerns() {
    let daemon = RamDisk::start(3);
    let client = connect(&daemon);
    client.write_at_fua(&pattern(2, 4096), 0).expect("a FUA write");
    client.write_at(&pattern(3, 8192), 3 * STRIPE_BYTES).expect("a write");
    client.discard(0, 512).expect("a discard");
    client.write_zeroes(3 * STRIPE_BYTES, VOLUME_BYTES - 3 * STRIPE_BYTES).expect("zeroes");
    client.flush().expect("a flush");
    let bytes = daemon.disk.bytes.lock().unwrap();
    assert!(bytes[..512].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[512..4096], pattern(2, 4096)[512..]);
    assert!(bytes[3 * STRIPE_BYTES as usize..].iter().all(|&byte| byte == 0));
    let seen = daemon.disk.seen.lock().unwrap();
    assert!(seen.iter().any(|part| part.fua && part.opcode == Opcode::Write && part.reactor == 0));
    for opcode in [Opcode::Discard, Opcode::WriteZeroes, Opcode::Flush] {
        let mut reactors: Vec<u32> =
            seen.iter().filter(|part| part.opcode == opcode).map(|part| part.reactor).collect();
        reactors.sort_unstable();
        assert_eq!(reactors, [0, 1, 2], "{opcode}");
    }
}

#[test]
fn a_flush_joins_its_parts_to_the_worst_error_and_says_it_as_long_as_it_is_true() {
    let daemon = RamDisk::start(3);
    let (client, other) = (connect(&daemon), connect(&daemon));
    daemon.disk.flush_errors.lock().unwrap().extend([(0, (28, 9)), (2, (5, 4))]);
    let error = client.flush().expect_err("two reactors refuse");
    assert_eq!((error.errno(), error.failure_id()), (5, Some(FailureId(9))));
    assert_eq!(other.flush(), Err(error.clone()), "the same for another session");
    daemon.disk.flush_errors.lock().unwrap().remove(&2);
    let held = client.flush().expect_err("one reactor refuses");
    assert_eq!((held.errno(), held.failure_id()), (28, Some(FailureId(9))));
    daemon.disk.flush_errors.lock().unwrap().clear();
    assert_eq!(client.flush(), Ok(()));
}

#[test]
fn a_failed_piece_is_named_and_the_session_goes_on() {
    let daemon = RamDisk::start(3);
    let client = connect(&daemon);
    *daemon.disk.bad_byte.lock().unwrap() = Some(STRIPE_BYTES + 100);
    match client.write_at(&pattern(4, 1 << 20), 0) {
        Err(Error::Io { operation: Opcode::Write, offset, length, errno: 5, failure: None }) => {
            assert!((offset..offset + length).contains(&(STRIPE_BYTES + 100)), "{length} at {offset}");
        }
        other => panic!("expected EIO, got {other:?}"),
    }
    client.write_at(&pattern(4, 4096), 0).expect("elsewhere all is well");
}

#[test]
fn ranges_that_cannot_be_are_refused_before_anything_is_sent() {
    let daemon = RamDisk::start(2);
    let client = connect(&daemon);
    let mut sector = [0; 512];
    let beyond = Error::OutOfRange { offset: VOLUME_BYTES, length: 512, volume_bytes: VOLUME_BYTES };
    assert_eq!(client.read_at(&mut sector, VOLUME_BYTES), Err(beyond));
    let huge = u64::MAX - 511;
    let wraps = Error::OutOfRange { offset: 512, length: huge, volume_bytes: VOLUME_BYTES };
    assert_eq!(client.discard(512, huge), Err(wraps));
    let odd = Error::Unaligned { offset: 256, length: 512, block_bytes: 512 };
    assert_eq!(client.write_at(&sector, 256), Err(odd));
    assert_eq!(client.write_at(&[], 3), Ok(()));
    assert_eq!(client.discard(0, 0), Ok(()));
    assert!(daemon.disk.seen.lock().unwrap().is_empty());
}

/// Depth 2 for four threads: they wait for tags, for a leader and for each other.
#[test]
fn threads_share_a_session() {
    let daemon = RamDisk::start(3);
    for queue_depth in [2, 64] {
        let options = Options { queue_depth, request_bytes: 8192, ..Options::default() };
        let client = Client::connect(&daemon.path, "ram", options).expect("a session");
        let share = VOLUME_BYTES / 4;
        thread::scope(|scope| {
            for number in 0..4u8 {
                let client = client.clone();
                scope.spawn(move || {
                    for round in 0..20 {
                        let data = pattern(number * 50 + round, 100 * 512);
                        let offset = u64::from(number) * share + u64::from(round) * 512;
                        client.write_at(&data, offset).expect("a write");
                        let mut back = vec![0; data.len()];
                        client.read_at(&mut back, offset).expect("a read");
                        assert!(back == data, "thread {number}, round {round}");
                        client.flush().expect("a flush");
                    }
                });
            }
        });
    }
}

#[test]
fn both_sides_sleep_and_wake() {
    let daemon = RamDisk::start(3);
    let client =
        Client::connect(&daemon.path, "ram", Options { spins: 0, ..Options::default() }).expect("a session");
    for round in 0..5u8 {
        let before = daemon.disk.sleeps.load(Ordering::SeqCst);
        daemon.eventually("every reactor sleeps", |disk| disk.sleeps.load(Ordering::SeqCst) >= before + 6);
        client
            .write_at(&pattern(round, 4096), u64::from(round) * STRIPE_BYTES)
            .expect("a write to a sleeper");
        // And the other way round: the answer is held until the client must be asleep.
        daemon.disk.hold.store(true, Ordering::SeqCst);
        let sleeper = client.clone();
        let read = thread::spawn(move || {
            let mut back = vec![0; 4096];
            sleeper.read_at(&mut back, u64::from(round) * STRIPE_BYTES).map(|()| back)
        });
        thread::sleep(Duration::from_millis(20));
        daemon.disk.hold.store(false, Ordering::SeqCst);
        assert_eq!(read.join().expect("no panic").expect("a read"), pattern(round, 4096));
    }
}

#[test]
fn a_request_timeout_travels_with_each_request() {
    let daemon = RamDisk::start(1);
    let options = Options { request_timeout: Some(Duration::from_millis(1500)), ..Options::default() };
    let client = Client::connect(&daemon.path, "ram", options).expect("a session");
    client.flush().expect("a flush");
    assert_eq!(daemon.disk.seen.lock().unwrap()[0].timeout_ms, 1500);
    daemon.disk.flush_errors.lock().unwrap().insert(0, (110, 0));
    let timed_out = Error::TimedOut { operation: Opcode::Flush, offset: 0, length: 0 };
    assert_eq!(client.flush(), Err(timed_out));
}

#[test]
fn an_unknown_volume_and_an_absent_daemon_are_told_apart() {
    let mut daemon = RamDisk::start(1);
    match Client::connect(&daemon.path, "rum", Options::default()) {
        Err(ConnectError::Refused { errno: 2, reason }) => assert!(reason.contains("\"rum\""), "{reason}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    let name = Client::connect(&daemon.path, "", Options::default());
    assert!(matches!(name, Err(ConnectError::Name { .. })), "{name:?}");
    daemon.kill();
    match Client::connect(&daemon.path, "ram", Options::default()) {
        Err(ConnectError::Socket { path, source }) => {
            assert_eq!(path, daemon.path);
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound, "the door removed its file");
        }
        other => panic!("expected no socket, got {other:?}"),
    }
}

#[test]
fn a_daemon_that_dies_disconnects_every_waiting_thread() {
    let mut daemon = RamDisk::start(2);
    // No successor comes; how long one is waited for is not the question.
    let options = Options { reconnect: Some(Duration::from_millis(500)), ..Options::default() };
    let client = Client::connect(&daemon.path, "ram", options).expect("a session");
    daemon.disk.hold.store(true, Ordering::SeqCst);
    let waiting: Vec<_> = (0..4u64)
        .map(|number| {
            let client = client.clone();
            thread::spawn(move || client.write_at(&[1; 4096], number * STRIPE_BYTES))
        })
        .collect();
    thread::sleep(Duration::from_millis(30));
    daemon.kill();
    for thread in waiting {
        assert_eq!(thread.join().expect("no panic"), Err(Error::Disconnected));
    }
    assert_eq!(client.flush(), Err(Error::Disconnected));
}

#[test]
fn closing_ends_the_session_for_all_clones_and_the_daemon_notices() {
    let daemon = RamDisk::start(2);
    let (client, bystander) = (connect(&daemon), connect(&daemon));
    daemon.eventually("two sessions", |disk| disk.sessions_live.load(Ordering::SeqCst) == 2);
    let clone = client.clone();
    client.close();
    assert_eq!(clone.flush(), Err(Error::Disconnected));
    daemon.eventually("one session", |disk| disk.sessions_live.load(Ordering::SeqCst) == 1);
    bystander.flush().expect("others are not concerned");
}
