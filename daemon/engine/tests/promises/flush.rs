//! C1, C3, C4, M6, M7: what a flush says, and when.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;

/// C1: a flush that succeeds covers every write acknowledged before it, of whatever session and whatever state.
#[test]
fn a_flush_waits_for_everything_acknowledged_before_it() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    let other = shell.send(0, 2, Operation::Write { fua: false }, 40 * LINE, LINE);
    shell.turn();
    assert_eq!(shell.errno(other), Some(0));
    shell.put(1 << 20, 512, 3);
    shell.disk().hold(IoKind::Write);
    let flush = shell.flush();
    shell.run_ms(20);
    assert_eq!(shell.errno(flush), None, "nothing is written yet");
    shell.disk().release();
    shell.disk().hold(IoKind::Flush);
    shell.run_ms(20);
    assert_eq!(shell.errno(flush), None, "it is written, but not stable");
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    let disk = shell.disk();
    assert_eq!(disk.stable[0], 1);
    assert_eq!(disk.stable[40 * 4096], 0xaa);
    assert_eq!(disk.stable[1 << 20], 3);
    assert_eq!(disk.stable[(1 << 20) + 512], 0xd5, "the sector behind it was not written");
}

/// C1: a flush of an idle volume succeeds and costs no device operation.
#[test]
fn a_flush_of_nothing_succeeds() {
    let mut shell = Shell::new(Plan::default());
    assert_eq!(shell.flushed(), 0);
    assert!(shell.disk().log.is_empty());
}

/// M6: a line that is overwritten again and again neither holds up a flush nor lets it pass early.
#[test]
fn overwriting_neither_restarts_nor_ends_the_wait_of_a_flush() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    let flush = shell.flush();
    shell.turn();
    shell.turn();
    shell.put(0, LINE, 2);
    shell.run_ms(5);
    assert_eq!(shell.errno(flush), None, "the overwrite does not end the wait");
    shell.disk().release();
    for value in 3..40 {
        shell.put(0, LINE, value);
        if shell.errno(flush).is_some() {
            break;
        }
    }
    assert_eq!(shell.errno(flush), Some(0), "the overwrites do not restart the wait");
    assert!(shell.stable(0) >= 1 && shell.stable(0) != 0xd5);
}

/// M6: a line that is overwritten in every single turn is written nevertheless, and the flush behind it answered.
#[test]
fn a_line_overwritten_in_every_turn_does_not_starve_a_flush() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    let flush = shell.flush();
    let fua = shell.write_to(0, LINE, LINE, 1, true);
    for value in 2..40 {
        shell.write(0, LINE, value);
        shell.write(LINE, LINE, value);
        shell.turn();
    }
    assert_eq!((shell.errno(flush), shell.errno(fua)), (Some(0), Some(0)));
}

/// M6: a flush does not wait for what was written after it.
#[test]
fn a_flush_does_not_wait_for_newer_writes() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    let flush = shell.flush();
    shell.turn();
    shell.disk().bad.insert(9, i32::from(EIO));
    shell.put(9 * LINE, LINE, 2);
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!(shell.flushed(), EIO, "the next one does");
}

/// C3: the error is level-triggered: every session hears it, with the same id, until the cause is gone.
#[test]
fn an_error_is_told_as_long_as_it_is_true() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, EIO);
    let flushes = [1, 2, 1].map(|session| {
        let flush = shell.send(0, session, Operation::Flush, 0, 0);
        shell.run_ms(300);
        flush
    });
    let ids = flushes.map(|flush| {
        assert_eq!(shell.errno(flush), Some(EIO));
        shell.done[&flush].failure_id
    });
    assert!(ids[0] != 0 && ids.iter().all(|&id| id == ids[0]), "same set, same id: {ids:?}");
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096), "C4: asking for durability harms nothing");
    shell.disk().heal();
    shell.run_ms(200);
    assert_eq!(shell.flushed(), 0, "a flush after the cause is gone succeeds");
    assert_eq!(shell.stable(0), 1);
}

/// C3: ENOSPC if all that fails is held and out of space, EIO as soon as one line fails otherwise.
#[test]
fn only_a_lack_of_space_is_enospc() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().bad.insert(0, i32::from(ENOSPC));
    assert_eq!(shell.flushed(), ENOSPC);
    shell.disk().heal();
    shell.run_ms(1_000);
    assert_eq!(shell.flushed(), 0);
    shell.put(0, LINE, 1);
    shell.put(5 * LINE, LINE, 1);
    shell.disk().bad.insert(5, i32::from(EIO));
    assert_eq!(shell.flushed(), EIO);
    shell.disk().bad.insert(0, i32::from(ENOSPC));
    shell.put(0, LINE, 2);
    assert_eq!(shell.flushed(), EIO, "one of the two is not a lack of space");
}

/// M7: a client hears of a failure only once the ledger durably holds every range that is not stable, tried or not.
#[test]
fn a_failure_is_recorded_before_it_is_told() {
    let mut shell = Shell::new(Plan::default());
    for line in 0..40 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.ledger.held = true;
    let flush = shell.flush();
    shell.run_ms(50);
    assert_eq!(shell.errno(flush), None, "the ledger is not durable");
    assert!(shell.disk().attempts(IoKind::Write) <= 8, "those of one turn, the rest is recorded untried");
    shell.ledger.held = false;
    shell.run_ms(20);
    assert_eq!(shell.errno(flush), Some(ENOSPC));
    assert_eq!(shell.ledger.not_stable.len(), 40 * 8);
}

/// M7: what healed is taken out of the ledger, and the flush that says so waits until that is durable.
#[test]
fn a_success_waits_until_the_healing_is_durable() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, EIO);
    assert_eq!(shell.flushed(), EIO);
    shell.disk().heal();
    shell.run_ms(200);
    shell.ledger.held = true;
    let flush = shell.flush();
    shell.settle();
    assert_eq!(shell.errno(flush), None);
    shell.ledger.held = false;
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert!(shell.ledger.not_stable.is_empty());
}

/// `flush_on_failure = "stall"`: the flush waits for the cause to go away, reads and writes pass it.
#[test]
fn a_parked_flush_succeeds_when_the_disk_heals() {
    let stall = FlushOnFailure::Stall { timeout_ms: 60_000 };
    let mut shell = Shell::new(Plan { flush_on_failure: stall, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    let flush = shell.flush();
    shell.run_ms(3_000);
    assert_eq!(shell.errno(flush), None);
    assert_eq!(shell.stats().parked_flushes, 1);
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096));
    shell.put(LINE, LINE, 2);
    shell.disk().heal();
    shell.run_ms(31_000);
    assert_eq!(shell.errno(flush), Some(0));
}

/// `flush_on_failure = "stall"`: after the timeout the flush fails, and a session parks only so many.
#[test]
fn a_parked_flush_ends_and_is_one_of_few() {
    let stall = FlushOnFailure::Stall { timeout_ms: 2_000 };
    let mut shell = Shell::new(Plan { flush_on_failure: stall, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    let flushes = [0; 3].map(|_| shell.flush());
    shell.run_ms(500);
    let answers = flushes.map(|flush| shell.errno(flush));
    assert_eq!(answers, [None, None, Some(ENOSPC)], "the third of one session is answered at once");
    shell.run_ms(2_000);
    assert!(flushes.iter().all(|&flush| shell.errno(flush) == Some(ENOSPC)));
}

/// A session that ends takes its parked flushes with it; what it had acknowledged stays.
#[test]
fn a_closed_session_leaves_nothing_behind_but_its_data() {
    let stall = FlushOnFailure::Stall { timeout_ms: 60_000 };
    let mut shell = Shell::new(Plan { flush_on_failure: stall, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    let flush = shell.flush();
    shell.disk().hold(IoKind::Read);
    let read = shell.send(0, 1, Operation::Read, 8 * LINE, LINE);
    shell.run_ms(200);
    shell.events.push_back(Event::SessionClosed(SessionId(1)));
    shell.turn();
    shell.disk().release();
    shell.run_ms(10);
    assert_eq!((shell.errno(flush), shell.errno(read)), (None, None));
    assert_eq!(shell.engine.cache_stats().requests, 0);
    shell.disk().heal();
    shell.run_ms(31_000);
    let flush = shell.send(0, 2, Operation::Flush, 0, 0);
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!(shell.stable(0), 1);
}

/// C3: a flush finds out for itself that the cause is gone, though an operator's retry is under way elsewhere.
#[test]
fn a_flush_has_its_own_try_beside_an_operators_retry() {
    let retry = Retry { on_timer: false, ..Retry::default() };
    let policy = Policy::HoldForever(HoldForever::default());
    let mut shell = Shell::new(Plan { rules: rules(policy, retry), ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.put(100 * LINE, LINE, 2);
    shell.disk().bad.extend([(0, i32::from(EIO)), (100, i32::from(EIO))]);
    assert_eq!(shell.flushed(), EIO);
    shell.disk().heal();
    shell.run_ms(200);
    let range = ByteRange { offset: 0, length: LINE };
    shell.operator(Command::Retry { range, classes: ClassSet::ANY });
    let flush = shell.flush();
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0), "the retry of one line is not the flush's try of the other");
}

/// FUA: the answer comes when the write is on stable media.
#[test]
fn a_fua_write_is_answered_when_it_is_stable() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Flush);
    let write = shell.write_to(0, 0, 3 * LINE, 7, true);
    shell.run_ms(20);
    assert_eq!(shell.errno(write), None);
    assert_eq!(shell.get(0, LINE).unwrap(), all(7, 4096), "it is visible meanwhile");
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(write), Some(0));
    assert_eq!(shell.disk().stable[..3 * 4096], all(7, 3 * 4096));
}

/// FUA: a busy volume does not make it wait for the flush of old data.
#[test]
fn a_fua_write_is_not_held_up_by_other_writes() {
    let mut shell = Shell::new(Plan { write_back_after_ms: 0, ..Plan::default() });
    let write = shell.write_to(0, 0, LINE, 7, true);
    let mut lines = (1..200).cycle();
    for _ in 0..50 {
        // Writes that take longer than a turn: something is always on its way.
        let line = lines.next().unwrap();
        shell.write(line * 2 * LINE, LINE, 1);
        shell.disk().hold(IoKind::Write);
        shell.turn();
        shell.disk().release();
        shell.now_ms += 1;
        shell.write((line + 300) * 2 * LINE, LINE, 1);
        shell.turn();
    }
    assert_eq!(shell.errno(write), Some(0), "50 ms are enough");
}

/// M7, M10: a refused FUA write is answered with the error only after the ledger holds it, and stays visible.
#[test]
fn a_refused_fua_write_is_recorded_first_and_stays() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().bad.insert(0, i32::from(EIO));
    shell.ledger.held = true;
    let write = shell.write_to(0, 0, LINE, 7, true);
    shell.settle();
    assert_eq!(shell.errno(write), None);
    shell.ledger.held = false;
    shell.settle();
    assert_eq!(shell.errno(write), Some(EIO));
    assert_eq!(shell.ledger.not_stable.len(), 8);
    assert_eq!(shell.get(0, LINE).unwrap(), all(7, 4096));
}

/// A second refused FUA write of a line that is on record already is answered, too, though the ledger is told nothing new.
#[test]
fn a_second_refusal_is_answered_though_nothing_is_new() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().bad.insert(0, i32::from(EIO));
    let first = shell.write_to(0, 0, LINE, 7, true);
    shell.settle();
    let second = shell.write_to(0, 0, LINE, 8, true);
    shell.run_ms(1_000);
    assert_eq!((shell.errno(first), shell.errno(second)), (Some(EIO), Some(EIO)));
}

/// M7: of two FUA writes that a closed gate turns away, the one that was never tried is on record, too.
#[test]
fn a_write_that_was_turned_away_untried_is_on_record() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().refuse(IoKind::Write, ENOSPC);
    let writes = [0, 50, 90].map(|line| shell.write_to(0, line * LINE, LINE, 7, true));
    shell.run_ms(500);
    for write in writes {
        assert_eq!(shell.errno(write), Some(ENOSPC));
    }
    assert_eq!(shell.ledger.not_stable.len(), 3 * 8);
}

/// A FUA write whose data is accepted, but never stable, is answered with the flush's error.
#[test]
fn a_fua_write_fails_when_the_device_flush_does() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().refuse(IoKind::Flush, EIO);
    let write = shell.write_to(0, 0, LINE, 7, true);
    shell.run_ms(300);
    assert_eq!(shell.errno(write), Some(EIO));
    assert_eq!(shell.ledger.not_stable.len(), 8);
}

/// Write-through: the answer waits for the device's write, not for its flush.
#[test]
fn a_write_through_write_is_answered_when_the_device_has_it() {
    let mut shell = Shell::new(Plan { mode: Mode::WriteThrough, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    let write = shell.write(0, LINE, 7);
    shell.run_ms(10);
    assert_eq!(shell.errno(write), None);
    shell.disk().release();
    shell.disk().hold(IoKind::Flush);
    shell.run_ms(5);
    assert_eq!(shell.errno(write), Some(0));
    assert_eq!(shell.media(0), 7);
}
