//! A daemon that is killed and started again: nothing that was acknowledged is gone, and clients see a pause.

use crate::needs::can_use;
use crate::pattern::{Random, check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use crate::world::Fuse;
use holdfast_ringbuf::client::Client;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// The one that fools everyone: writes are stuck in a slow device when the daemon is killed, and land seconds later. The
/// next one takes new writes to the same blocks, and uses neither the device nor a slot that the old operations read
/// before those have ended.
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
    let slow = Volume::existing("slow", &fuse.file).with("write_back = { after = \"10ms\" }");
    place.add(&[slow, Volume::file("well", &place.file("well"), 8 * MIB)]);
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
    well.write_at(&pattern(3, 0, MIB), 0).expect("its device is its own");
    well.flush().expect("its device is its own");
    assert!(again.log().contains("still in flight"), "the scene was played: {}", again.log());
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

/// Kills of the daemon in CI. More: `HOLDFAST_TEST_KILLS=200 cargo test -p holdfast-daemon --test real -- restarts`.
const KILLS: u64 = 20;
/// Writers, each with a part of the volume for itself.
const WRITERS: u64 = 4;
/// Bytes of a writer's part.
const PART: u64 = 4 * MIB;

/// What a writer knows of its sectors: the newest version that was acknowledged, and the newest that was asked for.
struct Writer {
    client: Client,
    base: u64,
    random: Random,
    acknowledged: Vec<u64>,
    asked: Vec<u64>,
    version: u64,
}

/// A sector that says whose it is, where and when.
fn stamp(sector: u64, version: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    for (at, word) in bytes.chunks_exact_mut(16).enumerate() {
        word[..8].copy_from_slice(&(sector + at as u64).to_ne_bytes());
        word[8..].copy_from_slice(&version.to_ne_bytes());
    }
    bytes
}

/// The version of a whole sector; panics if it is torn or another sector's.
fn version_of(sector: u64, bytes: &[u8]) -> u64 {
    let version = u64::from_ne_bytes(bytes[8..16].try_into().expect("8 bytes"));
    let whole = version == 0 && bytes.iter().all(|&byte| byte == 0) || bytes == stamp(sector, version);
    assert!(whole, "sector {sector} is torn or another's");
    version
}

impl Writer {
    fn new(client: Client, number: u64) -> Writer {
        let sectors = (PART / 512) as usize;
        let (acknowledged, asked) = (vec![0; sectors], vec![0; sectors]);
        Writer {
            client,
            base: number * PART,
            random: Random::new(number + 1),
            acknowledged,
            asked,
            version: 0,
        }
    }

    /// Writes, reads and flushes until it is told to stop. A flush may fail, because the disk refuses now and then.
    fn work(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let first = self.random.below(PART / 512 - 256);
            let count = if self.random.below(4) == 0 { self.random.below(200) + 1 } else { 8 };
            match self.random.below(8) {
                0 => drop(self.client.flush()),
                1 | 2 => self.check(first, count),
                _ => self.write(first, count),
            }
        }
    }

    fn write(&mut self, first: u64, count: u64) {
        self.version += 1;
        let sectors = first..first + count;
        let data: Vec<u8> =
            sectors.clone().flat_map(|at| stamp(self.base / 512 + at, self.version)).collect();
        sectors.clone().for_each(|at| self.asked[at as usize] = self.version);
        self.client.write_at(&data, self.base + first * 512).expect("acknowledged, by whatever daemon");
        sectors.for_each(|at| self.acknowledged[at as usize] = self.version);
    }

    /// Everything that was acknowledged is there; nobody else writes here.
    fn check(&self, first: u64, count: u64) {
        let mut data = vec![0; (count * 512) as usize];
        self.client.read_at(&mut data, self.base + first * 512).expect("read");
        self.compare(first, &data);
    }

    fn compare(&self, first: u64, data: &[u8]) {
        for (at, bytes) in (first..).zip(data.chunks_exact(512)) {
            let found = version_of(self.base / 512 + at, bytes);
            let expected = self.acknowledged[at as usize];
            assert_eq!(
                (expected, found),
                (self.asked[at as usize], expected),
                "sector {at} of {}",
                self.base
            );
        }
    }
}

/// Stops the writers, however a test ends.
pub(crate) struct Ended<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Four clients write and check all the time; the daemon is killed at random moments and started again, while its disk
/// refuses now and then. Clients see pauses. In the end everything is where it belongs, on the backing, too.
#[test]
fn a_daemon_killed_at_any_moment_loses_nothing() {
    let kills = std::env::var("HOLDFAST_TEST_KILLS").map_or(KILLS, |count| count.parse().expect("a number"));
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), WRITERS * PART).with("io_timeout = \"500ms\"")]);
    let mut daemon = Daemon::start(&place);
    let writers = (0..WRITERS).map(|number| Writer::new(daemon.client("vm"), number));
    let mut writers: Vec<Writer> = writers.collect();
    let (stop, mut random) = (AtomicBool::new(false), Random::new(77));
    let mut in_flight = 0;
    std::thread::scope(|scope| {
        let ended = Ended(&stop);
        let working: Vec<_> = writers.iter_mut().map(|writer| scope.spawn(|| writer.work(&stop))).collect();
        for kill in 0..kills {
            if kill % 3 == 1 {
                daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "wwwwxwwwxxxwwwwwxW"]);
            }
            std::thread::sleep(Duration::from_millis(20 + random.below(300)));
            in_flight +=
                u64::from(daemon.count("vm", "writes") > 0 && daemon.bytes("vm", "not_clean_bytes") > 0);
            daemon.kill();
            daemon = Daemon::start(&place);
        }
        drop(ended);
        working.into_iter().for_each(|thread| thread.join().expect("no writer found anything wrong"));
    });
    assert!(2 * in_flight >= kills, "{in_flight} of {kills} kills hit data that was not on stable media");
    let written: u64 = writers.iter().map(|writer| writer.version).sum();
    eprintln!("{kills} kills, {in_flight} with data in flight, {written} writes");
    for writer in &writers {
        eventually("the disk takes everything", || writer.client.flush().ok());
        (0..PART / 512).step_by(512).for_each(|first| writer.check(first, 512));
    }
    let writers: Vec<Writer> = writers;
    daemon.stop_clean();
    let backing = std::fs::read(place.file("vm")).expect("the backing");
    for writer in &writers {
        writer.compare(0, &backing[writer.base as usize..(writer.base + PART) as usize]);
    }
}
