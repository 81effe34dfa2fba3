//! PROTOCOL.md, field by field: what a client may write there, and what becomes of it. What has a test of its own in
//! `hostile.rs` (indices, credit, tags and sequences in flight, sizes that are wished, seals and holes, floods) is not
//! repeated here.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use holdfast_ringbuf::PeerFault;
use holdfast_ringbuf::request::{Descriptor, Opcode};
use holdfast_ringbuf::wire::{HelloMessage, ReplyMessage, STEP_MAPPED, STEP_READY, StepMessage};
use zerocopy::{FromZeros, IntoBytes};

use super::Scene;
use super::raw_client::{RawClient, dial, hello, write};

const SQ_HEAD: u64 = 128;
const CQ_TAIL: u64 = 256;
const DAEMON_SLEEPING: u64 = 512;
const CLIENT_WAKE: u64 = 128;
/// The records of a ring with 8 entries.
const RECORDS: std::ops::Range<u64> = 4096 + 8 * 96..8192;

fn of(opcode: Opcode) -> Descriptor {
    let range = Descriptor { opcode: opcode as u8, payload: 0, ..write(1, 1) };
    if opcode == Opcode::Flush { Descriptor { length: 0, ..range } } else { range }
}

#[test]
fn what_a_descriptor_must_not_hold_ends_the_session() {
    use Opcode::{Discard, Flush, Read, Write, WriteZeroes};
    let mut cases = vec![(Descriptor { opcode: 0, ..of(Write) }, PeerFault::Opcode { opcode: 0 })];
    for (opcode, flags) in [(Read, 1), (Write, 2), (Flush, 1), (Discard, 1), (WriteZeroes, 3)] {
        cases.push((Descriptor { flags, ..of(opcode) }, PeerFault::Flags { opcode, flags }));
    }
    for opcode in [Read, Write, Flush, Discard, WriteZeroes] {
        let honest = of(opcode);
        for reserved in [
            Descriptor { reserved_0: 1, ..honest },
            Descriptor { reserved_1: 1 << 31, ..honest },
            Descriptor { reserved_2: [1, 0], ..honest },
            Descriptor { reserved_2: [0, 1 << 31], ..honest },
        ] {
            cases.push((reserved, PeerFault::NotZero { opcode, field: "reserved" }));
        }
        cases.push((Descriptor { tag: 8, ..honest }, PeerFault::Tag { tag: 8, entries: 8 }));
        cases.push((Descriptor { sequence: 0, ..honest }, PeerFault::Sequence { sequence: 0, last: 0 }));
        if opcode != Write {
            let replay = Descriptor { replay: 1, ..honest };
            cases.push((replay, PeerFault::NotZero { opcode, field: "replay" }));
        }
        if matches!(opcode, Flush | Discard | WriteZeroes) {
            let payload = Descriptor { payload: 1, ..honest };
            cases.push((payload, PeerFault::NotZero { opcode, field: "payload" }));
        } else {
            for (payload, length) in [(u64::MAX, 4096), (65536, 1), (0, 0), (0, 65537)] {
                let fault = if (1..=65536).contains(&length) {
                    PeerFault::Payload { payload, length, payload_bytes: 65536 }
                } else {
                    PeerFault::Length { length, length_max: 65536 }
                };
                cases.push((Descriptor { payload, length, ..honest }, fault));
            }
        }
    }
    let flush = of(Flush);
    let field = |field| PeerFault::NotZero { opcode: Flush, field };
    cases.push((Descriptor { offset: 1, ..flush }, field("offset")));
    cases.push((Descriptor { length: 1, ..flush }, field("length")));
    let scene = Scene::new();
    for (descriptor, fault) in &cases {
        let mut client = scene.connect();
        client.submit(0, &[*descriptor]);
        assert!(client.is_thrown_out(), "{fault}");
    }
    let faults: Vec<PeerFault> = cases.into_iter().map(|(_, fault)| fault).collect();
    scene.check(&faults);
}

/// Nobody decides anything on them but for this client's own request.
#[test]
fn a_time_limit_a_replay_and_records_may_say_anything() {
    let scene = Scene::new();
    let client = scene.connect();
    let ring = RawClient::ring(0);
    let records = [0xff; (RECORDS.end - RECORDS.start) as usize];
    client.put(ring + RECORDS.start, &records);
    let odd = [
        Descriptor { timeout_ms: u32::MAX, ..write(0, 1) },
        Descriptor { timeout_ms: 1, ..write(1, 2) },
        Descriptor { replay: u64::MAX, ..write(2, 3) },
        Descriptor { replay: 1, ..write(3, u64::MAX) },
    ];
    client.submit(0, &odd);
    scene.daemon.eventually("4 completions", |_| client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 4);
    for place in 0..4 {
        assert_eq!(client.word(ring + 4096 + 8 * 64 + 32 * place + 4).load(Ordering::Acquire), 0);
    }
    scene.check(&[]);
}

/// The words and entries that the daemon or the kernel alone is to write.
#[test]
fn what_the_daemon_writes_may_be_overwritten() {
    let scene = Scene::new();
    let client = scene.connect();
    let ring = RawClient::ring(0);
    client.put(client.reply.memory_bytes - 65536, &[6; 4096]);
    for value in [u32::MAX, 1, 0x8000_0000] {
        for word in [SQ_HEAD, CQ_TAIL, DAEMON_SLEEPING] {
            client.word(ring + word).store(value, Ordering::Release);
        }
        client.word(CLIENT_WAKE).store(value, Ordering::Release);
        client.word(0).store(value, Ordering::Release);
        client.put(ring + 4096 + 8 * 64, &[0xff; 8 * 32]);
    }
    client.submit(0, &[write(0, 1)]);
    scene.daemon.eventually("the write", |disk| disk.bytes.lock().unwrap()[..4096] == [6; 4096]);
    scene.check(&[]);
}

#[test]
fn a_hello_may_wish_for_what_there_is_not_and_gets_none_of_it() {
    let scene = Scene::new();
    for hello in [
        HelloMessage { capabilities: u64::MAX, ..hello("ram") },
        HelloMessage { resume_session: 1, ..hello("ram") },
        HelloMessage { resume_session: u64::MAX, ..hello("ram") },
    ] {
        let mut stream = dial(&scene.daemon.path);
        stream.write_all(hello.as_bytes()).expect("sent");
        let mut reply = ReplyMessage::new_zeroed();
        stream.read_exact(reply.as_mut_bytes()).expect("an offer");
        assert_eq!((reply.status, reply.capabilities), (0, 0));
        assert_ne!(reply.session, hello.resume_session, "a session of its own");
    }
    let mut unknown = dial(&scene.daemon.path);
    unknown.write_all(hello("rom").as_bytes()).expect("sent");
    let mut reply = ReplyMessage::new_zeroed();
    unknown.read_exact(reply.as_mut_bytes()).expect("a refusal");
    assert_eq!(reply.status, rustix::io::Errno::NOENT.raw_os_error());
    scene.check(&[]);
}

#[test]
fn a_hello_that_is_wrong_in_one_field_is_turned_away() {
    let scene = Scene::new();
    let mut behind_its_end = hello("ram");
    behind_its_end.volume[63] = 1;
    let wrong = [
        HelloMessage { magic: hello("ram").magic ^ 1 << 63, ..hello("ram") },
        HelloMessage { message_bytes: 0, ..hello("ram") },
        HelloMessage { message_bytes: u32::MAX, ..hello("ram") },
        HelloMessage { flags: 1 << 31, ..hello("ram") },
        HelloMessage { reserved: [1, 0], ..hello("ram") },
        hello("ra\nm"),
        behind_its_end,
    ];
    let count = wrong.len();
    for hello in wrong {
        let mut stream = dial(&scene.daemon.path);
        stream.write_all(hello.as_bytes()).expect("sent");
        // What the daemon did not read makes it a reset.
        assert!(!matches!(stream.read(&mut [0; 1]), Ok(1..)), "closed without a word");
    }
    scene.daemon.eventually("all failed", |disk| disk.handshakes_failed.lock().unwrap().len() == count);
    scene.check(&[]);
}

#[test]
fn a_step_that_is_not_the_one_expected_gets_no_session() {
    let scene = Scene::new();
    let mapped = StepMessage::new(STEP_MAPPED);
    let wrong = [
        StepMessage { magic: 0, ..mapped },
        StepMessage { magic: mapped.magic.swap_bytes(), ..mapped },
        StepMessage::new(0),
        StepMessage::new(STEP_READY),
        StepMessage::new(u64::MAX),
    ];
    let count = wrong.len();
    for step in wrong {
        let mut client = RawClient::up_to_mapping(&scene.daemon.path);
        client.stream.write_all(step.as_bytes()).expect("sent");
        assert!(client.is_thrown_out());
    }
    scene.daemon.eventually("all failed", |disk| disk.handshakes_failed.lock().unwrap().len() == count);
    scene.check(&[]);
}
