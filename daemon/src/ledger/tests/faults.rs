//! The ledger's own disk fails, at every single operation, for every errno, and what was promised still holds.

use super::super::disk::{Disk, FirstError, Sticky};
use super::super::facade::{Ledger, RETRY_FIRST_MS, RETRY_MAX_MS};
use super::super::outcome::CommitOutcome;
use super::fake::{Crash, FakeDisk};
use super::model::{Feeder, Model};
use super::places::{committed, open};
use super::*;
use redb::StorageBackend;
use std::ops::Range;

/// Crashes that keep some of what was not synced.
const CRASHES: [Crash; 3] = [Crash::All, Crash::EveryOther, Crash::Half];

/// What one batch says.
fn batch(number: u64) -> Vec<LedgerEntry> {
    let place = bytes((number % 11) * 2048, 3072);
    vec![
        not_stable(VM1, place, SPACE, ENOSPC),
        lost(VM1, bytes(place.offset, 512), number + 1),
        loss_healed(VM1, bytes(place.offset / 2, 512), number.is_multiple_of(2)),
        report(VM1, number),
    ]
}

/// A run of batches over a disk that fails at some operations. Returns how often the ledger was stuck.
fn survive(faults: Range<u64>, errno: u16, short: bool) -> u32 {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    let start = disk.operations();
    disk.fail(start + faults.start, faults.end - faults.start, i32::from(errno), short);
    let (mut applied, mut promised) = (Model::default(), Model::default());
    let (mut stuck, mut now, mut ids) = (0, 0, 0);
    for number in 0..4 {
        for entry in batch(number) {
            applied.apply(&entry);
            feeder.feed(&mut ledger, at(now), entry);
        }
        loop {
            let outcome = ledger.commit(at(now));
            if let CommitOutcome::Durable { durable, reports } = outcome {
                assert_eq!(durable.len(), 1, "the batch is answered once");
                ids += reports.len();
                promised = applied.clone();
                break;
            }
            stuck += 1;
            assert_eq!(ledger.health().stuck.expect("so it said").errno, i32::from(errno));
            check_crashes(&disk, &promised, &applied);
            now += RETRY_MAX_MS;
        }
        check_crashes(&disk, &promised, &applied);
        applied.check(&ledger, VM1);
    }
    assert_eq!(ids, 4, "every report is answered once");
    assert_eq!(disk.reads(), 1, "the file is read at the start and never again");
    assert_eq!(ledger.health().stuck, None);
    stuck
}

/// Whatever of the unsynced writes survives a crash, the next boot has what was promised, or all that was applied.
fn check_crashes(disk: &FakeDisk, promised: &Model, applied: &Model) {
    // One that keeps nothing, and in turn one of the others: each of these costs a whole start.
    for crash in [Crash::None, CRASHES[disk.operations() as usize % CRASHES.len()]] {
        let ledger = open(&disk.crash(crash));
        if promised == applied || applied.difference(&ledger, VM1).is_some() {
            promised.check(&ledger, VM1);
        }
    }
}

/// Operations of four batches on a disk that works.
fn operations() -> u64 {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    let start = disk.operations();
    for number in 0..4 {
        batch(number).into_iter().for_each(|entry| {
            feeder.feed(&mut ledger, at(0), entry);
        });
        committed(ledger.commit(at(0)));
    }
    disk.operations() - start
}

#[test]
fn every_single_operation_may_fail_once() {
    for operation in 0..operations() {
        survive(operation..operation + 1, if operation % 2 == 0 { ENOSPC } else { EIO }, operation % 3 == 0);
    }
}

#[test]
fn every_operation_may_begin_a_long_failure() {
    let mut stuck = 0;
    for operation in 0..operations() {
        stuck += survive(operation..operation + 4, EIO, operation % 2 == 0);
    }
    assert!(stuck > 0, "no failure was long enough to be seen");
}

#[test]
fn stuck_tells_nobody_anything_and_tries_again_with_growing_waits() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    committed(ledger.commit(at(0)));
    disk.fail(disk.operations(), u64::MAX / 2, i32::from(ENOSPC), false);
    let seq = feeder.feed(&mut ledger, at(1), lost(VM1, bytes(0, 512), 1));
    let CommitOutcome::Stuck(stuck) = ledger.commit(at(1)) else { panic!("the disk is full") };
    assert_eq!((stuck.since_ms, stuck.errno, stuck.attempts), (at(1).wall_ms, 28, 1));
    assert!(stuck.text.contains("No space left"), "{}", stuck.text);
    let tried = disk.operations();
    for _ in 0..3 {
        assert!(matches!(ledger.commit(at(2)), CommitOutcome::Stuck(_)));
        assert!(matches!(ledger.tick(at(2)), CommitOutcome::Stuck(_)));
    }
    assert_eq!(disk.operations(), tried, "not before the wait is over");
    let (mut now, mut waits) = (stuck.retry_at, Vec::new());
    for _ in 0..8 {
        let CommitOutcome::Stuck(stuck) = ledger.tick(at(now.0 / 1_000_000)) else {
            panic!("the disk is full")
        };
        assert_eq!(stuck.since_ms, at(1).wall_ms, "since the first failure");
        waits.push(stuck.retry_at.since_ms(now));
        now = stuck.retry_at;
    }
    assert_eq!(waits[..3], [2 * RETRY_FIRST_MS, 4 * RETRY_FIRST_MS, 8 * RETRY_FIRST_MS]);
    assert_eq!(waits[7], RETRY_MAX_MS);
    assert_eq!(ledger.lost(VM1).len(), 1, "memory is the truth");
    disk.repair();
    let CommitOutcome::Durable { durable, .. } = ledger.tick(at(now.0 / 1_000_000)) else {
        panic!("it is repaired")
    };
    assert_eq!(durable, [(0, seq)]);
    assert_eq!(ledger.health().stuck, None);
    assert_eq!(open(&disk.crash(Crash::None)).lost(VM1).len(), 1);
}

#[test]
fn a_disk_that_is_full_at_the_start_keeps_nobody_from_starting() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    feeder.feed(&mut ledger, at(1), lost(VM1, bytes(0, 512), 1));
    committed(ledger.commit(at(1)));
    drop(ledger);
    disk.fail(disk.operations(), u64::MAX / 2, i32::from(ENOSPC), true);
    let ledger = Ledger::open_on(Box::new(disk.clone()), at(2), 100).expect("the old file can be read");
    assert_eq!(ledger.health().stuck.expect("nothing can be written").errno, 28);
    assert_eq!(ledger.health().lost, 1);
    drop(ledger);
    assert_eq!(open(&disk.crash(Crash::None)).lost(VM1).len(), 1, "the old file is as it was");
}

#[test]
fn what_a_failed_sync_forgot_is_written_again() {
    // The sync of a commit fails and the kernel marks the pages clean: they are seen by every reader and are nowhere.
    // Whoever syncs again, is told "success", and believes it has lost the record. A new file has all of it.
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    committed(ledger.commit(at(0)));
    let start = disk.operations();
    for operation in start..start + 12 {
        disk.fail(operation, 1, i32::from(EIO), false);
        feeder.feed(&mut ledger, at(1), lost(VM1, bytes((operation - start) * 512, 512), 1));
        committed(ledger.commit(at(RETRY_MAX_MS * operation)));
        let lost: u64 =
            open(&disk.crash(Crash::None)).lost(VM1).iter().map(|record| record.range.length).sum();
        assert_eq!(lost, (operation - start + 1) * 512);
    }
    assert!(ledger.health().replaced > 0, "no commit failed");
}

#[test]
fn a_file_that_failed_once_never_works_again() {
    let disk = FakeDisk::default();
    let first = FirstError::default();
    let file = Sticky::new(disk.create().expect("it is sound"), first.clone());
    file.write(0, b"before").expect("it is sound");
    disk.fail(disk.operations(), 1, i32::from(EIO), false);
    assert_eq!(file.sync_data().expect_err("it fails").raw_os_error(), Some(i32::from(EIO)));
    let operations = disk.operations();
    assert!(file.sync_data().is_err() && file.write(0, b"after").is_err() && file.set_len(0).is_err());
    assert!(file.len().is_err() && file.read(0, &mut [0; 6]).is_err());
    assert_eq!(disk.operations(), operations, "the disk is not even asked");
    assert_eq!(first.lock().expect("nobody panics").as_ref().map(|first| first.0), Some(i32::from(EIO)));
}

/// The end of the daemon did not try once more when the ledger was waiting for its next attempt, though there was room by
/// then.
#[test]
fn the_last_commit_does_not_wait_for_the_next_attempt() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 512), SPACE, ENOSPC));
    disk.fail(disk.operations(), 2, i32::from(ENOSPC), false);
    assert!(matches!(ledger.commit(at(1)), CommitOutcome::Stuck(_)), "it cannot be written");
    assert!(matches!(ledger.commit(at(1)), CommitOutcome::Stuck(_)), "it waits");
    assert!(matches!(ledger.commit_all(at(1)), CommitOutcome::Durable { .. }));
}
