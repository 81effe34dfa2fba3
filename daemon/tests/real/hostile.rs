//! Clients that write garbage into their shared memory: each loses its own session, and nothing else happens.

use crate::pattern::{Random, check_same, failure, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::raw_client::{CQ_HEAD, CQ_TAIL, ENTRIES, RawClient, SQ_TAIL, write};
use crate::running::{Daemon, eventually};
use holdfast_ringbuf::client::{Client, Options};
use holdfast_ringbuf::request::Descriptor;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// Where the honest client's data is, over both reactors.
const HONEST: u64 = 5 * STRIPE - 2 * LINE;

pub(crate) fn place() -> Place {
    let mut place = Place::new();
    place.change("request_bytes_max = \"128KiB\"", "request_bytes_max = \"64KiB\"");
    place.add(&[Volume::file("ram", &place.file("ram"), 8 * MIB)]);
    place
}

/// An honest client beside the hostile ones.
pub(crate) struct Honest {
    client: Client,
    version: u64,
}

impl Honest {
    pub(crate) fn new(daemon: &Daemon<'_>) -> Honest {
        let mut honest = Honest { client: daemon.client("ram"), version: 0 };
        honest.work();
        honest
    }

    pub(crate) fn work(&mut self) {
        let mut data = vec![0; (4 * LINE) as usize];
        if self.version > 0 {
            self.client.read_at(&mut data, HONEST).expect("read");
            check_same(&data, &pattern(self.version, HONEST, 4 * LINE), "as it was left");
        }
        self.version += 1;
        self.client.write_at(&pattern(self.version, HONEST, 4 * LINE), HONEST).expect("acknowledged");
        self.client.flush().expect("the disk is well");
    }
}

#[test]
fn every_bad_descriptor_ends_its_session_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut honest = Honest::new(&daemon);
    let good = write(1, 1);
    let cases = [
        Descriptor { opcode: 77, ..good },
        Descriptor { flags: 0x80, ..good },
        Descriptor { reserved_0: 1, ..good },
        Descriptor { reserved_2: [0, 1], ..good },
        Descriptor { tag: u32::MAX, ..good },
        Descriptor { sequence: 0, ..good },
        Descriptor { length: u64::MAX, ..good },
        Descriptor { length: 0, ..good },
        Descriptor { payload: 65535, ..good },
        Descriptor { payload: u64::MAX - 4095, ..good },
        Descriptor { offset: STRIPE, ..good },
    ];
    for descriptor in cases {
        let mut client = RawClient::connect(&place.clients());
        client.submit(0, &[descriptor]);
        assert!(client.is_thrown_out(), "{descriptor:?}");
        honest.work();
    }
    eventually("only the honest one is left", || (daemon.sessions() == 1).then_some(()));
    assert!(daemon.log().contains("a client misbehaved"), "the operator is told");
    drop(honest);
    daemon.stop_clean();
}

/// No offence, and no way out of the volume either.
#[test]
fn what_the_volume_does_not_have_is_einval() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut honest = Honest::new(&daemon);
    let good = write(1, 1);
    let cases = [
        Descriptor { length: 513, ..good },
        Descriptor { offset: 1, ..good },
        Descriptor { offset: 8 * MIB, ..good },
        Descriptor { offset: u64::MAX - (2 * STRIPE - 1), ..good },
    ];
    for descriptor in cases {
        let client = RawClient::connect(&place.clients());
        client.submit(0, &[descriptor]);
        let ring = RawClient::ring(0);
        eventually("an answer", || (client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 1).then_some(()));
        // The first completion: 8 descriptors of 64 bytes lie before it, its tag comes first, then its status.
        let status = client.word(ring + ENTRIES + 8 * 64 + 4).load(Ordering::Relaxed);
        assert_eq!(status.cast_signed(), Errno::INVAL.raw_os_error(), "{descriptor:?}");
        honest.work();
    }
    drop(honest);
    daemon.stop_clean();
}

#[test]
fn indices_that_jump_end_their_session_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut honest = Honest::new(&daemon);
    for reactor in [0, 1] {
        for found in [9, 1 << 31, u32::MAX] {
            let mut client = RawClient::connect(&place.clients());
            client.word(RawClient::ring(reactor) + SQ_TAIL).store(found, Ordering::Release);
            client.wake(reactor);
            assert!(client.is_thrown_out(), "tail {found} of reactor {reactor}");
            honest.work();
        }
    }
    let mut client = RawClient::connect(&place.clients());
    let ring = RawClient::ring(0);
    client.submit(0, &[0, 1, 2, 3, 4, 5, 6, 7].map(|tag| write(tag, u64::from(tag) + 1)));
    eventually("8 answers", || (client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 8).then_some(()));
    client.word(ring + CQ_HEAD).store(9, Ordering::Release);
    client.put(ring + ENTRIES, write(0, 9).as_bytes());
    client.word(ring + SQ_TAIL).store(9, Ordering::Release);
    client.wake(0);
    assert!(client.is_thrown_out(), "the head of the completions jumped");
    honest.work();
    drop(honest);
    daemon.stop_clean();
}

/// Every byte of the rings, at random.
#[test]
fn a_memory_full_of_garbage_ends_its_session_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut honest = Honest::new(&daemon);
    let mut random = Random::new(3);
    for round in 0..20 {
        let mut client = RawClient::connect(&place.clients());
        let garbage: Vec<u8> = (0..4096 + 2 * 8192).map(|_| random.below(256) as u8).collect();
        client.put(0, &garbage);
        for ring in [RawClient::ring(0), RawClient::ring(1)] {
            if round % 2 == 0 {
                client.word(ring + SQ_TAIL).store(random.below(8) as u32 + 1, Ordering::Release);
            }
        }
        client.wake(0);
        client.wake(1);
        assert!(client.is_thrown_out(), "round {round}");
        honest.work();
    }
    eventually("only the honest one is left", || (daemon.sessions() == 1).then_some(()));
    drop(honest);
    daemon.stop_clean();
}

/// A live session's memory can neither be cut nor punched; what was punched before the last seal is filled again.
#[test]
fn a_clients_memory_cannot_be_pulled_away_from_the_daemon() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut honest = Honest::new(&daemon);
    let mut client = RawClient::up_to_mapping(&place.clients());
    assert_eq!(ftruncate(&client.memory_file, 0), Err(Errno::PERM));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&client.memory_file, punch, 0, client.reply.memory_bytes).expect("a hole");
    client.settle();
    assert_eq!(fallocate(&client.memory_file, punch, 0, LINE), Err(Errno::PERM));
    assert_eq!(ftruncate(&client.memory_file, 0), Err(Errno::PERM));
    client.submit(0, &[write(0, 1)]);
    let answered = RawClient::ring(0) + 256;
    eventually("an answer", || (client.word(answered).load(Ordering::Acquire) == 1).then_some(()));
    honest.work();
    drop((client, honest));
    daemon.stop_clean();
}

/// Handshakes that never end take a thread for a while; everybody else comes in.
#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let place = place();
    let daemon = Daemon::start(&place);
    let silent: Vec<_> = (0..16).map(|_| crate::raw_client::dial(&place.clients())).collect();
    let mut honest = Honest::new(&daemon);
    honest.work();
    let unknown = Client::connect(place.clients(), "nobody", Options::default());
    let words = unknown.expect_err("no such volume").to_string();
    assert!(words.contains("nobody"), "{words}");
    drop(silent);
    honest.work();
    drop(honest);
    daemon.stop_clean();
}

/// As many silent clients as there are handshakes at a time, and more that knock: the thread at the door used to turn
/// without a pause until the first of them were given up.
#[test]
fn a_crowd_at_the_door_costs_no_core() {
    let place = place();
    let daemon = Daemon::start(&place);
    let silent: Vec<_> = (0..40).map(|_| crate::raw_client::dial(&place.clients())).collect();
    eventually("every handshake has its thread", || {
        (daemon.threads("holdfast-hello").len() == 32).then_some(())
    });
    let door = daemon.threads("holdfast-door")[0].clone();
    let sleeps = || {
        let status = std::fs::read_to_string(door.join("status")).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count")
    };
    let ticks = || {
        let stat = std::fs::read_to_string(door.join("stat")).expect("it lives");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        (fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system"), sleeps())
    };
    // Counted in its own sleeps, so that it matters to nobody how busy the machine is: between two of them it does
    // next to nothing.
    let (used, slept) = ticks();
    let (used_then, _) =
        eventually("50 sleeps", || Some(ticks()).filter(|(_, sleeps)| *sleeps >= slept + 50));
    assert!(used_then - used <= 20, "{} ticks between 50 sleeps", used_then - used);
    drop(silent);
    daemon.stop_clean();
}

/// A client of a volume that is read-only changes nothing of it.
#[test]
fn a_read_only_volume_is_not_written() {
    let mut place = Place::new();
    let path = place.file("ram");
    std::fs::write(&path, pattern(1, 0, MIB)).expect("a backing");
    let size = format!("{{ kind = \"file\", path = \"{}\", buffered = true }}", path.display());
    place.add(&[Volume::over("ram", size).with("read_only = true")]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("ram");
    let erofs = Errno::ROFS.raw_os_error();
    assert_eq!(failure(client.write_at(&[0; 4096], 0)).0, erofs);
    assert_eq!(failure(client.discard(0, 4096)).0, erofs);
    assert_eq!(failure(client.write_zeroes(0, 4096)).0, erofs);
    let mut data = vec![0; MIB as usize];
    client.read_at(&mut data, 0).expect("read");
    check_same(&data, &pattern(1, 0, MIB), "as it was");
    client.flush().expect("nothing to flush");
    drop(client);
    daemon.stop_clean();
}
