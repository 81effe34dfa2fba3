//! Arenas that were damaged, or are not ours: what is lost is said, and what cannot be read is refused and left alone.

use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ctl::Exit;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A killed daemon whose arena alone has three lines.
fn killed(place: &Place) {
    let mut daemon = Daemon::start(place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    for line in [3, 5, 7] {
        client.write_at(&pattern(1, line * LINE, LINE), line * LINE).expect("acknowledged");
    }
    drop(client);
    daemon.kill();
}

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 4 * MIB)]);
    place
}

/// Changes the header of a line of reactor 0, which has it in one slot.
fn damage(place: &Place, line: u64, bytes: &[(u64, u8)]) {
    let path = place.arena().join("shard-0.headers");
    let headers = std::fs::read(&path).expect("a table of headers");
    let is_of_line = |header: &[u8]| {
        let word = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        word(0) == line && word(24) & 15 != 0
    };
    let slot = headers.chunks_exact(32).position(is_of_line).expect("the line is there") as u64;
    let file = File::options().write(true).open(&path).expect("opened");
    for &(at, flip) in bytes {
        let place = slot * 32 + at;
        file.write_all_at(&[headers[place as usize] ^ flip], place).expect("written");
    }
}

/// C9, C10: one byte of a header is wrong. Its line is lost, with a cause that operators see; the others are served, and
/// newer data heals it.
#[test]
fn a_damaged_header_is_a_lost_extent_with_a_cause() {
    // Its line, its generation, its checksum, its state.
    for byte in [1, 9, 22, 27] {
        let place = place();
        killed(&place);
        damage(&place, 5, &[(byte, 0x24)]);
        let daemon = Daemon::start(&place);
        let client = daemon.client("vm");
        assert_eq!(daemon.extents("vm", "lost"), [(5 * LINE, LINE)], "byte {byte}");
        let told = daemon.must(&["extents", "vm", "--state", "lost"]).to_string();
        assert!(told.contains("damaged header"), "{told}");
        assert_eq!(daemon.ctl(&["status"]).exit, Exit::Faulted);
        let mut data = vec![0; LINE as usize];
        client.read_at(&mut data, 5 * LINE).expect_err("it is lost");
        for line in [3, 7] {
            client.read_at(&mut data, line * LINE).expect("it is there");
            check_same(&data, &pattern(1, line * LINE, LINE), "beside the damage");
        }
        client.flush().expect_err("something is lost");
        client.write_at(&pattern(2, 5 * LINE, LINE), 5 * LINE).expect("acknowledged");
        client.flush().expect("it is healed");
        assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
        drop(client);
        daemon.stop_clean();
        check_backing(&place.file("vm"), 2, 5 * LINE, LINE);
        check_backing(&place.file("vm"), 1, 7 * LINE, LINE);
    }
}

/// Nobody knows whose line it was: every volume of that arena counts as lost, but for what the cache has, until an operator
/// has looked. Another restart neither forgets that nor finds it again.
#[test]
fn a_header_that_says_nothing_faults_the_volume() {
    let place = place();
    killed(&place);
    damage(&place, 5, &[(0, 0x71), (6, 0x13), (9, 0x55), (17, 0xff)]);
    let mut daemon = Daemon::start(&place);
    assert!(daemon.log().contains("do not say whose data they had"), "{}", daemon.log());
    for _ in 0..2 {
        let client = daemon.client("vm");
        let mut data = vec![0; LINE as usize];
        for line in [3, 7] {
            client.read_at(&mut data, line * LINE).expect("the cache has it");
            check_same(&data, &pattern(1, line * LINE, LINE), "beside the damage");
        }
        for at in [5 * LINE, 100 * LINE, STRIPE + 3 * LINE, 4 * MIB - LINE] {
            client.read_at(&mut data, at).expect_err("it may have been this one");
        }
        client.flush().expect_err("something is lost");
        assert_eq!(daemon.ctl(&["status"]).exit, Exit::Faulted);
        daemon.kill();
        daemon = Daemon::start(&place);
    }
    daemon.must(&["ack-loss", "vm", "--yes"]);
    let client = daemon.client("vm");
    eventually("acknowledged", || client.flush().ok());
    let mut data = vec![1; LINE as usize];
    client.read_at(&mut data, 100 * LINE).expect("what the disk has");
    daemon.kill();
    daemon = Daemon::start(&place);
    client.flush().expect("acknowledged is acknowledged");
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, 7 * LINE, LINE);
}

/// Every byte below a directory.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(path).expect("listed").map(|entry| entry.expect("an entry").path());
    let mut all: Vec<(PathBuf, Vec<u8>)> =
        entries.map(|path| (path.clone(), std::fs::read(path).expect("read"))).collect();
    all.sort();
    all
}

/// A daemon that does not start: what it says.
pub(crate) fn refused(place: &Place) -> String {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
    serve.args(["serve", "--config"]).arg(place.configure());
    let told = serve.stdin(Stdio::null()).output().expect("started");
    assert!(!told.status.success());
    String::from_utf8_lossy(&told.stderr).into_owned()
}

/// What this release did not write, or cannot read, is not touched, and the words say what to do.
#[test]
fn an_arena_that_is_not_ours_is_refused_and_left_alone() {
    type Break = fn(&Path);
    fn patch(path: &Path, at: u64, flip: u8) {
        let file = File::options().read(true).write(true).open(path).expect("opened");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ flip], at).expect("written");
    }
    let cases: [(&str, Break, &str); 6] = [
        (
            "another's file",
            |path| std::fs::write(path.join("letter"), "dear").expect("written"),
            "give the arena a directory of its own",
        ),
        (
            "another's superblock",
            |path| patch(&path.join("superblock"), 0, 9),
            "give the arena a directory of its own",
        ),
        ("a later format", |path| patch(&path.join("superblock"), 8, 1), "start the release that wrote it"),
        ("a damaged superblock", |path| patch(&path.join("superblock"), 17, 8), "remove the directory"),
        ("a damaged table of volumes", |path| patch(&path.join("notes"), 5, 8), "remove the directory"),
        (
            "a missing file",
            |path| std::fs::remove_file(path.join("shard-1.slots.0")).expect("removed"),
            "remove the directory",
        ),
    ];
    for (what, damage, remedy) in cases {
        let place = place();
        killed(&place);
        damage(&place.arena());
        let before = contents(&place.arena());
        let words = refused(&place);
        assert!(words.contains(remedy), "{what}: {words}");
        assert!(
            words.contains(place.arena().to_str().expect("plain")),
            "{what}: it names the place: {words}"
        );
        assert!(contents(&place.arena()) == before, "{what}: something was changed");
    }
}
