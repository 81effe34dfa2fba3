//! Files that no ledger left like that: each is refused in words, and left alone.

use super::super::error::LedgerError;
use super::super::facade::Ledger;
use super::super::store::{LOST, META, NOT_STABLE, VOLUMES};
use super::fake::FakeDisk;
use super::model::Feeder;
use super::places::{committed, open};
use super::*;
use redb::{Database, ReadableTable, WriteTransaction};

/// The file of a ledger with something of everything in it.
fn sound_file() -> Vec<u8> {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    for sector in 0..20 {
        feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(sector * 1024, 512), SPACE, ENOSPC));
    }
    feeder.feed(&mut ledger, at(1), lost(VM1, bytes(0, 512), 3));
    ledger.report(at(1), VM1);
    feeder.feed(&mut ledger, at(1), healed(VM1, bytes(4096, 4096)));
    ledger.report(at(1), VM1);
    ledger.audit(at(1), "uid 0", "drain vm1");
    committed(ledger.commit(at(1)));
    drop(ledger);
    disk.file().expect("it was written")
}

fn refusal(file: Vec<u8>) -> LedgerError {
    let disk = FakeDisk::with_file(file.clone());
    let before = disk.operations();
    let error = Ledger::open_on(Box::new(disk.clone()), at(9), 100).err().expect("the file is damaged");
    assert_eq!(disk.operations(), before, "a damaged file is never written to");
    assert_eq!(disk.file(), Some(file));
    error
}

fn words(file: Vec<u8>) -> String {
    match refusal(file) {
        error @ LedgerError::Damaged { .. } => error.to_string(),
        error => panic!("not damage, but {error}"),
    }
}

#[test]
fn refuses_what_is_no_ledger() {
    assert!(words(Vec::new()).contains("0 bytes"));
    assert!(words(b"hello".to_vec()).contains("5 bytes"));
    assert!(words(vec![0; 8192]).contains("does not begin like a redb file"));
    let file = sound_file();
    for length in [100, 4096, file.len() / 2] {
        assert!(words(file[..length].to_vec()).contains("bytes"), "cut to {length}");
    }
    let words = words(vec![7; 100_000]);
    assert!(words.contains("/fake/ledger.redb") && words.contains("backup"), "{words}");
}

#[test]
fn one_wrong_bit_anywhere_is_refused_or_harmless() {
    let file = sound_file();
    let sound = open(&FakeDisk::with_file(file.clone()));
    let mut refused = 0;
    // Every byte of the header, which redb reads first, and a sample of all others.
    for at_byte in (0..320).chain((320..file.len()).step_by(6007)) {
        let mut wrong = file.clone();
        wrong[at_byte] ^= 1 << (at_byte % 8);
        let disk = FakeDisk::with_file(wrong);
        let before = disk.operations();
        match Ledger::open_on(Box::new(disk.clone()), at(9), 100) {
            Ok(ledger) => assert_eq!(ledger.memory().volumes, sound.memory().volumes, "byte {at_byte}"),
            Err(_) => {
                refused += 1;
                assert_eq!(disk.operations(), before);
            }
        }
    }
    assert!(refused > 50, "only {refused} were noticed");
}

#[test]
fn every_flag_of_the_header_may_be_wrong() {
    // One of them says which of two commits is the newer one, and redb gives it no checksum.
    let file = sound_file();
    let sound = open(&FakeDisk::with_file(file.clone()));
    for flags in 0..8 {
        let mut wrong = file.clone();
        wrong[9] = flags;
        let ledger = open(&FakeDisk::with_file(wrong));
        assert_eq!(ledger.memory().volumes, sound.memory().volumes, "flags {flags}");
    }
}

#[test]
fn wrong_bytes_in_rows_are_refused() {
    let mut file = sound_file();
    let places: Vec<usize> = (0..file.len() - 8).filter(|&at| &file[at..at + 8] == b"serial-1").collect();
    assert!(!places.is_empty(), "the volume's row is there");
    for at in places {
        file[at] = b'S';
    }
    assert!(words(file).contains("damaged"));
}

/// The file with something else in its tables, checksums and all.
fn forge(change: impl FnOnce(&WriteTransaction)) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("forged.redb");
    std::fs::write(&path, sound_file()).expect("room in the temporary directory");
    let database = Database::open(&path).expect("the file is sound");
    let transaction = database.begin_write().expect("the file is sound");
    change(&transaction);
    transaction.commit().expect("room in the temporary directory");
    drop(database);
    std::fs::read(&path).expect("it was just written")
}

#[test]
fn refuses_another_version() {
    let file = forge(|tables| {
        tables.open_table(META).expect("it is there").insert("version", 2).expect("it is open");
    });
    assert!(matches!(refusal(file), LedgerError::Version { found: 2, known: 1, .. }));
}

#[test]
fn refuses_ids_that_counting_never_reaches() {
    for id in [0, 1, u64::MAX] {
        let file = forge(|tables| {
            tables.open_table(META).expect("it is there").insert("next_id", id).expect("it is open");
        });
        assert!(words(file).contains("id"));
    }
}

/// Replaces a row of ranges, or adds one.
fn forge_row(lost: bool, key: (u32, u64), change: impl Fn(&mut Vec<u8>)) -> String {
    words(forge(|tables| {
        let mut table = tables.open_table(if lost { LOST } else { NOT_STABLE }).expect("it is there");
        let sound = (1, if lost { 0 } else { 1024 });
        let mut row = table.get(sound).expect("it is open").expect("the sound file has it").value().to_vec();
        change(&mut row);
        table.insert(key, row.as_slice()).expect("it is open");
    }))
}

#[test]
fn refuses_rows_that_no_ledger_writes() {
    assert!(forge_row(false, (1, 1024), |row| row.truncate(20)).contains("not one that a ledger writes"));
    assert!(forge_row(false, (1, 1024), |row| row.push(0)).contains("not one that a ledger writes"));
    assert!(
        forge_row(false, (1, 1024), |row| row[16] = 200).contains("not one that a ledger writes"),
        "the class"
    );
    assert!(forge_row(false, (9, 1024), |_| ()).contains("is of no volume"));
    assert!(forge_row(false, (1, 1100), |_| ()).contains("overlaps"));
    assert!(forge_row(false, (1, 5000), |_| ()).contains("overlaps"), "its end is before its start");
    assert!(forge_row(false, (1, 23_000), |row| row[..8].fill(0x7f)).contains("over the end"));
    assert!(forge_row(false, (1, 1024), |row| row[8] = 99).contains("failure id"));
    assert!(
        forge_row(true, (1, 0), |row| row[17] = 200).contains("not one that a ledger writes"),
        "the count"
    );
    assert!(forge_row(true, (1, 0), |row| row.truncate(30)).contains("not one that a ledger writes"));
}

#[test]
fn refuses_volumes_that_no_ledger_writes() {
    let volume = |change: &dyn Fn(&mut Vec<u8>), key: u32| {
        words(forge(|tables| {
            let mut table = tables.open_table(VOLUMES).expect("it is there");
            let mut row = table.get(1).expect("it is open").expect("the sound file has it").value().to_vec();
            change(&mut row);
            table.insert(key, row.as_slice()).expect("it is open");
        }))
    };
    assert!(
        volume(&|row| row[4] = 0xff, 1).contains("not one that a ledger writes"),
        "a name that is not UTF-8"
    );
    assert!(
        volume(&|row| row[..4].fill(0xff), 1).contains("not one that a ledger writes"),
        "a name without end"
    );
    assert!(volume(&|_| (), 2).contains("name of another volume"));
}
