//! Descriptors that differ from an honest one in one field, for every field of every opcode.

use holdfast_ringbuf::PeerFault;
use holdfast_ringbuf::request::{Descriptor, Opcode};
use std::sync::atomic::Ordering;

use crate::Scene;
use crate::ram_disk::{STRIPE_BYTES, VOLUME_BYTES};
use crate::raw_client::{CQ_TAIL, RawClient, write};

use super::memory::COMPLETIONS;
use super::protocol::Structure;

pub(crate) const OPCODES: [Opcode; 5] =
    [Opcode::Read, Opcode::Write, Opcode::Flush, Opcode::Discard, Opcode::WriteZeroes];

const EINVAL: u32 = 22;

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    ThrownOut(PeerFault),
    /// With 0 or an errno.
    Answered(u32),
}

use Outcome::{Answered, ThrownOut};

pub(crate) struct Trial {
    pub(crate) opcode: Opcode,
    pub(crate) odd: Descriptor,
    pub(crate) outcome: Outcome,
}

pub(crate) fn honest(opcode: Opcode) -> Descriptor {
    let range = Descriptor { opcode: opcode as u8, ..write(1, 1) };
    if opcode == Opcode::Flush { Descriptor { length: 0, ..range } } else { range }
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for opcode in OPCODES {
        let mut cases = for_all(opcode);
        match opcode {
            Opcode::Read | Opcode::Write => cases.extend(for_transfers(opcode)),
            Opcode::Flush => cases.extend(for_flush()),
            Opcode::Discard | Opcode::WriteZeroes => cases.extend(for_ranges(opcode)),
        }
        trials.extend(cases.into_iter().map(|(odd, outcome)| Trial { opcode, odd, outcome }));
    }
    trials
}

fn for_all(opcode: Opcode) -> Vec<(Descriptor, Outcome)> {
    let honest = honest(opcode);
    let mut cases = Vec::new();
    for unknown in [0, 6, 77, u8::MAX] {
        let fault = PeerFault::Opcode { opcode: unknown };
        cases.push((Descriptor { opcode: unknown, ..honest }, ThrownOut(fault)));
    }
    let knows_fua = matches!(opcode, Opcode::Write | Opcode::WriteZeroes);
    for flags in [1, 2, 3, 0x80] {
        let fault = ThrownOut(PeerFault::Flags { opcode, flags });
        let outcome = if knows_fua && flags == 1 { Answered(0) } else { fault };
        cases.push((Descriptor { flags, ..honest }, outcome));
    }
    for odd in [
        Descriptor { reserved_0: 1, ..honest },
        Descriptor { reserved_1: 1 << 31, ..honest },
        Descriptor { reserved_2: [1, 0], ..honest },
        Descriptor { reserved_2: [0, 1 << 31], ..honest },
    ] {
        cases.push((odd, ThrownOut(PeerFault::NotZero { opcode, field: "reserved" })));
    }
    for tag in [8, u32::MAX] {
        cases.push((Descriptor { tag, ..honest }, ThrownOut(PeerFault::Tag { tag, entries: 8 })));
    }
    let none = ThrownOut(PeerFault::Sequence { sequence: 0, last: 0 });
    cases.push((Descriptor { sequence: 0, ..honest }, none));
    cases.push((Descriptor { sequence: u64::MAX, ..honest }, Answered(0)));
    for timeout_ms in [1, u32::MAX] {
        cases.push((Descriptor { timeout_ms, ..honest }, Answered(0)));
    }
    for replay in [1, u64::MAX] {
        let fault = ThrownOut(PeerFault::NotZero { opcode, field: "replay" });
        let outcome = if opcode == Opcode::Write { Answered(0) } else { fault };
        cases.push((Descriptor { replay, ..honest }, outcome));
    }
    cases
}

/// Where it lies, how long it is and where its data is.
fn for_transfers(opcode: Opcode) -> Vec<(Descriptor, Outcome)> {
    let honest = honest(opcode);
    let misrouted = |offset| PeerFault::Misrouted { offset, length: 4096, reactor: 0 };
    let mut cases = Vec::new();
    for offset in [STRIPE_BYTES, STRIPE_BYTES - 512, u64::MAX] {
        cases.push((Descriptor { offset, ..honest }, ThrownOut(misrouted(offset))));
    }
    // Beyond the volume, and in a stripe of this reactor.
    cases.push((Descriptor { offset: 1 << 60, ..honest }, Answered(EINVAL)));
    for length in [0, 65537, u64::MAX] {
        let fault = PeerFault::Length { length, length_max: 65536 };
        cases.push((Descriptor { length, ..honest }, ThrownOut(fault)));
    }
    for payload in [65536 - 4095, 65536, u64::MAX] {
        let fault = PeerFault::Payload { payload, length: 4096, payload_bytes: 65536 };
        cases.push((Descriptor { payload, ..honest }, ThrownOut(fault)));
    }
    cases
}

fn for_flush() -> Vec<(Descriptor, Outcome)> {
    let honest = honest(Opcode::Flush);
    let fault = |field| ThrownOut(PeerFault::NotZero { opcode: Opcode::Flush, field });
    [1, u64::MAX]
        .into_iter()
        .flat_map(|value| {
            [
                (Descriptor { offset: value, ..honest }, fault("offset")),
                (Descriptor { length: value, ..honest }, fault("length")),
                (Descriptor { payload: value, ..honest }, fault("payload")),
            ]
        })
        .collect()
}

fn for_ranges(opcode: Opcode) -> Vec<(Descriptor, Outcome)> {
    let honest = honest(opcode);
    let payload = ThrownOut(PeerFault::NotZero { opcode, field: "payload" });
    vec![
        (Descriptor { offset: VOLUME_BYTES, ..honest }, Answered(EINVAL)),
        (Descriptor { offset: u64::MAX, ..honest }, Answered(EINVAL)),
        (Descriptor { length: VOLUME_BYTES + 1, ..honest }, Answered(EINVAL)),
        (Descriptor { length: u64::MAX, ..honest }, Answered(EINVAL)),
        (Descriptor { payload: 1, ..honest }, payload),
        (Descriptor { payload: u64::MAX, ..honest }, payload),
    ]
}

#[test]
fn a_descriptor_that_is_odd_in_one_field_gets_what_the_protocol_says() {
    let scene = Scene::new();
    let mut faults = Vec::new();
    for Trial { odd, outcome, .. } in trials() {
        let mut client = scene.connect();
        client.submit(0, &[odd]);
        match outcome {
            ThrownOut(fault) => {
                assert!(client.is_thrown_out(), "{fault}");
                faults.push(fault);
            }
            Answered(errno) => {
                let ring = RawClient::ring(0);
                let completed = |_: &_| client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 1;
                scene.daemon.eventually("an answer", completed);
                let status = client.word(ring + COMPLETIONS.start + 4).load(Ordering::Acquire);
                assert_eq!(status, errno, "{odd:?}");
            }
        }
    }
    scene.check(&faults);
}

/// What the table's column of an opcode says of a field.
pub(crate) fn cell<'a>(structure: &'a Structure, row: &'a [String], opcode: Opcode) -> &'a str {
    let name = opcode.to_string();
    let is_column = |head: &String| head.split(", ").any(|word| word == name);
    let column = structure.head.iter().position(is_column);
    match row[column.unwrap_or_else(|| panic!("no column for {name}"))].as_str() {
        "same" => &row[3],
        other => other,
    }
}
