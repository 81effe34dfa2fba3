//! C6, M11: a device that hangs.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::{HoldUntilPressure, Policy, Retry};

/// M11: a flush is answered though a write hangs; the write keeps its slot and its block, and counts when it ends.
#[test]
fn a_flush_is_answered_though_a_write_hangs() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.put(20 * LINE, LINE, 1);
    shell.disk().hold(IoKind::Write);
    let flush = shell.flush();
    shell.run_ms(4_900);
    assert_eq!(shell.errno(flush), None, "not overdue yet");
    shell.run_ms(300);
    assert_eq!(shell.errno(flush), Some(EIO));
    assert_eq!(shell.ledger.not_stable.len(), 16, "what hangs is on record");
    assert!(shell.stats().overdue > 0);
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096));
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(0), 1);
    assert!(shell.ledger.not_stable.is_empty());
}

/// What hung and has ended hangs no more, also where the engine has nothing left to do and is not asked again: whoever wants to
/// remove the volume would be refused.
#[test]
fn what_hung_and_ended_is_not_overdue() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Read);
    let read = shell.send(0, 1, Operation::Read, 0, LINE);
    shell.run_ms(5_200);
    assert_eq!((shell.errno(read), shell.stats().overdue), (None, 1));
    shell.disk().release();
    (0..2).for_each(|_| shell.turn());
    assert_eq!((shell.errno(read), shell.stats().overdue), (Some(0), 0));
}

/// C8: a retry while writes hang is answered, and does not say that all was healed: it is not known what becomes of them.
#[test]
fn a_retry_counts_what_hangs_as_not_healed() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.put(20 * LINE, LINE, 1);
    shell.disk().hold(IoKind::Write);
    let flush = shell.flush();
    shell.run_ms(6_000);
    assert_eq!(shell.errno(flush), Some(EIO));
    let retry = Command::Retry { range: ByteRange::ALL, classes: holdfast_policy::ClassSet::ANY };
    let token = shell.operator(retry.clone());
    shell.run_ms(100);
    assert_eq!(shell.answers[&token], Answer::Retried { tried: 0, failed: 2 });
    shell.disk().release();
    let token = shell.operator(retry);
    shell.run_ms(2_000);
    assert_eq!(shell.answers[&token], Answer::Retried { tried: 0, failed: 0 });
    assert_eq!((shell.stable(0), shell.stable(20 * 4096)), (1, 1));
}

/// C8: the same, when the writes are through and the device flush that would make them stable hangs; a drain ends, too.
#[test]
fn a_retry_and_a_drain_are_answered_though_the_device_flush_hangs() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.put(0, LINE, 1);
    shell.put(20 * LINE, LINE, 1);
    assert_eq!(shell.flushed(), ENOSPC);
    shell.disk().heal();
    shell.disk().hold(IoKind::Flush);
    let retry = Command::Retry { range: ByteRange::ALL, classes: holdfast_policy::ClassSet::ANY };
    let token = shell.operator(retry);
    let drain = shell.operator(Command::Drain);
    shell.run_ms(4_000);
    assert!(!shell.answers.contains_key(&token), "not overdue yet");
    shell.run_ms(4_000);
    assert!(matches!(shell.answers[&token], Answer::Retried { failed: 2, .. }), "{:?}", shell.answers);
    assert_eq!(shell.answers[&drain], Answer::Drained { left: 2 });
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.flushed(), 0);
}

/// M11: the same, when more lines are dirty than operations may hang: those that cannot even be sent.
#[test]
fn a_flush_is_answered_though_nothing_more_can_be_sent() {
    let mut shell = Shell::new(Plan::default());
    for line in 0..100 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().hold(IoKind::Write);
    let flush = shell.flush();
    shell.run_ms(6_000);
    assert_eq!(shell.errno(flush), Some(EIO));
    assert_eq!(shell.ledger.not_stable.len(), 800);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.flushed(), 0);
}

/// M11: the same, when the newer write of a block waits for the one that hangs.
#[test]
fn a_flush_is_answered_though_an_overwrite_waits_behind_a_hanging_write() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.run_ms(10);
    shell.put(0, LINE, 2);
    let flush = shell.flush();
    shell.run_ms(6_000);
    assert_eq!(shell.errno(flush), Some(EIO));
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(0), 2);
}

/// M11: a device flush that hangs counts, too, and what it covers is on record.
#[test]
fn a_flush_is_answered_though_the_device_flush_hangs() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Flush);
    let flush = shell.flush();
    shell.run_ms(6_000);
    assert_eq!(shell.errno(flush), Some(EIO));
    assert_eq!(shell.ledger.not_stable.len(), 8);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.flushed(), 0);
}

/// C3: a device that hangs is no lack of space: EIO, though operations other than the flush hang, too.
#[test]
fn a_hanging_device_is_not_out_of_space() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Flush);
    shell.disk().hold(IoKind::Read);
    shell.send(0, 1, Operation::Read, 100 * LINE, LINE);
    let flush = shell.flush();
    shell.run_ms(6_000);
    assert_eq!(shell.errno(flush), Some(EIO));
}

/// C6: the neighbour of a volume whose device hangs writes, reads and flushes as ever.
#[test]
fn a_hanging_device_does_not_hold_up_another() {
    let mut shell = Shell::new(Plan { volumes: 2, budget: 96, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    shell.disk().hold(IoKind::Read);
    for line in 0..200 {
        shell.write(line * 2 * LINE, LINE, 1);
        shell.turn();
    }
    shell.flush();
    for line in 0..20 {
        shell.send(0, 1, Operation::Read, (500 + line) * LINE, LINE);
    }
    shell.run_ms(50);
    assert!(shell.stats().stalled_writes > 0, "it has used up its budget");
    for round in 0..20u64 {
        let write = shell.write_to(1, round * 8 * LINE, 4 * LINE, 3, false);
        let read = shell.send(1, 1, Operation::Read, (round * 8 + 400) * LINE, LINE);
        let flush = shell.send(1, 1, Operation::Flush, 0, 0);
        shell.settle();
        let answers = [write, read, flush].map(|tag| shell.errno(tag));
        assert_eq!(answers, [Some(0); 3], "round {round}");
    }
}

/// M11: a write that stalls because the device hangs gets ENOSPC in the end, as if the device had refused.
#[test]
fn a_stalled_write_is_answered_though_nothing_was_refused() {
    let mut shell = Shell::new(Plan { budget: 32, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    for line in 0..32 {
        shell.put(line * LINE, LINE, 1);
    }
    let write = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(20_000);
    assert_eq!(shell.errno(write), None);
    shell.run_ms(20_000);
    assert_eq!(shell.errno(write), Some(ENOSPC));
}

/// An operator's drain ends though the device hangs, and says what is left.
#[test]
fn a_drain_ends_though_the_device_hangs() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    let token = shell.operator(Command::Drain);
    shell.run_ms(6_000);
    assert_eq!(shell.answers.get(&token), Some(&Answer::Drained { left: 1 }));
}

/// C8: a disk that answers nothing has refused no line that could be given up. Under hold-until-pressure a write that finds no
/// room is refused after the stall timeout, whoever waits behind it too, and all goes on once the disk answers.
#[test]
fn a_write_without_room_is_refused_though_the_device_hangs_and_refuses_nothing() {
    let policy = Policy::HoldUntilPressure(HoldUntilPressure { pressure: 900, stall_timeout_ms: 8_000 });
    let mut shell =
        Shell::new(Plan { rules: rules(policy, Retry::default()), budget: 40, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    (0..40).for_each(|line| shell.put(line * LINE, LINE, 1));
    let first = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(7_900);
    assert!(shell.stats().overdue > 0, "it hangs, and is known to");
    let second = shell.write(101 * LINE, LINE, 2);
    assert_eq!(shell.errno(first), None);
    shell.run_ms(300);
    assert_eq!((shell.errno(first), shell.errno(second)), (Some(ENOSPC), None));
    shell.run_ms(8_000);
    assert_eq!(shell.errno(second), Some(ENOSPC));
    assert_eq!((shell.stats().given_up, shell.stats().lost), (0, 0));
    shell.disk().release();
    shell.run_ms(1_000);
    shell.put(100 * LINE, LINE, 3);
    assert_eq!((shell.flushed(), shell.stable(0), shell.stable(100 * 4096)), (0, 1, 3));
}
