//! Disks of machines that behave.

use super::blkio_disk::{Ask, BlkioDisk};
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{MIB, Place, STRIPE, Volume};
use crate::running::Daemon;

const BYTES: u64 = 64 * MIB;

fn place(lines: &str) -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm1", &place.file("vm1"), BYTES);
    place.add(&[volume]);
    place.open_vhost("vm1", lines);
    place
}

#[test]
fn a_disk_is_written_flushed_and_read() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let mut disk = BlkioDisk::connect(&place.vhost(), 1, 1 << 20);
    assert_eq!(disk.capacity(), BYTES);
    let bytes = pattern(1, 8192, 65536);
    disk.put(0, &bytes);
    disk.must(Ask::Write { offset: 8192, at: 0, length: 65536 });
    disk.must(Ask::Flush);
    check_backing(&place.file("vm1"), 1, 8192, 65536);
    disk.must(Ask::Read { offset: 8192, at: 65536, length: 65536 });
    check_same(&disk.get(65536, 65536), &bytes, "read back");
    assert_eq!(daemon.must(&["sessions"])["sessions"].as_array().map(Vec::len), Some(1));
    drop(disk);
    daemon.stop_clean();
}

/// Half of each request belongs to the other reactor, whichever owns the queue.
#[test]
fn requests_over_stripes_are_answered_whole_from_any_queue() {
    let place = place("queues = 2");
    let daemon = Daemon::start(&place);
    let mut disk = BlkioDisk::connect(&place.vhost(), 2, 4 << 20);
    let length = 768 << 10;
    for (queue, version) in [(0, 1), (1, 2)] {
        let offset = STRIPE - 256 * 1024 + 2 * STRIPE * queue as u64;
        disk.put(0, &pattern(version, offset, length as u64));
        disk.start(queue, 1, Ask::Write { offset, at: 0, length });
        assert_eq!(disk.finish(queue, 1), [(1, 0)]);
        disk.start(queue, 2, Ask::Read { offset, at: 1 << 20, length });
        assert_eq!(disk.finish(queue, 1), [(2, 0)]);
        check_same(&disk.get(1 << 20, length), &pattern(version, offset, length as u64), "read back");
        disk.start(queue, 3, Ask::Flush);
        assert_eq!(disk.finish(queue, 1), [(3, 0)]);
        check_backing(&place.file("vm1"), version, offset, length as u64);
    }
    drop(disk);
    daemon.stop_clean();
}

/// What of the cache each reactor has in use, in the order of their numbers.
fn cached(daemon: &Daemon<'_>) -> [u64; 2] {
    let scrape = daemon.metrics();
    [0, 1].map(|reactor| {
        let one = |state| {
            let series = format!("holdfast_reactor_cache_bytes{{reactor=\"{reactor}\",state=\"{state}\"}} ");
            let value = scrape.lines().find_map(|line| line.strip_prefix(&series));
            value.unwrap_or_else(|| panic!("no {series} in {scrape}")).parse::<f64>().expect("a number")
                as u64
        };
        one("clean") + one("not_clean")
    })
}

/// One queue belongs to one reactor, which has only the stripes that are its own: the others' part of each request is in the
/// others' cache, whoever took it.
#[test]
fn a_lone_queue_s_requests_are_served_by_the_reactors_of_their_stripes() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let mut disk = BlkioDisk::connect(&place.vhost(), 1, 1 << 20);
    assert_eq!(cached(&daemon), [0, 0], "nothing was read or written");
    // Where, how long, and how much of it is in the even stripes and in the odd ones.
    let quarter = STRIPE / 4;
    let parts = [
        (0, quarter, [quarter, 0]),
        (STRIPE, quarter, [0, quarter]),
        (2 * STRIPE - quarter, 2 * quarter, [quarter, quarter]),
        (5 * STRIPE - 4096, 3 * 4096, [4096, 2 * 4096]),
    ];
    let mut expected = [0, 0];
    for (version, (offset, length, [even, odd])) in (1..).zip(parts) {
        disk.put(0, &pattern(version, offset, length));
        disk.must(Ask::Write { offset, at: 0, length: length as usize });
        disk.must(Ask::Flush);
        check_backing(&place.file("vm1"), version, offset, length);
        expected = [expected[0] + even, expected[1] + odd];
        assert_eq!(cached(&daemon), expected, "{length} bytes from {offset} on");
        disk.must(Ask::Read { offset, at: 512 << 10, length: length as usize });
        check_same(&disk.get(512 << 10, length as usize), &pattern(version, offset, length), "read back");
    }
    assert_eq!(cached(&daemon), expected, "reads of what is there bring nothing");
    drop(disk);
    daemon.stop_clean();
}

#[test]
fn ranges_are_discarded_and_zeroed_over_many_stripes() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let mut disk = BlkioDisk::connect(&place.vhost(), 1, 4 << 20);
    disk.put(0, &pattern(1, 0, 4 * MIB));
    for at in 0..8 {
        disk.must(Ask::Write { offset: at << 19, at: (at as usize) << 19, length: 1 << 19 });
    }
    disk.must(Ask::Discard { offset: 4096, length: 2 * MIB });
    disk.must(Ask::Zero { offset: 3 * MIB - 4096, length: 8192 });
    disk.must(Ask::Flush);
    let mut expected = pattern(1, 0, 4 * MIB);
    expected[4096..4096 + (2 << 20)].fill(0);
    expected[(3 << 20) - 4096..(3 << 20) + 4096].fill(0);
    for at in 0..8 {
        disk.must(Ask::Read { offset: at << 19, at: (at as usize) << 19, length: 1 << 19 });
    }
    check_same(&disk.get(0, 4 << 20), &expected, "after discard and zeroes");
    assert_eq!(disk.tried(Ask::Read { offset: BYTES, at: 0, length: 4096 }), -5, "beyond the end");
    drop(disk);
    daemon.stop_clean();
}

/// Many at a time, over a queue that sleeps and wakes.
#[test]
fn thirty_two_requests_at_a_time_are_each_answered_once() {
    let place = place("queues = 2");
    let daemon = Daemon::start(&place);
    let mut disk = BlkioDisk::connect(&place.vhost(), 2, 1 << 20);
    for round in 0..40u64 {
        let queue = (round % 2) as usize;
        let place_of = |name: usize| (round * 32 + name as u64) * 4096 * 5 % BYTES / 4096 * 4096;
        for name in 0..32 {
            disk.put(name * 4096, &pattern(round + 1, place_of(name), 4096));
            disk.start(queue, name, Ask::Write { offset: place_of(name), at: name * 4096, length: 4096 });
        }
        let mut answers = disk.finish(queue, 32);
        answers.sort_unstable();
        assert_eq!(answers, (0..32).map(|name| (name, 0)).collect::<Vec<_>>());
        for name in 0..32 {
            disk.start(queue, name, Ask::Read { offset: place_of(name), at: name * 4096, length: 4096 });
        }
        assert!(disk.finish(queue, 32).iter().all(|answer| answer.1 == 0));
        for name in 0..32 {
            check_same(&disk.get(name * 4096, 4096), &pattern(round + 1, place_of(name), 4096), "read back");
        }
    }
    drop(disk);
    daemon.stop_clean();
}
