//! Writes: headers, epochs over long times, limits of a turn.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::State;

/// The header of an acknowledged write is published, with the union of what is not stable.
#[test]
fn an_acknowledged_write_is_in_its_header() {
    let mut shell = Shell::new(Plan::default());
    shell.put(5 * LINE, 512, 1);
    shell.put(5 * LINE + 1024, 512, 1);
    let dirty: Vec<&Header> = shell.headers.iter().filter(|header| header.state() == State::Dirty).collect();
    assert_eq!(dirty.len(), 1, "the older slot is free");
    let (identity, status) = dirty[0].recover().unwrap();
    assert_eq!((identity.volume, identity.line, identity.dirty), (0, 5, 0b101));
    assert_eq!((status.valid, status.attempts), (0b101, 0));
    assert_eq!(shell.flushed(), 0);
    shell.put(5 * LINE + 512, 512, 1);
    let dirty = shell.headers.iter().find(|header| header.state() == State::Dirty).unwrap();
    assert_eq!((dirty.dirty(), dirty.valid()), (0b010, 0b111), "what is stable is not dirty again");
}

/// A write over the end of one line into the next is taken whole.
#[test]
fn a_write_across_lines_is_taken_whole() {
    let mut shell = Shell::new(Plan::default());
    shell.put(LINE - 512, 1024, 6);
    assert_eq!(shell.get(LINE - 512, 1024).unwrap(), all(6, 1024));
    let edges = shell.get(0, 2 * LINE).unwrap();
    assert_eq!((edges[LINE as usize - 513], edges[LINE as usize + 512]), (0xd5, 0xd5));
    assert_eq!(shell.flushed(), 0);
}

/// Several writes to one line within one turn: the last wins, and nothing of the others is left behind.
#[test]
fn writes_of_one_turn_to_one_line_follow_each_other() {
    let mut shell = Shell::new(Plan::default());
    for value in 1..=8 {
        shell.write(0, LINE, value);
    }
    shell.write(512, 512, 9);
    shell.turn();
    let data = shell.get(0, LINE).unwrap();
    assert_eq!((data[0], data[512]), (8, 9));
    assert_eq!(shell.engine.cache_stats().free, 255);
    assert_eq!(shell.stats().not_clean, 1);
}

/// More events than a turn has room for wait for the next one, and requests beyond the limit hear EAGAIN.
#[test]
fn too_many_requests_are_turned_away() {
    let mut shell = Shell::new(Plan::default());
    shell.asks_for_room = false;
    shell.disk().hold(IoKind::Read);
    let reads: Vec<u32> = (0..300).map(|line| shell.send(0, 1, Operation::Read, line * LINE, LINE)).collect();
    for _ in 0..30 {
        shell.turn();
    }
    let again = reads.iter().filter(|&&read| shell.errno(read) == Some(holdfast_policy::errno::EAGAIN));
    assert_eq!(again.count(), 300 - 256);
    shell.disk().release();
    shell.settle();
    let done = reads.iter().filter(|&&read| shell.errno(read) == Some(0)).count();
    assert_eq!(done, 256);
}

/// An engine without work needs no tick; one with work says when.
#[test]
fn an_idle_engine_sleeps() {
    let mut shell = Shell::new(Plan::default());
    assert_eq!(shell.engine.next_wake(), Instant::NEVER);
    shell.put(0, LINE, 1);
    assert!(shell.engine.next_wake() < Instant::NEVER);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.engine.next_wake(), Instant::NEVER);
    let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 0, LINE);
    shell.settle();
    assert_eq!(shell.errno(zeroes), Some(0));
    assert!(shell.engine.next_wake() < Instant::NEVER, "zeroes await their device flush");
}
