//! What a restart, a crash and a new boot find.

use super::super::facade::Ledger;
use super::super::record::OpenMark;
use super::fake::{Crash, FakeDisk};
use super::model::{Feeder, Model, entry};
use super::places::{committed, open};
use super::*;
use proptest::prelude::*;

const CRASHES: [Crash; 4] = [Crash::None, Crash::All, Crash::EveryOther, Crash::Half];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_restart_keeps_everything(batches in prop::collection::vec(prop::collection::vec(entry(VM1), 1..8), 1..8)) {
        let disk = FakeDisk::default();
        let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
        for batch in batches {
            for entry in batch {
                feeder.feed(&mut ledger, at(1), entry);
            }
            ledger.report(at(1), VM1);
            committed(ledger.commit_all(at(1)));
            // As after a kill, with the first one still there; and as after a power cut.
            for disk in [FakeDisk::with_file(disk.file().expect("it was written")), disk.crash(Crash::None)] {
                let again = open(&disk);
                prop_assert_eq!(&again.memory().volumes, &ledger.memory().volumes);
                prop_assert_eq!(again.memory().next_id, ledger.memory().next_id);
                prop_assert_eq!(&again.memory().history, &ledger.memory().history);
                prop_assert_eq!(&again.memory().told, &ledger.memory().told);
            }
        }
    }

    #[test]
    fn a_crash_loses_only_what_was_not_committed(
        before in prop::collection::vec(entry(VM1), 1..20),
        after in prop::collection::vec(entry(VM1), 1..20),
    ) {
        let disk = FakeDisk::default();
        let (mut ledger, mut feeder, mut model) = (open(&disk), Feeder::default(), Model::default());
        for entry in before {
            model.apply(&entry);
            feeder.feed(&mut ledger, at(1), entry);
        }
        committed(ledger.commit(at(1)));
        for entry in after {
            feeder.feed(&mut ledger, at(2), entry);
        }
        drop(ledger);
        for crash in CRASHES {
            model.check(&open(&disk.crash(crash)), VM1);
        }
    }
}

#[test]
fn marks_and_audit_rows_outlive_the_daemon() {
    let disk = FakeDisk::default();
    let mut ledger = open(&disk);
    let mark = OpenMark { boot: u128::MAX - 1, arena: 7 };
    ledger.mark_open(VM1, mark);
    ledger.audit(at(5), "uid 0", "drop vm1 --yes-lose-data");
    ledger.audit(at(6), "uid 1000", &"ü".repeat(2000));
    committed(ledger.commit(at(6)));
    drop(ledger);
    let mut ledger = open(&disk);
    assert_eq!(ledger.open_mark(VM1), Some(mark));
    let rows: Vec<_> = ledger.audit_rows(1).collect();
    assert_eq!((rows[0].number, rows[0].at_ms, rows[0].who.as_str()), (1, at(5).wall_ms, "uid 0"));
    assert_eq!(rows[0].verb, "drop vm1 --yes-lose-data");
    assert_eq!(rows[1].verb, "ü".repeat(512), "cut at 1024 bytes, between characters");
    assert_eq!(ledger.audit_rows(2).count(), 1);
    ledger.mark_drained(VM1);
    committed(ledger.commit(at(7)));
    drop(ledger);
    assert_eq!(open(&disk).open_mark(VM1), None);
}

#[test]
fn many_records_fit_into_one_commit() {
    const COUNT: u64 = 100_000;
    let disk = FakeDisk::default();
    let open = || {
        let mut ledger = Ledger::open_on(Box::new(disk.clone()), at(0), 100).expect("the disk is sound");
        ledger.register_volume(VM1, "vm1", "serial-1", COUNT * 8192).expect("it is new or the same");
        ledger
    };
    let (mut ledger, mut feeder) = (open(), Feeder::default());
    for line in 0..COUNT {
        feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(line * 8192, 4096), SPACE, ENOSPC));
    }
    feeder.feed(&mut ledger, at(1), report(VM1, 1));
    let ids = committed(ledger.commit(at(1)));
    drop(ledger);
    let ledger = open();
    assert_eq!(ledger.not_stable(VM1).len() as u64, COUNT);
    let explained = ledger.explain(ids[0], 10).expect("it was given");
    assert_eq!((explained.omitted, explained.bytes.not_stable), (COUNT - 10, COUNT * 4096));
    assert_eq!(ledger.health().not_stable as u64, COUNT);
}
