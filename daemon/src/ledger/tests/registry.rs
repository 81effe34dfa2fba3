//! Volumes and the state directory: who may use what is on record.

use super::super::error::{LedgerError, RegisterError};
use super::super::facade::Ledger;
use super::super::record::OpenMark;
use super::fake::FakeDisk;
use super::model::{Feeder, SECTOR, SECTORS};
use super::places::{committed, open};
use super::*;

const SIZE: u64 = SECTORS * SECTOR;

/// A ledger that has the volume `vm1` on `serial-1` on record, not registered yet.
fn reopened(fill: impl FnOnce(&mut Ledger)) -> Ledger {
    let disk = FakeDisk::default();
    let mut ledger = open(&disk);
    fill(&mut ledger);
    committed(ledger.commit(at(1)));
    drop(ledger);
    Ledger::open_on(Box::new(disk.clone()), at(2), 100).expect("the disk is sound")
}

fn with_loss(ledger: &mut Ledger) {
    Feeder::default().feed(ledger, at(1), lost(VM1, bytes(4096, 512), 1));
}

#[test]
fn another_device_is_refused_while_anything_is_on_record() {
    let mut ledger = reopened(with_loss);
    let error = ledger.register_volume(VM1, "vm1", "serial-9", SIZE).expect_err("a loss is on record");
    assert!(
        matches!(&error, RegisterError::OtherDevice { recorded, records: 1, open: false, .. } if recorded == "serial-1")
    );
    assert!(error.to_string().contains("Give it its old backing"), "{error}");
    ledger.register_volume(VM1, "vm1", "serial-1", SIZE).expect("after the refusal the right one is taken");

    let mut ledger = reopened(|ledger| ledger.mark_open(VM1, OpenMark { boot: 1, arena: 2 }));
    let error = ledger.register_volume(VM1, "vm1", "serial-9", SIZE).expect_err("it was not drained");
    assert!(error.to_string().contains("not drained"), "{error}");

    let mut ledger = reopened(|_| ());
    ledger.register_volume(VM1, "vm1", "serial-9", SIZE * 2).expect("nothing is on record of the old device");
}

#[test]
fn a_device_with_a_record_keeps_its_name() {
    let mut ledger = reopened(with_loss);
    let error = ledger.register_volume(VM1, "other", "serial-1", SIZE).expect_err("it is vm1 on record");
    assert!(matches!(error, RegisterError::OtherName { recorded, .. } if recorded == "vm1"));
    let mut ledger = reopened(|_| ());
    ledger.register_volume(VM1, "other", "serial-1", SIZE).expect("nothing is on record of it");
}

#[test]
fn a_volume_may_grow_but_not_shrink_below_its_record() {
    let mut ledger = reopened(with_loss);
    let error = ledger.register_volume(VM1, "vm1", "serial-1", 4096).expect_err("the loss is beyond");
    assert_eq!(error, RegisterError::Shrunk { name: "vm1".to_owned(), size: 4096, end: 4608 });
    ledger.register_volume(VM1, "vm1", "serial-1", SIZE * 2).expect("it grew");
}

#[test]
fn names_and_sizes_must_make_sense() {
    let mut ledger = open(&FakeDisk::default());
    for (name, size) in [("", 1), ("x", 0), (&*"x".repeat(1025), 1)] {
        let error =
            ledger.register_volume(VolumeId(9), name, "serial-9", size).expect_err("it makes no sense");
        assert_eq!(error, RegisterError::Invalid { name: name.to_owned(), size });
    }
}

#[test]
fn a_state_directory_has_one_daemon_and_a_real_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("missing");
    assert!(
        matches!(Ledger::open(&missing, at(0)), Err(LedgerError::Directory { path, .. }) if path == missing)
    );
    let mut ledger = Ledger::open(directory.path(), at(0)).expect("it is new");
    assert!(matches!(Ledger::open(directory.path(), at(0)), Err(LedgerError::InUse { .. })));
    ledger.register_volume(VM1, "vm1", "serial-1", SIZE).expect("it is new");
    with_loss(&mut ledger);
    committed(ledger.commit(at(1)));
    drop(ledger);
    let mut ledger = Ledger::open(directory.path(), at(2)).expect("the first one is gone");
    ledger.register_volume(VM1, "vm1", "serial-1", SIZE).expect("it is the same");
    assert_eq!(ledger.lost(VM1).len(), 1);
    drop(ledger);
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .expect("it is there")
        .map(|entry| entry.expect("it is there").file_name().into_string().expect("plain names"))
        .collect();
    names.sort();
    assert_eq!(names, ["ledger.lock", "ledger.redb"]);
}

#[test]
fn the_ledger_may_move_to_its_thread() {
    let disk = FakeDisk::default();
    let mut ledger = open(&disk);
    let thread = std::thread::spawn(move || {
        with_loss(&mut ledger);
        committed(ledger.commit(at(1)));
    });
    thread.join().expect("it commits");
    assert_eq!(open(&disk).lost(VM1).len(), 1);
}

#[test]
#[should_panic(expected = "after LedgerSeq(2)")]
fn entries_that_come_twice_are_our_own_bug() {
    let mut ledger = open(&FakeDisk::default());
    for seq in [2, 2] {
        ledger.apply(at(1), 0, holdfast_engine::LedgerSeq(seq), report(VM1, 1));
    }
}

/// A number that a volume had is another's later, and each keeps its own record.
#[test]
fn a_number_that_was_forgotten_is_another_volume_s() {
    let mut ledger = reopened(with_loss);
    ledger.register_volume(VM1, "vm1", "serial-1", SIZE).expect("it is on record");
    ledger.mark_drained(VM1);
    ledger.forget(VM1);
    ledger.register_volume(VM1, "vm9", "serial-9", SIZE).expect("the number is free");
    assert!(ledger.lost(VM1).is_empty(), "the loss is not the newcomer's");
    assert_eq!((ledger.lost_of("vm1"), ledger.lost_of("vm9")), (512, 0));
    ledger.forget(VM1);
    ledger.register_volume(VM1, "vm1", "serial-1", SIZE).expect("it comes back");
    assert_eq!(ledger.lost(VM1).len(), 1, "and so does its loss");
}
