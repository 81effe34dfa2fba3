//! PROTOCOL.md, field by field: what a client may write there, and what becomes of it. What is no field (credit, tags and
//! sequences in flight, seals and holes, floods) has its tests in `hostile.rs`.
//!
//! The trials are held against the document's tables by the bytes that they change, so that neither has a field that the
//! other does not know. A reply is the daemon's to send; what a client makes of a wrong one is in `foreign_daemon.rs`.

mod descriptor;
mod handshake;
mod memory;
mod protocol;

use std::collections::BTreeSet;

use holdfast_ringbuf::wire::{STEP_MAPPED, StepMessage};
use zerocopy::IntoBytes;

use crate::raw_client::hello;
use descriptor::{OPCODES, Outcome, Trial, cell, honest, trials};
use handshake::{hellos, steps};
use memory::{COMPLETIONS, JUMPS, PAGE_WORDS, RING_ENTRIES, RING_WORDS};
use protocol::{ENTRIES, Structure, structures};

fn named<'a>(structures: &'a [Structure], name: &str) -> &'a Structure {
    let found = structures.iter().find(|structure| structure.name == name);
    found.unwrap_or_else(|| panic!("PROTOCOL.md has no table of {name}"))
}

#[test]
fn every_message_and_word_of_the_protocol_is_tried_and_no_other() {
    let structures = structures();
    let names: Vec<&str> = structures.iter().map(|structure| structure.name.as_str()).collect();
    let known = ["Hello", "Reply", "Mapped, ready", "session's page", "ring", "Descriptor", "Completion"];
    assert_eq!(names, known, "a structure that nobody tries");

    let table = named(&structures, "Hello");
    let odd =
        hellos().into_iter().map(|(odd, _)| table.field_tried(hello("ram").as_bytes(), odd.as_bytes()).at);
    table.check_tried("", &odd.collect());

    let (table, mapped) = (named(&structures, "Mapped, ready"), StepMessage::new(STEP_MAPPED));
    let odd = steps().into_iter().map(|odd| table.field_tried(mapped.as_bytes(), odd.as_bytes()).at);
    table.check_tried("", &odd.collect());

    let table = named(&structures, "session's page");
    table.check_tried("", &PAGE_WORDS.map(|at| table.field_over(at, 4).at).into());

    let table = named(&structures, "ring");
    let words = RING_WORDS.into_iter().chain(JUMPS).map(|at| (at, 4));
    let entries = RING_ENTRIES.map(|entries| (entries.start, entries.end - entries.start));
    let odd = words.chain(entries).map(|(at, bytes)| table.field_over(at, bytes).at);
    table.check_tried("", &odd.collect());

    // All of them are overwritten as a whole.
    let table = named(&structures, "Completion");
    let bytes: u64 = table.fields.iter().map(|field| field.bytes).sum();
    assert_eq!(bytes * ENTRIES, COMPLETIONS.end - COMPLETIONS.start, "bytes of completions");
}

#[test]
fn every_field_of_a_descriptor_is_tried_with_every_opcode_and_no_other() {
    let structures = structures();
    let table = named(&structures, "Descriptor");
    for opcode in OPCODES {
        let mut tried = BTreeSet::new();
        for Trial { odd, outcome, .. } in trials().iter().filter(|trial| trial.opcode == opcode) {
            let field = table.field_tried(honest(opcode).as_bytes(), odd.as_bytes());
            let must_be_zero = cell(table, &field.cells, opcode) == "0";
            let fails = matches!(outcome, Outcome::ThrownOut(_));
            assert!(fails || !must_be_zero, "{} of a {opcode} is to be 0: {odd:?}", field.name);
            tried.insert(field.at);
        }
        table.check_tried(&format!(" of a {opcode}"), &tried);
    }
}

/// Where one field ends the next begins, up to the size that the heading says.
#[test]
fn the_tables_of_messages_and_entries_have_no_gap() {
    let sizes =
        [("Hello", 128), ("Reply", 392), ("Mapped, ready", 16), ("Descriptor", 64), ("Completion", 32)];
    let structures = structures();
    for (name, size) in sizes {
        let end = named(&structures, name).fields.iter().fold(0, |end, field| {
            assert_eq!(field.at, end, "{} of {name}", field.name);
            end + field.bytes
        });
        assert_eq!(end, size, "bytes of {name}");
    }
}
