//! Devices of volumes that come and go: marked, let go of, opened again elsewhere.

use crate::pattern::{check_backing, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::Daemon;
use holdfast_ctl::Exit;
use std::path::{Path, PathBuf};

/// A daemon's place with one volume that leaves room for another.
fn place_of(name: &'static str) -> Place {
    let mut place = Place::new();
    let backing = place.file(&format!("{name}.img"));
    place.add(&[Volume::file(name, &backing, 8 * MIB).with("budget = \"6MiB\"")]);
    place
}

fn disk(place: &Place) -> PathBuf {
    let path = place.file("guest.img");
    std::fs::write(&path, pattern(1, 0, 4 * MIB)).expect("room");
    path
}

fn add(daemon: &Daemon<'_>, path: &Path) {
    let path = format!("file:{}", path.display());
    daemon.must(&["volume", "add", "guest", "--backing", &path, "--budget", "6MiB"]);
}

/// What a command that is refused says.
fn refused(daemon: &Daemon<'_>, arguments: &[&str]) -> String {
    let told = daemon.ctl(arguments);
    assert_eq!(told.exit, Exit::Incomplete, "{told:?}");
    told.json["error"]["message"].as_str().expect("words").to_owned()
}

/// M13: what a volume that was added has in the cache is not served past it by another daemon that runs, until it was
/// removed: then all of it is on the device, and the mark is off.
#[test]
fn a_volume_that_came_is_marked_until_it_has_gone() {
    let (place, elsewhere) = (place_of("vm"), place_of("other"));
    let path = disk(&place);
    let backing = format!("file:{}", path.display());
    let mut daemon = Daemon::start(&place);
    let other = Daemon::start(&elsewhere);
    add(&daemon, &path);
    let client = daemon.client("guest");
    client.write_at(&pattern(2, 0, LINE), 0).expect("acknowledged");
    daemon.kill();
    drop(daemon);
    let wanted = ["volume", "add", "copy", "--backing", &backing, "--budget", "6MiB"];
    let words = refused(&other, &wanted);
    for part in ["is not there, but with the daemon", "'guest'", "setfattr -x user.holdfast.origin"] {
        assert!(words.contains(part), "{part} in {words}");
    }

    let daemon = Daemon::start(&place);
    drop(client);
    daemon.must(&["volume", "remove", "guest"]);
    check_backing(&path, 2, 0, LINE);
    other.must(&wanted);
    other.client("copy").write_at(&pattern(3, 0, LINE), 0).expect("acknowledged");
    let words = refused(&daemon, &["volume", "add", "guest", "--backing", &backing, "--budget", "6MiB"]);
    assert!(words.contains("cannot be opened"), "it is the other's now: {words}");
    other.stop_clean();
    check_backing(&path, 3, 0, LINE);
    daemon.stop_clean();
}

/// A volume whose device is let go of stays until that is back; opened under another path, it is found there by the daemon
/// that follows one which was killed.
#[test]
fn a_volume_added_by_hand_is_let_go_of_and_opened_elsewhere() {
    let place = place_of("vm");
    let path = disk(&place);
    let mut daemon = Daemon::start(&place);
    add(&daemon, &path);
    // The number of a volume that went is another's: devices are found by the table, not by counting.
    let first = place.file("first.img");
    std::fs::write(&first, pattern(9, 0, 4 * MIB)).expect("room");
    let first = format!("file:{}", first.display());
    daemon.must(&["volume", "add", "first", "--backing", &first, "--budget", "6MiB"]);
    daemon.must(&["volume", "remove", "guest"]);
    add(&daemon, &path);
    daemon.must(&["volume", "remove", "first"]);

    let client = daemon.client("guest");
    client.write_at(&pattern(2, 0, LINE), 0).expect("acknowledged");
    daemon.must(&["volume", "release", "guest"]);
    let words = refused(&daemon, &["volume", "remove", "guest"]);
    assert!(words.contains("its device is let go of"), "{words}");
    client.write_at(&pattern(3, LINE, LINE), LINE).expect("acknowledged");
    let moved = place.file("moved.img");
    std::fs::rename(&path, &moved).expect("nobody has it");
    daemon.must(&["volume", "reopen", "guest", "--path", &moved.display().to_string()]);
    client.flush().expect("stable");
    client.write_at(&pattern(4, 2 * LINE, LINE), 2 * LINE).expect("acknowledged");
    daemon.kill();
    drop(daemon);

    let daemon = Daemon::start(&place);
    client.flush().expect("the session goes on");
    drop(client);
    daemon.must(&["volume", "remove", "guest"]);
    for (seed, line) in [(2, 0), (3, 1), (4, 2)] {
        check_backing(&moved, seed, line * LINE, LINE);
    }
    daemon.stop_clean();
}

/// A volume that a virtual machine's door is for stays, as one of an NBD door does.
#[test]
fn a_volume_with_a_door_of_its_own_stays() {
    let mut place = place_of("vm");
    place.open_vhost("vm", "");
    let path = disk(&place);
    let daemon = Daemon::start(&place);
    add(&daemon, &path);
    let words = refused(&daemon, &["volume", "remove", "vm"]);
    assert!(words.contains("A [[frontend]] of the configuration names volume 'vm'"), "{words}");
    daemon.must(&["volume", "remove", "guest"]);
    daemon.stop_clean();
}
