//! C8, M12: verdicts on lines, gates, probes, and how often who tries again.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC, ETIMEDOUT};
use holdfast_policy::*;

pub(crate) fn hold(retry: Retry) -> Plan {
    let policy = Policy::HoldForever(HoldForever::default());
    Plan {
        rules: rules(policy, retry),
        limits: Limits { run_lines_max: 64, ..Limits::small(0, 1) },
        ..Plan::default()
    }
}

/// M12: one bad block in a run of 64 is found by halving; it alone is failed, the other 63 are stable.
#[test]
fn one_bad_line_does_not_take_its_run_along() {
    for bad in [0, 1, 31, 40, 63] {
        let mut shell = Shell::new(hold(Retry::default()));
        for line in 0..4 {
            shell.put(line * 16 * LINE, 16 * LINE, 1);
        }
        shell.disk().bad.insert(bad, i32::from(EIO));
        assert_eq!(shell.flushed(), EIO);
        assert_eq!(shell.stats().failed, 1);
        assert_eq!(shell.stats().gate_class, 0, "medium does not gate");
        let failed = shell.list(ListState::Failed);
        assert_eq!(failed[0].range, ByteRange { offset: bad * LINE, length: LINE });
        assert_eq!(failed[0].attempts, 1);
        let stable = (0..64).filter(|&line| shell.stable(line * 4096) == 1).count();
        assert_eq!(stable, 63);
        assert!(shell.disk().attempts(IoKind::Write) < 30, "halving, not line by line");
    }
}

/// M12: a short write means that its whole lines are done; the rest is asked for again.
#[test]
fn a_short_write_is_done_as_far_as_it_got() {
    let mut shell = Shell::new(hold(Retry::default()));
    shell.put(0, 16 * LINE, 1);
    shell.disk().short = Some(5 * 4096 + 512);
    assert_eq!(shell.flushed(), 0);
    let disk = shell.disk();
    assert_eq!(disk.attempts(IoKind::Write), 2);
    assert_eq!((disk.log[1].offset, disk.log[1].length), (5 * 4096, 11 * 4096));
    assert_eq!(disk.stable[..16 * 4096], all(1, 16 * 4096));
}

/// A write that does nothing is refused, and not repeated for ever.
#[test]
fn a_write_of_no_bytes_is_a_refusal() {
    let mut shell = Shell::new(hold(Retry::default()));
    shell.put(0, LINE, 1);
    shell.disk().short = Some(0);
    assert_eq!(shell.flushed(), EIO);
    assert_eq!(shell.disk().attempts(IoKind::Write), 1);
    shell.run_ms(500);
    assert_eq!(shell.flushed(), 0);
}

/// C8: the floor holds for probes, too, though the shortest backoff rounds down to nothing.
#[test]
fn the_shortest_backoff_is_no_hot_loop() {
    let mut shell = Shell::new(hold(Retry { first_ms: 1, max_ms: 1, ..Retry::default() }));
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.flush();
    for _ in 0..1_000 {
        shell.turn();
    }
    assert_eq!(shell.disk().attempts(IoKind::Write), 1, "no time has passed");
}

/// C8: attempts on a bad block are spaced by the backoff, from `first` up to `max`, each later than the one before.
#[test]
fn attempts_are_spaced_by_the_backoff() {
    let retry = Retry { first_ms: 100, max_ms: 10_000, ..Retry::default() };
    let mut shell = Shell::new(hold(retry));
    shell.put(7 * LINE, LINE, 1);
    shell.disk().bad.insert(7, i32::from(EIO));
    shell.flush();
    shell.run_ms(120_000);
    let times: Vec<u64> = shell.disk().writes_of(7).iter().map(|attempt| attempt.at_ms).collect();
    assert!((14..=24).contains(&times.len()), "{} attempts in two minutes", times.len());
    for (attempt, pair) in times.windows(2).enumerate() {
        let least = (100 << attempt.min(7)) * 8 / 10;
        assert!(pair[1] - pair[0] >= least.clamp(100, 6_600), "attempt {attempt}: {pair:?}");
        assert!(pair[1] - pair[0] <= 10_200, "attempt {attempt}: {pair:?}");
    }
}

/// C8: flushes cause attempts, but no more than one in the floor, however many there are.
#[test]
fn a_storm_of_flushes_is_no_storm_of_attempts() {
    let mut shell = Shell::new(hold(Retry { first_ms: 1_000, ..Retry::default() }));
    shell.put(7 * LINE, LINE, 1);
    shell.disk().bad.insert(7, i32::from(EIO));
    for _ in 0..2_000 {
        shell.flush();
        shell.run_ms(5);
    }
    let attempts = shell.disk().writes_of(7).len();
    assert!((9..=11).contains(&attempts), "{attempts} in ten seconds with a floor of one");
}

/// C8: the same, and overwrites, too, cause no more than one in the floor.
#[test]
fn a_storm_of_overwrites_is_no_storm_of_attempts() {
    let mut shell = Shell::new(hold(Retry { first_ms: 1_000, on_timer: false, ..Retry::default() }));
    shell.put(7 * LINE, LINE, 1);
    shell.disk().bad.insert(7, i32::from(EIO));
    shell.flush();
    for value in 0..2_000u32 {
        shell.put(7 * LINE, LINE, value as u8);
        shell.run_ms(5);
    }
    let attempts = shell.disk().writes_of(7).len();
    assert!((9..=11).contains(&attempts), "{attempts} in ten seconds with a floor of one");
    shell.disk().heal();
    shell.put(7 * LINE, LINE, 77);
    shell.run_ms(1_100);
    assert_eq!(shell.stats().failed, 0, "the overwrite caused a try");
}

/// A write that waits for the device causes a try of the failed line that it overwrites, after the floor, though the rules
/// leave retries to a timer of minutes.
#[test]
fn a_waiting_overwrite_does_not_wait_for_the_longest_backoff() {
    let retry =
        Retry { on_overwrite: false, on_flush: false, first_ms: 1_000, max_ms: 600_000, ..Retry::default() };
    let mut shell = Shell::new(Plan { mode: Mode::WriteThrough, ..hold(retry) });
    shell.disk().bad.insert(7, i32::from(EIO));
    shell.write(7 * LINE, LINE, 1);
    shell.run_ms(100_000);
    let attempts = shell.disk().writes_of(7).len();
    assert!(attempts < 10, "{attempts}");
    shell.disk().heal();
    let write = shell.write(7 * LINE, LINE, 2);
    shell.run_ms(1_100);
    assert_eq!(shell.errno(write), Some(0));
}

/// The same where no timer, flush or overwrite ever asks for the lines of a write that had failed before: each line of it
/// is tried after the floor, and the write is answered.
#[test]
fn a_waiting_overwrite_of_some_failed_lines_is_answered() {
    let retry = Retry { on_timer: false, on_overwrite: false, on_flush: true, first_ms: 1, max_ms: 1 };
    let mut shell = Shell::new(Plan { mode: Mode::WriteThrough, ..hold(retry) });
    shell.disk().bad.extend([(8, i32::from(EIO)), (10, i32::from(EIO))]);
    for line in [8, 10] {
        let write = shell.write(line * LINE, LINE, 1);
        shell.run_ms(10);
        assert_eq!(shell.errno(write), Some(EIO));
    }
    let write = shell.write(7 * LINE, 5 * LINE, 2);
    shell.disk().heal();
    shell.run_ms(200);
    assert_eq!(shell.errno(write), Some(0));
    assert_eq!((shell.stats().failed, shell.stats().dirty), (0, 0));
}

/// C8: an operator's retry bypasses every backoff, and says what came of it.
#[test]
fn an_operator_bypasses_the_backoff() {
    let mut shell = Shell::new(hold(Retry { first_ms: 30_000, ..Retry::default() }));
    shell.put(7 * LINE, LINE, 1);
    shell.put(90 * LINE, LINE, 1);
    shell.disk().bad.extend([(7, i32::from(EIO)), (90, i32::from(EIO))]);
    assert_eq!(shell.flushed(), EIO);
    shell.disk().bad.remove(&7);
    let token = shell.operator(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Retried { tried: 2, failed: 1 });
    let other = shell.operator(Command::Retry { range: ByteRange::ALL, classes: ErrorClass::Space.into() });
    shell.settle();
    assert_eq!(shell.answers[&other], Answer::Retried { tried: 0, failed: 1 });
}

/// M12: a verdict needs the floor of its class: a transient refusal is not for good before 30 s and five attempts.
#[test]
fn nothing_is_given_up_below_its_floor() {
    let plan = Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() };
    let mut shell = Shell::new(plan);
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ETIMEDOUT);
    shell.flush();
    shell.run_ms(29_900);
    assert_eq!((shell.stats().failed, shell.stats().lost), (1, 0));
    shell.run_ms(60_000);
    assert_eq!((shell.stats().failed, shell.stats().lost), (0, 1));
    assert!(shell.disk().writes_of(0).len() >= 5);
}

/// A drain writes all there is, and ends when what is left was refused.
#[test]
fn a_drain_leaves_only_what_is_refused() {
    let mut shell = Shell::new(Plan::default());
    for line in 0..60 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().bad.insert(4, i32::from(EIO));
    let token = shell.operator(Command::Drain);
    shell.run_ms(100);
    assert_eq!(shell.answers.get(&token), Some(&Answer::Drained { left: 1 }));
    shell.disk().heal();
    shell.run_ms(1_000);
    let token = shell.operator(Command::Drain);
    shell.run_ms(100);
    assert_eq!(shell.answers.get(&token), Some(&Answer::Drained { left: 0 }));
    assert_eq!(shell.engine.next_wake(), Instant::NEVER, "and then there is nothing to wake up for");
}

/// Data is written back by age, without a flush, and made stable by age, too.
#[test]
fn old_data_is_written_and_flushed_unasked() {
    let mut shell = Shell::new(Plan { write_back_after_ms: 500, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.run_ms(490);
    assert_eq!(shell.disk().attempts(IoKind::Write), 0);
    shell.run_ms(20);
    assert_eq!(shell.disk().attempts(IoKind::Write), 1);
    shell.run_ms(1_100);
    assert_eq!(shell.stable(0), 1);
    assert_eq!(shell.stats().not_clean, 0);
}

/// M12: a write that ends inside a line, the first of its run or not, goes on from there; nobody is told of an error.
#[test]
fn a_write_cut_short_inside_its_first_line_goes_on() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, 4 * LINE, 7);
    shell.disk().short = Some(512);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.disk().stable[..4 * 4096], all(7, 4 * 4096));
    assert_eq!(shell.stats().failed, 0);
    assert!(shell.ledger.not_stable.is_empty());
}

/// A shell whose lines 3 and 5 were refused and are on their way to the disk again, which does not answer yet.
fn retried() -> Shell {
    let mut shell = Shell::new(hold(Retry { on_timer: false, on_flush: false, ..Retry::default() }));
    for line in [1, 3, 5] {
        shell.put(line * LINE, LINE, 1);
    }
    for line in [3, 5] {
        shell.disk().bad.insert(line, i32::from(EIO));
    }
    assert_eq!(shell.flushed(), EIO);
    shell.disk().hold(IoKind::Write);
    shell.operator(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    (0..5).for_each(|_| shell.turn());
    assert_eq!(shell.disk().in_flight.len(), 2, "both are on their way");
    shell
}

fn lines(extents: &[Extent]) -> Vec<(u64, u32)> {
    extents.iter().map(|extent| (extent.range.offset / LINE, extent.attempts)).collect()
}

/// C9: what was refused is listed as failed also while it is being tried again, and in no other list.
#[test]
fn what_is_being_retried_is_listed_as_failed() {
    let mut shell = retried();
    assert_eq!(lines(&shell.list(ListState::Failed)), [(3, 1), (5, 1)]);
    // Newer data takes the failure over if the retry is refused, so the line is failed with it.
    shell.put(3 * LINE, LINE, 2);
    let failed = shell.list(ListState::Failed);
    assert_eq!(lines(&failed), [(3, 1), (5, 1)]);
    assert_eq!((failed[0].errno, failed[1].errno), (EIO, EIO));
    assert!(shell.list(ListState::Dirty).is_empty() && shell.list(ListState::Unstable).is_empty());
    assert_eq!(shell.stats().failed, 2);

    shell.disk().bad.remove(&3);
    shell.disk().release();
    shell.settle();
    assert_eq!(lines(&shell.list(ListState::Failed)), [(5, 2)]);
    assert_eq!(shell.stats().failed, 1);
}

/// C9: a failed line that is overwritten in the turn in which it is listed is failed before and after that turn.
#[test]
fn what_is_overwritten_in_the_same_turn_is_listed_as_failed() {
    let mut shell = Shell::new(hold(Retry { on_timer: false, on_flush: false, ..Retry::default() }));
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    assert_eq!(shell.flushed(), EIO);
    let tag = shell.write(3 * LINE, LINE, 2);
    let token = shell.operator(Command::List { state: ListState::Failed, from: 0 });
    shell.turn();
    assert_eq!(shell.errno(tag), Some(0), "both in one turn");
    let Some(Answer::Listed { extents, .. }) = shell.answers.get(&token) else { panic!("no page") };
    assert_eq!(lines(extents), [(3, 1)]);
}

/// C9: a drop takes what is being tried again with it, once the device has refused it again, and leaves what it accepted.
#[test]
fn what_is_being_retried_is_dropped_after_its_verdict() {
    let mut shell = retried();
    let token = shell.operator(Command::Drop { range: ByteRange::ALL });
    shell.settle();
    assert!(!shell.answers.contains_key(&token), "the device has not answered");
    shell.disk().bad.remove(&3);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Dropped { bytes: LINE });
    assert!(shell.list(ListState::Failed).is_empty());
    assert_eq!(lines(&shell.list(ListState::Lost)), [(5, 2)]);
    assert_eq!(shell.stable(3 * 4096), 1);
}

/// A drop does not wait for a device that hangs: what is on its way cannot be given up, and stays listed.
#[test]
fn a_drop_passes_over_what_hangs() {
    let mut shell = retried();
    let token = shell.operator(Command::Drop { range: ByteRange::ALL });
    shell.run_ms(100_000);
    assert_eq!(shell.answers[&token], Answer::Dropped { bytes: 0 });
    assert_eq!(lines(&shell.list(ListState::Failed)), [(3, 1), (5, 1)]);
}
