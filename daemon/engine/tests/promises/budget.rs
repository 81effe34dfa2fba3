//! C6, M11: a volume's budget is one for all its reactors, and so are its pressure and its policy.

use crate::reactors::{Pair, STRIPE};
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;

const BUDGET: u64 = 64;

fn pair(policy: Policy) -> Pair {
    Pair::with(&Plan { budget: BUDGET, rules: rules(policy, Retry::default()), ..Plan::default() })
}

fn hold_forever(stall_timeout_ms: u64) -> Policy {
    Policy::HoldForever(HoldForever { stall_timeout_ms })
}

impl Pair {
    fn not_clean(&self) -> [u64; 2] {
        [0, 1].map(|reactor: usize| self.0[reactor].stats().not_clean)
    }

    fn given_up(&self) -> [u64; 2] {
        [0, 1].map(|reactor: usize| self.0[reactor].stats().given_up)
    }

    /// Writes `lines` lines, one by one, from the beginning of a reactor's first stripe on.
    fn fill(&mut self, reactor: usize, lines: std::ops::Range<u64>) {
        for line in lines {
            self.0[reactor].put(reactor as u64 * STRIPE + line * LINE, LINE, 1);
        }
    }

    /// Fills the budget from one reactor, over a disk that refuses.
    fn full(policy: Policy, reactor: usize) -> Pair {
        let mut pair = pair(policy);
        pair.0[0].disk().refuse(IoKind::Write, ENOSPC);
        pair.fill(reactor, 0..BUDGET);
        assert_eq!(pair.0[reactor].flushed(), ENOSPC);
        pair
    }
}

/// A client that writes to one stripe only reaches all of the budget, and then nobody gets more.
#[test]
fn one_reactor_reaches_the_whole_budget() {
    let mut pair = pair(hold_forever(60_000));
    pair.0[0].disk().hold(IoKind::Write);
    pair.fill(0, 0..BUDGET);
    assert_eq!(pair.not_clean(), [BUDGET, 0]);
    let stalled = [pair.0[0].write(100 * LINE, LINE, 1), pair.0[1].write(STRIPE, LINE, 1)];
    pair.run_ms(10);
    assert_eq!([0, 1].map(|at: usize| pair.0[at].errno(stalled[at])), [None, None]);
    assert_eq!(pair.not_clean(), [BUDGET, 0]);
    pair.0[0].disk().release();
    pair.run_ms(50);
    assert_eq!([0, 1].map(|at: usize| pair.0[at].errno(stalled[at])), [Some(0), Some(0)]);
}

/// A reactor that has nothing to do gives back what it has taken before it sleeps for good.
#[test]
fn an_idle_reactor_sleeps_with_nothing_in_its_hands() {
    let mut pair = pair(hold_forever(60_000));
    pair.fill(1, 0..3);
    assert_eq!(pair.flushed(), [Some(0), Some(0)]);
    pair.fill(1, 0..1);
    let flush = pair.0[1].flush();
    while pair.0[1].errno(flush).is_none() {
        (0..2).for_each(|reactor: usize| pair.0[reactor].turn());
        pair.deliver();
    }
    let taken = |pair: &Pair| pair.0[1].shares[0].taken();
    assert!(taken(&pair) > 0, "kept for the next write");
    let mut turns = 0;
    while pair.0[1].engine.next_wake() != Instant::NEVER {
        pair.0[1].run_ms(1);
        turns += 1;
        assert!(turns < 10, "it would never sleep");
    }
    pair.0[0].run_ms(5);
    assert_eq!(taken(&pair), 0);
}

/// What one reactor has taken and does not use does not lie idle: the other one gets it, to the last slot.
#[test]
fn what_a_reactor_does_not_use_another_one_gets() {
    let mut pair = pair(hold_forever(60_000));
    pair.fill(1, 0..20);
    assert_eq!(pair.flushed(), [Some(0), Some(0)]);
    pair.0[0].disk().hold(IoKind::Write);
    pair.fill(1, 0..1);
    pair.fill(0, 0..BUDGET - 3);
    let last = [0, 1].map(|line| pair.0[0].write((100 + line) * LINE, LINE, 1));
    pair.run_ms(3);
    assert_eq!(last.map(|tag| pair.0[0].errno(tag)), [Some(0), Some(0)]);
    assert_eq!(pair.not_clean(), [BUDGET - 1, 1]);
}

/// Two reactors that take what they can, turn by turn, never have more than the budget between them.
#[test]
fn both_together_stay_within_the_budget() {
    let mut pair = pair(hold_forever(60_000));
    for round in 0..600u64 {
        if round % 97 == 40 {
            pair.0[0].disk().hold(IoKind::Write);
        } else if round % 97 == 80 {
            pair.0[0].disk().release();
        }
        for reactor in [0u64, 1] {
            let lines = 1 + (round * 3 + reactor) % 5;
            let line = (round * 7 + reactor * 31) % 250;
            pair.0[reactor as usize].write(reactor * STRIPE + line * LINE, lines * LINE, 1);
            pair.0[reactor as usize].turn();
            let held = pair.not_clean();
            assert!(held[0] + held[1] <= BUDGET, "{held:?} of {BUDGET}");
        }
        pair.run_ms(u64::from(round % 7 == 0));
    }
    pair.0[0].disk().release();
    pair.run_ms(500);
    assert_eq!([0, 1].map(|at: usize| pair.0[at].stats().stalled_writes), [0, 0]);
    assert_eq!([0, 1].map(|at: usize| pair.0[at].done.len()), [600, 600]);
}

/// A write that waits longest gets room first, though the reactor where room appears has a use for all of it.
#[test]
fn a_busy_reactor_does_not_starve_another_one() {
    let limits = Limits { requests_a_turn: 64, ..Limits::small(0, 2) };
    let mut pair = Pair::with(&Plan { budget: BUDGET, limits, ..Plan::default() });
    pair.0[0].disk().hold(IoKind::Write);
    pair.fill(0, 0..BUDGET);
    let waiting = pair.0[1].write(STRIPE, 16 * LINE, 1);
    pair.run_ms(2);
    let younger: Vec<u32> =
        (0..200).map(|line| pair.0[0].write((64 + line) * LINE % STRIPE, LINE, 1)).collect();
    pair.run_ms(2);
    let answered = |pair: &Pair| younger.iter().filter(|&&tag| pair.0[0].errno(tag).is_some()).count();
    for _ in 0..4 {
        // One run of 16 lines comes to its end.
        let others = pair.0[0].disk().in_flight.split_off(1);
        pair.0[0].disk().release();
        pair.0[0].turn();
        pair.0[0].disk().hold(IoKind::Write);
        pair.0[0].disk().in_flight.extend(others);
        pair.run_ms(2);
    }
    assert_eq!(pair.0[1].errno(waiting), Some(0));
    let answered = answered(&pair);
    assert!((16..=48).contains(&answered), "{answered} got what was left");
}

/// hold-until-pressure: all that is held is on one reactor, the write that waits on the other: the oldest is given up for
/// it, and no more than it needs.
#[test]
fn a_failure_is_given_up_for_a_write_on_another_reactor() {
    let mut pair = Pair::full(hold_until_pressure(1000, 2_000), 1);
    let write = pair.0[0].write(0, 2 * LINE, 2);
    pair.run_ms(1_900);
    assert_eq!((pair.0[0].errno(write), pair.given_up()), (None, [0, 0]));
    pair.run_ms(2_000);
    assert_eq!(pair.0[0].errno(write), Some(0));
    let given_up = pair.given_up();
    assert!(given_up[0] == 0 && (2..=3).contains(&given_up[1]), "{given_up:?}");
    assert_eq!(pair.0[1].list(ListState::Lost)[0].range.offset, STRIPE, "the oldest");
}

/// The same with failures on both: the oldest of all is given up, whoever asks.
#[test]
fn the_oldest_failure_of_all_reactors_goes_first() {
    for older in [0, 1] {
        let mut pair = pair(hold_until_pressure(1000, 2_000));
        pair.0[0].disk().refuse(IoKind::Write, ENOSPC);
        pair.fill(older, 0..BUDGET / 2);
        assert_eq!(pair.0[older].flushed(), ENOSPC);
        pair.run_ms(10);
        pair.fill(1 - older, 0..BUDGET / 2 - 1);
        assert_eq!(pair.0[1 - older].flushed(), ENOSPC);
        let write = pair.0[0].write(100 * LINE, LINE, 2);
        pair.run_ms(4_000);
        assert_eq!(pair.0[0].errno(write), Some(0));
        let given_up = pair.given_up();
        assert!((1..=2).contains(&given_up[older]), "{given_up:?}");
        assert_eq!(given_up[1 - older], 0, "its failures are younger");
    }
}

/// While the record of a loss is not durable, nobody else gives up anything for the same write.
#[test]
fn one_reactor_at_a_time_gives_up() {
    let mut pair = pair(hold_until_pressure(1000, 1_000));
    pair.0[0].disk().refuse(IoKind::Write, ENOSPC);
    pair.fill(1, 0..BUDGET / 2);
    assert_eq!(pair.0[1].flushed(), ENOSPC);
    pair.run_ms(10);
    pair.fill(0, 0..BUDGET / 2 - 1);
    assert_eq!(pair.0[0].flushed(), ENOSPC);
    pair.0[1].ledger.held = true;
    let write = pair.0[0].write(100 * LINE, LINE, 2);
    pair.run_ms(3_000);
    assert_eq!((pair.0[0].errno(write), pair.given_up()), (None, [0, 0]));
    pair.0[1].ledger.held = false;
    pair.run_ms(20);
    assert_eq!(pair.0[0].errno(write), Some(0));
    assert_eq!(pair.given_up()[0], 0);
}

/// What is given up for a request is what it lacks, not what it is long.
#[test]
fn no_more_is_given_up_than_is_lacking() {
    let mut pair = pair(hold_until_pressure(1000, 1_000));
    pair.0[0].disk().refuse(IoKind::Write, ENOSPC);
    pair.fill(1, 0..BUDGET - 10);
    assert_eq!(pair.0[1].flushed(), ENOSPC);
    let write = pair.0[0].write(0, 16 * LINE, 2);
    pair.run_ms(3_000);
    assert_eq!(pair.0[0].errno(write), Some(0));
    assert_eq!(pair.given_up(), [0, 7], "54 and 16 lines are 7 more than the policy admits");
}

/// Two writes on two reactors wait, and one gets what it needs: the other one's time comes when it has waited as long.
#[test]
fn room_is_made_for_one_request_after_the_other() {
    let mut pair = Pair::full(hold_until_pressure(1000, 1_000), 1);
    let first = pair.0[0].write(0, LINE, 2);
    pair.run_ms(600);
    let second = pair.0[1].write(STRIPE + 100 * LINE, LINE, 2);
    pair.run_ms(900);
    assert_eq!((pair.0[0].errno(first), pair.0[1].errno(second)), (Some(0), None));
    assert!(pair.given_up()[1] <= 2, "{:?}", pair.given_up());
    pair.run_ms(1_000);
    assert_eq!(pair.0[1].errno(second), Some(0));
    assert!(pair.given_up()[1] <= 4, "{:?}", pair.given_up());
}

/// The pressure that a write meets counts what every reactor holds, before the budget is full.
#[test]
fn pressure_is_summed_over_reactors() {
    let mut pair = pair(hold_until_pressure(500, 60_000));
    pair.0[0].disk().refuse(IoKind::Write, ENOSPC);
    pair.fill(1, 0..BUDGET / 2 - 4);
    assert_eq!(pair.0[1].flushed(), ENOSPC);
    pair.run_ms(2);
    pair.fill(0, 0..3);
    let stalled = pair.0[0].write(100 * LINE, LINE, 2);
    pair.run_ms(10);
    assert_eq!(
        pair.0[0].errno(stalled),
        None,
        "half of the budget is reached, though this reactor holds little"
    );
}

/// hold-forever: a write waits for the stall timeout and then gets ENOSPC, though its own reactor holds nothing.
#[test]
fn a_write_is_refused_for_what_another_reactor_holds() {
    let mut pair = Pair::full(hold_forever(2_000), 1);
    let write = pair.0[0].write(0, LINE, 2);
    pair.run_ms(1_900);
    assert_eq!(pair.0[0].errno(write), None);
    pair.run_ms(200);
    assert_eq!(pair.0[0].errno(write), Some(ENOSPC));
    assert_eq!(pair.given_up(), [0, 0]);
    pair.0[0].disk().heal();
    pair.run_ms(60_000);
    pair.0[0].put(0, LINE, 3);
    assert_eq!(pair.flushed(), [Some(0), Some(0)]);
}

/// hold-until-pressure: the disk refuses only flushes, so that no reactor has anything to give up for the write: it is refused,
/// though its own reactor holds nothing; and the disk is asked at the pace of the back-off.
#[test]
fn a_write_is_refused_for_what_no_reactor_can_give_up() {
    for writer in [0, 1] {
        let mut pair = pair(hold_until_pressure(900, 2_000));
        pair.0[0].disk().refuse(IoKind::Flush, EIO);
        pair.fill(1, 0..BUDGET);
        pair.0[1].flush();
        pair.run_ms(100);
        let write = pair.0[writer].write(writer as u64 * STRIPE + 100 * LINE, LINE, 2);
        pair.run_ms(1_800);
        assert_eq!(pair.0[writer].errno(write), None);
        pair.run_ms(300);
        assert_eq!(pair.0[writer].errno(write), Some(ENOSPC), "on reactor {writer}");
        pair.run_ms(30_000);
        let (waits, before) = (pair.0[0].write(0, LINE, 2), pair.0[0].disk().attempts(IoKind::Flush));
        pair.run_ms(30_000);
        let flushes = pair.0[0].disk().attempts(IoKind::Flush) - before;
        assert!(flushes <= 4, "{flushes} flushes in half a minute");
        assert_eq!((pair.0[0].errno(waits), pair.given_up()), (Some(ENOSPC), [0, 0]));
        pair.0[0].disk().heal();
        pair.run_ms(31_000);
        pair.0[0].put(0, LINE, 3);
        assert_eq!(pair.flushed(), [Some(0), Some(0)]);
    }
}

/// hold-until-pressure: the disk answers nothing to one reactor, which can give nothing up for the other one's write either.
#[test]
fn a_write_is_refused_for_what_hangs_on_another_reactor() {
    for writer in [0, 1] {
        let mut pair = pair(hold_until_pressure(900, 8_000));
        pair.0[0].disk().hold(IoKind::Write);
        pair.fill(1, 0..BUDGET);
        pair.run_ms(100);
        let write = pair.0[writer].write(writer as u64 * STRIPE + 100 * LINE, LINE, 2);
        pair.run_ms(7_800);
        assert_eq!(pair.0[writer].errno(write), None);
        pair.run_ms(400);
        assert_eq!(pair.0[writer].errno(write), Some(ENOSPC), "on reactor {writer}");
        pair.0[0].disk().release();
        pair.run_ms(31_000);
        pair.0[0].put(0, LINE, 3);
        assert_eq!((pair.flushed(), pair.given_up()), ([Some(0), Some(0)], [0, 0]));
    }
}

/// evict-immediately: one reactor finds that the disk refuses, and another one's writes are answered only after their
/// write-back, too; also if it slept meanwhile.
#[test]
fn every_reactor_writes_through_while_one_finds_that_the_disk_refuses() {
    let mut pair = pair(evict_immediately());
    pair.fill(0, 0..1);
    pair.0[0].disk().bad.insert(0, i32::from(ENOSPC));
    assert_eq!(pair.0[0].flushed(), ENOSPC);
    assert!(pair.0[0].stats().gate_class != 0 && pair.0[1].stats().gate_class == 0);
    pair.0[1].now_ms = pair.0[0].now_ms + 1;
    pair.0[0].disk().hold(IoKind::Write);
    let write = pair.0[1].write(STRIPE, LINE, 2);
    pair.0[1].turn();
    pair.0[1].turn();
    assert_eq!(pair.0[1].errno(write), None, "it is on its way to the disk");
    pair.0[0].disk().release();
    pair.0[1].settle();
    assert_eq!((pair.0[1].errno(write), pair.0[1].media(STRIPE as usize)), (Some(0), 2));
    // The disk is well again, and so says the reactor that found it was not.
    pair.0[0].disk().heal();
    pair.run_ms(60_000);
    assert_eq!(pair.0[0].stats().gate_class, 0);
    pair.fill(1, 5..6);
}

/// A reactor whose own room is full of what the device took waits for the flush, which another reactor sends: if that one
/// hangs, the write is refused as if it hung here (seed 2115).
#[test]
fn a_write_is_refused_for_a_flush_that_hangs_elsewhere() {
    for policy in [hold_until_pressure(900, 8_000), hold_forever(8_000)] {
        let plan = Plan { slots: 64, budget: 96, rules: rules(policy, Retry::default()), ..Plan::default() };
        let mut pair = Pair::with(&plan);
        pair.0[0].disk().hold(IoKind::Flush);
        let room = (plan.slots - plan.limits.reserve_slots as usize) as u64;
        pair.fill(1, 0..room);
        pair.0[1].flush();
        pair.run_ms(100);
        assert_eq!(pair.0[1].stats().unstable, room, "all of it is with the device");
        let write = pair.0[1].write(STRIPE + 100 * LINE, LINE, 2);
        pair.run_ms(7_800);
        assert_eq!(pair.0[1].errno(write), None);
        assert_eq!([0, 1].map(|at: usize| pair.0[at].stats().overdue > 0), [true, false]);
        pair.run_ms(400);
        assert_eq!(pair.0[1].errno(write), Some(ENOSPC));
        pair.0[0].disk().release();
        pair.run_ms(31_000);
        pair.0[1].put(STRIPE, LINE, 3);
        assert_eq!((pair.flushed(), pair.given_up()), ([Some(0), Some(0)], [0, 0]));
    }
}

/// What hangs or waits on one reactor is brought to an end there when another one needs the room.
#[test]
fn dirty_data_is_written_back_when_another_reactor_needs_room() {
    let mut pair = pair(hold_forever(60_000));
    pair.fill(1, 0..BUDGET - 4);
    let write = pair.0[0].write(0, 16 * LINE, 2);
    pair.run_ms(20);
    assert_eq!(pair.0[0].errno(write), Some(0), "though nothing there is old or above a watermark");
}

/// A budget larger than what one reactor has room for ends there, and the policy judges by that.
#[test]
fn the_room_of_a_reactor_ends_its_part_of_the_budget() {
    let held = |policy| {
        let plan =
            Plan { budget: 400, slots: 128, rules: rules(policy, Retry::default()), ..Plan::default() };
        let mut pair = Pair::with(&plan);
        pair.0[0].disk().refuse(IoKind::Write, ENOSPC);
        pair.fill(0, 0..96);
        assert_eq!(pair.0[0].flushed(), ENOSPC);
        assert_eq!(pair.not_clean(), [96, 0], "all but the reserve");
        let write = pair.0[0].write(100 * LINE, LINE, 2);
        pair.fill(1, 0..4);
        pair.run_ms(4_000);
        (pair.0[0].errno(write), pair.given_up())
    };
    assert_eq!(held(hold_forever(1_000)), (Some(ENOSPC), [0, 0]));
    assert_eq!(held(hold_until_pressure(1000, 1_000)), (Some(0), [1, 0]));
}

/// C6: a volume that fills its budget from one reactor leaves another one its part of that reactor.
#[test]
fn a_volume_leaves_others_their_part_of_a_reactor() {
    let plan = Plan {
        volumes: 2,
        budget: 90,
        slots: 128,
        rules: rules(hold_forever(600_000), Retry::default()),
        ..Plan::default()
    };
    let mut pair = Pair::with(&plan);
    pair.0[0].disks[0].borrow_mut().refuse(IoKind::Write, EIO);
    for line in 0..90 {
        pair.0[0].write(line * LINE, LINE, 1);
        pair.0[0].turn();
    }
    pair.run_ms(100);
    assert_eq!(pair.0[0].engine.stats(VolumeId(0)).not_clean, 48, "half of what the reserve leaves");
    pair.0[0].disks[1].borrow_mut().hold(IoKind::Write);
    let writes: Vec<u32> = (0..45).map(|line| pair.0[0].write_to(1, line * LINE, LINE, 1, false)).collect();
    pair.run_ms(2);
    assert!(
        writes.iter().all(|&tag| pair.0[0].errno(tag) == Some(0)),
        "its even share of the budget is there"
    );
}
