//! Volumes that come and go while a real daemon runs, and budgets that change under them.

use crate::pattern::{EIO, ENOSPC, check_backing, failure, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually, number};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::{Client, ConnectError, Error, Options};
use std::path::{Path, PathBuf};

/// A daemon's place with one volume, which keeps 8 MiB of the cache.
fn place_of(volumes: &[&'static str]) -> Place {
    let mut place = Place::new();
    for name in volumes {
        let backing = place.file(&format!("{name}.img"));
        place.add(&[Volume::file(name, &backing, 8 * MIB).with("budget = \"6MiB\"")]);
    }
    place
}

/// A file of 4 MiB with a pattern of its own.
fn disk(place: &Place, name: &str, seed: u64) -> PathBuf {
    let path = place.file(name);
    std::fs::write(&path, pattern(seed, 0, 4 * MIB)).expect("room");
    path
}

fn add<'a>(daemon: &Daemon<'_>, name: &'a str, path: &'a Path) -> serde_json::Value {
    let path = format!("file:{}", path.display());
    daemon.must(&["volume", "add", name, "--backing", &path, "--budget", "6MiB", "--set", HOLD])
}

const HOLD: &str = "on_failure = [{ class = [\"any\"], policy = { kind = \"hold-forever\" } }]";

fn names(daemon: &Daemon<'_>) -> Vec<String> {
    let volumes = daemon.must(&["volumes"])["volumes"].as_array().expect("a list").clone();
    volumes.iter().filter_map(|volume| volume["name"].as_str().map(str::to_owned)).collect()
}

fn read(client: &Client, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).expect("small")];
    client.read_at(&mut bytes, offset).expect("read");
    bytes
}

/// Added, used, removed: what was written is on the disk, the clients are told why they are cut off, and who comes under
/// the same name on another disk sees that disk and nothing else (C5).
#[test]
fn a_volume_comes_and_goes_and_another_takes_its_place() {
    let place = place_of(&["vm"]);
    let (first, second) = (disk(&place, "first", 1), disk(&place, "second", 2));
    let daemon = Daemon::start(&place);
    let kept = daemon.client("vm");
    kept.write_at(&pattern(3, 0, LINE), 0).expect("acknowledged");
    for round in 0..4 {
        let (path, seed) = if round % 2 == 0 { (&first, 1) } else { (&second, 2) };
        let added = add(&daemon, "guest", path);
        assert!(added["toml"].as_str().is_some_and(|toml| toml.contains("name = \"guest\"")), "{added}");
        assert_eq!(names(&daemon), ["vm", "guest"]);
        let client = daemon.client("guest");
        let (fresh, at) = (pattern(10 + round, 0, LINE), (8 + round) * LINE);
        assert_eq!(read(&client, MIB, 64 * LINE), pattern(seed, MIB, 64 * LINE), "round {round}");
        client.write_at(&fresh, at).expect("acknowledged");
        let removed = daemon.must(&["volume", "remove", "guest"]);
        assert_eq!(number(&removed, "sessions"), 1, "{removed}");
        let end = client.read_at(&mut [0; 4096], 0).expect_err("the session is over");
        let Error::TurnedAway { reason, .. } = &end else { panic!("{end}") };
        assert!(reason.contains("no volume 'guest'"), "{reason}");
        let bytes = std::fs::read(path).expect("it is free");
        let at = usize::try_from(at).expect("small");
        assert_eq!(bytes[at..at + fresh.len()], fresh, "what was acknowledged is on the disk");
        assert_eq!(names(&daemon), ["vm"]);
    }
    assert_eq!(read(&kept, 0, LINE), pattern(3, 0, LINE), "the neighbour's session went on");
    kept.flush().expect("stable");
    let refused = Client::connect(place.clients(), "guest", Options::default());
    assert!(matches!(refused, Err(ConnectError::Refused { .. })));
    daemon.stop_clean();
    check_backing(&place.file("vm.img"), 3, 0, LINE);
}

/// What the disk refuses keeps a volume; an operator who says so twice gives it up, on record; and a volume that comes back
/// with a loss on record does not lie about it (C2).
#[test]
fn a_volume_that_holds_data_stays_until_it_is_given_up() {
    let place = place_of(&["vm"]);
    let disk = disk(&place, "guest", 1);
    let daemon = Daemon::start(&place);
    add(&daemon, "guest", &disk);
    daemon.must(&["fault", "guest", "add", "write", "ENOSPC"]);
    let client = daemon.client("guest");
    client.write_at(&pattern(5, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    for arguments in [&["volume", "remove", "guest"][..], &["volume", "remove", "guest", "--dry-run"]] {
        let refused = daemon.ctl(arguments);
        assert_eq!(refused.exit, Exit::Incomplete, "{refused:?}");
        let words = refused.json["error"]["message"].as_str().expect("words").to_owned();
        assert!(words.contains("4096 bytes that its device refused"), "{words}");
    }
    assert_eq!(daemon.ctl(&["volume", "remove", "guest", "--abandon"]).exit, Exit::Usage, "said once");
    assert_eq!(read(&client, 0, LINE), pattern(5, 0, LINE), "nothing changed, and the session went on");

    let removed = daemon.must(&["volume", "remove", "guest", "--abandon", "--yes-lose-data"]);
    assert_eq!(
        (number(&removed, "given_up_bytes"), number(&removed, "lost_bytes")),
        (LINE, LINE),
        "{removed}"
    );
    let rows = daemon.must(&["audit"])["rows"].as_array().expect("rows").clone();
    let last = rows.last().and_then(|row| row["verb"].as_str()).expect("a row").to_owned();
    assert_eq!(last, "volume remove guest --abandon --yes-lose-data");

    let back = add(&daemon, "guest", &disk);
    assert_eq!(number(&back, "lost_bytes"), LINE, "{back}");
    let client = daemon.client("guest");
    assert_eq!(failure(client.read_at(&mut [0; 4096], 0)).0, EIO);
    assert_eq!(failure(client.flush()).0, EIO);
    client.write_at(&pattern(6, 0, LINE), 0).expect("acknowledged");
    client.flush().expect("healed by newer data");
    drop(client);
    daemon.must(&["volume", "remove", "guest"]);
    check_backing(&disk, 6, 0, LINE);
    daemon.stop_clean();
}

/// What is noted is what is so now, each thing once: of a volume that comes by hand, and not of one that is gone.
#[test]
fn notes_follow_the_volumes() {
    let place = place_of(&["vm"]);
    let memory = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is writable");
    let path = memory.path().join("ram.img");
    std::fs::write(&path, vec![0; MIB as usize]).expect("room");
    let daemon = Daemon::start(&place);
    let notes = || {
        let notes = daemon.must(&["health"])["notes"].as_array().expect("a list").clone();
        let plain = |note: &serde_json::Value| (note["code"].clone(), note["status"].to_string());
        notes.iter().map(plain).filter(|(_, text)| text.contains("ram")).collect::<Vec<_>>()
    };
    assert_eq!(notes(), []);
    let by_hand = "on_failure = [{ class = \"any\", policy = \"hold-forever\", retry = { on = [] } }]";
    let backing = format!("file:{}", path.display());
    let arguments = ["volume", "add", "ram", "--backing", &backing, "--budget", "6MiB", "--set", by_hand];
    daemon.must(&[&arguments[..], &["--buffered"]].concat());
    let told = notes();
    let codes: Vec<_> = told.iter().map(|(code, _)| code.as_str().expect("a name")).collect();
    assert_eq!(codes, ["HF_FALLBACK", "HF_BUFFERED_BACKING"], "{told:?}");
    assert!(told[0].1.contains("transient, space, medium, gone stays failed until an operator"), "{told:?}");
    daemon.must(&["volume", "remove", "ram"]);
    assert_eq!(notes(), []);
    daemon.stop_clean();
}

/// Killed with a volume that the configuration does not know: the next daemon has it again, and its data; one that is
/// stopped in peace forgets it.
#[test]
fn a_volume_added_by_hand_outlives_a_kill_and_not_a_stop() {
    let place = place_of(&["vm"]);
    let [gone, disk] = ["gone", "guest"].map(|name| disk(&place, name, 1));
    let mut daemon = Daemon::start(&place);
    // A hole in the numbers: what is added behind it keeps its own.
    add(&daemon, "gone", &gone);
    add(&daemon, "guest", &disk);
    daemon.must(&["volume", "remove", "gone"]);
    daemon.must(&["fault", "guest", "add", "write", "ENOSPC"]);
    let client = daemon.client("guest");
    client.write_at(&pattern(7, 0, LINE), 0).expect("acknowledged");
    daemon.client("vm").write_at(&pattern(8, 0, LINE), 0).expect("acknowledged");
    daemon.kill();
    drop(daemon);

    let daemon = Daemon::start(&place);
    assert_eq!(names(&daemon), ["vm", "guest"]);
    let warned = daemon.must(&["status"])["daemon"]["warnings"].to_string();
    assert!(warned.contains("'guest' was added by hand"), "{warned}");
    assert_eq!(read(&client, 0, LINE), pattern(7, 0, LINE), "the session goes on");
    client.flush().expect("the fault died with the daemon");
    add(&daemon, "gone", &gone);
    assert_eq!(read(&daemon.client("gone"), 0, LINE), pattern(1, 0, LINE), "in the hole");
    drop(client);
    daemon.stop_clean();
    check_backing(&disk, 7, 0, LINE);

    let daemon = Daemon::start(&place);
    assert_eq!(names(&daemon), ["vm"]);
    daemon.stop_clean();
}

/// A file names other volumes and other budgets: all of it comes true, or nothing does.
#[test]
fn a_reload_brings_volumes_in_and_lets_others_go() {
    let place = place_of(&["vm", "old"]);
    let daemon = Daemon::start(&place);
    let (old, vm) = (daemon.client("old"), daemon.client("vm"));
    old.write_at(&pattern(4, 0, LINE), 0).expect("acknowledged");
    let text = std::fs::read_to_string(place.file("holdfast.toml")).expect("a configuration");
    let write = |text: &str| std::fs::write(place.file("holdfast.toml"), text).expect("ours");
    let wanted = text.replace("\"old\"", "\"new\"").replace("old.img", "new.img").replacen(
        "budget = \"6MiB\"",
        "budget = \"4MiB\"",
        1,
    );

    write(&wanted.replace("create = true", "create = false"));
    let refused = daemon.ctl(&["reload"]);
    assert_eq!(refused.exit, Exit::Incomplete, "the new volume's file is not there: {refused:?}");
    assert_eq!(names(&daemon), ["vm", "old"]);
    assert_eq!(read(&old, 0, LINE), pattern(4, 0, LINE), "the session went on");

    write(&wanted);
    let trial = daemon.must(&["reload", "--dry-run"]);
    let keys: Vec<&str> = trial["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["key"].as_str())
        .collect();
    assert_eq!(keys, ["volume.vm.budget", "volume.old", "volume.new"], "{trial}");
    daemon.must(&["reload"]);
    assert_eq!(names(&daemon), ["vm", "new"]);
    assert_eq!(daemon.bytes("vm", "budget_bytes"), 4 * MIB);
    check_backing(&place.file("old.img"), 4, 0, LINE);
    assert!(matches!(old.flush(), Err(Error::TurnedAway { .. })));
    let new = daemon.client("new");
    new.write_at(&pattern(5, 0, LINE), 0).expect("acknowledged");
    vm.write_at(&pattern(6, 0, LINE), 0).expect("acknowledged");
    // What was added by hand is not the file's to take away.
    let hand = disk(&place, "hand", 9);
    daemon.must(&["volume", "add", "hand", "--backing", &hand.display().to_string(), "--budget", "4MiB"]);
    assert_eq!(daemon.must(&["reload"])["differences"], serde_json::json!([]));
    assert_eq!(names(&daemon), ["vm", "new", "hand"]);
    drop((old, new, vm));
    daemon.stop_clean();
    check_backing(&place.file("new.img"), 5, 0, LINE);
}

/// M11: a budget below what is held is kept to without a loss, and it is said; one that a policy would keep to by giving
/// data up is refused.
#[test]
fn a_smaller_budget_is_safe() {
    let place = place_of(&["vm"]);
    let daemon = Daemon::start(&place);
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC"]);
    let client = daemon.client("vm");
    for line in 0..768 {
        client.write_at(&pattern(1, line * LINE, LINE), line * LINE).expect("acknowledged");
    }
    assert_eq!(failure(client.flush()).0, ENOSPC);
    daemon.must(&["policy", "set", "vm", "--kind", "hold-until-pressure", "--yes-lose-data"]);
    let refused = daemon.ctl(&["volume", "budget", "vm", "2200KiB"]);
    assert_eq!(refused.exit, Exit::Incomplete, "{refused:?}");
    daemon.must(&["policy", "set", "vm", "--kind", "hold-forever", "--stall-timeout", "1h"]);
    let set = daemon.must(&["volume", "budget", "vm", "2200KiB"]);
    let words = set["differences"][0]["after"].as_str().expect("words").to_owned();
    assert!(words.contains("3145728 bytes are not on stable media"), "{words}");
    assert_eq!(daemon.bytes("vm", "not_clean_bytes"), 3 * MIB, "nothing is given up");
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    client.flush().expect("stable");
    assert_eq!(daemon.bytes("vm", "budget_bytes"), 2200 << 10);
    client.write_at(&pattern(2, 0, LINE), 0).expect("there is room again");
    drop(client);
    daemon.stop_clean();
}

/// 100 volumes come and go, with clients at work: no place, lock, descriptor or line is left behind.
#[test]
fn many_volumes_come_and_go() {
    let place = place_of(&["vm"]);
    let paths = [disk(&place, "one", 1), disk(&place, "two", 2)];
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    let files = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it lives").count();
    let before = files();
    for round in 0..100_u64 {
        let path = &paths[usize::try_from(round % 2).expect("small")];
        add(&daemon, "guest", path);
        let guest = daemon.client("guest");
        guest.write_at(&pattern(round, 0, 4 * LINE), 0).expect("acknowledged");
        client.write_at(&pattern(round, 0, LINE), 0).expect("acknowledged");
        daemon.must(&["volume", "remove", "guest"]);
        check_backing(path, round, 0, 4 * LINE);
    }
    eventually("descriptors are given back", || (files() <= before + 2).then_some(()));
    client.flush().expect("stable");
    drop(client);
    daemon.stop_clean();
}
