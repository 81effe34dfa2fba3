//! File systems and a database on a volume, through programs that nobody here wrote: the NBD frontend, nbdkit's retry
//! filter, nbdfuse, a loop device, mkfs, the kernel, sqlite3. The daemon is killed and started again under them, and they
//! see a pause.

use crate::database::{Database, check_rows};
use crate::kills::Ended;
use crate::needs::can_use;
use crate::pattern::{check_same, pattern};
use crate::place::{KIB, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use crate::world::{Fuse, Loop, Mount, make_file_system, run};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Kills of the daemon in CI. More: `HOLDFAST_TEST_KILLS=50 cargo test -p holdfast-daemon --test real -- file_systems`.
const KILLS: u64 = 3;
/// Rows that are committed between two kills.
const ROWS: u64 = 40;
/// Files that are written anew in turns.
const FILES: u64 = 8;

fn kills() -> u64 {
    std::env::var("HOLDFAST_TEST_KILLS").map_or(KILLS, |count| count.parse().expect("a number"))
}

/// A file system on a volume of the daemon. What is undone when it is dropped is in this order.
struct OnVolume {
    directory: PathBuf,
    mount: Option<Mount>,
    device: Loop,
    _fuse: Fuse,
}

impl OnVolume {
    fn make(kind: &str, place: &Place, bytes: u64) -> OnVolume {
        let socket = format!("socket={}", place.nbd().display());
        let again = ["retries=30", "retry-delay=1", "retry-exponential=no"];
        let filtered = ["--filter=retry", "nbd", &socket, "export=vm1"];
        let fuse = Fuse::start(place.disk.path(), bytes, &[&filtered[..], &again[..]].concat());
        let device = Loop::direct(&fuse.file);
        make_file_system(kind, &device);
        let directory = place.file("mounted");
        std::fs::create_dir(&directory).expect("a place to mount on");
        let mut made = OnVolume { directory, mount: None, device, _fuse: fuse };
        made.mount();
        made
    }

    fn mount(&mut self) {
        self.mount = Some(Mount::of(self.device.words(), &self.directory));
    }

    /// Unmounts, so that nothing is known any more but what the volume says, and has the file system looked at.
    fn check(&mut self, kind: &str) {
        self.mount = None;
        check_file_system(kind, self.device.words());
    }
}

/// Panics unless its own program finds nothing to mend.
fn check_file_system(kind: &str, device: &str) {
    match kind {
        "xfs" => run("xfs_repair", &["-n", device]),
        _ => run("e2fsck", &["-fn", device]),
    };
}

/// Writes files anew, each synced and then renamed into its place, until told to stop. The versions that are there.
fn write_files(directory: &Path, stop: &AtomicBool, rounds: &AtomicU64) -> Vec<u64> {
    let mut versions = vec![0; FILES as usize];
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed) + 1;
        let number = round % FILES;
        let fresh = directory.join("fresh");
        let mut file = File::create(&fresh).expect("created");
        file.write_all(&content(number, round)).and_then(|()| file.sync_all()).expect("a pause at most");
        std::fs::rename(fresh, directory.join(format!("file{number}"))).expect("renamed");
        File::open(directory).and_then(|directory| directory.sync_all()).expect("a pause at most");
        versions[number as usize] = round;
        rounds.store(round, Ordering::Relaxed);
    }
    versions
}

fn content(number: u64, version: u64) -> Vec<u8> {
    pattern(version, number << 32, 16 * KIB + (version % 31) * 8 * KIB)
}

fn check_files(directory: &Path, versions: &[u64]) {
    for (number, &version) in (0..).zip(versions) {
        let path = directory.join(format!("file{number}"));
        if version == 0 {
            assert!(!path.exists(), "{} was never written", path.display());
        } else {
            let found = std::fs::read(&path).expect("a synced file is there");
            check_same(
                &found,
                &content(number, version),
                &format!("{} in version {version}", path.display()),
            );
        }
    }
}

/// Kills the daemon and starts it again while there is load; ends when every kill was followed by progress.
fn kill_again_and_again<'a>(
    mut daemon: Daemon<'a>,
    place: &'a Place,
    stop: &AtomicBool,
    rows: &AtomicU64,
    rounds: &AtomicU64,
) -> Daemon<'a> {
    let progress = |what: &str| {
        let (row, round) = (rows.load(Ordering::Relaxed), rounds.load(Ordering::Relaxed));
        eventually(what, || {
            assert!(!stop.load(Ordering::Relaxed), "the load has failed");
            let goes_on =
                rows.load(Ordering::Relaxed) >= row + ROWS && rounds.load(Ordering::Relaxed) > round;
            goes_on.then_some(())
        });
    };
    progress("load");
    for kill in 0..kills() {
        daemon.kill();
        daemon = Daemon::start(place);
        progress(&format!("the load goes on after kill {kill}"));
    }
    daemon
}

fn survives_the_daemon(kind: &str, bytes: u64) {
    if !can_use(&["nbdkit", "nbdfuse", "losetup", &format!("mkfs.{kind}"), "sqlite3"]) {
        return;
    }
    let mut place = Place::new();
    let backing = place.file("vm1");
    place.add(&[Volume::file("vm1", &backing, bytes)]);
    place.open_nbd("");
    let daemon = Daemon::start(&place);
    let mut on_volume = OnVolume::make(kind, &place, bytes);
    let directory = on_volume.directory.clone();
    let file = directory.join("database");
    let (stop, rows, rounds) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut database = Database::create(&file);
    let (daemon, versions) = std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            let _ended = Ended(&stop);
            database.commit_rows(&stop, &rows);
        });
        let writing = scope.spawn(|| {
            let _ended = Ended(&stop);
            write_files(&directory, &stop, &rounds)
        });
        let ended = Ended(&stop);
        let daemon = kill_again_and_again(daemon, &place, &stop, &rows, &rounds);
        drop(ended);
        committing.join().expect("every commit succeeded");
        (daemon, writing.join().expect("every write succeeded"))
    });
    // The database is not closed: what is committed is in its log, and is found there.
    database.kill();
    let rows = rows.into_inner();
    eprintln!("{kind}: {} kills, {rows} rows, {} files", kills(), rounds.into_inner());
    on_volume.check(kind);
    on_volume.mount();
    check_files(&directory, &versions);
    check_rows(&file, rows);
    on_volume.check(kind);
    drop(on_volume);
    daemon.stop_clean();

    // The same without a daemon: it was all written to where it belongs.
    let device = Loop::direct(&backing);
    check_file_system(kind, device.words());
    let mounted = Mount::of(device.words(), &directory);
    check_files(&directory, &versions);
    check_rows(&file, rows);
    drop(mounted);
}

#[test]
fn ext4_and_a_database_survive_the_daemon() {
    survives_the_daemon("ext4", 96 * MIB);
}

#[test]
fn xfs_and_a_database_survive_the_daemon() {
    survives_the_daemon("xfs", 320 * MIB);
}
