//! C2, C9, C10: a header that cannot be believed is a loss with a cause, and never silent.

use crate::life::reborn;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::EIO;
use holdfast_policy::*;

/// Three dirty lines; the daemon is dead.
fn three_lines() -> Shell {
    let mut shell = reborn(Plan::default());
    (1..4u8).for_each(|line| shell.put(u64::from(line) * LINE, LINE, line));
    shell.die();
    shell
}

/// The slot of a line.
fn slot_of(words: &[[u64; 4]], line: u64) -> usize {
    let newest = words.iter().enumerate().filter(|(_, words)| words[0] == line && words[3] & 15 != 0);
    newest.max_by_key(|(_, words)| words[1]).expect("it has a slot").0
}

/// What a loss looks like from outside: reads of line 2 and flushes fail, the others are served, the ledger knows.
fn check_that_line_2_is_lost(shell: &mut Shell) {
    shell.settle();
    assert_eq!(shell.get(2 * LINE, LINE), Err(EIO));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096));
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(3, 4096));
    assert_eq!(shell.flushed(), EIO);
    assert_eq!(shell.ledger.lost.keys().copied().collect::<Vec<_>>(), (16..24).collect::<Vec<_>>());
    let lost = shell.list(ListState::Lost);
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].range, lost[0].errno), (ByteRange { offset: 2 * LINE, length: LINE }, DAMAGED));
}

/// Whatever byte of a header is wrong, its line is lost and no other; and a newer write heals it.
#[test]
fn any_byte_that_is_wrong_loses_its_line_and_no_other() {
    for byte in 0..32 {
        let mut shell = three_lines();
        let rebuilt = shell.start_again_over(|words| {
            let slot = slot_of(words, 2);
            words[slot][byte / 8] ^= 0x51 << (byte % 8 * 8);
        });
        assert_eq!(rebuilt.expect("its place is known").damaged, 1, "byte {byte}");
        shell.settle_volumes();
        check_that_line_2_is_lost(&mut shell);
        shell.put(2 * LINE, LINE, 9);
        assert_eq!(shell.flushed(), 0);
        assert_eq!(shell.stable(2 * 4096), 9);
        assert!(shell.ledger.lost.is_empty());
    }
}

/// Once a loss is on record its slot is of use again, and a later life does not find it anew: what an operator has
/// acknowledged stays acknowledged.
#[test]
fn a_damaged_header_is_one_loss_and_not_one_a_life() {
    let mut shell = three_lines();
    shell.start_again_over(|words| words[slot_of(words, 2)][3] ^= 4).expect("a line");
    shell.settle_volumes();
    check_that_line_2_is_lost(&mut shell);
    let range = ByteRange { offset: 0, length: u64::MAX };
    shell.operator(Command::AckLoss { range });
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.restart().damaged, 0);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.get(2 * LINE, LINE).unwrap(), all(0xd5, 4096), "what the disk has");
}

/// A daemon that dies before the ledger has heard of it finds the same again.
#[test]
fn a_loss_that_is_not_on_record_is_found_again() {
    let mut shell = three_lines();
    shell.ledger.held = true;
    shell.start_again_over(|words| words[slot_of(words, 2)][1] ^= 0xff00).expect("a line");
    shell.settle_volumes();
    shell.settle();
    assert!(shell.ledger.lost.is_empty());
    assert_eq!(shell.restart().damaged, 1);
    check_that_line_2_is_lost(&mut shell);
}

/// An older version of the line was being written when the damaged one came: it is older than what is lost.
#[test]
fn what_is_older_than_a_damaged_header_is_not_served_in_its_place() {
    let mut shell = reborn(Plan::default());
    shell.put(2 * LINE, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.settle();
    shell.put(2 * LINE, 512, 2);
    shell.die();
    shell.start_again_over(|words| words[slot_of(words, 2)][0] ^= 0xff).expect("a line");
    assert_eq!(shell.get(2 * LINE, LINE), Err(EIO));
    shell.disk().release();
    shell.settle();
    shell.settle_volumes();
    shell.settle();
    assert_eq!(shell.get(2 * LINE, LINE), Err(EIO));
    assert_eq!(shell.flushed(), EIO);
}

/// A younger slot has the line, with all that the damaged one held: nothing is lost.
#[test]
fn a_damaged_header_that_was_superseded_loses_nothing() {
    let mut shell = reborn(Plan::default());
    shell.put(2 * LINE, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.settle();
    shell.put(2 * LINE, 512, 2);
    shell.die();
    let older = |words: &[[u64; 4]]| {
        let of_line = |slot: &usize| words[*slot][0] == 2 && words[*slot][3] & 15 != 0;
        (0..words.len()).filter(of_line).min_by_key(|&slot| words[slot][1]).expect("two slots")
    };
    let rebuilt = shell.start_again_over(|words| words[older(words)][3] ^= 1 << 20);
    assert_eq!(rebuilt.expect("it is known").damaged, 0);
    shell.disk().release();
    shell.settle();
    shell.settle_volumes();
    assert_eq!(shell.flushed(), 0);
    let mut expected = all(1, 4096);
    expected[..512].fill(2);
    assert_eq!(shell.get(2 * LINE, LINE).unwrap(), expected);
}

/// M1: a read of the dead daemon may still come into a slot whose header is damaged. Nobody gets that slot before.
#[test]
fn a_damaged_slot_is_nobody_s_while_old_operations_may_use_it() {
    for (word, flip) in [(0, 0xff_ffff), (1, 0xffff), (3, 1 << 20)] {
        let mut shell = reborn(Plan { slots: 128, ..Plan::default() });
        shell.disk().hold(IoKind::Read);
        shell.send(0, 1, Operation::Read, 5 * LINE, LINE);
        shell.settle();
        let slot = shell.slots_in(State::Filling)[0];
        shell.die();
        shell.start_again_over(|words| words[slot][word] ^= flip).expect("nothing is lost");
        // As many dirty lines as the budget takes, over all the slots there are.
        (0..80).for_each(|line| shell.put((20 + line) * LINE, LINE, 7));
        shell.disk().release();
        shell.settle();
        for line in 0..80 {
            assert_eq!(shell.get((20 + line) * LINE, LINE).unwrap(), all(7, 4096), "line {line}");
        }
        assert!(shell.headers[slot].recover().is_err(), "word {word}: still nobody's");
        shell.settle_volumes();
        shell.settle();
        assert_eq!(shell.headers[slot].state(), State::Free);
        assert_eq!(shell.flushed(), 0);
    }
}

/// Nobody knows whose line it was: an engine does not start before everything is on record as lost. Then what is in the
/// cache is served, but for what was being written, and heals the rest of what it covers.
#[test]
fn a_header_without_a_place_needs_every_line_on_record() {
    let noise = |words: &mut [[u64; 4]]| {
        let slot = slot_of(words, 2);
        words[slot][0] ^= 0xdead_beef;
        words[slot][1] ^= 0xdead_beef;
    };
    let mut shell = three_lines();
    let refused = shell.start_again_over(noise);
    assert!(matches!(refused, Err(Misfit::Damaged { .. })), "{refused:?}");

    let mut shell = three_lines();
    let sectors = shell.plan.volume_bytes / 512;
    shell.ledger.lost.extend((0..sectors).map(|sector| (sector, 0)));
    shell.start_again_over(noise).expect("nothing is silent");
    shell.settle_volumes();
    shell.settle();
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096));
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(3, 4096));
    assert_eq!(shell.get(2 * LINE, LINE), Err(EIO));
    assert_eq!(shell.get(100 * LINE, LINE), Err(EIO), "it may have been this one");
    assert_eq!(shell.flushed(), EIO);
    assert_eq!(shell.stable(4096), 1);
    assert_eq!(shell.ledger.lost.len() as u64, sectors - 16, "two lines are known and stable");
    let range = ByteRange { offset: 0, length: u64::MAX };
    let token = shell.operator(Command::AckLoss { range });
    shell.run_ms(50);
    let bytes = shell.plan.volume_bytes - 2 * LINE;
    assert_eq!(shell.answers[&token], Answer::Acknowledged { bytes });
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.restart().damaged, 0);
    assert_eq!(shell.flushed(), 0);
}

/// What was being written may be older than what the damaged header held.
#[test]
fn what_was_being_written_is_not_believed_beside_a_header_without_a_place() {
    let mut shell = reborn(Plan::default());
    shell.put(2 * LINE, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.settle();
    shell.put(2 * LINE, LINE, 2);
    shell.die();
    shell.ledger.lost.extend((0..shell.plan.volume_bytes / 512).map(|sector| (sector, 0)));
    let noise = |words: &mut [[u64; 4]]| {
        words[slot_of(words, 2)][..2].iter_mut().for_each(|word| *word ^= 0xdead_beef)
    };
    shell.start_again_over(noise).expect("all is on record");
    assert_eq!(shell.get(2 * LINE, LINE), Err(EIO));
    shell.disk().release();
    shell.settle();
    shell.settle_volumes();
    shell.settle();
    assert_eq!(shell.get(2 * LINE, LINE), Err(EIO));
}

#[test]
fn notes_of_no_life_are_refused() {
    let mut shell = three_lines();
    shell.notes[0].store(u64::MAX - 7, std::sync::atomic::Ordering::Relaxed);
    let refused = shell.start_again_over(|_| {});
    assert_eq!(refused, Err(Misfit::Notes { generation: u64::MAX - 7 }));
}

/// A header that is whole and makes no sense, found by fuzzing: it failed, and was never tried, with a class that there is
/// not. It is data that failed, and is written like any other.
#[test]
fn a_failure_without_an_attempt_is_a_failure() {
    let mut shell = three_lines();
    let slot = shell.slots_in(State::Dirty)[1];
    shell.headers[slot].publish(Status { class: 9, ..Status::new(State::Failed, 0xff) });
    assert_eq!(shell.start_again().failed, 0, "nobody counts what did not happen");
    shell.settle_volumes();
    shell.run_ms(5_000);
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(4096), shell.stable(2 * 4096), shell.stable(3 * 4096)), (1, 2, 3));
}
