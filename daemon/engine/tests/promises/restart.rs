//! C10, M1, M3: what an earlier life left, state by state.

use crate::life::reborn;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;

fn shell() -> Shell {
    reborn(Plan::default())
}

/// A dirty line is served from the next life and written by it.
#[test]
fn dirty_stays_dirty() {
    let mut shell = shell();
    shell.put(LINE, LINE, 1);
    shell.put(2 * LINE + 512, 1024, 2);
    let rebuilt = shell.restart();
    assert_eq!((rebuilt.lines, rebuilt.not_clean, rebuilt.in_flight), (2, 2, 0));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096));
    assert_eq!(shell.get(2 * LINE, 512).unwrap(), all(0xd5, 512), "the rest comes from the disk");
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(4096), shell.stable(8192 + 512)), (1, 2));
}

/// Written and not covered by a device flush is as good as not written.
#[test]
fn unstable_is_dirty_again() {
    let mut shell = shell();
    shell.disk().hold(IoKind::Flush);
    shell.put(LINE, LINE, 1);
    shell.flush();
    shell.settle();
    assert_eq!(shell.slots_in(State::Unstable).len(), 1);
    shell.die();
    shell.disk().release();
    shell.disk().in_flight.clear();
    // The host stays up, and yet the device may lose its cache in a reset.
    let stable = shell.disk().stable.clone();
    shell.disk().media = stable;
    assert_eq!(shell.start_again().not_clean, 1);
    shell.settle_volumes();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(4096), 1);
}

/// What is clean costs nothing: it is read without the disk.
#[test]
fn clean_stays_clean() {
    let mut shell = shell();
    shell.put(LINE, LINE, 1);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.restart(), Rebuilt { lines: 1, ..Rebuilt::default() });
    shell.disk().refuse(IoKind::Read, EIO);
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096));
    let writes = shell.disk().attempts(IoKind::Write);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.disk().attempts(IoKind::Write), writes, "it is not written again");
}

/// Failed data keeps errno, class and attempts, is listed, and fails the flushes of the next life, too.
#[test]
fn failed_stays_failed_with_what_is_known_of_it() {
    let mut shell = shell();
    shell.disk().bad.insert(3, i32::from(ENOSPC));
    shell.put(3 * LINE, LINE, 1);
    assert_eq!(shell.flushed(), ENOSPC);
    let before = shell.list(ListState::Failed);
    let rebuilt = shell.restart();
    assert_eq!((rebuilt.not_clean, rebuilt.failed), (1, 1));
    let after = shell.list(ListState::Failed);
    assert_eq!(after.len(), 1);
    assert_eq!(
        (after[0].range, after[0].errno, after[0].class, after[0].attempts),
        (before[0].range, before[0].errno, before[0].class, before[0].attempts)
    );
    assert_eq!(shell.flushed(), ENOSPC);
    shell.disk().heal();
    shell.operator(Command::Retry {
        range: ByteRange { offset: 0, length: u64::MAX },
        classes: ClassSet::ANY,
    });
    shell.run_ms(5_000);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(3 * 4096), 1);
    assert!(shell.ledger.not_stable.is_empty(), "and the ledger hears of it");
}

/// M1: while a write of the dead daemon is under way nobody touches its slot or its blocks; reads and new writes of that
/// line go on. When it has landed, what is newest is written.
#[test]
fn an_old_write_lands_before_anything_else_is_done_to_its_blocks() {
    let mut shell = reborn(Plan { slots: 128, ..Plan::default() });
    shell.disk().hold(IoKind::Write);
    shell.put(LINE, LINE, 1);
    shell.put(9 * LINE, LINE, 4);
    shell.flush();
    shell.settle();
    shell.die();
    let rebuilt = shell.start_again();
    assert_eq!((rebuilt.in_flight, rebuilt.not_clean), (2, 2));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096));
    shell.put(LINE, 1024, 2);
    // Every slot there is gets used; the shell checks that the old ones do not change before they land.
    (0..80).for_each(|line| shell.put((20 + line) * LINE, LINE, 7));
    let flush = shell.flush();
    shell.run_ms(2_000);
    assert_eq!(shell.errno(flush), None, "the device is not to be used yet");
    assert_eq!(shell.disk().in_flight.len(), 2, "nothing but the old");
    shell.disk().release();
    shell.settle();
    assert_eq!((shell.media(4096), shell.media(9 * 4096)), (1, 4), "they have landed");
    shell.settle_volumes();
    shell.run_ms(10);
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!((shell.stable(4096), shell.stable(4096 + 1024), shell.stable(9 * 4096)), (2, 1, 4));
    assert_eq!(shell.stable(20 * 4096), 7);
}

/// M1: a read of the dead daemon comes into its slot, late. The next life's own read of the line is another slot's.
#[test]
fn an_old_read_lands_in_nobody_s_slot() {
    let mut shell = shell();
    shell.disk().hold(IoKind::Read);
    shell.send(0, 1, Operation::Read, 5 * LINE, LINE);
    shell.settle();
    let slot = shell.slots_in(State::Filling)[0];
    shell.die();
    assert_eq!(shell.start_again().in_flight, 1);
    shell.put(5 * LINE, LINE, 3);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.get(5 * LINE, LINE).unwrap(), all(3, 4096));
    shell.settle_volumes();
    shell.settle();
    assert_eq!(shell.headers[slot].state(), State::Free);
    assert_eq!(shell.get(5 * LINE, LINE).unwrap(), all(3, 4096));
}

/// M3: dead in the middle of a commit: the newer slot is published and the older one not yet freed. The newest counts.
#[test]
fn of_two_slots_of_a_line_the_newest_counts() {
    for changes in 0..4 {
        let mut shell = shell();
        shell.put(LINE, LINE, 1);
        let tags = [shell.write(LINE, 2048, 2), shell.write(3 * LINE, LINE, 3)];
        shell.die_in_commit(changes);
        shell.start_again();
        shell.settle_volumes();
        shell.settle();
        let found = shell.get(LINE, LINE).unwrap();
        let mut newer = all(1, 4096);
        newer[..2048].fill(2);
        assert!(found == newer || found == all(1, 4096), "{changes} changes: all of it, or nothing");
        for tag in tags {
            shell.send_again(tag);
        }
        shell.settle();
        assert_eq!(tags.map(|tag| shell.errno(tag)), [Some(0); 2]);
        assert_eq!(shell.get(LINE, LINE).unwrap(), newer, "{changes} changes");
        assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(3, 4096), "{changes} changes");
        assert_eq!(shell.flushed(), 0);
        assert_eq!((shell.stable(4096), shell.stable(4096 + 2048)), (2, 1));
    }
}

/// M8: condemned and not on record when the daemon died is held again; on record, it is lost.
#[test]
fn condemned_is_lost_only_if_the_ledger_says_so() {
    for on_record in [false, true] {
        let plan = Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() };
        let mut shell = reborn(plan);
        shell.put(3 * LINE, LINE, 1);
        shell.disk().bad.insert(3, i32::from(EIO));
        shell.ledger.held = true;
        shell.flush();
        shell.run_ms(5_000);
        assert_eq!(shell.slots_in(State::Condemned).len(), 1);
        if on_record {
            shell.ledger.held = false;
            shell.ledger.settle();
        }
        shell.die();
        shell.disk().heal();
        shell.start_again();
        shell.settle_volumes();
        shell.run_ms(5_000);
        if on_record {
            assert_eq!(shell.get(3 * LINE, LINE), Err(EIO));
            assert_eq!(shell.flushed(), EIO);
        } else {
            assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(1, 4096));
            assert_eq!(shell.flushed(), 0);
            assert_eq!(shell.stable(3 * 4096), 1);
        }
    }
}

/// C2: a loss outlives the daemon, and so does its end.
#[test]
fn what_is_lost_stays_lost_and_heals_as_ever() {
    let mut shell = reborn(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.flush();
    shell.run_ms(5_000);
    shell.disk().heal();
    shell.restart();
    assert_eq!(shell.get(3 * LINE, LINE), Err(EIO));
    assert_eq!(shell.flushed(), EIO);
    shell.put(3 * LINE, LINE, 2);
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(2, 4096));
    // Dies again before the overwrite is stable: it is still an overwrite of something lost.
    shell.restart();
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(2, 4096));
    assert_eq!(shell.flushed(), 0);
    assert!(shell.ledger.lost.is_empty());
    shell.restart();
    assert_eq!(shell.flushed(), 0);
}

/// C5: the daemon dies before the ledger holds the end of a loss. What was read in meanwhile does not show what is lost, be
/// it alone in its line or beside newer data.
#[test]
fn a_loss_that_comes_back_is_not_read_from_the_cache() {
    let mut shell = reborn(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    for line in [3, 5, 7] {
        shell.put(line * LINE, 2048, 1);
        shell.disk().bad.insert(line, i32::from(EIO));
    }
    shell.flush();
    shell.run_ms(5_000);
    shell.disk().heal();
    shell.ledger.held = true;
    shell.operator(Command::AckLoss { range: ByteRange::ALL });
    shell.settle();
    for line in [3, 5, 7] {
        assert_eq!(shell.get(line * LINE, LINE).unwrap(), all(0xd5, 4096), "what the device has");
    }
    shell.put(5 * LINE, 512, 2);
    shell.flush();
    shell.run_ms(10);
    assert_eq!(shell.stable(5 * 4096), 2);
    shell.put(7 * LINE, 512, 2);
    assert_eq!((shell.slots_in(State::Clean).len(), shell.slots_in(State::Dirty).len()), (2, 1));
    shell.restart();
    for line in [3, 5, 7] {
        assert_eq!(shell.get(line * LINE + 512, 512), Err(EIO), "line {line}");
        assert_eq!(shell.get(line * LINE + 2048, 2048).unwrap(), all(0xd5, 2048), "line {line}");
    }
    assert_eq!(shell.get(3 * LINE, 512), Err(EIO));
    assert_eq!(shell.get(5 * LINE, 512).unwrap(), all(2, 512));
    assert_eq!(shell.get(7 * LINE, 512).unwrap(), all(2, 512));
    assert_eq!(shell.flushed(), EIO);
    let lost: u64 = shell.list(ListState::Lost).iter().map(|extent| extent.range.length).sum();
    assert_eq!(lost, 10 * 512, "of 12 sectors two have newer data, which is stable now");
}

/// M10: zeroes that the device may still forget are done again.
#[test]
fn zeroes_that_no_flush_covered_are_done_again() {
    let mut shell = shell();
    shell.put(4 * LINE, LINE, 1);
    assert_eq!(shell.flushed(), 0);
    shell.disk().hold(IoKind::Flush);
    let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 4 * LINE, LINE);
    shell.settle();
    assert_eq!(shell.errno(zeroes), Some(0));
    shell.die();
    shell.disk().in_flight.clear();
    shell.disk().release();
    let stable = shell.disk().stable.clone();
    shell.disk().media = stable;
    shell.start_again();
    shell.settle_volumes();
    shell.settle();
    assert_eq!(shell.get(4 * LINE, LINE).unwrap(), all(0, 4096), "they were acknowledged");
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(4 * 4096), 0);
}

/// Sixteen lives, each dies with something in the air; nothing acknowledged is ever gone.
#[test]
fn many_lives_in_a_row_lose_nothing() {
    let mut shell = shell();
    for life in 1..=16u8 {
        for line in 0..8 {
            shell.put((u64::from(life) % 3 + 2 * line) * LINE, LINE, life);
        }
        if life % 2 == 0 {
            shell.flush();
            shell.settle();
        }
        shell.restart();
        for line in 0..8 {
            let at = (u64::from(life) % 3 + 2 * line) * LINE;
            assert_eq!(shell.get(at, LINE).unwrap(), all(life, 4096), "life {life}");
        }
    }
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable((16 % 3 + 2) * 4096), 16);
}

/// M1, M7: a device flush of an earlier life may fail, and take from the device what this life has written to another volume of
/// it; nobody is told. Until the flush has ended no flush of this life proves anything, and after it all is written again.
#[test]
fn a_dead_daemons_flush_that_fails_takes_nothing_along() {
    let mut shell = reborn(Plan { volumes: 2, one_domain: true, budget: 96, ..Plan::default() });
    shell.die();
    shell.start_again();
    // The dead daemon's flush is on its way in the name of the second volume; the first one's lock is free.
    shell.events.push_back(Event::Settled { volume: VolumeId(0) });
    shell.disk().hold(IoKind::Flush);
    shell.put(LINE, LINE, 7);
    let flush = shell.flush();
    shell.run_ms(2_000);
    assert_eq!(shell.media(4096), 7, "the device has it");
    assert_eq!(shell.errno(flush), None, "but nobody can say for how long");
    let stable = shell.disk().stable.clone();
    shell.disk().media = stable;
    shell.disk().release();
    shell.events.push_back(Event::Settled { volume: VolumeId(1) });
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!(shell.stable(4096), 7);
}

/// M11: a flush does not wait for ever for what a dead daemon has under way on another volume.
#[test]
fn a_flush_is_answered_though_a_dead_daemons_flush_hangs() {
    let mut shell = reborn(Plan { volumes: 2, one_domain: true, budget: 96, ..Plan::default() });
    shell.die();
    shell.start_again();
    shell.events.push_back(Event::Settled { volume: VolumeId(0) });
    shell.put(LINE, LINE, 7);
    let flush = shell.flush();
    shell.run_ms(4_000);
    assert_eq!(shell.errno(flush), None);
    shell.run_ms(2_000);
    assert_eq!(shell.errno(flush), Some(EIO));
    shell.events.push_back(Event::Settled { volume: VolumeId(1) });
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(4096), 7);
}

/// C9, C10: what an earlier life held failed when the ledger says it did, also what was being tried again when that life ended;
/// and whoever has seen it fail earlier knows better.
#[test]
fn what_was_held_failed_when_the_ledger_says() {
    let mut shell = shell();
    shell.run_ms(1_000);
    shell.disk().refuse(IoKind::Write, EIO);
    shell.put(0, LINE, 1);
    shell.put(4 * LINE, LINE, 1);
    assert_eq!(shell.flushed(), EIO);
    // One of the two is with the device when the life ends.
    shell.disk().hold(IoKind::Write);
    let range = ByteRange { offset: 0, length: LINE };
    shell.operator(Command::Retry { range, classes: ClassSet::ANY });
    shell.settle();
    assert_eq!(shell.slots_in(State::Writing).len(), 1);
    shell.die();
    shell.start_again();
    let first = |shell: &mut Shell| -> Vec<Instant> {
        shell.list(ListState::Failed).iter().map(|extent| extent.first).collect()
    };
    let told = |shell: &mut Shell, first: u64| {
        shell.operator(Command::RestoreReport { range: ByteRange::ALL, first: Instant(first) });
        shell.settle();
    };
    told(&mut shell, 77);
    shell.disk().release();
    shell.settle_volumes();
    shell.settle();
    assert_eq!(first(&mut shell), [Instant(77); 2]);
    told(&mut shell, 99);
    assert_eq!(first(&mut shell), [Instant(77); 2]);
}
