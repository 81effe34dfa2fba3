//! A daemon is killed while its disk answers nothing at all: how long that disk holds the next daemon up, and what becomes
//! of the data.

use crate::hanging::Stopped;
use crate::needs::can_use;
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, PATIENCE, eventually};
use crate::world::{Fuse, Loop, Mount, make_file_system};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::{Client, Options};
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
    place_of(Volume::existing("ill", backing))
}

fn place_of(ill: Volume) -> Place {
    let mut place = Place::new();
    let ill = ill.with("write_back = { after = \"10ms\" }");
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
    hits_meanwhile(&next, &clients, "operations of an earlier daemon");
    assert!(next.log().contains("still in flight"), "the scene is played: {}", next.log());
    drop(stopped);
    all_is_there(next, clients, &backing);
}

/// While the ill volume's disk is silent a daemon serves its hits, and all of the other volume; an operator is told why.
fn hits_meanwhile(next: &Daemon<'_>, clients: &[Client; 2], why: &str) {
    let hits = [read_beside(&clients[0], true), read_beside(&clients[1], false)];
    let took = hits.each_ref().map(|hit| hit.recv_timeout(PATIENCE).ok());
    eprintln!("hits of the ill volume and of the other while the disk was silent: {took:?}");
    assert!(took.iter().all(Option::is_some), "hits need no disk: {}", next.log());
    clients[1].write_at(&pattern(3, 0, HELD / 2), 0).expect("acknowledged");
    clients[1].flush().expect("its disk is well");
    clients[1].write_at(&pattern(1, 0, HELD / 2), 0).expect("as before, for whoever comes next");
    eventually("an operator is told", || {
        let health = next.ctl(&["health"]).json["reasons"].to_string();
        (health.contains("HF_DEVICE_HANGS") && health.contains(why)).then_some(())
    });
}

/// The disk answers again: nothing is missing.
fn all_is_there(daemon: Daemon<'_>, clients: [Client; 2], backing: &Path) {
    eventually("the flush after the disk came back", || clients[0].flush().ok());
    clients[1].write_at(&pattern(3, 0, LINE), 0).expect("acknowledged");
    let well = daemon.place.file("well");
    drop(clients);
    daemon.stop_clean();
    check_backing(backing, 1, 0, HELD / 2);
    check_backing(backing, 2, HELD / 2, HELD / 2);
    check_backing(&well, 3, 0, LINE);
}

/// A daemon is killed whose disk's server says nothing, and so is the next one, which cannot even open it: what hangs there keeps
/// nothing of theirs. `prepare` makes the volume's backing of the server's file.
fn over_a_silent_server(prepare: impl FnOnce(&Fuse) -> (Place, Option<Loop>)) {
    if !can_use(&["nbdkit", "nbdfuse", "losetup"]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").expect("a place");
    let fuse = Fuse::start(directory.path(), 8 * MIB, &["memory", "8M"]);
    let (place, device) = prepare(&fuse);
    let (_dead, clients) = die_with(&place, Silent::Writes, || fuse.signal(Signal::STOP));
    let stopped = Stopped(&fuse);
    let mut next = Daemon::spawn(&place, &[], |_| {});
    hits_meanwhile(&next, &clients, "could not be opened yet");
    let refused = next.ctl(&["volume", "reopen", "ill"]);
    assert_eq!(refused.exit, Exit::Incomplete, "it is being opened: {refused:?}");
    next.kill_and_go_on();
    let third = Daemon::spawn(&place, &[], |_| {});
    hits_meanwhile(&third, &clients, "could not be opened yet");
    drop(stopped);
    eventually("an operator sees that it is well", || {
        let health = third.ctl(&["health"]).json["reasons"].to_string();
        (!health.contains("HF_DEVICE_HANGS")).then_some(())
    });
    all_is_there(third, clients, &fuse.file);
    drop(device);
}

/// C10: a file whose server does not even let it be opened holds up nobody: the hits of its volume are served, and all of the others.
#[test]
fn hits_are_served_while_a_file_cannot_be_opened() {
    over_a_silent_server(|fuse| (place_over(&fuse.file), None));
}

/// C10: the same of a block device, whose exclusive claim goes with the last operation of the daemon that was killed.
#[test]
fn hits_are_served_while_a_block_device_is_busy_with_what_a_dead_daemon_left() {
    over_a_silent_server(|fuse| {
        let device = Loop::direct(&fuse.file);
        (place_of(Volume::block("ill", &device.device)), Some(device))
    });
}

/// A device that nobody knows cannot be served without: the start says what it waits for, and ends when it is told to.
#[test]
fn a_start_says_what_it_waits_for_and_ends_when_it_is_told_to() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir_in("/var/tmp").expect("a place");
    let fuse = Fuse::start(directory.path(), 8 * MIB, &["memory", "8M"]);
    let place = place_over(&fuse.file);
    fuse.signal(Signal::STOP);
    let stopped = Stopped(&fuse);
    let mut first = Daemon::spawn(&place, &[], |_| {});
    eventually("what it waits for", || {
        let named =
            first.log().contains("waiting for") && first.log().contains(&*fuse.file.to_string_lossy());
        named.then_some(())
    });
    first.terminate();
    eventually("its last words", || first.log().contains("told to end").then_some(()));
    // The thread that opens the file lets it be reaped when the server goes on, and keeps nothing of its till then.
    let next = Daemon::spawn(&place, &[], |_| {});
    eventually("another one waits for the same", || next.log().contains("waiting for").then_some(()));
    drop(stopped);
    let (status, log) = first.wait();
    assert_eq!(status.code(), Some(2), "nothing was served: {log}");
    let client = eventually("it serves", || {
        Client::connect(place.clients(), "ill", Options { queue_depth: 2, ..Options::default() }).ok()
    });
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    drop(client);
    next.stop_clean();
    check_backing(&fuse.file, 1, 0, LINE);
}
