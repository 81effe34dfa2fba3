//! What is on record where, against the model.

use super::super::facade::Ledger;
use super::super::outcome::CommitOutcome;
use super::super::record::{Cause, NO_REACTOR};
use super::fake::FakeDisk;
use super::model::{Feeder, Model, SECTOR, SECTORS, entry};
use super::*;
use proptest::prelude::*;

pub(super) fn open(disk: &FakeDisk) -> Ledger {
    let mut ledger = Ledger::open_on(Box::new(disk.clone()), at(0), 100).expect("the disk is sound");
    ledger.register_volume(VM1, "vm1", "serial-1", SECTORS * SECTOR).expect("it is new or the same");
    ledger
}

pub(super) fn committed(outcome: CommitOutcome) -> Vec<u64> {
    match outcome {
        CommitOutcome::Durable { reports, .. } => reports.iter().map(|report| report.failure_id).collect(),
        CommitOutcome::Stuck(stuck) => panic!("the disk is sound, but {stuck:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn records_what_the_model_records(entries in prop::collection::vec(entry(VM1), 1..40)) {
        let (mut ledger, mut model, mut feeder) = (open(&FakeDisk::default()), Model::default(), Feeder::default());
        for entry in entries {
            model.apply(&entry);
            feeder.feed(&mut ledger, at(10), entry);
            model.check(&ledger, VM1);
        }
    }

    #[test]
    fn same_set_same_id(entries in prop::collection::vec(entry(VM1), 1..30)) {
        let (mut ledger, mut model, mut feeder) = (open(&FakeDisk::default()), Model::default(), Feeder::default());
        let mut last = ledger.report(at(1), VM1);
        prop_assert!(last > 0);
        for entry in entries {
            let before = model.set();
            model.apply(&entry);
            feeder.feed(&mut ledger, at(10), entry);
            let id = ledger.report(at(11), VM1);
            prop_assert_eq!(id == last, model.set() == before, "ids {} and {}", last, id);
            prop_assert!(id >= last);
            last = id;
        }
    }
}

#[test]
fn a_rescinded_loss_brings_back_the_older_loss_beneath_it() {
    // Sector 0 was lost. Newer data for it was about to be given up, too, but then even newer data came. That is not
    // stable yet: if the rescission took the older loss along, a flush after a crash would succeed over the hole.
    let (mut ledger, mut feeder) = (open(&FakeDisk::default()), Feeder::default());
    for entry in [lost(VM1, bytes(0, 512), 5), lost(VM1, bytes(0, 512), 9), rescinded(VM1, bytes(0, 512), 9)]
    {
        feeder.feed(&mut ledger, at(1), entry);
    }
    assert_eq!(ledger.lost(VM1).iter().map(|record| record.generation).collect::<Vec<_>>(), [5]);
    feeder.feed(&mut ledger, at(2), rescinded(VM1, bytes(0, 512), 9));
    assert_eq!(ledger.lost(VM1).len(), 1, "a rescission of a generation that is not there takes nothing");
    ledger.apply(at(3), 1, holdfast_engine::LedgerSeq(1), rescinded(VM1, bytes(0, 512), 5));
    assert_eq!(ledger.lost(VM1).len(), 1, "nor does that of another reactor, whose generations are its own");
}

#[test]
fn a_rescinded_loss_of_held_data_is_held_data_again() {
    let (mut ledger, mut feeder) = (open(&FakeDisk::default()), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(1), lost(VM1, bytes(1024, 1024), 9));
    assert_eq!(ledger.not_stable(VM1).iter().map(|record| record.range.length).sum::<u64>(), 3072);
    feeder.feed(&mut ledger, at(1), rescinded(VM1, bytes(1024, 512), 9));
    let held = ledger.not_stable(VM1);
    assert_eq!(held.iter().map(|record| record.range.length).sum::<u64>(), 3584);
    assert!(held.iter().all(|record| record.failure.errno == ENOSPC));
    assert_eq!(ledger.lost(VM1)[0].range, bytes(1536, 512));
}

#[test]
fn a_later_boot_turns_what_was_held_into_lost() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(1), lost(VM1, bytes(8192, 4096), 7));
    committed(ledger.commit(at(2)));
    drop(ledger);
    let mut ledger = open(&disk);
    ledger.turn_into_lost(at(3), VM1);
    committed(ledger.commit(at(4)));
    drop(ledger);
    let ledger = open(&disk);
    assert_eq!(ledger.not_stable(VM1), []);
    let lost = ledger.lost(VM1);
    assert_eq!(
        lost.iter().map(|record| record.range).collect::<Vec<_>>(),
        [bytes(0, 4096), bytes(8192, 4096)]
    );
    assert_eq!((lost[0].cause, lost[0].reactor, lost[0].generation), (Cause::HostRestart, NO_REACTOR, 0));
    assert_eq!((lost[0].failure.errno, lost[0].failure.attempts), (ENOSPC, 3));
    assert_eq!((lost[1].cause, lost[1].reactor, lost[1].generation), (Cause::GivenUp, 0, 7));
}

/// A header that says nothing: all is lost, but what was on record before keeps the generation that its heirs need.
#[test]
fn everything_is_lost_with_a_header_that_nobody_can_place() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(1), lost(VM1, bytes(8192, 4096), 7));
    committed(ledger.commit(at(2)));
    for _ in 0..2 {
        ledger.lose_all(at(3), VM1);
        committed(ledger.commit(at(4)));
        drop(ledger);
        ledger = open(&disk);
        let lost = ledger.lost(VM1);
        let facts: Vec<_> =
            lost.iter().map(|record| (record.range.offset, record.cause, record.generation)).collect();
        let all = [(0, Cause::DamagedHeader, 0), (8192, Cause::GivenUp, 7), (12288, Cause::DamagedHeader, 0)];
        assert_eq!(facts, all);
        assert_eq!(lost[0].failure.errno, holdfast_engine::DAMAGED);
        assert_eq!(ledger.not_stable(VM1).len(), 1, "what is held is held");
    }
}

#[test]
fn times_are_of_the_wall_clock_and_the_first_failure_stays_first() {
    let (mut ledger, mut feeder) = (open(&FakeDisk::default()), Feeder::default());
    let mut extent = extent(bytes(0, 512), SPACE, ENOSPC);
    (extent.first, extent.last) = (Instant(5_000_000_000), Instant(7_000_000_000));
    feeder.feed(&mut ledger, at(9_000), LedgerEntry::NotStable { volume: VM1, extent });
    extent.class = MEDIUM;
    (extent.first, extent.last, extent.attempts) = (Instant(8_000_000_000), Instant(8_500_000_000), 9);
    feeder.feed(&mut ledger, at(9_000), LedgerEntry::NotStable { volume: VM1, extent });
    let failure = ledger.not_stable(VM1)[0].failure;
    assert_eq!(failure.first_ms, at(5_000).wall_ms);
    assert_eq!(failure.last_ms, at(8_500).wall_ms);
    assert_eq!((failure.class, failure.attempts), (MEDIUM, 9));
    extent.attempts = 0;
    extent.range = bytes(512, 512);
    feeder.feed(&mut ledger, at(9_000), LedgerEntry::NotStable { volume: VM1, extent });
    assert_eq!(ledger.not_stable(VM1)[1].failure.first_ms, 0, "what was never tried has no time of failure");
}
