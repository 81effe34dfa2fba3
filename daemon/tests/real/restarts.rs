//! A daemon that is killed and started again: nothing that was acknowledged is gone, and clients see a pause.

use crate::damaged_arena::refused;
use crate::needs::can_use;
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use crate::world::Fuse;
use std::time::Duration;

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 16 * MIB)]);
    place
}

/// The data is nowhere but in the arena when the daemon is killed.
#[test]
fn what_was_acknowledged_is_read_from_the_next_daemon_and_written_by_it() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    let at = STRIPE - 2 * LINE;
    client.write_at(&pattern(1, at, 4 * LINE), at).expect("acknowledged");
    client.write_at(&pattern(2, at + LINE, LINE), at + LINE).expect("acknowledged");
    daemon.kill();

    let again = Daemon::start(&place);
    let mut data = vec![0; 4 * LINE as usize];
    client.read_at(&mut data, at).expect("the client finds the next daemon");
    let mut expected = pattern(1, at, 4 * LINE);
    expected[LINE as usize..2 * LINE as usize].copy_from_slice(&pattern(2, at + LINE, LINE));
    check_same(&data, &expected, "what was acknowledged by the first");
    eventually("the fault died with the first daemon", || client.flush().ok());
    drop(client);
    again.stop_clean();
    check_backing(&place.file("vm"), 1, at, LINE);
    check_backing(&place.file("vm"), 2, at + LINE, LINE);
    check_backing(&place.file("vm"), 1, at + 2 * LINE, 2 * LINE);
}

/// The arena knows the size that the volume had when it was new there; its lines are the same ones.
#[test]
fn a_volume_that_grew_in_use_is_taken_over() {
    let mut place = place();
    let mut daemon = Daemon::start(&place);
    let old = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    old.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    daemon.must(&["volume", "resize", "vm", "19MiB"]);
    let new = daemon.client("vm");
    let at = 19 * MIB - LINE;
    new.write_at(&pattern(2, at, LINE), at).expect("acknowledged");
    daemon.kill();
    drop(daemon);

    place.change(&format!("size = {}", 16 * MIB), &format!("size = {}", 19 * MIB));
    let again = Daemon::start(&place);
    for (client, version, at) in [(&old, 1, 0), (&new, 2, at)] {
        let mut data = vec![0; LINE as usize];
        client.read_at(&mut data, at).expect("the client finds the next daemon");
        check_same(&data, &pattern(version, at, LINE), "what was acknowledged by the first");
    }
    new.flush().expect("the fault died with the first daemon");
    drop((old, new));
    again.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINE);
    check_backing(&place.file("vm"), 2, at, LINE);
}

/// Bytes of a volume that has more lines than the arena has slots.
const WELL: u64 = 40 * MIB;

/// The one that fools everyone: writes are stuck in a slow device when the daemon is killed, and land seconds later. The
/// next one takes new writes to the same blocks, and uses neither the device nor a slot that the old operations read
/// before those have ended: meanwhile its other volume takes every other slot there is, more than once.
#[test]
fn writes_stuck_in_a_device_land_after_the_restart_and_harm_nothing() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a place");
    // With one thread the writes wait for each other: the last lands seconds after the kill.
    let slow = ["--filter=delay", "memory", "8M", "wdelay=3"];
    let fuse = Fuse::start(directory.path(), 8 * MIB, &slow);
    let mut place = Place::new();
    // Old and new writes together take longer than a device may otherwise: then a flush would say so instead of waiting.
    let patient = "write_back = { after = \"10ms\" }\nio_timeout = \"5m\"";
    let slow = Volume::existing("slow", &fuse.file).with(patient);
    place.add(&[slow, Volume::file("well", &place.file("well"), WELL)]);
    let mut daemon = Daemon::start(&place);
    let client = daemon.client("slow");
    for line in 0..8 {
        client.write_at(&pattern(1, 2 * line * LINE, LINE), 2 * line * LINE).expect("acknowledged");
    }
    eventually("writes are on their way", || (daemon.bytes("slow", "unstable_bytes") > 0).then_some(()));
    // They are with the device for seconds to come.
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill_and_go_on();
    let begun = std::time::Instant::now();
    let again = Daemon::start(&place);
    // New writes to the same blocks, and to slots that may have been in flight.
    for line in 0..4 {
        client.write_at(&pattern(2, 2 * line * LINE, LINE), 2 * line * LINE).expect("acknowledged");
    }
    let well = again.client("well");
    for at in (0..WELL).step_by(MIB as usize) {
        well.write_at(&pattern(3, at, MIB), at).expect("its device is its own");
        well.flush().expect("its device is its own");
    }
    // What they keep is the file's lock, or already its opening: the server has one thread.
    let played =
        ["still in flight", "its device does not answer"].iter().any(|words| again.log().contains(words));
    assert!(played, "the scene was played: {}", again.log());
    let check = |what: &str| {
        for line in 0..8 {
            let mut data = vec![0; LINE as usize];
            client.read_at(&mut data, 2 * line * LINE).expect("read");
            let version = if line < 4 { 2 } else { 1 };
            check_same(&data, &pattern(version, 2 * line * LINE, LINE), what);
        }
    };
    check("from the cache");
    client.flush().expect("once the old writes have landed");
    eprintln!("the old writes and the new ones took {} ms", begun.elapsed().as_millis());
    check("after everything has landed");
    drop(client);
    drop(well);
    again.stop_clean();
    for line in 0..8 {
        check_backing(&fuse.file, if line < 4 { 2 } else { 1 }, 2 * line * LINE, LINE);
    }
}

/// M13: the cache died with data that no flush had covered. A client that wrote such data hears of it with its next flush,
/// once, and one that had flushed everything does not.
#[test]
fn a_client_whose_unflushed_writes_died_with_the_cache_hears_of_it() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    let (unflushed, flushed) = (daemon.client("vm"), daemon.client("vm"));
    flushed.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    flushed.flush().expect("on stable media");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    unflushed.write_at(&pattern(2, LINE, LINE), LINE).expect("acknowledged");
    daemon.kill();
    drop(daemon);
    std::fs::remove_dir_all(place.arena()).expect("the memory is gone");

    let again = Daemon::start_with(&place, &["--discard-arena"], |_| {});
    let mut data = vec![0; LINE as usize];
    unflushed.read_at(&mut data, 0).expect("the client finds the next daemon");
    check_same(&data, &pattern(1, 0, LINE), "what was flushed");
    let error = unflushed.flush().expect_err("what it wrote is gone");
    assert_eq!(error.errno(), 5, "{error}");
    unflushed.flush().expect("it has been told");
    flushed.flush().expect("nothing of it is gone");
    drop((unflushed, flushed));
    again.stop_clean();
}

/// M13: a killed daemon's cache has the newest data of a file. Another daemon, with a ledger and an arena of its own,
/// does not serve what the file holds; the one that has the rest does, and leaves no mark when it has drained.
#[test]
fn a_backing_whose_newest_data_is_elsewhere_is_refused() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    daemon.client("vm").write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    daemon.kill();
    drop(daemon);

    let mut other = Place::new();
    other.add(&[Volume::file("copy", &place.file("vm"), 16 * MIB)]);
    let refused = refused(&other);
    let state_dir = place.file("state").display().to_string();
    for words in ["is not there, but with the daemon", &state_dir, "'vm'", "setfattr -x user.holdfast.origin"]
    {
        assert!(refused.contains(words), "{words} in {refused}");
    }
    let again = Daemon::start(&place);
    again.must(&["drain", "vm"]);
    again.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINE);
    Daemon::start(&other).stop_clean();
}
