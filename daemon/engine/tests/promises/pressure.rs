//! C6, M11: budgets, the reserve, and what the policies do when a volume is full.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;

/// Fills the volume's budget with data that its disk refuses.
fn full(policy: Policy) -> Shell {
    let mut shell =
        Shell::new(Plan { rules: rules(policy, Retry::default()), budget: 40, ..Plan::default() });
    shell.disk().refuse(IoKind::Write, ENOSPC);
    for line in 0..40 {
        shell.put(line * LINE, LINE, 1);
    }
    assert_eq!(shell.flushed(), ENOSPC);
    shell
}

fn hold_forever() -> Policy {
    Policy::HoldForever(HoldForever { stall_timeout_ms: 2_000 })
}

/// C6: a volume never has more that is not clean than its budget, however much its clients write.
#[test]
fn a_volume_stays_within_its_budget() {
    let mut shell = Shell::new(Plan { budget: 40, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    for line in 0..200 {
        shell.write(line * LINE, LINE, 1);
        shell.turn();
        assert!(shell.stats().not_clean <= 40);
    }
    shell.disk().release();
    shell.run_ms(50);
    assert_eq!(shell.stats().stalled_writes, 0);
    assert_eq!(shell.done.len(), 200);
}

/// M11: a write that needs more slots than there are takes none of them.
#[test]
fn a_request_gets_all_its_slots_or_none() {
    let mut shell = Shell::new(Plan { budget: 40, ..Plan::default() });
    for line in 0..36 {
        shell.put(line * LINE, LINE, 1);
    }
    shell.disk().hold(IoKind::Write);
    let large = shell.write(100 * LINE, 8 * LINE, 2);
    shell.turn();
    assert_eq!((shell.errno(large), shell.stats().not_clean), (None, 36));
    shell.disk().release();
    shell.run_ms(10);
    assert_eq!(shell.errno(large), Some(0));
}

/// M11: overwrites of held lines go on when the volume is full, and so do reads and fills.
#[test]
fn held_lines_are_overwritten_and_others_read_when_all_is_full() {
    let mut shell = full(hold_forever());
    let stalled = shell.write(100 * LINE, LINE, 2);
    shell.turn();
    assert_eq!(shell.errno(stalled), None);
    for round in 0..10 {
        for line in 0..40 {
            shell.put(line * LINE, LINE, 10 + round);
        }
    }
    assert_eq!(shell.get(200 * LINE, 8 * LINE).unwrap(), all(0xd5, 8 * 4096));
    assert_eq!(shell.get(39 * LINE, LINE).unwrap(), all(19, 4096));
    assert_eq!(shell.errno(stalled), None, "nothing was given up for it");
}

/// M11: the same while single blocks are bad, where no gate is closed and a new write waits for room.
#[test]
fn held_lines_are_overwritten_behind_a_stalled_write() {
    let mut shell =
        Shell::new(Plan { rules: rules(hold_forever(), Retry::default()), budget: 40, ..Plan::default() });
    shell.disk().bad.extend((0..40).map(|block| (block, i32::from(EIO))));
    for line in 0..40 {
        shell.put(line * LINE, LINE, 1);
    }
    shell.flush();
    shell.run_ms(100);
    let stalled = shell.write(100 * LINE, LINE, 2);
    shell.turn();
    shell.put(5 * LINE, LINE, 3);
    assert_eq!(shell.errno(stalled), None);
}

/// hold-forever: writes wait for the stall timeout, then get ENOSPC; nothing is given up.
#[test]
fn hold_forever_refuses_new_writes_in_the_end() {
    let mut shell = full(hold_forever());
    let write = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(1_900);
    assert_eq!(shell.errno(write), None);
    shell.run_ms(200);
    assert_eq!(shell.errno(write), Some(ENOSPC));
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096));
    assert_eq!(shell.stats().given_up, 0);
    assert_eq!(shell.get(100 * LINE, LINE).unwrap(), all(0xd5, 4096), "a refused write did not happen");
}

/// hold-until-pressure: after the stall timeout the oldest failure is given up for a new write, and no more of them.
#[test]
fn hold_until_pressure_gives_up_the_oldest_for_room() {
    let mut shell = full(hold_until_pressure(1000, 2_000));
    let write = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(1_900);
    assert_eq!(shell.errno(write), None);
    assert_eq!(shell.stats().given_up, 0);
    shell.run_ms(2_000);
    assert_eq!(shell.errno(write), Some(0));
    assert!((1..=2).contains(&shell.stats().given_up), "{}", shell.stats().given_up);
    let lost = shell.list(ListState::Lost);
    assert_eq!(lost[0].range.offset, 0, "the oldest");
    assert_eq!(shell.ledger.lost.len() as u64, 8 * shell.stats().given_up);
}

/// evict-immediately: while the disk refuses, a write is acknowledged only after its write-back.
#[test]
fn evict_immediately_writes_through_while_the_disk_refuses() {
    let retry = Retry::default();
    let mut shell = Shell::new(Plan { rules: rules(evict_immediately(), retry), ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    assert_eq!(shell.flushed(), ENOSPC);
    let write = shell.write(50 * LINE, LINE, 2);
    shell.turn();
    assert_eq!(shell.errno(write), None);
    shell.run_ms(60_000);
    assert_eq!(shell.errno(write), Some(ENOSPC));
    assert_eq!(
        shell.stats().lost,
        2,
        "both were given up, the one that was acknowledged and the one that was not"
    );
    shell.disk().heal();
    shell.put(60 * LINE, LINE, 2);
    assert_eq!(shell.flushed(), errno::EIO, "of the losses");
    assert_eq!(shell.stable(60 * 4096), 2);
}

/// Every reactor keeps a reserve that dirty data cannot take: a fill finds a slot though all volumes are full.
#[test]
fn dirty_data_leaves_the_reserve() {
    let mut shell = Shell::new(Plan { slots: 128, budget: 1_000, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    for line in 0..200 {
        shell.write(line * LINE, LINE, 1);
        shell.turn();
    }
    assert_eq!(shell.engine.cache_stats().not_clean, 96);
    assert_eq!(shell.get(500 * LINE, 16 * LINE).unwrap(), all(0xd5, 16 * 4096));
}

/// An operator may loosen the rules while writes are stalled.
#[test]
fn new_rules_hold_for_what_is_stalled() {
    let mut shell = full(hold_forever());
    let write = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(100);
    let loose = rules(hold_until_pressure(1000, 500), Retry::default());
    let token = shell.operator(Command::SetPolicy { tuning: Box::new(tuning(loose)) });
    shell.run_ms(3_000);
    assert_eq!(shell.answers[&token], Answer::Done);
    assert_eq!(shell.errno(write), Some(0));
}

/// An operator's new rules speak of what has failed already, too.
#[test]
fn a_new_policy_judges_what_is_held() {
    let mut shell = Shell::new(Plan { budget: 16, ..Plan::default() });
    shell.put(0, 16 * LINE, 1);
    shell.disk().refuse(IoKind::Write, EIO);
    shell.flush();
    shell.run_ms(60_000);
    assert_eq!((shell.stats().failed, shell.stats().lost), (16, 0));
    let strict = rules(evict_immediately(), Retry { on_timer: false, ..Retry::default() });
    shell.operator(Command::SetPolicy { tuning: Box::new(tuning(strict)) });
    shell.run_ms(10);
    assert_eq!(shell.stats().lost, 16);
}

/// Fills the volume's budget with data that its disk takes, over a device flush that it refuses.
fn full_of_unflushed(policy: Policy) -> Shell {
    let mut shell =
        Shell::new(Plan { rules: rules(policy, Retry::default()), budget: 40, ..Plan::default() });
    shell.disk().refuse(IoKind::Flush, EIO);
    (0..40).for_each(|line| shell.put(line * LINE, LINE, 1));
    assert_eq!(shell.flushed(), EIO);
    shell
}

/// C4, C8: a disk that refuses nothing but flushes has refused no line that could be given up. A write that waits for room is
/// refused after the stall timeout, the disk is asked at the pace of the back-off, and all goes on once it flushes.
#[test]
fn nothing_is_given_up_because_only_flushes_are_refused() {
    let mut shell = full_of_unflushed(hold_until_pressure(900, 2_000));
    let write = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(1_900);
    assert_eq!(shell.errno(write), None);
    shell.run_ms(200);
    assert_eq!(shell.errno(write), Some(ENOSPC));
    shell.run_ms(30_000);
    let waits: Vec<u32> = (0..4).map(|line| shell.write((200 + line) * LINE, LINE, 2)).collect();
    let before = shell.disk().attempts(IoKind::Flush);
    shell.run_ms(60_000);
    let flushes = shell.disk().attempts(IoKind::Flush) - before;
    assert!(flushes <= 5, "{flushes} flushes in a minute, of a disk that has refused for half a minute");
    assert!(waits.iter().all(|&write| shell.errno(write) == Some(ENOSPC)));
    assert_eq!((shell.stats().given_up, shell.stats().lost), (0, 0));
    shell.put(5 * LINE, LINE, 3);
    shell.disk().heal();
    shell.run_ms(31_000);
    shell.put(100 * LINE, LINE, 4);
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(0), shell.stable(5 * 4096), shell.stable(100 * 4096)), (1, 3, 4));
}

/// What the disk has refused itself is given up beside what only awaits a flush, and then nothing more.
#[test]
fn a_refused_line_is_given_up_beside_what_no_flush_covers() {
    let mut shell = Shell::new(Plan {
        rules: rules(hold_until_pressure(900, 2_000), Retry::default()),
        budget: 40,
        ..Plan::default()
    });
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.disk().refuse(IoKind::Flush, EIO);
    (0..40).for_each(|line| shell.put(line * LINE, LINE, 1));
    assert_eq!(shell.flushed(), EIO);
    shell.run_ms(1_000);
    let writes: Vec<u32> = (0..8).map(|line| shell.write((100 + line) * LINE, LINE, 2)).collect();
    shell.run_ms(10_000);
    assert!(writes.iter().all(|&write| shell.errno(write) == Some(ENOSPC)), "nine tenths are still taken");
    let lost: Vec<u64> = shell.list(ListState::Lost).iter().map(|extent| extent.range.offset).collect();
    assert_eq!(lost, [3 * LINE]);
    shell.disk().heal();
    shell.run_ms(31_000);
    shell.put(3 * LINE, LINE, 5);
    assert_eq!(shell.flushed(), 0);
}

/// evict-immediately: what would be written through finds no room, and is answered with what the disk says of flushes.
#[test]
fn a_write_through_without_room_is_answered_with_the_refused_flush() {
    let mut shell = full_of_unflushed(evict_immediately());
    let write = shell.write(100 * LINE, LINE, 2);
    shell.run_ms(31_000);
    assert_eq!(shell.errno(write), Some(EIO));
    assert_eq!((shell.stats().given_up, shell.stats().stalled_writes), (0, 0));
    shell.disk().heal();
    shell.run_ms(31_000);
    shell.put(100 * LINE, LINE, 3);
    assert_eq!((shell.flushed(), shell.stable(0), shell.stable(100 * 4096)), (0, 1, 3));
}
