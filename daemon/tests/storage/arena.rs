//! Making arenas, and what becomes of those that were left behind.

use crate::needs::skip;
use crate::support::{HugePages, LINE, Rig, file_spec, in_memory, layout, on_disk};
use holdfast_daemon::arena::{Arena, ArenaError, ArenaLayout, ArenaWarning, HeldData, Origin};
use holdfast_daemon::device::{Backing, FileSystem};
use holdfast_engine::{Identity, IoKind, SlotId, Status};
use holdfast_policy::State;
use std::path::Path;

fn create(layout: &ArenaLayout) -> Result<Arena, ArenaError> {
    Arena::create(layout, &mut |_, _| {})
}

/// Leaves an arena behind as a killed daemon does, with headers in these states.
fn leave_behind(layout: &ArenaLayout, states: &[State]) {
    let mut arena = create(layout).expect("an arena");
    let shard = arena.take_shards().remove(1);
    for (slot, state) in states.iter().enumerate() {
        let header = &shard.headers[slot];
        header.assign(Identity { volume: 3, line: 40 + slot as u64, generation: 7, dirty: 0xff });
        header.publish(Status::new(*state, 0xff));
    }
}

fn bytes_of(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .expect("listed")
        .map(|entry| entry.expect("an entry").metadata().expect("its").len())
        .sum()
}

fn patch(path: &Path, at: usize, byte: u8) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= byte;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn an_arena_has_a_header_and_zeroed_memory_for_every_slot() {
    let memory = in_memory();
    let layout = layout(memory.path());
    let mut told = Vec::new();
    let mut arena = Arena::create(&layout, &mut |done, all| told.push((done, all))).expect("an arena");
    assert_eq!(arena.warnings(), [ArenaWarning::OnTmpfs]);
    // The notes come on top of the size.
    let notes = std::fs::metadata(layout.path.join("notes")).expect("a file of notes").len();
    assert!(arena.bytes() - notes <= layout.size_bytes && arena.bytes() == bytes_of(&layout.path));
    assert!(told.windows(2).all(|two| two[0].0 < two[1].0), "progress moves: {told:?}");
    assert!(told.last().is_some_and(|(done, all)| done <= all && *all == arena.bytes()));

    let shards = arena.take_shards();
    assert_eq!(shards.len(), 2);
    for mut shard in shards {
        let count = shard.slots.addresses().count();
        assert_eq!(shard.headers.len(), count as usize);
        assert!(shard.headers.iter().all(|header| header.state() == State::Free));
        let last = SlotId(count - 1);
        shard.slots.copy_in(last, LINE - 512, &[9; 512]);
        let mut bytes = [1; LINE as usize];
        shard.slots.copy_out(last, 0, &mut bytes);
        assert!(bytes[..LINE as usize - 512].iter().all(|byte| *byte == 0));
        assert!(bytes[LINE as usize - 512..].iter().all(|byte| *byte == 9));
    }
    assert!(arena.take_shards().is_empty());
    arena.remove().expect("removed");
    assert!(!layout.path.exists(), "the directory was made by the arena and goes with it");
}

#[test]
fn sectors_of_a_mask_and_nothing_else_are_merged() {
    let memory = in_memory();
    let mut shard = create(&layout(memory.path())).expect("an arena").take_shards().remove(0);
    let (from, to) = (SlotId(5), SlotId(6));
    shard.slots.copy_in(from, 0, &[1; LINE as usize]);
    shard.slots.copy_in(to, 0, &[2; LINE as usize]);
    shard.slots.copy_between(from, to, 0b1001_1010);
    shard.slots.zero(to, 512 * 2 + 3, 5);
    let mut bytes = [0; LINE as usize];
    shard.slots.copy_out(to, 0, &mut bytes);
    for (at, byte) in bytes.iter().enumerate() {
        let zeroed = (1027..1032).contains(&at);
        let merged = 0b1001_1010 >> (at / 512) & 1 == 1;
        assert_eq!(*byte, if zeroed { 0 } else { 2 - u8::from(merged) }, "byte {at}");
    }
}

#[test]
#[should_panic(expected = "bytes 4000 + 512 of a slot of 4096")]
fn a_copy_past_a_slot_is_our_bug() {
    let memory = in_memory();
    let mut shard = create(&layout(memory.path())).expect("an arena").take_shards().remove(0);
    shard.slots.zero(SlotId(0), 4000, 512);
}

#[test]
fn a_directory_on_a_disk_is_refused_and_not_made() {
    let disk = on_disk();
    if FileSystem::of(&rustix::fs::statfs(disk.path()).expect("looked at")) == FileSystem::Tmpfs {
        return skip("the build is on tmpfs, and there is no disk to refuse");
    }
    let layout = layout(disk.path());
    let error = create(&layout).err().expect("a disk is no memory");
    assert!(matches!(error, ArenaError::FileSystem { .. }), "{error}");
    assert!(error.to_string().contains("/dev/shm"), "{error}");
    assert!(!layout.path.exists());
}

#[test]
fn an_arena_that_is_in_use_is_refused_with_its_holder() {
    let memory = in_memory();
    let layout = layout(memory.path());
    let arena = create(&layout).expect("an arena");
    let Err(ArenaError::InUse { holder, .. }) = create(&layout) else { panic!("two daemons in one arena") };
    assert_eq!(holder, Some(std::process::id() as i32));
    drop(arena);
    assert!(create(&layout).is_ok(), "the lock goes with its holder");
}

#[test]
fn an_arena_without_data_is_replaced_even_with_another_layout() {
    let memory = in_memory();
    let mut layout = layout(memory.path());
    leave_behind(&layout, &[State::Clean, State::Filling, State::Incoming, State::Free]);
    layout.reactors = 1;
    layout.line_bytes = 8192;
    let mut arena = create(&layout).expect("nothing of value was there");
    assert_eq!(arena.warnings(), [ArenaWarning::OnTmpfs, ArenaWarning::Replaced]);
    assert_eq!(arena.bytes(), bytes_of(&layout.path), "nothing is left of the old one");
    assert!(arena.take_shards()[0].headers.iter().all(|header| header.state() == State::Free));
}

/// I/O of a killed daemon may still land in its slots: they must not be the slots of the next one.
#[test]
fn a_replaced_arena_shares_no_memory_with_the_old_one() {
    let memory = in_memory();
    let mut layout = layout(memory.path());
    let mut old = create(&layout).expect("an arena").take_shards().remove(0);
    layout.line_bytes = 8192;
    let new = create(&layout).expect("the next arena").take_shards().remove(0);
    old.slots.copy_in(SlotId(0), 0, &[0xee; LINE as usize]);
    let mut bytes = [1; LINE as usize];
    new.slots.copy_out(SlotId(0), 0, &mut bytes);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn data_that_is_nowhere_else_is_taken_over_or_refused_until_it_is_given_up_by_name() {
    for (state, held) in [
        (State::Dirty, HeldData { dirty: 1, ..HeldData::default() }),
        (State::Writing, HeldData { writing: 1, ..HeldData::default() }),
        (State::Unstable, HeldData { unstable: 1, ..HeldData::default() }),
        (State::Failed, HeldData { failed: 1, ..HeldData::default() }),
        (State::Condemned, HeldData { failed: 1, ..HeldData::default() }),
    ] {
        let memory = in_memory();
        let mut layout = layout(memory.path());
        leave_behind(&layout, &[State::Clean, state]);
        let arena = create(&layout).expect("it is this configuration's");
        assert_eq!(arena.origin(), Origin::TakenOver(held));
        drop(arena);
        layout.line_bytes = 8192;
        let error = create(&layout).err().expect("it holds data");
        assert!(matches!(&error, ArenaError::HoldsData { held: found, .. } if *found == held), "{error}");
        assert!(error.to_string().contains("--discard-arena"), "{error}");
        layout.discard_existing = true;
        let arena = create(&layout).expect("given up");
        assert_eq!(arena.warnings()[1], ArenaWarning::Discarded(held));
    }
}

#[test]
fn what_does_not_add_up_is_refused_and_stays() {
    type Break = fn(&Path);
    let cases: [(&str, Break); 5] = [
        ("a flipped bit in the superblock", |path| patch(&path.join("superblock"), 20, 4)),
        ("a flipped bit in its state", |path| patch(&path.join("superblock"), 4090, 4)),
        ("a file that is gone", |path| std::fs::remove_file(path.join("shard-0.slots.0")).expect("removed")),
        ("a file that is short", |path| {
            std::fs::write(path.join("shard-0.headers"), [0; 64]).expect("written")
        }),
        ("a superblock that is gone", |path| std::fs::remove_file(path.join("superblock")).expect("removed")),
    ];
    for (what, damage) in cases {
        let memory = in_memory();
        let mut layout = layout(memory.path());
        leave_behind(&layout, &[State::Clean]);
        damage(&layout.path);
        let before = bytes_of(&layout.path);
        layout.discard_existing = true;
        let error = create(&layout).err().expect(what);
        assert!(matches!(error, ArenaError::Damaged { .. }), "{what}: {error}");
        assert_eq!(bytes_of(&layout.path), before, "{what}");
    }
}

#[test]
fn files_of_others_and_later_formats_are_refused() {
    let memory = in_memory();
    let mut layout = layout(memory.path());
    layout.discard_existing = true;
    leave_behind(&layout, &[]);
    std::fs::write(layout.path.join("letters"), "dear").expect("written");
    let error = create(&layout).err().expect("not ours");
    assert!(matches!(&error, ArenaError::Foreign { found, .. } if found == "letters"), "{error}");

    std::fs::remove_file(layout.path.join("letters")).expect("removed");
    patch(&layout.path.join("superblock"), 8, 1);
    let error = create(&layout).err().expect("format 3");
    assert!(matches!(error, ArenaError::Newer { version: 3, known: 2, .. }), "{error}");

    patch(&layout.path.join("superblock"), 0, 1);
    let error = create(&layout).err().expect("no arena's magic");
    assert!(matches!(error, ArenaError::Foreign { .. }), "{error}");
}

#[test]
fn an_arena_that_never_got_to_serve_is_no_obstacle() {
    let memory = in_memory();
    let layout = layout(memory.path());
    leave_behind(&layout, &[State::Dirty]);
    let superblock = layout.path.join("superblock");
    std::fs::rename(&superblock, layout.path.join("superblock.void")).expect("as if removal had ended here");
    let arena = create(&layout).expect("voided");
    assert_eq!(arena.warnings(), [ArenaWarning::OnTmpfs]);
    assert_eq!(arena.bytes(), bytes_of(&layout.path));
}

#[test]
fn more_memory_than_there_is_is_refused_with_numbers() {
    let memory = in_memory();
    let mut layout = layout(memory.path());
    layout.size_bytes = 1 << 42;
    let error = create(&layout).err().expect("4 TiB of memory");
    let ArenaError::Memory { needed_bytes, available_bytes, .. } = error else { panic!("{error}") };
    assert!(needed_bytes > available_bytes && available_bytes > 0);
    assert!(!layout.path.exists());
}

#[test]
fn huge_pages_are_used_or_their_lack_comes_with_the_command_that_mends_it() {
    let Some(huge) = HugePages::mount() else { return };
    let Some(mut arena) = huge.arena(&ArenaLayout { size_bytes: 32 << 20, ..layout(&huge.mounted) }) else {
        return;
    };
    assert!(arena.is_huge() && arena.page_bytes() >= 2 << 20 && arena.warnings().is_empty());
    let shard = arena.take_shards().remove(1);
    arena.remove().expect("removed");
    write_and_read_back(Rig::over(shard, in_memory()));
}

fn write_and_read_back(mut rig: Rig) {
    let disk = on_disk();
    let backing = Backing::open(&file_spec(&disk.path().join("volume"))).expect("opened");
    rig.attach(0, &backing);
    rig.fill(1, 7);
    rig.fill(9, 8);
    let op = rig.start(IoKind::Write, 0, 4096, &[(1, 0, LINE), (9, 0, LINE)]);
    assert_eq!((rig.result_of(op), rig.flush(0), rig.read(0, 8192, 2)), (8192, 0, 4096));
    assert_eq!(rig.slot(2), rig.slot(9));
}
