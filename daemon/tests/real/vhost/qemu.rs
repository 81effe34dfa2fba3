//! What a machine sees of a volume: its disk runs full, and its daemon dies.

use super::HANG;
use super::guest::{Guest, root};
use crate::needs::can_use;
use crate::place::{MIB, Place, Volume};
use crate::running::{Daemon, eventually, number};
use crate::world::{Loop, Mount, run};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of the machine's disk.
const BYTES: u64 = 64 * MIB;

/// What a machine writes side by side where something is to be in flight.
const WRITERS: usize = 12;

/// A file system in the machine.
const MAKE: &str = "/sbin/mke2fs -q -t ext4 -E nodiscard /dev/vda && mount /dev/vda /mnt";

/// More than [`Thin`] has room for, in pieces that are known: `/mnt/second`.
const FILL: &str = "dd if=/dev/urandom of=/tmp/noise bs=64k count=16 2>/dev/null; \
     for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do cat /tmp/noise; done | dd of=/mnt/second bs=64k conv=fsync 2>/dev/null";

/// A thin disk: a block device of [`BYTES`] that has room for a quarter of them.
struct Thin {
    // In the order in which they must go.
    block: Loop,
    _mount: Mount,
    pool: PathBuf,
}

impl Thin {
    fn new(place: &Place) -> Thin {
        let pool = place.file("pool");
        std::fs::create_dir(&pool).expect("a place to mount on");
        run("mount", &["-t", "tmpfs", "-o", "size=16m", "none", pool.to_str().expect("plain")]);
        let mount = Mount(pool.clone());
        let file = pool.join("disk");
        File::create(&file).and_then(|file| file.set_len(BYTES)).expect("a sparse file");
        Thin { block: Loop::over(&file), _mount: mount, pool }
    }

    /// What an operator does.
    fn make_room(&self) {
        run("mount", &["-o", "remount,size=128m", self.pool.to_str().expect("plain")]);
    }
}

/// A daemon's place whose volume, made by `volume`, is a machine's disk.
fn serving(volume: impl FnOnce(&Place) -> Volume) -> Place {
    let mut place = Place::new();
    place.change("size = \"32MiB\"", "size = \"64MiB\"");
    let volume = volume(&place).policy(r#"{ kind = "hold-forever", stall_timeout = "5m" }"#);
    place.add(&[volume]);
    place.open_vhost("vm1", "queues = 2");
    place
}

/// On a disk that is really full, with flushes that wait or that tell.
fn thin(flush_on_failure: &str) -> Option<(Place, Thin)> {
    if !can_use(&["mount", "umount", "losetup", "blockdev"]) {
        return None;
    }
    let mut disk = None;
    let place = serving(|place| {
        let thin = disk.insert(Thin::new(place));
        Volume::block("vm1", &thin.block.device).with(flush_on_failure)
    });
    Some((place, disk?))
}

/// The guest flushes because its disk says that it has a cache; when there is no space, it waits, and goes on.
#[test]
fn a_machine_waits_out_a_full_disk() {
    let Some(root) = root() else { return };
    let Some((place, thin)) = thin(r#"flush_on_failure = { kind = "stall", timeout = "10m" }"#) else {
        return;
    };
    let daemon = Daemon::start(&place);
    let mut guest = Guest::boot(&place, &root);
    assert_eq!(guest.must("cat /sys/block/vda/queue/write_cache"), "write back");
    assert_eq!(guest.must("cat /sys/block/vda/serial"), "vm1");
    guest.must(MAKE);
    let flushed = daemon.count("vm1", "flushes_ok");
    guest.must("echo kept >/mnt/first; sync");
    assert!(daemon.count("vm1", "flushes_ok") > flushed, "the guest's sync is a flush");

    guest.begin(FILL);
    guest.wait("the flush waits", |_| (daemon.bytes("vm1", "parked_flushes") > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(guest.look_for("<"), None, "with the flush, the guest waits");
    assert!(!daemon.extents("vm1", "failed").is_empty(), "it is the disk that has no room");
    thin.make_room();
    daemon.must(&["retry", "vm1", "--wait"]);
    assert_eq!(guest.end().0, "0", "and goes on, on the same mount");
    guest.must(&format!("{CHECK} && umount /mnt && /sbin/e2fsck -fn /dev/vda >/dev/null"));
    drop(guest);
    daemon.stop_clean();
}

/// What was acknowledged is there, read from the disk.
const CHECK: &str = "sync; echo 3 >/proc/sys/vm/drop_caches; [ \"$(cat /mnt/first)\" = kept ] && \
     for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do cat /tmp/noise; done | cmp - /mnt/second";

/// The same without waiting: fsync fails, ext4 in the guest stops writing, and nothing that it was told is lost. What ext4 makes
/// of its disk when it is mounted again needs no repair.
#[test]
fn a_machine_that_is_told_of_a_full_disk_finds_its_data_after_a_mount() {
    let Some(root) = root() else { return };
    let Some((place, thin)) = thin(r#"flush_on_failure = { kind = "report" }"#) else { return };
    let daemon = Daemon::start(&place);
    let mut guest = Guest::boot(&place, &root);
    guest.must(MAKE);
    guest.must("dd if=/dev/urandom of=/mnt/first bs=64k count=8 conv=fsync 2>/dev/null; sha1sum /mnt/first >/tmp/sum");
    assert_ne!(guest.run(FILL).0, "0", "fsync says so");
    let refused = |guest: &mut Guest| guest.run("touch /mnt/third; sync").1.contains("Read-only file system");
    eventually("ext4 is read-only", || refused(&mut guest).then_some(()));
    thin.make_room();
    daemon.must(&["retry", "vm1", "--wait"]);
    guest.must("umount /mnt && mount /dev/vda /mnt && sha1sum -c /tmp/sum >/dev/null");
    guest.must("echo on >/mnt/fourth && sync && umount /mnt && /sbin/e2fsck -fn /dev/vda >/dev/null");
    drop(guest);
    daemon.stop_clean();
}

/// How often the daemon is killed: a few times, unless somebody has half an hour.
fn deaths() -> u32 {
    std::env::var("HOLDFAST_GUEST_RESTARTS").map_or(3, |count| count.parse().expect("a number"))
}

/// Kills the daemon, and waits until the machine has found the next one.
fn next<'a>(mut daemon: Daemon<'a>, place: &'a Place) -> Daemon<'a> {
    daemon.kill();
    let daemon = Daemon::start(place);
    let sessions = || daemon.must(&["sessions"])["sessions"].as_array().map_or(0, Vec::len);
    eventually("the machine is back", || (sessions() > 0).then_some(()));
    daemon
}

/// Requests that the daemon has taken and not answered.
fn in_flight(daemon: &Daemon<'_>) -> u64 {
    let stats = daemon.must(&["stats"]);
    stats["reactors"].as_array().expect("reactors").iter().map(|reactor| number(reactor, "requests")).sum()
}

/// Each writer's block of a round, and whether the disk has what was last put there.
const STAMPS: &str = "put() { yes \"$1 of $2\" | head -c 4096 >/tmp/put$2; \
     dd if=/tmp/put$2 of=/dev/vda bs=4k count=1 seek=$((256*$2+$3%256)) oflag=direct conv=notrunc 2>/dev/null || touch /tmp/failed; }; \
     has() { dd if=/dev/vda bs=4k count=1 skip=$((256*$1+$2%256)) iflag=direct 2>/dev/null | cmp - /tmp/put$1; }; \
     all=$(seq 1 12)";

/// M9: what the machine has in flight when its daemon dies is carried out by the next one, once: nothing is lost, and nothing
/// comes back over what was written after it.
#[test]
fn what_a_machine_has_in_flight_outlives_its_daemons() {
    let Some(root) = root() else { return };
    let place = serving(|place| Volume::file("vm1", &place.file("vm1"), BYTES).with("io_timeout = \"1h\""));
    let mut daemon = Daemon::start(&place);
    let mut guest = Guest::boot(&place, &root);
    // Without a write cache a write is in flight until the disk has it.
    guest.must("echo 'write through' >/sys/block/vda/cache_type");
    guest.must(STAMPS);
    let (mut fewest, mut most) = (u64::MAX, 0);
    for round in 0..deaths() {
        daemon.must(&["fault", "vm1", "add", "write", "EIO", "--sequence", HANG]);
        guest.begin(&format!("for w in $all; do put 'round {round}' $w {round} & done; wait"));
        let taken = guest.wait("requests in flight", |_| {
            Some(in_flight(&daemon)).filter(|&count| count >= WRITERS as u64)
        });
        (fewest, most) = (fewest.min(taken), most.max(taken));
        daemon = next(daemon, &place);
        assert_eq!(guest.end().0, "0", "all is answered, and how, /tmp/failed says");
        guest.must(&format!("[ ! -e /tmp/failed ] && (for w in $all; do has $w {round} || exit 1; done)"));
        // What is put over it now must stay, whatever else the next daemon knows of.
        guest.must(&format!("for w in $all; do put 'again {round}' $w {round}; done"));
        daemon = next(daemon, &place);
        guest.must(&format!("[ ! -e /tmp/failed ] && (for w in $all; do has $w {round} || exit 1; done)"));
    }
    assert!(fewest >= 8, "at least 8 of the queue's descriptors at each death, as was waited for");
    println!("{} deaths, {fewest} to {most} requests in flight at each first one", 2 * deaths());
    drop(guest);
    daemon.stop_clean();
}

/// With a file system in the machine, whose writers note the sum of a file once the file is durable.
#[test]
fn a_machine_s_file_system_outlives_its_daemons() {
    let Some(root) = root() else { return };
    let place = serving(|place| Volume::file("vm1", &place.file("vm1"), BYTES));
    let mut daemon = Daemon::start(&place);
    let mut guest = Guest::boot(&place, &root);
    guest.must(MAKE);
    guest.must(
        "for w in 1 2 3 4 5 6 7 8; do (n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); f=/mnt/w$w.$((n%4)); \
         dd if=/dev/urandom of=/tmp/w$w bs=16k count=2 2>/dev/null; rm -f /tmp/sum$w.$((n%4)); \
         dd if=/tmp/w$w of=$f conv=fsync 2>/dev/null && sha1sum $f >/tmp/sum$w.$((n%4)) || touch /tmp/failed; done) & done",
    );
    for _ in 0..deaths() {
        std::thread::sleep(Duration::from_millis(1500));
        daemon = next(daemon, &place);
    }
    std::thread::sleep(Duration::from_millis(1500));
    guest.must("touch /tmp/stop; wait; [ ! -e /tmp/failed ]");
    guest.must("sync; echo 3 >/proc/sys/vm/drop_caches; cat /tmp/sum* | sha1sum -c >/tmp/checked || cat /tmp/checked");
    guest.must(
        "grep -c OK /tmp/checked >/tmp/count; [ $(cat /tmp/count) -gt 8 ] && ! grep -q FAILED /tmp/checked",
    );
    guest.must("umount /mnt && /sbin/e2fsck -fn /dev/vda >/dev/null");
    drop(guest);
    daemon.stop_clean();
}
