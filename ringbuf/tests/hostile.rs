//! Clients that break the protocol in every place. Each loses its own session; an honest one beside it notices nothing.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod every_field;
mod ram_disk;
mod raw_client;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use holdfast_ringbuf::PeerFault;
use holdfast_ringbuf::client::{Client, Options};
use holdfast_ringbuf::wire::{HelloMessage, ReplyMessage, STEP_MAPPED, StepMessage};
use ram_disk::{RamDisk, STRIPE_BYTES};
use raw_client::{CQ_TAIL, ENTRIES, RawClient, SQ_TAIL, dial, hello, write};
use rustix::fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate};
use rustix::io::Errno;
use zerocopy::{FromZeros, IntoBytes};

/// A daemon of two reactors, and an honest client whose data must survive whatever happens beside it.
struct Scene {
    daemon: RamDisk,
    honest: Client,
}

const HONEST: u64 = 3 * STRIPE_BYTES;

impl Scene {
    fn new() -> Self {
        let daemon = RamDisk::start(2);
        let honest = Client::connect(&daemon.path, "ram", Options::default()).expect("a session");
        honest.write_at(&[9; 65536], HONEST - 32768).expect("a write");
        Self { daemon, honest }
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(&self.daemon.path)
    }

    /// The honest session works, over both reactors, and only `faults` were found.
    fn check(&self, faults: &[PeerFault]) {
        self.check_honest();
        assert_eq!(*self.daemon.disk.faults.lock().unwrap(), faults);
    }

    fn check_honest(&self) {
        let mut back = [0; 65536];
        self.honest.read_at(&mut back, HONEST - 32768).expect("a read");
        assert!(back == [9; 65536]);
        self.honest.flush().expect("a flush");
    }
}

#[test]
fn an_honest_raw_client_is_served() {
    let scene = Scene::new();
    let client = scene.connect();
    client.put(client.reply.memory_bytes - 65536, &[5; 4096]);
    client.submit(0, &[write(3, 1)]);
    scene
        .daemon
        .eventually("completion", |_| client.word(RawClient::ring(0) + CQ_TAIL).load(Ordering::Acquire) == 1);
    assert!(scene.daemon.disk.bytes.lock().unwrap()[..4096] == [5; 4096]);
    scene.check(&[]);
}

#[test]
fn a_ninth_request_without_taking_an_answer_ends_the_session() {
    let scene = Scene::new();
    let mut client = scene.connect();
    client.submit(0, &[0, 1, 2, 3, 4, 5, 6, 7].map(|tag| write(tag, u64::from(tag) + 1)));
    let ring = RawClient::ring(0);
    scene.daemon.eventually("8 completions", |_| client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 8);
    client.put(ring + ENTRIES, write(0, 9).as_bytes());
    client.word(ring + SQ_TAIL).store(9, Ordering::Release);
    client.wake(0);
    assert!(client.is_thrown_out());
    scene.check(&[PeerFault::Overrun { entries: 8 }]);
}

#[test]
fn tags_and_sequences_may_not_be_used_twice() {
    for (second, fault) in [
        (write(1, 2), PeerFault::TagInUse { tag: 1 }),
        (write(2, 1), PeerFault::Sequence { sequence: 1, last: 1 }),
    ] {
        let scene = Scene::new();
        let mut client = scene.connect();
        scene.daemon.disk.hold.store(true, Ordering::SeqCst);
        client.submit(0, &[write(1, 1), second]);
        assert!(client.is_thrown_out(), "{fault}");
        scene.daemon.disk.hold.store(false, Ordering::SeqCst);
        scene.check(&[fault]);
    }
}

/// Random bytes over everything that is not payload, again and again, with a wake-up each time.
#[test]
fn garbage_everywhere_harms_nobody() {
    let scene = Scene::new();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..40 {
        let mut client = scene.connect();
        // Small indices in half of the rounds, so that descriptors are looked at.
        let bytes: Vec<u8> = (0..4096 / 8 + 2 * 8192 / 8).flat_map(|_| next().to_ne_bytes()).collect();
        client.put(0, &bytes);
        for ring in [RawClient::ring(0), RawClient::ring(1)] {
            if round % 2 == 0 {
                client.word(ring + SQ_TAIL).store(next() as u32 % 8 + 1, Ordering::Release);
            }
        }
        client.wake(0);
        client.wake(1);
        assert!(client.is_thrown_out(), "round {round}");
    }
    scene.check_honest();
    let faults = scene.daemon.disk.faults.lock().unwrap();
    assert!(faults.len() >= 40);
    assert!(faults.iter().any(|fault| matches!(fault, PeerFault::IndexJumped { .. })));
    assert!(faults.iter().any(|fault| !matches!(fault, PeerFault::IndexJumped { .. })));
}

#[test]
fn a_client_that_floods_its_wake_up_sockets_or_always_claims_to_sleep_is_served_like_others() {
    let scene = Scene::new();
    let client = scene.connect();
    client.word(0).store(1, Ordering::Release);
    for wake in &client.wakes {
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        let mut sent = 0;
        while sent < 1 << 20 {
            match rustix::net::send(wake, &[0; 4096], flags) {
                Ok(bytes) => sent += bytes,
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    break;
                }
            }
        }
    }
    client.submit(0, &[write(0, 1)]);
    scene
        .daemon
        .eventually("completion", |_| client.word(RawClient::ring(0) + CQ_TAIL).load(Ordering::Acquire) == 1);
    assert!(client.word(128).load(Ordering::Acquire) > 0, "the futex word was rung");
    scene.check(&[]);
}

#[test]
fn the_memory_cannot_be_pulled_away() {
    let scene = Scene::new();
    let mut client = RawClient::up_to_mapping(&scene.daemon.path);
    assert_eq!(ftruncate(&client.memory_file, 0), Err(Errno::PERM));
    assert_eq!(ftruncate(&client.memory_file, 1 << 30), Err(Errno::PERM));
    // Before the last seal a hole can be punched; the daemon fills it again before the session is live.
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&client.memory_file, punch, 0, client.reply.memory_bytes).expect("a hole");
    client.settle();
    assert_eq!(fallocate(&client.memory_file, punch, 0, 4096), Err(Errno::PERM));
    let map = memmap2::MmapOptions::new().len(4096).map_raw(&client.memory_file);
    assert!(map.is_err(), "no second writable mapping");
    // SAFETY: it fails; if it did not, nothing but this test would read the zeroes.
    let removed = unsafe { client.memory.unchecked_advise(memmap2::UncheckedAdvice::Remove) };
    assert_eq!(removed.map_err(|error| error.raw_os_error()), Err(Some(Errno::PERM.raw_os_error())));
    client.submit(0, &[write(0, 1)]);
    scene
        .daemon
        .eventually("completion", |_| client.word(RawClient::ring(0) + CQ_TAIL).load(Ordering::Acquire) == 1);
    scene.check(&[]);
}

#[test]
fn a_client_that_prevents_the_last_seal_gets_no_session() {
    let scene = Scene::new();
    let mut client = RawClient::up_to_mapping(&scene.daemon.path);
    fcntl_add_seals(&client.memory_file, SealFlags::SEAL).expect("sealed");
    client.stream.write_all(StepMessage::new(STEP_MAPPED).as_bytes()).expect("sent");
    assert!(client.is_thrown_out());
    scene.daemon.eventually("the failure", |disk| disk.handshakes_failed.lock().unwrap().len() == 1);
    scene.check(&[]);
}

#[test]
fn hellos_that_do_not_come_keep_nobody_else_waiting() {
    let scene = Scene::new();
    // Silent, half a hello, and gone again: these cost a thread of the daemon a second each and nobody else anything.
    let silent = dial(&scene.daemon.path);
    let mut half = dial(&scene.daemon.path);
    half.write_all(&hello("ram").as_bytes()[..100]).expect("sent");
    drop(dial(&scene.daemon.path));
    let stuck = RawClient::up_to_mapping(&scene.daemon.path);
    let late = Client::connect(&scene.daemon.path, "ram", Options::default()).expect("a session");
    late.flush().expect("a flush");
    scene.daemon.eventually("all failed", |disk| disk.handshakes_failed.lock().unwrap().len() == 4);
    scene.check(&[]);
    drop((silent, half, stuck));
}

#[test]
fn another_version_is_told_so_in_words() {
    let scene = Scene::new();
    let mut stream = dial(&scene.daemon.path);
    // Of another version only the first 16 bytes are known to exist.
    stream.write_all(&HelloMessage { version: 9, ..hello("ram") }.as_bytes()[..16]).expect("sent");
    let mut reply = ReplyMessage::new_zeroed();
    stream.read_exact(reply.as_mut_bytes()).expect("a refusal");
    assert_eq!(reply.status, Errno::PROTONOSUPPORT.raw_os_error());
    assert!(reply.reason().contains("version 9"), "{}", reply.reason());
    scene.check(&[]);
}

const CHILD_SOCKET: &str = "HOLDFAST_TEST_CHILD_SOCKET";

/// Runs itself again as the client, and kills it at different moments of its life.
#[test]
fn killed_clients_harm_nobody() {
    if let Some(path) = std::env::var_os(CHILD_SOCKET) {
        let client = Client::connect(path, "ram", Options::default()).expect("a session");
        loop {
            client.write_at(&[1; 100 * 512], 0).expect("a write");
        }
    }
    let scene = Scene::new();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "killed_clients_harm_nobody"])
            .env(CHILD_SOCKET, &scene.daemon.path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        std::thread::sleep(std::time::Duration::from_millis(round * 3));
        if round % 3 == 2 {
            scene.daemon.eventually("it writes", |disk| disk.seen.lock().unwrap().len() > 10);
        }
        child.kill().expect("alive until now");
        child.wait().expect("dead");
        scene.daemon.disk.seen.lock().unwrap().clear();
    }
    scene.daemon.eventually("one session is left", |disk| disk.sessions_live.load(Ordering::SeqCst) == 1);
    scene.check(&[]);
}
