//! Arenas made by hand, sound and broken. Real ones are in `tests/real/salvage.rs`.

#![allow(clippy::cast_possible_truncation)]

use super::report::Report;
use super::{Options, salvage};
use crate::arena::{Arena, ArenaLayout, ArenaVolume, Shard};
use crate::ledger::{Ledger, Now, OpenMark};
use holdfast_ctl::manifest::{Export, Manifest};
use holdfast_engine::{
    Extent, Identity, Instant, LedgerEntry, LedgerSeq, ListState, SlotId, Status, VolumeId,
};
use holdfast_policy::State;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const LINE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Bytes of most arenas.
const ARENA: u64 = 12 * MIB;

/// The directories of a daemon that has ended.
struct Rig {
    memory: TempDir,
    disk: TempDir,
}

/// A held slot: which bytes it is full of, and its header.
#[derive(Clone, Copy)]
struct Held {
    reactor: usize,
    slot: u32,
    volume: u16,
    line: u64,
    generation: u64,
    mask: u32,
    status: Status,
    fill: u8,
}

fn failed(attempts: u8) -> Status {
    Status { class: 2, errno: 28, attempts, ..Status::new(State::Failed, 0xff) }
}

fn held(slot: u32, line: u64, state: State, fill: u8) -> Held {
    let (generation, mask) = (u64::from(slot) + 1, 0xff);
    let status = if state == State::Failed { failed(3) } else { Status::new(state, 0xff) };
    Held { reactor: 0, slot, volume: 0, line, generation, mask, status, fill }
}

impl Rig {
    /// An arena of two reactors with these slots, whose volumes 0 and 1 are `a` and `b` of 64 MiB.
    fn with(slots: &[Held]) -> Rig {
        Rig::shaped(slots, 2, 4096)
    }

    /// The same with as many reactors and as long lines.
    fn shaped(slots: &[Held], reactors: u32, line_bytes: u32) -> Rig {
        // Without names, as those of format 1 were.
        Rig::naming(slots, reactors, line_bytes, &[])
    }

    /// The same, and the arena names its volumes.
    fn naming(slots: &[Held], reactors: u32, line_bytes: u32, names: &[&str]) -> Rig {
        let memory = TempDir::new_in("/dev/shm").expect("/dev/shm is writable");
        let rig = Rig { memory, disk: TempDir::new().expect("a directory") };
        let layout = ArenaLayout {
            path: rig.arena(),
            size_bytes: u64::from(reactors * line_bytes / 4096) * ARENA / 2,
            reactors,
            line_bytes,
            stripe_bytes: MIB,
            prefault: false,
            lock_memory: false,
            discard_existing: false,
            volumes: names.iter().map(|name| Some(volume(name))).collect(),
        };
        let mut arena = Arena::create(&layout, &mut |_, _| {}).expect("an arena");
        let mut shards = arena.take_shards();
        for held in slots {
            put(&mut shards[held.reactor], held);
        }
        rig.write_ledger(arena.id());
        rig
    }

    fn write_ledger(&self, arena: u64) {
        let now = Now { instant: Instant(0), wall_ms: 1_780_000_000_000 };
        let mut ledger = Ledger::open(self.disk.path(), now).expect("a ledger");
        for (number, name) in [(0, "a"), (1, "b")] {
            let id = VolumeId(number);
            ledger.register_volume(id, name, &format!("disk {name}"), 64 * MIB).expect("new");
            ledger.mark_open(id, OpenMark { boot: 1, arena: u128::from(arena) });
        }
        let range = holdfast_engine::ByteRange { offset: 0, length: LINE };
        let extent = Extent {
            range,
            state: ListState::Failed,
            class: 2,
            errno: 28,
            attempts: 9,
            first: Instant(0),
            last: Instant(5_000_000),
        };
        ledger.apply(now, 0, LedgerSeq(1), LedgerEntry::NotStable { volume: VolumeId(0), extent });
        let range = holdfast_engine::ByteRange { offset: 32 * MIB, length: LINE };
        let extent = Extent { range, state: ListState::Lost, ..extent };
        ledger.apply(now, 0, LedgerSeq(2), LedgerEntry::Lost { volume: VolumeId(0), extent, generation: 7 });
        ledger.commit_all(now);
    }

    fn arena(&self) -> PathBuf {
        self.memory.path().join("arena")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.arena().join(name)
    }

    /// Two volumes in this order.
    fn configure(&self, names: [&str; 2]) -> PathBuf {
        let path = self.disk.path().join("holdfast.toml");
        let volume = |name: &str| {
            format!(
                "[[volume]]\nname = \"{name}\"\nbacking = {{ kind = \"file\", path = \"/nowhere/{name}\" }}\n"
            )
        };
        let state = self.disk.path().display();
        let text = format!(
            "[daemon]\nreactors = 2\nstate_dir = \"{state}\"\n[arena]\nsize = \"{ARENA}\"\n[limits]\nrequest_bytes_max = \"64KiB\"\n{}{}",
            volume(names[0]),
            volume(names[1])
        );
        std::fs::write(&path, text).expect("written");
        path
    }

    fn options(&self, names: [&str; 2]) -> Options {
        let (config, to) = (Some(self.configure(names)), Some(self.to()));
        Options { arena: self.arena(), config, state_dir: None, to, list: true, json: false }
    }

    fn to(&self) -> PathBuf {
        self.disk.path().join("out")
    }

    fn salvage_again(&self) -> Report {
        let _ = std::fs::remove_dir_all(self.to());
        self.salvage()
    }

    fn salvage(&self) -> Report {
        salvage(&self.options(["a", "b"])).expect("something to salvage")
    }

    /// What an exported volume's manifest says is in it, by the first byte of each range.
    fn exported(&self, name: &str) -> BTreeMap<u64, Vec<u8>> {
        let export = Export::open(&self.to().join(name)).expect("sound");
        let read = |range: &_| {
            let mut bytes = Vec::new();
            export.read(range, &mut bytes).expect("as its checksum says");
            bytes
        };
        export.manifest().ranges.iter().map(|range| (range.offset, read(range))).collect()
    }

    fn damage(&self, report: &Report) -> String {
        report.damage.iter().map(|damage| format!("{:?} {}\n", damage.slot, damage.what)).collect()
    }
}

fn volume(name: &str) -> ArenaVolume {
    ArenaVolume { name: name.to_owned(), identity: format!("disk {name}"), bytes: 64 * MIB, device: None }
}

fn put(shard: &mut Shard, held: &Held) {
    let &Held { slot, volume, line, generation, mask: dirty, status, fill, .. } = held;
    shard.slots.copy_in(SlotId(slot), 0, &[fill; LINE as usize]);
    let header = &shard.headers[slot as usize];
    header.assign(Identity { volume, line, generation, dirty });
    header.publish(status);
}

fn patch(path: &Path, at: u64, change: impl FnOnce(&mut u8)) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("ours");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("within");
    change(&mut byte[0]);
    file.write_all_at(&byte, at).expect("within");
}

/// Everything in a directory, to see that nothing changed.
fn contents(path: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let changed = entry.metadata().expect("its").modified().expect("its");
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        (entry.file_name().into_string().expect("plain"), (bytes, changed))
    };
    std::fs::read_dir(path).expect("listed").map(entry).collect()
}

#[test]
fn what_is_held_comes_out_and_what_is_not_does_not() {
    let rig = Rig::with(&[
        held(0, 0, State::Failed, 1),
        held(1, 1, State::Dirty, 2),
        held(2, 2, State::Clean, 3),
        held(3, 3, State::Incoming, 4),
        held(4, 4, State::Filling, 5),
        held(5, 5, State::Writing, 6),
        held(6, 6, State::Unstable, 7),
        held(7, 7, State::Condemned, 8),
        Held { mask: 0b0110, volume: 1, reactor: 1, ..held(0, 0, State::Dirty, 9) },
    ]);
    let (arena, ledger) = (contents(&rig.arena()), std::fs::read(rig.disk.path().join("ledger.redb")).ok());
    let report = rig.salvage();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(contents(&rig.arena()), arena, "the arena is only read");
    assert_eq!(std::fs::read(rig.disk.path().join("ledger.redb")).ok(), ledger, "and so is the ledger");

    let line = |fill| vec![fill; LINE as usize];
    let expected =
        [(0, line(1)), (LINE, line(2)), (5 * LINE, [line(6), line(7)].concat()), (7 * LINE, line(8))];
    assert_eq!(rig.exported("a.img"), expected.into(), "volume a");
    let places = [(MIB + 512, vec![9; 1024])];
    assert_eq!(
        rig.exported("b.img"),
        places.into(),
        "the second reactor's first stripe is the volume's second"
    );

    let json = std::fs::read(rig.to().join("a.img.json")).expect("a manifest");
    let manifest = Manifest::parse(&json).expect("sound");
    assert_eq!((manifest.volume.as_str(), manifest.volume_bytes), ("a", Some(64 * MIB)));
    assert_eq!(manifest.identity.as_deref(), Some("disk a"));
    let refusal = manifest.ranges[0].refusal.as_ref().expect("it failed");
    assert_eq!((refusal.class.as_str(), refusal.errno.number, refusal.attempts), ("space", 28, 9));
    assert!(refusal.first.is_some(), "the ledger knows when");
    assert_eq!(manifest.lost.iter().map(|lost| lost.offset).collect::<Vec<_>>(), [32 * MIB]);
}

#[test]
fn the_newest_generation_of_a_line_wins_whatever_its_state() {
    let rig = Rig::with(&[
        Held { generation: 10, ..held(0, 0, State::Writing, 1) },
        Held { generation: 11, ..held(1, 0, State::Dirty, 2) },
        Held { generation: 9, ..held(2, 0, State::Failed, 3) },
        Held { generation: 20, ..held(3, 8, State::Writing, 4) },
        Held { generation: 21, ..held(4, 8, State::Clean, 5) },
        Held { generation: 30, ..held(5, 9, State::Clean, 6) },
        Held { generation: 31, ..held(6, 9, State::Dirty, 7) },
    ]);
    let report = rig.salvage();
    assert_eq!(rig.exported("a.img"), [(0, vec![2; 4096]), (9 * LINE, vec![7; 4096])].into());
    assert_eq!(report.arena.superseded_slots, 3);
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_damaged_header_costs_its_line_and_is_listed() {
    let rig =
        Rig::with(&[held(0, 0, State::Failed, 1), held(1, 1, State::Failed, 2), held(2, 2, State::Dirty, 3)]);
    patch(&rig.file("shard-0.headers"), 32 + 8, |byte| *byte ^= 4);
    patch(&rig.file("shard-0.headers"), 64 + 31, |byte| *byte ^= 1);
    let report = rig.salvage();
    assert_eq!(rig.exported("a.img"), [(0, vec![1; 4096])].into());
    assert_eq!(report.damages, 2);
    let damage = rig.damage(&report);
    assert!(damage.contains("Some(1) its identity has the checksum"), "{damage}");
    assert!(damage.contains("Some(2) its status word"), "{damage}");
    let manifest = std::fs::read_to_string(rig.to().join("a.img.json")).expect("a manifest");
    assert!(manifest.contains("2 damaged headers"), "whoever imports it is told: {manifest}");
    assert!(report.to_text(true).contains("damaged: slot 1 of reactor 0"), "{}", report.to_text(true));
}

#[test]
fn headers_that_pass_their_check_and_lie_are_damage() {
    // Of a volume of unknown size: it goes as far as the file system does.
    let far = Held { line: (1 << 48) - 1, volume: 5, ..held(1, 0, State::Dirty, 2) };
    let near = Held { volume: 5, ..held(5, 0, State::Dirty, 6) };
    let behind = Held { line: 64 * MIB / LINE, ..held(2, 0, State::Dirty, 3) };
    let invalid = Held { status: Status::new(State::Dirty, 0x0f), ..held(3, 3, State::Dirty, 4) };
    let twin = Held { generation: 1, ..held(4, 0, State::Dirty, 5) };
    let rig = Rig::with(&[held(0, 0, State::Dirty, 1), far, near, behind, invalid, twin]);
    let report = rig.salvage();
    assert_eq!(rig.exported("a.img"), [(0, vec![1; 4096])].into());
    let damage = rig.damage(&report);
    assert_eq!(report.damages, 4, "{damage}");
    for words in ["behind the volume's end", "only 0xf are valid", "of slot 0, which is taken"] {
        assert!(damage.contains(words), "{words}: {damage}");
    }

    let overflows = Held { line: (1 << 48) - 1, ..held(0, 0, State::Dirty, 1) };
    let rig = Rig::shaped(&[overflows], 8, 16384);
    let damage = rig.damage(&rig.salvage());
    assert!(damage.contains("which no volume has"), "{damage}");
}

#[test]
fn a_missing_or_short_file_costs_what_was_in_it() {
    let second = |slot, line, fill| Held { reactor: 1, ..held(slot, line, State::Dirty, fill) };
    let rig = Rig::with(&[held(0, 0, State::Dirty, 1), second(0, 0, 2), second(150, 1, 3)]);
    std::fs::File::options()
        .write(true)
        .open(rig.file("shard-1.headers"))
        .expect("ours")
        .set_len(4096)
        .expect("cut");
    let report = rig.salvage();
    assert_eq!(rig.exported("a.img"), [(0, vec![1; 4096]), (MIB, vec![2; 4096])].into());
    assert!(rig.damage(&report).contains("after 128 of"), "{report:?}");

    let rig = Rig::with(&[held(0, 0, State::Dirty, 1), second(0, 0, 2)]);
    std::fs::remove_file(rig.file("shard-0.slots.0")).expect("ours");
    std::fs::remove_file(rig.file("shard-1.headers")).expect("ours");
    std::os::unix::fs::symlink("/etc/passwd", rig.file("shard-1.headers")).expect("ours");
    let report = rig.salvage();
    assert_eq!(rig.exported("a.img"), BTreeMap::new());
    assert_eq!(report.damages, 2, "{}", rig.damage(&report));
}

#[test]
fn a_volume_is_named_only_if_nothing_speaks_against_it() {
    let slots = [held(0, 0, State::Dirty, 1), Held { volume: 1, ..held(1, 1, State::Dirty, 2) }];
    let names = |rig: &Rig, options: &Options| {
        let _ = std::fs::remove_dir_all(rig.to());
        let report = salvage(options).expect("listed");
        let names: Vec<String> = report.volumes.iter().map(|volume| volume.name.clone()).collect();
        (names, report)
    };
    let rig = Rig::with(&slots);
    let (named, report) = names(&rig, &rig.options(["a", "b"]));
    assert!(named == ["a", "b"] && report.is_sound(), "{report:?}");

    let (named, report) = names(&rig, &rig.options(["b", "a"]));
    assert_eq!(named, ["b", "a"]);
    assert!(!report.is_sound() && report.to_text(false).contains("another order"), "{report:?}");

    let (named, report) = names(&rig, &rig.options(["a", "c"]));
    assert_eq!(named, ["a", "volume-1"]);
    assert!(report.to_text(false).contains("is 'c', but the ledger does not have"), "{report:?}");

    let without =
        Options { config: None, state_dir: Some(rig.disk.path().into()), ..rig.options(["a", "b"]) };
    let (named, report) = names(&rig, &without);
    assert_eq!(named, ["volume-0", "volume-1"]);
    assert!(report.to_text(false).contains("--config"), "{report:?}");

    std::fs::write(rig.disk.path().join("ledger.redb"), b"no ledger at all").expect("ours");
    let (named, report) = names(&rig, &rig.options(["a", "b"]));
    assert_eq!(named, ["a", "b"]);
    assert!(!report.is_sound() && report.to_text(false).contains("is damaged"), "{report:?}");
}

/// The arena's own names need no configuration, and do not follow its order; a damaged one is no name.
#[test]
fn an_arena_knows_the_names_of_its_volumes() {
    let slots = [held(0, 0, State::Dirty, 1), Held { volume: 1, ..held(1, 1, State::Dirty, 2) }];
    let rig = Rig::naming(&slots, 2, 4096, &["a", "b"]);
    let names = |rig: &Rig, options: &Options| -> Vec<String> {
        let _ = std::fs::remove_dir_all(rig.to());
        let report = salvage(options).expect("listed");
        report.volumes.iter().map(|volume| volume.name.clone()).collect()
    };
    assert_eq!(names(&rig, &rig.options(["b", "a"])), ["a", "b"]);
    assert!(rig.salvage_again().is_sound());
    let without =
        Options { config: None, state_dir: Some(rig.disk.path().into()), ..rig.options(["a", "b"]) };
    assert_eq!(names(&rig, &without), ["a", "b"]);
    patch(&rig.file("notes"), 256 + 16, |byte| *byte ^= 1);
    assert_eq!(names(&rig, &without), ["a", "volume-1"]);

    let rig = Rig::naming(&slots, 2, 4096, &["a", "c"]);
    assert_eq!(names(&rig, &rig.options(["a", "b"])), ["a", "volume-1"], "the ledger has no 'c' here");
}

#[test]
fn an_arena_that_is_in_use_is_refused() {
    let rig = Rig::with(&[held(0, 0, State::Dirty, 1)]);
    let lock = std::fs::File::open(rig.arena()).expect("there");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("ours");
    let error = salvage(&rig.options(["a", "b"])).expect_err("a daemon has it").to_string();
    assert!(error.contains("in use by another daemon"), "{error}");
    assert!(!rig.to().exists(), "nothing was begun");
}

#[test]
fn nothing_is_overwritten() {
    let rig = Rig::with(&[held(0, 0, State::Dirty, 1)]);
    rig.salvage();
    let before = contents(&rig.to());
    let error = salvage(&rig.options(["a", "b"])).expect_err("exported before").to_string();
    assert!(error.contains("overwrites nothing"), "{error}");
    assert_eq!(contents(&rig.to()), before);
}

#[test]
fn an_arena_without_its_superblock_is_what_the_configuration_says() {
    let rig = Rig::with(&[held(0, 0, State::Failed, 1), Held { reactor: 1, ..held(9, 1, State::Dirty, 2) }]);
    let files = contents(&rig.arena());
    patch(&rig.file("superblock"), 20, |byte| *byte ^= 1);
    let report = rig.salvage();
    assert_eq!(rig.exported("a.img"), [(0, vec![1; 4096]), (MIB + LINE, vec![2; 4096])].into());
    assert!(!report.is_sound() && report.to_text(false).contains("superblock is damaged"), "{report:?}");
    assert!(report.arena.id.is_none());

    std::fs::remove_dir_all(rig.to()).expect("ours");
    std::fs::remove_file(rig.file("superblock")).expect("ours");
    assert_eq!(rig.salvage().volumes.len(), 1);
    let without = Options { config: None, ..rig.options(["a", "b"]) };
    assert!(salvage(&without).is_err(), "nobody says what it is");
    let (headers, _) = &files["shard-1.headers"];
    std::fs::write(rig.file("shard-1.headers"), &headers[..headers.len() - 4096]).expect("ours");
    let error = salvage(&rig.options(["a", "b"])).expect_err("another layout").to_string();
    assert!(error.contains("superblock"), "{error}");
}

/// Whatever the bytes of an arena are: no panic, and what comes out has a header that names it.
#[test]
fn mutated_arenas_are_survived() {
    let slots: Vec<Held> = (0..32).map(|n| held(n, u64::from(n), State::Dirty, 1 + n as u8)).collect();
    let rig = Rig::with(&slots);
    let pristine = contents(&rig.arena());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % end
    };
    let (mut headless, mut damaged) = (0, 0);
    for _ in 0..150 {
        for (name, (bytes, _)) in &pristine {
            let interesting = if name == "superblock" { 72 } else { 32 * 32 };
            if name.contains("slots") {
                continue;
            }
            let mut bytes = bytes.clone();
            if below(8) == 0 {
                bytes.truncate(usize::try_from(below(bytes.len() as u64)).expect("small"));
            }
            for _ in 0..if name == "superblock" { below(10) / 8 } else { below(6) } {
                let at = usize::try_from(below(interesting)).expect("small");
                if at < bytes.len() {
                    bytes[at] = u8::try_from(below(256)).expect("a byte");
                }
            }
            std::fs::write(rig.file(name), bytes).expect("ours");
        }
        let _ = std::fs::remove_dir_all(rig.to());
        let Ok(report) = salvage(&rig.options(["a", "b"])) else {
            headless += 1;
            continue;
        };
        headless += u32::from(report.arena.id.is_none());
        damaged += u32::from(report.damages > 0);
        let path = rig.to().join("a.img");
        let exported = if path.exists() { rig.exported("a.img") } else { BTreeMap::new() };
        for (offset, bytes) in exported {
            for (n, line) in bytes.chunks(LINE as usize).enumerate() {
                let number = offset / LINE + n as u64;
                assert!(line.iter().all(|byte| u64::from(*byte) == 1 + number), "line {number}");
            }
        }
    }
    assert!(
        headless > 10 && damaged > 50,
        "{headless} without a superblock, {damaged} damaged: the mutations reach something"
    );
}
