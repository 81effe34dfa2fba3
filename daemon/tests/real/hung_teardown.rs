//! A daemon is killed while its disk answers nothing at all: how long that disk holds the next daemon up, and what becomes
//! of the data.

use crate::hanging::Stopped;
use crate::needs::can_use;
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, PATIENCE, eventually};
use crate::world::{Fuse, Loop, Mount, make_file_system};
use holdfast_ringbuf::client::Client;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long the disk says nothing where nobody is to be answered before: longer than a daemon's patience with a lock.
const SILENCE: Duration = Duration::from_secs(5);
/// What is in the cache of either volume: the first half of it clean, the second half on its way when the daemon dies.
const HELD: u64 = 8 * LINE;

/// Reads what a volume holds, beside everything else; says when, and whether it was right.
fn read_beside(client: &Client, newer: bool) -> Receiver<Duration> {
    let (client, (tell, told), begun) = (client.clone(), channel(), Instant::now());
    std::thread::spawn(move || {
        let mut data = vec![0; HELD as usize];
        client.read_at(&mut data, 0).expect("the next daemon answers");
        let half = (HELD / 2) as usize;
        check_same(&data[..half], &pattern(1, 0, HELD / 2), "what was clean");
        check_same(
            &data[half..],
            &pattern(if newer { 2 } else { 1 }, HELD / 2, HELD / 2),
            "what was acknowledged last",
        );
        // Whoever waits for it may have failed.
        let _ = tell.send(begun.elapsed());
    });
    told
}

/// Kills a daemon with writes to `backing` in flight that `fuse` does not answer, and starts the next. Where hits need none of
/// it, those of the ill volume and of the one beside it are answered before the disk is. In the end nothing is missing.
fn die_over_a_silent_disk(fuse: &Fuse, backing: &Path, hits_are_answered: bool) {
    let mut place = Place::new();
    let ill = Volume::existing("ill", backing).with("write_back = { after = \"10ms\" }");
    place.add(&[ill, Volume::file("well", &place.file("well"), 8 * MIB)]);
    let mut daemon = Daemon::start(&place);
    let clients = ["ill", "well"].map(|volume| daemon.client(volume));
    for client in &clients {
        client.write_at(&pattern(1, 0, HELD), 0).expect("acknowledged");
        client.flush().expect("the disks are well");
    }
    fuse.signal(rustix::process::Signal::STOP);
    let stopped = Stopped(fuse);
    clients[0].write_at(&pattern(2, HELD / 2, HELD / 2), HELD / 2).expect("acknowledged");
    eventually("writes are on their way", || (daemon.bytes("ill", "unstable_bytes") > 0).then_some(()));
    // The kernel's threads have them by then.
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill_and_go_on();

    let next = Daemon::spawn(&place, &[], |_| {});
    let hits = [read_beside(&clients[0], true), read_beside(&clients[1], false)];
    let patience = if hits_are_answered { PATIENCE } else { SILENCE };
    let until = Instant::now() + patience;
    let took =
        hits.each_ref().map(|hit| hit.recv_timeout(until.saturating_duration_since(Instant::now())).ok());
    eprintln!("hits of the ill volume and of the other while the disk was silent: {took:?}");
    if hits_are_answered {
        assert!(took.iter().all(Option::is_some), "hits need no disk: {}", next.log());
    }
    eventually("the scene is played", || next.log().contains("still in flight").then_some(()));
    drop(stopped);
    for (hit, _) in hits.iter().zip(took).filter(|(_, took)| took.is_none()) {
        let took = hit.recv_timeout(PATIENCE).expect("answered once the disk is");
        eprintln!("one was answered after {} ms", took.as_millis());
    }
    eventually("the flush after the disk came back", || clients[0].flush().ok());
    clients[1].flush().expect("its disk was well all the time");
    drop(clients);
    next.stop_clean();
    check_backing(backing, 1, 0, HELD / 2);
    check_backing(backing, 2, HELD / 2, HELD / 2);
}

/// C10: what is stuck below a disk's file system keeps the lock of its file and nothing else.
#[test]
fn hits_are_served_while_writes_of_a_killed_daemon_are_stuck_in_a_disk() {
    if !can_use(&["nbdkit", "nbdfuse", "losetup", "mkfs.ext4"]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").expect("a place");
    let fuse = Fuse::start(directory.path(), 64 * MIB, &["memory", "64M"]);
    let device = Loop::direct(&fuse.file);
    make_file_system("ext4", &device);
    let mounted = directory.path().join("mounted");
    std::fs::create_dir(&mounted).expect("ours");
    let _mount = Mount::of(device.words(), &mounted);
    let backing = mounted.join("backing");
    // Written, so that no write of the daemon has to wait for the file system's journal.
    std::fs::write(&backing, vec![0; 8 * MIB as usize])
        .and_then(|()| std::fs::File::open(&backing)?.sync_all())
        .expect("ours");
    die_over_a_silent_disk(&fuse, &backing, true);
}

/// C10: what is stuck in a worker thread of the kernel's keeps all that its process had, and the next daemon waits (README,
/// limits): it says so, nothing is lost, and clients see a pause. Whether hits are answered meanwhile is printed.
#[test]
fn writes_of_a_killed_daemon_that_are_stuck_in_a_fuse_server_cost_a_pause_and_no_data() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").expect("a place");
    let fuse = Fuse::start(directory.path(), 8 * MIB, &["memory", "8M"]);
    die_over_a_silent_disk(&fuse, &fuse.file, false);
}
