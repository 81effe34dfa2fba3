//! A daemon is killed while its disk answers nothing at all: how long that disk holds the next daemon up, and what becomes
//! of the data.

use crate::hanging::Stopped;
use crate::needs::can_use;
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, PATIENCE, eventually};
use crate::world::{Fuse, Loop, Mount, make_file_system};
use holdfast_ringbuf::client::Client;
use rustix::process::Signal;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

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

/// What is in flight when a daemon dies.
#[derive(Clone, Copy, PartialEq)]
enum Silent {
    Writes,
    Flushes,
}

/// Kills a daemon with operations of an ill disk in flight that are not answered from `silence` on, and leaves its clients: the ill
/// volume's, and that of one beside it. Half of what either has is clean; what is in flight is the other half's.
fn die_with<'a>(place: &'a Place, what: Silent, silence: impl FnOnce()) -> (Daemon<'a>, [Client; 2]) {
    let mut daemon = Daemon::start(place);
    let clients = ["ill", "well"].map(|volume| daemon.client(volume));
    for client in &clients {
        client.write_at(&pattern(1, 0, HELD), 0).expect("acknowledged");
        client.flush().expect("the disks are well");
    }
    silence();
    clients[0].write_at(&pattern(2, HELD / 2, HELD / 2), HELD / 2).expect("acknowledged");
    eventually("writes are on their way", || (daemon.bytes("ill", "unstable_bytes") > 0).then_some(()));
    if what == Silent::Flushes {
        let client = clients[0].clone();
        std::thread::spawn(move || client.flush());
    }
    // Those who carry them out have them by then.
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill_and_go_on();
    (daemon, clients)
}

fn place_over(backing: &Path) -> Place {
    let mut place = Place::new();
    let ill = Volume::existing("ill", backing).with("write_back = { after = \"10ms\" }");
    place.add(&[ill, Volume::file("well", &place.file("well"), 8 * MIB)]);
    place
}

/// C10: what is stuck below a disk's file system keeps the lock of its file and nothing else.
#[test]
fn hits_are_served_while_writes_of_a_killed_daemon_are_stuck_in_a_disk() {
    over_a_file_system(Silent::Writes);
}

/// C10: the same of a flush, which the kernel does nowhere but in a thread that waits.
#[test]
fn hits_are_served_while_a_flush_of_a_killed_daemon_is_stuck_in_a_disk() {
    over_a_file_system(Silent::Flushes);
}

/// On ext4 over a disk whose server stops. Before it goes on, the next daemon serves hits of the ill volume, and the volume beside
/// it has all: hits, writes, flushes. In the end nothing is missing.
fn over_a_file_system(what: Silent) {
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
    let place = place_over(&backing);
    let (_dead, clients) = die_with(&place, what, || fuse.signal(Signal::STOP));
    let stopped = Stopped(&fuse);

    let next = Daemon::spawn(&place, &[], |_| {});
    let hits = [read_beside(&clients[0], true), read_beside(&clients[1], false)];
    let took = hits.each_ref().map(|hit| hit.recv_timeout(PATIENCE).ok());
    eprintln!("hits of the ill volume and of the other while the disk was silent: {took:?}");
    assert!(took.iter().all(Option::is_some), "hits need no disk: {}", next.log());
    clients[1].write_at(&pattern(3, 0, LINE), 0).expect("acknowledged");
    clients[1].flush().expect("its disk is well");
    assert!(next.log().contains("still in flight"), "the scene is played: {}", next.log());
    eventually("an operator is told", || {
        let health = next.ctl(&["health"]).json["reasons"].to_string();
        (health.contains("HF_DEVICE_HANGS") && health.contains("operations of an earlier daemon"))
            .then_some(())
    });
    drop(stopped);
    eventually("the flush after the disk came back", || clients[0].flush().ok());
    drop(clients);
    next.stop_clean();
    check_backing(&backing, 1, 0, HELD / 2);
    check_backing(&backing, 2, HELD / 2, HELD / 2);
    check_backing(&place.file("well"), 3, 0, LINE);
}

/// C10: where the server of a FUSE file answers nothing at all, the next daemon waits for it to open the file (README, limits): it
/// says so, nothing is lost, and clients see a pause.
#[test]
fn a_fuse_server_that_is_silent_costs_the_next_daemon_a_pause_and_no_data() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").expect("a place");
    let fuse = Fuse::start(directory.path(), 8 * MIB, &["memory", "8M"]);
    let place = place_over(&fuse.file);
    let (_dead, clients) = die_with(&place, Silent::Writes, || fuse.signal(Signal::STOP));
    let stopped = Stopped(&fuse);
    let next = Daemon::spawn(&place, &[], |_| {});
    eventually("its devices are opened", || next.log().contains("the ledger is read").then_some(()));
    drop(stopped);
    for (client, newer) in clients.iter().zip([true, false]) {
        read_beside(client, newer).recv_timeout(PATIENCE).expect("answered once the server answers");
        client.flush().expect("every disk is well");
    }
    drop(clients);
    next.stop_clean();
    check_backing(&fuse.file, 1, 0, HELD / 2);
    check_backing(&fuse.file, 2, HELD / 2, HELD / 2);
}
