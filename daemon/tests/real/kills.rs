//! Daemon and clients are killed at random moments, hundreds of times, while the disk refuses now and then: nothing that
//! was acknowledged is gone, torn, old or elsewhere.

use crate::needs::can_use;
use crate::pattern::Random;
use crate::place::{MIB, Place, Volume};
use crate::running::{Daemon, PATIENCE, eventually};
use crate::world::Fuse;
use holdfast_policy::State;
use holdfast_ringbuf::client::{Client, Options};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Kills of the daemon, and of clients, in CI. More:
/// `HOLDFAST_TEST_KILLS=200 cargo test -p holdfast-daemon --test real -- --nocapture kills`.
const KILLS: u64 = 20;
/// Writers that live through it, each with a part of the volume for itself.
const WRITERS: u64 = 4;
/// Sectors of a writer's part: 4 MiB.
const PART: u64 = 8192;
/// Sectors of the part of one that is killed.
const VICTIMS_PART: u64 = 512;
/// Tells a child what it is: the socket, its first sector, its seed.
const VICTIM: &str = "HOLDFAST_TEST_WRITING_VICTIM";

/// A sector that says whose it is, where and when.
fn stamp(sector: u64, version: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    for (at, word) in bytes.chunks_exact_mut(16).enumerate() {
        word[..8].copy_from_slice(&(sector + at as u64).to_ne_bytes());
        word[8..].copy_from_slice(&version.to_ne_bytes());
    }
    bytes
}

/// Sectors of one write.
fn stamps(sectors: Range<u64>, version: u64) -> Vec<u8> {
    sectors.flat_map(|sector| stamp(sector, version)).collect()
}

/// The version of a whole sector; panics if it is torn or another sector's.
fn version_of(sector: u64, bytes: &[u8]) -> u64 {
    let version = u64::from_ne_bytes(bytes[8..16].try_into().expect("8 bytes"));
    let whole = version == 0 && bytes.iter().all(|&byte| byte == 0) || bytes == stamp(sector, version);
    assert!(whole, "sector {sector} is torn or another's: {:x?}", &bytes[..32]);
    version
}

/// What is known of neighbouring sectors: the newest version that was acknowledged, and the newest that was asked for.
struct Known {
    first: u64,
    acknowledged: Vec<u64>,
    asked: Vec<u64>,
}

impl Known {
    fn new(first: u64, count: u64) -> Known {
        Known { first, acknowledged: vec![0; count as usize], asked: vec![0; count as usize] }
    }

    fn sectors(&self) -> Range<u64> {
        self.first..self.first + self.asked.len() as u64
    }

    fn set(&mut self, acknowledged: bool, sectors: Range<u64>, version: u64) {
        let part = (sectors.start - self.first) as usize..(sectors.end - self.first) as usize;
        let known = if acknowledged { &mut self.acknowledged } else { &mut self.asked };
        known[part].fill(version);
    }

    /// Panics unless each sector is what was acknowledged last, or what was asked for after that and never answered.
    fn compare(&self, first: u64, data: &[u8]) {
        for (sector, bytes) in (first..).zip(data.chunks_exact(512)) {
            let found = version_of(sector, bytes);
            let at = (sector - self.first) as usize;
            let may_be = [self.acknowledged[at], self.asked[at]];
            assert!(may_be.contains(&found), "sector {sector} has version {found}, not one of {may_be:?}");
        }
    }

    /// Reads all of it, compares, and knows from now on what there is.
    fn read(&mut self, client: &Client) {
        for first in self.sectors().step_by(VICTIMS_PART as usize) {
            let mut data = vec![0; (VICTIMS_PART * 512) as usize];
            client.read_at(&mut data, first * 512).expect("read");
            self.compare(first, &data);
            for (sector, bytes) in (first..).zip(data.chunks_exact(512)) {
                let found = version_of(sector, bytes);
                self.set(false, sector..sector + 1, found);
                self.set(true, sector..sector + 1, found);
            }
        }
    }
}

/// Where a write goes, and how long it is: mostly a line's worth, sometimes up to 100 KiB, never aligned to lines.
fn draw(random: &mut Random, part: &Range<u64>) -> Range<u64> {
    let count = if random.below(4) == 0 { random.below(200) + 1 } else { 8 };
    let first = part.start + random.below(part.end - part.start - count);
    first..first + count
}

/// Writes, reads and flushes until it is told to stop, and counts what was acknowledged. A flush may fail, because the disk
/// refuses now and then.
fn work(client: &Client, known: &mut Known, stop: &AtomicBool, acknowledged: &AtomicU64) {
    let (part, mut version) = (known.sectors(), 0);
    let mut random = Random::new(part.start + 1);
    while !stop.load(Ordering::Relaxed) {
        let sectors = draw(&mut random, &part);
        match random.below(8) {
            0 => drop(client.flush()),
            1 | 2 => {
                let mut data = vec![0; (512 * (sectors.end - sectors.start)) as usize];
                client.read_at(&mut data, sectors.start * 512).expect("read");
                // Nobody else writes here, and nothing of it is in the air.
                known.compare(sectors.start, &data);
            }
            _ => {
                version += 1;
                known.set(false, sectors.clone(), version);
                let data = stamps(sectors.clone(), version);
                client.write_at(&data, sectors.start * 512).expect("acknowledged, by whatever daemon");
                known.set(true, sectors, version);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The child: says what it asks for, writes it, says that it was acknowledged; until it is killed.
fn write_until_killed(task: &str) -> ! {
    let mut words = task.split(' ');
    let client = Client::connect(words.next().expect("a socket"), "vm", Options::default());
    let client = client.expect("a session");
    let mut numbers = words.map(|word| word.parse::<u64>().expect("a number"));
    let (first, seed) = (numbers.next().expect("a sector"), numbers.next().expect("a seed"));
    let (part, mut random) = (first..first + VICTIMS_PART, Random::new(seed));
    for version in 1.. {
        let sectors = draw(&mut random, &part);
        println!("asked {} {} {version}", sectors.start, sectors.end);
        client.write_at(&stamps(sectors.clone(), version), sectors.start * 512).expect("acknowledged");
        println!("acknowledged {} {} {version}", sectors.start, sectors.end);
        if random.below(8) == 0 {
            let _ = client.flush();
        }
    }
    unreachable!("it is killed first")
}

/// Starts a client, kills it at some moment, and returns what it said. It may come while there is no daemon: then it is
/// started again.
fn kill_a_client(place: &Place, number: u64, first: u64, random: &mut Random) -> Known {
    let begun = Instant::now();
    loop {
        let mut known = Known::new(first, VICTIMS_PART);
        let mut child = victim(&format!("{} {first} {}", place.clients().display(), number + 1));
        std::thread::sleep(Duration::from_millis(30 + random.below(150)));
        child.kill().expect("it is our child");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut writes = 0;
        for line in said {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["asked" | "acknowledged", from, to, version] = words[..] {
                let number = |word: &str| word.parse::<u64>().expect("a number");
                known.set(words[0] == "acknowledged", number(from)..number(to), number(version));
                writes += 1;
            }
        }
        child.wait().expect("dead");
        if writes > 0 {
            return known;
        }
        assert!(begun.elapsed() < PATIENCE, "a client finds a daemon");
    }
}

fn victim(task: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "kills::a_daemon_killed_at_any_moment_loses_nothing", "--nocapture"]);
    command.env(VICTIM, task).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a child")
}

/// Lines of a dead daemon's arena that the device was writing when it died.
fn in_flight(arena: &Path) -> usize {
    let tables = (0..2).map(|reactor| std::fs::read(arena.join(format!("shard-{reactor}.headers"))));
    let writing = |header: &&[u8]| header[24] & 15 == State::Writing as u8;
    tables.map(|table| table.expect("a table").chunks_exact(32).filter(writing).count()).sum()
}

/// Stops the writers, however a test ends.
pub(crate) struct Ended<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills the daemon, again and again, while its disk refuses now and then: each life after it has acknowledged some writes,
/// however long its clients need to find it. How often lines were being written.
fn kill_daemons<'a>(mut daemon: Daemon<'a>, kills: u64, acknowledged: &AtomicU64) -> (Daemon<'a>, u64) {
    let (mut random, mut caught, place) = (Random::new(77), 0, daemon.place);
    for kill in 0..kills {
        if kill % 3 == 1 {
            daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "wwwwxwwwxxxwwwwwxW"]);
        }
        let enough = acknowledged.load(Ordering::Relaxed) + 1 + random.below(2 * WRITERS);
        eventually("writes are acknowledged", || {
            (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
        });
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        daemon.kill();
        caught += u64::from(in_flight(&place.arena()) > 0);
        daemon = Daemon::start(place);
    }
    (daemon, caught)
}

/// Four clients write and check all the time, and others are killed; the daemon is killed at random moments and started
/// again. Who lives sees pauses. In the end everything is where it belongs, on the backing, too.
#[test]
fn a_daemon_killed_at_any_moment_loses_nothing() {
    if let Ok(task) = std::env::var(VICTIM) {
        write_until_killed(&task);
    }
    let kills = std::env::var("HOLDFAST_TEST_KILLS").map_or(KILLS, |count| count.parse().expect("a number"));
    let bytes = ((WRITERS * PART + kills * VICTIMS_PART) * 512).next_multiple_of(MIB);
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    // What is dirty is written at once, and the device takes its time, so that it has something nearly always.
    let directory = tempfile::tempdir().expect("a place");
    let size = bytes.to_string();
    let fuse = Fuse::start(directory.path(), bytes, &["--filter=delay", "memory", &size, "wdelay=10ms"]);
    let mut place = Place::new();
    // A writer that finds the cache full waits for the disk, however slow that and this machine are.
    let volume = Volume::existing("vm", &fuse.file).with("io_timeout = \"500ms\"");
    let volume = volume.policy(r#"{ kind = "hold-forever", stall_timeout = "1m" }"#);
    place.add(&[volume.with("write_back = { from = \"0%\", after = \"1ms\" }")]);
    let daemon = Daemon::start(&place);
    let mut known: Vec<Known> = (0..WRITERS).map(|number| Known::new(number * PART, PART)).collect();
    let clients: Vec<Client> = (0..WRITERS).map(|_| daemon.client("vm")).collect();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (daemon, caught, mut victims) = std::thread::scope(|scope| {
        let ended = Ended(&stop);
        let working = clients.iter().zip(&mut known);
        let working: Vec<_> = working
            .map(|(client, known)| scope.spawn(|| work(client, known, &stop, &acknowledged)))
            .collect();
        let victims = scope.spawn(|| {
            let mut random = Random::new(99);
            let first = |number| WRITERS * PART + number * VICTIMS_PART;
            let victims = (0..kills).map(|number| kill_a_client(&place, number, first(number), &mut random));
            victims.collect::<Vec<Known>>()
        });
        let (daemon, caught) = kill_daemons(daemon, kills, &acknowledged);
        let victims = victims.join().expect("no client was refused");
        drop(ended);
        working.into_iter().for_each(|thread| thread.join().expect("a writer found no error"));
        (daemon, caught, victims)
    });
    let written = acknowledged.into_inner();
    eprintln!(
        "{kills} kills of the daemon, {caught} with lines in flight; {kills} of clients; {written} writes"
    );
    assert!(written >= kills, "{written} writes in {kills} lives");
    assert!(4 * caught >= 3 * kills, "{caught} of {kills} kills hit the daemon with writes in flight");
    eventually("the disk takes everything", || clients[0].flush().ok());
    known.append(&mut victims);
    known.iter_mut().for_each(|known| known.read(&clients[0]));
    drop(clients);
    daemon.stop_clean();
    let backing = std::fs::read(&fuse.file).expect("the backing");
    for known in &known {
        let bytes = known.sectors().start as usize * 512..known.sectors().end as usize * 512;
        known.compare(known.first, &backing[bytes]);
    }
}
