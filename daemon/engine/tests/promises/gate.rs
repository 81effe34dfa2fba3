//! C8, M12: the gate of a device that refuses: what opens it, and what must not keep it closed.

use crate::retry::hold;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;

/// M12: while the disk refuses for want of space, one probe at a time goes out, another line each time.
#[test]
fn a_closed_gate_lets_only_probes_out() {
    let mut shell = Shell::new(hold(Retry::default()));
    for line in 0..30 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.flush();
    shell.run_ms(10);
    assert_eq!(shell.stats().gate_class, ErrorClass::Space as u8);
    let before = shell.disk().attempts(IoKind::Write);
    shell.run_ms(100_000);
    let attempts = shell.disk().attempts(IoKind::Write) - before;
    assert!((5..=16).contains(&attempts), "{attempts} probes in 100 s, with a backoff from 100 ms to 30 s");
    shell.disk().heal();
    shell.run_ms(31_000);
    assert_eq!(shell.flushed(), 0);
}

/// C8: an overwrite causes the probe of a disk that is out of space, if the rules say that overwrites do.
#[test]
fn an_overwrite_probes_a_closed_gate() {
    let retry = Retry { on_timer: false, on_flush: false, ..Retry::default() };
    let mut shell = Shell::new(hold(retry));
    shell.put(7 * LINE, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    assert_eq!(shell.flushed(), ENOSPC);
    shell.disk().heal();
    shell.run_ms(10_000);
    assert_eq!(shell.stats().gate_class, ErrorClass::Space as u8, "nobody asked");
    shell.put(7 * LINE, LINE, 2);
    shell.run_ms(200);
    assert_eq!(shell.stats().gate_class, 0);
    assert_eq!(shell.flushed(), 0);
}

/// C8: what a closed gate guarded has been zeroed meanwhile, so that nothing is left to probe with: an operator's retry opens it,
/// also where the zeroes were on their way when it came. Else the volume would count as refused for ever (seed 2848).
#[test]
fn a_gate_that_guards_nothing_opens_though_zeroes_were_in_flight() {
    let retry = Retry { on_timer: false, on_flush: false, on_overwrite: false, ..Retry::default() };
    let mut shell = Shell::new(hold(retry));
    shell.put(7 * LINE, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.run_ms(10);
    let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 7 * LINE, LINE);
    shell.run_ms(10);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.disk().release();
    shell.disk().hold(IoKind::Zero);
    shell.run_ms(10);
    assert_eq!(
        shell.stats().gate_class,
        ErrorClass::Space as u8,
        "the zeroes waited for the write, which was refused"
    );
    shell.disk().heal();
    let range = ByteRange::ALL;
    let token = shell.operator(Command::Retry { range, classes: ClassSet::ANY });
    shell.run_ms(10);
    assert!(shell.answers.contains_key(&token), "it does not wait for them");
    shell.disk().release();
    shell.run_ms(1_000);
    assert_eq!(shell.errno(zeroes), Some(0));
    assert_eq!(shell.stats().gate_class, 0, "there is nothing that it guards");
    assert_eq!(shell.flushed(), 0);
}

/// C8: a device flush that is refused when nothing is held, where no timer asks again: the volume would count as refused for
/// ever. An operator's drain asks (seeds 2919, 3235), and takes the device's no for an answer.
#[test]
fn a_drain_asks_a_gate_that_guards_nothing() {
    let retry = Retry { on_timer: false, on_flush: false, on_overwrite: false, ..Retry::default() };
    let mut shell = Shell::new(hold(retry));
    shell.disk().refuse(IoKind::Flush, EIO);
    // What was lost in an earlier life may be torn on the device until a flush has covered it.
    let (range, class) = (ByteRange { offset: 0, length: LINE }, ErrorClass::Medium as u8);
    let first = Instant(0);
    shell.operator(Command::RestoreLoss { range, class, errno: EIO, first, generation: 0 });
    shell.run_ms(60_000);
    let closed = shell.stats().gate_class;
    assert_ne!(closed, 0, "that flush was refused");
    let drain = |shell: &mut Shell| {
        let token = shell.operator(Command::Drain);
        shell.run_ms(1_000);
        assert_eq!(shell.answers.get(&token), Some(&Answer::Drained { left: 0 }));
        shell.stats().gate_class
    };
    assert_eq!(drain(&mut shell), closed);
    shell.disk().heal();
    shell.run_ms(60_000);
    assert_eq!(shell.stats().gate_class, closed, "nobody has asked");
    assert_eq!(drain(&mut shell), 0);
}

/// C6: where the device does not answer what such a drain asks, the drain ends after the volume's timeout: nothing is held.
#[test]
fn a_drain_of_nothing_does_not_wait_for_a_device_that_hangs() {
    let retry = Retry { on_timer: false, on_flush: false, on_overwrite: false, ..Retry::default() };
    let mut shell = Shell::new(hold(retry));
    shell.disk().refuse(IoKind::Flush, EIO);
    let (range, class) = (ByteRange { offset: 0, length: LINE }, ErrorClass::Medium as u8);
    shell.operator(Command::RestoreLoss { range, class, errno: EIO, first: Instant(0), generation: 0 });
    shell.run_ms(60_000);
    assert_ne!(shell.stats().gate_class, 0, "that flush was refused");
    shell.disk().heal();
    shell.disk().hold(IoKind::Flush);
    let token = shell.operator(Command::Drain);
    shell.run_ms(1_000);
    assert_eq!(shell.answers.get(&token), None, "it is asked");
    shell.run_ms(5_000);
    assert_eq!(shell.answers.get(&token), Some(&Answer::Drained { left: 0 }));
    shell.disk().release();
    shell.run_ms(10);
    assert_eq!(shell.stats().gate_class, 0, "and its late answer counts");
}

/// M10: zeroes whose edges find no room ask for the probe that makes some, where no timer would.
#[test]
fn zeroes_that_wait_for_room_probe_a_closed_gate() {
    let retry = Retry { on_timer: false, on_overwrite: false, ..Retry::default() };
    let plan = hold(retry);
    let limits = Limits { request_lines_max: 8, ..plan.limits };
    let mut shell = Shell::new(Plan { budget: 8, limits, ..plan });
    shell.put(0, 8 * LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    assert_eq!(shell.flushed(), ENOSPC);
    let tag = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 9 * LINE + 512, LINE);
    shell.run_ms(1_000);
    assert_eq!(shell.errno(tag), None, "it waits for room");
    shell.disk().heal();
    shell.run_ms(10_000);
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.flushed(), 0);
}

/// C8: what an operator's walk has just seen refused is not probed before the floor is over: an operator may pass by it, the
/// probes of the timer may not. The walk has the only line there is, so that no probe of its own goes out beside it.
#[test]
fn a_probe_keeps_its_floor_after_a_refused_walk() {
    let mut shell = Shell::new(hold(Retry { first_ms: 1_000, max_ms: 1_000, ..Retry::default() }));
    shell.put(7 * LINE, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    assert_eq!(shell.flushed(), ENOSPC);
    shell.run_ms(900);
    let token = shell.operator(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Retried { tried: 1, failed: 1 });
    shell.run_ms(3_000);
    let times: Vec<u64> = shell.disk().writes_of(7).iter().map(|attempt| attempt.at_ms).collect();
    assert!((900..1_000).contains(&(times[1] - times[0])), "the operator's came before its time: {times:?}");
    assert!(times.len() >= 4, "the timer goes on: {times:?}");
    assert!(times[1..].windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{times:?}");
}

/// C8: an operator's retry opens a gate of minutes at once when the disk is well again.
#[test]
fn an_operator_opens_a_gate() {
    let mut shell = Shell::new(hold(Retry { first_ms: 30_000, ..Retry::default() }));
    for line in 0..20 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().refuse(IoKind::Write, ENOSPC);
    assert_eq!(shell.flushed(), ENOSPC);
    shell.disk().heal();
    let token = shell.operator(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    shell.settle();
    assert!(matches!(shell.answers[&token], Answer::Retried { failed: 0, .. }));
    let stable = (0..20).all(|line| shell.disk().stable[line * 2 * 4096] == 1);
    assert!(
        stable,
        "what waited behind the gate is on stable media before the operator hears that all is well"
    );
    assert_eq!(shell.flushed(), 0);
}

/// C8: a bad block never keeps a gate closed that some other block had closed.
#[test]
fn a_bad_block_does_not_keep_the_gate_closed() {
    let mut shell = Shell::new(hold(Retry::default()));
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    assert_eq!(shell.flushed(), EIO);
    // The device flush fails once: everything is dirty again and the gate closes.
    shell.put(50 * LINE, LINE, 2);
    shell.disk().refuse(IoKind::Flush, EIO);
    shell.flush();
    shell.run_ms(10);
    shell.disk().refused.clear();
    shell.run_ms(40_000);
    assert_eq!(shell.stats().gate_class, 0);
    assert_eq!(shell.stable(50 * 4096), 2, "good data goes out beside the bad block");
    assert_eq!((shell.stats().failed, shell.stats().dirty), (1, 0));
}

/// C8: the same with a gate that a lack of space closed, whose own line was discarded since.
#[test]
fn a_bad_block_alone_is_no_reason_for_a_gate() {
    let mut shell = Shell::new(hold(Retry::default()));
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    assert_eq!(shell.flushed(), EIO);
    shell.disk().bad.insert(50, i32::from(ENOSPC));
    shell.put(50 * LINE, LINE, 1);
    assert_eq!(shell.flushed(), EIO);
    assert_eq!(shell.stats().gate_class, ErrorClass::Space as u8);
    let discard = shell.send(0, 1, Operation::Discard, 50 * LINE, LINE);
    shell.settle();
    assert_eq!(shell.errno(discard), Some(0));
    shell.put(60 * LINE, LINE, 4);
    shell.run_ms(31_000);
    assert_eq!(shell.stats().gate_class, 0);
    shell.flush();
    shell.run_ms(100);
    assert_eq!(shell.stable(60 * 4096), 4);
}

/// C8: a retry finds a closed gate and no failed line, because all that was refused was given up: it waits for the probe that
/// it causes, and is answered when what waited behind the gate is stable.
#[test]
fn a_retry_waits_for_the_probe_it_causes() {
    let retry = Retry { on_timer: false, ..Retry::default() };
    let mut shell = Shell::new(hold(retry));
    for line in 0..20 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().refuse(IoKind::Write, ENOSPC);
    assert_eq!(shell.flushed(), ENOSPC);
    let token = shell.operator(Command::Drop { range: ByteRange::ALL });
    shell.settle();
    assert!(matches!(shell.answers[&token], Answer::Dropped { .. }));
    assert_eq!(shell.stats().failed, 0);
    assert_ne!(shell.stats().gate_class, 0, "nobody asked the disk since");
    shell.disk().heal();
    shell.disk().hold(IoKind::Write);
    let token = shell.operator(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    (0..5).for_each(|_| shell.turn());
    assert!(!shell.answers.contains_key(&token), "the probe is on its way");
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Retried { tried: 0, failed: 0 });
    assert_eq!(shell.stats().not_clean, 0);
}
