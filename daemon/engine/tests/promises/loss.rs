//! C2, C9, M8: what was given up, and how it heals.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC};
use holdfast_policy::*;

/// A volume that has lost line 3: written, refused until it was given up, then the disk healed.
fn lossy() -> Shell {
    let mut shell =
        Shell::new(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.flush();
    shell.run_ms(5_000);
    assert_eq!(shell.stats().lost, 1);
    shell.disk().heal();
    shell
}

/// C2: after a loss every flush fails with EIO, of every session, though the disk works again.
#[test]
fn every_flush_fails_while_something_is_lost() {
    let mut shell = lossy();
    shell.put(0, LINE, 2);
    for session in [1, 2, 3] {
        let flush = shell.send(0, session, Operation::Flush, 0, 0);
        shell.run_ms(100);
        assert_eq!(shell.errno(flush), Some(EIO));
    }
    assert_eq!(shell.stable(0), 2, "what can be made stable is");
    assert_eq!(shell.ledger.lost.len(), 8);
}

/// C5: a read that touches a lost sector is EIO, its neighbours are not.
#[test]
fn a_lost_sector_reads_as_an_error_until_it_is_overwritten() {
    let mut shell = lossy();
    assert_eq!(shell.get(3 * LINE, LINE), Err(EIO));
    assert_eq!(shell.get(2 * LINE, 2 * LINE), Err(EIO));
    assert_eq!(shell.get(2 * LINE, LINE).unwrap(), all(0xd5, 4096));
    shell.put(3 * LINE + 512, 512, 9);
    assert_eq!(shell.get(3 * LINE + 512, 512).unwrap(), all(9, 512), "an overwrite is seen at once");
    assert_eq!(shell.get(3 * LINE, 1024), Err(EIO));
}

/// C9: of a line that was given up only the sectors that were not stable are lost. The ledger had the whole line as not
/// stable: the rest of it is told to be well, or the next power cut, or `volume add`, would make a loss of it.
#[test]
fn the_rest_of_a_lost_line_is_not_on_record_any_more() {
    let mut shell =
        Shell::new(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.put(3 * LINE + 1024, 1024, 1);
    shell.flush();
    shell.run_ms(5_000);
    assert_eq!(shell.stats().lost, 1);
    let lost: Vec<u64> = shell.ledger.lost.keys().copied().collect();
    assert_eq!(lost, [26, 27]);
    let recorded = |entry: &LedgerEntry| matches!(entry, LedgerEntry::NotStable { .. });
    assert!(shell.ledger.count(recorded) > 0, "the whole line was on record");
    assert!(shell.ledger.not_stable.is_empty(), "{:?}", shell.ledger.not_stable);
    assert_eq!(shell.get(3 * LINE, 1024).unwrap(), all(0xd5, 1024));
}

/// C2, M8: newer data heals its sectors once it is stable, no sooner, and the ledger holds that before a flush says so.
#[test]
fn stable_newer_data_heals() {
    let mut shell = lossy();
    shell.put(3 * LINE, 2048, 9);
    assert_eq!(shell.flushed(), EIO, "half of it is still lost");
    assert_eq!(shell.ledger.lost.len(), 4);
    shell.put(3 * LINE + 2048, 2048, 9);
    shell.ledger.held = true;
    let flush = shell.flush();
    shell.settle();
    assert_eq!(shell.errno(flush), None, "the ledger does not know of the healing yet");
    shell.ledger.held = false;
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert!(shell.ledger.lost.is_empty());
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(9, 4096));
}

/// C2, M10: a discard heals once it is stable; reads see it at once.
#[test]
fn a_stable_discard_heals() {
    let mut shell = lossy();
    shell.disk().hold(IoKind::Flush);
    let discard = shell.send(0, 1, Operation::Discard, 3 * LINE, LINE);
    shell.settle();
    assert_eq!(shell.errno(discard), Some(0));
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(0, 4096));
    let flush = shell.flush();
    shell.settle();
    assert_eq!(shell.errno(flush), None);
    assert_eq!(shell.ledger.lost.len(), 8, "not yet stable");
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert!(shell.ledger.lost.is_empty());
}

/// C2: an operator acknowledges the loss: the old data is read, flushes succeed, the record says who did it.
#[test]
fn an_operator_acknowledges_a_loss() {
    let mut shell = lossy();
    let token = shell.operator(Command::AckLoss { range: ByteRange::ALL });
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Acknowledged { bytes: LINE });
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(0xd5, 4096));
    assert_eq!(shell.flushed(), 0);
    let acknowledged =
        |entry: &LedgerEntry| matches!(entry, LedgerEntry::LossHealed { acknowledged: true, .. });
    assert_eq!(shell.ledger.count(acknowledged), 1);
}

/// C1: what refused writes left in the device's cache may be read once the loss is acknowledged, but it is not kept: after
/// a reset the line reads as the device has it.
#[test]
fn what_a_lost_write_left_is_not_cached_until_it_is_stable() {
    let mut shell =
        Shell::new(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.disk().hold(IoKind::Flush);
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.flush();
    shell.run_ms(5_000);
    assert_eq!(shell.stats().lost, 1);
    shell.disk().media[3 * 4096..4 * 4096].fill(1);
    shell.operator(Command::AckLoss { range: ByteRange::ALL });
    shell.settle();
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(1, 4096));
    let kept = shell.disk().stable.clone();
    shell.disk().media = kept;
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    shell.settle();
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(0xd5, 4096));
}

/// An operator acknowledges the sectors that he names, and no others of their line.
#[test]
fn an_acknowledgement_reaches_no_further_than_it_says() {
    let mut shell = lossy();
    let range = ByteRange { offset: 3 * LINE, length: 1024 };
    let token = shell.operator(Command::AckLoss { range });
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Acknowledged { bytes: 1024 });
    assert_eq!(shell.get(3 * LINE, 1024).unwrap(), all(0xd5, 1024));
    assert_eq!(shell.get(3 * LINE, LINE), Err(EIO));
    assert_eq!(shell.flushed(), EIO);
}

/// M8: a line was lost, and was about to be lost again when newer data of it became stable. The ledger hears that the second
/// loss never happened before it hears that the first is over: it knows both by their range.
#[test]
fn a_loss_that_never_was_is_taken_back_before_an_older_one_ends() {
    let mut shell = lossy();
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.put(3 * LINE, LINE, 2);
    shell.flush();
    shell.run_ms(50);
    shell.ledger.held = true;
    shell.run_ms(5_000);
    let begun = shell.ledger.entries.len();
    shell.disk().heal();
    shell.put(3 * LINE, 512, 3);
    shell.flush();
    shell.run_ms(5_000);
    let later = |wanted: fn(&LedgerEntry) -> bool| {
        shell.ledger.entries[begun..].iter().position(|(_, entry)| wanted(entry))
    };
    let rescinded = later(|entry| matches!(entry, LedgerEntry::Rescinded { .. }));
    let healed = later(|entry| matches!(entry, LedgerEntry::LossHealed { .. }));
    assert!(rescinded.is_some() && rescinded < healed, "{:?}", &shell.ledger.entries[begun..]);
    shell.ledger.held = false;
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert!(shell.ledger.lost.is_empty());
}

/// M8: the memory of what is given up is freed only once the record is durable; until then it is read.
#[test]
fn the_record_of_a_loss_comes_before_the_loss() {
    let mut shell =
        Shell::new(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.flush();
    shell.run_ms(100);
    shell.ledger.held = true;
    shell.run_ms(5_000);
    assert_eq!((shell.stats().failed, shell.stats().lost), (1, 0));
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), all(1, 4096));
    shell.ledger.held = false;
    shell.settle();
    assert_eq!((shell.stats().failed, shell.stats().lost), (0, 1));
    assert_eq!(shell.get(3 * LINE, LINE), Err(EIO));
}

/// M8: an overwrite between the condemnation and the durable record takes the loss back.
#[test]
fn an_overwrite_of_condemned_data_rescinds_the_loss() {
    let mut shell =
        Shell::new(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.put(3 * LINE, LINE, 1);
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.flush();
    shell.run_ms(100);
    shell.ledger.held = true;
    shell.run_ms(5_000);
    let lost = |entry: &LedgerEntry| matches!(entry, LedgerEntry::Lost { .. });
    assert_eq!(shell.ledger.count(lost), 1);
    // An evict-immediately volume whose disk refuses a block does not gate: the write is acknowledged.
    shell.put(3 * LINE, 512, 2);
    shell.disk().heal();
    shell.ledger.held = false;
    shell.run_ms(2_000);
    assert_eq!(shell.stats().lost, 0);
    assert!(shell.ledger.lost.is_empty(), "the record is taken back");
    let mut expected = all(2, 512);
    expected.extend(all(1, 3584));
    assert_eq!(shell.get(3 * LINE, LINE).unwrap(), expected, "nothing of the older write is lost");
    assert_eq!(shell.flushed(), 0);
}

/// M8: the end of an older loss, told to the ledger after a newer one of the same line, does not make it forget that.
#[test]
fn the_end_of_an_older_loss_is_not_taken_for_that_of_a_newer_one() {
    let mut shell = lossy();
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.put(3 * LINE, LINE, 2);
    shell.flush();
    shell.ledger.held = true;
    shell.run_ms(5_000);
    let lost = |entry: &LedgerEntry| matches!(entry, LedgerEntry::Lost { .. });
    assert_eq!(shell.ledger.count(lost), 2, "the newer data is condemned");
    let token = shell.operator(Command::AckLoss { range: ByteRange::ALL });
    shell.run_ms(10);
    shell.ledger.held = false;
    shell.run_ms(100);
    assert!(shell.answers.contains_key(&token));
    assert_eq!(shell.get(3 * LINE, LINE), Err(EIO));
    assert_eq!(
        (shell.stats().lost, shell.ledger.lost.len()),
        (1, 8),
        "a line, and in the ledger its sectors"
    );
}

/// C2: a lost sector that newer stable data superseded does not fail a flush because the line is being overwritten again.
#[test]
fn a_line_that_is_overwritten_all_the_time_heals() {
    let mut shell = lossy();
    let mut healed = false;
    for value in 10..60 {
        shell.put(3 * LINE, LINE, value);
        let flush = shell.flush();
        shell.turn();
        // The next write follows before the device is done with the last one.
        shell.put(3 * LINE, LINE, value + 100);
        shell.settle();
        healed |= shell.errno(flush) == Some(0);
    }
    assert!(healed);
}

/// C9: failed and lost extents are listed with errno, attempts and times.
#[test]
fn failed_and_lost_extents_are_listed() {
    let mut shell = lossy();
    let lost = shell.list(ListState::Lost);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].range, ByteRange { offset: 3 * LINE, length: LINE });
    assert_eq!((lost[0].errno, lost[0].class), (EIO, ErrorClass::Medium as u8));
    assert!(lost[0].attempts >= 3 && lost[0].first < lost[0].last);
    shell.put(10 * LINE, 2 * LINE, 1);
    shell.put(20 * LINE, 512, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.flush();
    shell.run_ms(50);
    let failed = shell.list(ListState::Failed);
    assert_eq!(failed.len(), 1, "the first closed the gate, {failed:?}");
    assert_eq!((failed[0].range.offset, failed[0].errno, failed[0].attempts), (20 * LINE, ENOSPC, 1));
    let dirty = shell.list(ListState::Dirty);
    assert_eq!(dirty[0].range, ByteRange { offset: 10 * LINE, length: 2 * LINE });
    assert_eq!((dirty[0].errno, dirty[0].attempts), (ENOSPC, 0), "never tried, and why");
}

/// C9: pages of a listing follow each other without a gap, whatever the number of extents.
#[test]
fn a_listing_of_many_extents_comes_in_pages() {
    let mut shell = Shell::new(Plan::default());
    for line in 0..100 {
        shell.put(line * 3 * LINE, LINE, 1);
    }
    let dirty = shell.list(ListState::Dirty);
    assert_eq!(dirty.len(), 100);
    assert!(dirty.is_sorted_by_key(|extent| extent.range.offset));
    shell.disk().hold(IoKind::Flush);
    shell.flush();
    shell.settle();
    let unstable = shell.list(ListState::Unstable);
    assert_eq!(unstable.len(), 100);
    assert!(unstable.is_sorted_by_key(|extent| extent.range.offset));
}

/// An operator drops what is held: it is lost, on record, and counted.
#[test]
fn an_operator_drops_held_data() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.put(8 * LINE, 1024, 1);
    shell.disk().bad.extend([(0, i32::from(EIO)), (8, i32::from(EIO))]);
    assert_eq!(shell.flushed(), EIO);
    let token = shell.operator(Command::Drop { range: ByteRange { offset: 8 * LINE, length: LINE } });
    shell.settle();
    assert_eq!(shell.answers[&token], Answer::Dropped { bytes: 1024 });
    assert_eq!((shell.stats().failed, shell.stats().lost), (1, 1));
    assert_eq!(shell.get(8 * LINE, 512), Err(EIO));
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096), "what was not named is held");
    assert_eq!(shell.ledger.lost.len(), 2);
}

/// C11: losses of an earlier run are put back: reads and flushes fail as before.
#[test]
fn a_restored_loss_counts_like_any_other() {
    let mut shell = Shell::new(Plan::default());
    let range = ByteRange { offset: 4 * LINE + 512, length: LINE };
    let first = Instant(0);
    let class = ErrorClass::Medium as u8;
    shell.operator(Command::RestoreLoss { range, class, errno: EIO, first, generation: 0 });
    shell.settle();
    assert_eq!(shell.flushed(), EIO);
    assert_eq!(shell.get(4 * LINE, 512).unwrap(), all(0xd5, 512));
    assert_eq!(shell.get(4 * LINE + 512, 512), Err(EIO));
    assert_eq!(shell.get(5 * LINE, 512), Err(EIO));
    assert_eq!(shell.get(5 * LINE + 512, 512).unwrap(), all(0xd5, 512));
    shell.put(4 * LINE, 2 * LINE, 1);
    assert_eq!(shell.flushed(), 0);
}

/// M6, M8: a line that was never tried is abandoned and overwritten before the ledger has heard of it: the new data is
/// written back as what it is, data that nobody refused.
#[test]
fn an_overwrite_of_an_abandoned_line_waits_for_its_first_try() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.ledger.held = true;
    let token = shell.operator(Command::Abandon);
    shell.turn();
    shell.put(0, LINE, 2);
    shell.ledger.held = false;
    shell.settle();
    assert!(shell.answers.contains_key(&token));
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(0), shell.stats().lost), (2, 0));
}

/// Everything is given up while an older write of the line is at the device: its refusal finds nobody to hand over to.
#[test]
fn a_write_in_flight_outlives_what_was_abandoned() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.run_ms(2);
    shell.put(0, LINE, 2);
    shell.operator(Command::Abandon);
    shell.run_ms(2);
    assert_eq!(shell.stats().lost, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.disk().release();
    shell.run_ms(10);
    assert_eq!((shell.stats().not_clean, shell.stats().failed, shell.stats().writing), (0, 0, 0));
    assert_eq!(shell.get(0, LINE), Err(EIO));
    assert_eq!(shell.flushed(), EIO);
    shell.disk().heal();
    shell.put(0, LINE, 3);
    shell.run_ms(3_000);
    assert_eq!((shell.flushed(), shell.stable(0)), (0, 3));
}
