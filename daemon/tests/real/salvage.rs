//! A daemon that is killed while it holds data, and `holdfastd salvage` after it.

use crate::pattern::{EIO, check_same, failure, on_backing, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ctl::manifest::Export;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Over the border of two reactors.
const FAILED: (u64, u64) = (STRIPE - 32 * KIB, 64 * KIB);
const DIRTY: (u64, u64) = (5 * STRIPE + 4 * LINE, 8 * LINE);

/// Exit code, standard output, standard error.
fn salvage(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
    command
        .arg("salvage")
        .arg(place.arena())
        .arg("--config")
        .arg(place.file("holdfast.toml"))
        .args(arguments);
    let output = command.output().expect("the daemon's program");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            (entry.file_name().into_string().expect("plain"), std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect()
}

/// The bytes of the ranges in a state, and where they are.
fn ranges(export: &Export, state: &str) -> Vec<(u64, Vec<u8>)> {
    let ranges = export.manifest().ranges.iter().filter(|range| range.state.name() == state);
    ranges
        .map(|range| {
            let mut bytes = Vec::new();
            export.read(range, &mut bytes).expect("as its checksum says");
            (range.offset, bytes)
        })
        .collect()
}

#[test]
fn a_killed_daemons_held_and_dirty_data_comes_out_byte_by_byte() {
    let mut place = Place::new();
    let later = "write_back = { from = \"100%\", after = \"1h\" }";
    place.add(&[
        Volume::file("refuses", &place.file("refuses"), 8 * MIB),
        Volume::file("lazy", &place.file("lazy"), 8 * MIB).with(later),
    ]);
    let mut daemon = Daemon::start(&place);
    let client = daemon.client("refuses");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    client.flush().expect("the disk is well");
    daemon.must(&["fault", "refuses", "add", "write", "EIO", "--sequence", "X"]);
    client.write_at(&pattern(2, FAILED.0, FAILED.1), FAILED.0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, EIO);
    // Newer data of a line that is held: the slot has both.
    client.write_at(&pattern(3, FAILED.0 + 512, 512), FAILED.0 + 512).expect("acknowledged");
    eventually("every line has failed", || (daemon.extents("refuses", "failed") == [FAILED]).then_some(()));
    daemon.client("lazy").write_at(&pattern(4, DIRTY.0, DIRTY.1), DIRTY.0).expect("acknowledged");

    let (code, _, refused) = salvage(&place, &["--list"]);
    assert_eq!(code, Some(2), "{refused}");
    assert!(refused.contains("in use by another daemon") && refused.contains("pid"), "{refused}");
    daemon.kill();
    let before = (files(&place.arena()), files(&place.file("state")));

    let to = place.file("saved");
    let (code, out, err) = salvage(&place, &["--json", "--to", to.to_str().expect("plain")]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!((files(&place.arena()), files(&place.file("state"))), before, "nothing was written");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["volumes"][0]["held_bytes"]["failed"], FAILED.1, "{report:#}");

    let export = Export::open(&to.join("refuses.img")).expect("sound");
    let mut expected = pattern(2, FAILED.0, FAILED.1);
    expected[512..1024].copy_from_slice(&pattern(3, FAILED.0 + 512, 512));
    let found: Vec<u8> = ranges(&export, "failed").into_iter().flat_map(|(_, bytes)| bytes).collect();
    check_same(&found, &expected, "what the disk refused");
    let first = &export.manifest().ranges[0];
    assert_eq!(first.offset, FAILED.0);
    let refusal = first.refusal.as_ref().expect("it was refused");
    assert_eq!((refusal.errno.number, refusal.first.is_some()), (5, true), "{refusal:?}");
    assert_eq!(
        on_backing(&place.file("refuses"), FAILED.0, LINE),
        vec![0; LINE as usize],
        "it is nowhere else"
    );

    let export = Export::open(&to.join("lazy.img")).expect("sound");
    assert_eq!(ranges(&export, "dirty"), [(DIRTY.0, pattern(4, DIRTY.0, DIRTY.1))]);
    assert_eq!(export.manifest().volume_bytes, Some(8 * MIB));
    assert!(export.manifest().notes.is_empty(), "{:?}", export.manifest().notes);
}

#[test]
fn salvage_says_what_it_sees_and_goes_on() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let mut daemon = Daemon::start(&place);
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, 2 * LINE), 0).expect("acknowledged");
    assert!(client.flush().is_err());
    daemon.kill();
    let (code, out, err) = salvage(&place, &["--list"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("volume vm (number 0)") && out.contains("ENOSPC"), "{out}");
    assert!(out.contains("not exported: '--to DIR'"), "{out}");

    let ledger = place.file("state").join("ledger.redb");
    std::fs::write(&ledger, "damaged").expect("ours");
    let to = place.file("saved");
    let (code, out, err) = salvage(&place, &["--to", to.to_str().expect("plain")]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("is damaged") && out.contains("exported to"), "{out}");
    let export = Export::open(&to.join("vm.img")).expect("sound");
    let found: Vec<u8> = ["failed", "dirty"]
        .iter()
        .flat_map(|state| ranges(&export, state))
        .flat_map(|(_, bytes)| bytes)
        .collect();
    check_same(&found, &pattern(1, 0, 2 * LINE), "all of it");

    std::fs::write(place.arena().join("superblock"), [7; 4096]).expect("ours");
    let (code, out, err) = salvage(&place, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("superblock is damaged") && out.contains("volume vm"), "{out}");
    std::fs::remove_dir_all(place.arena()).expect("ours");
    let (code, out, err) = salvage(&place, &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("cannot open"), "{err}");
}
