//! A cache that is full of data which its disk refuses: what still works, and what the policy makes of the rest; also
//! for a user who may lock nothing.

use crate::needs::can_use;
use crate::pattern::{EIO, ENOSPC, check_backing, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use std::os::unix::process::CommandExt;

const CHUNK: u64 = 64 * KIB;
const BYTES: u64 = 16 * MIB;
/// The last chunk: it is on the disk from before.
const OLD: u64 = BYTES - CHUNK;

/// Chunks of which every other one belongs to the same reactor.
fn chunks() -> impl Iterator<Item = u64> {
    (0..OLD / CHUNK / 32 * 32).map(|number| {
        let (round, step) = (number / 32, number % 32);
        round * 2 * STRIPE + step % 2 * STRIPE + step / 2 * CHUNK
    })
}

/// Chunks of which all belong to the first of two reactors.
fn chunks_of_one() -> impl Iterator<Item = u64> {
    (0..OLD).step_by(CHUNK as usize).filter(|at| (at / STRIPE).is_multiple_of(2))
}

/// A budget of 2 MiB over a disk that refuses every write with ENOSPC, written to until the cache is full: what is held.
fn fill_up(daemon: &Daemon<'_>, chunks: impl Iterator<Item = u64>) -> Vec<u64> {
    let client = daemon.client("vm");
    client.write_at(&pattern(9, OLD, CHUNK), OLD).expect("acknowledged");
    client.flush().expect("the disk is well");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    let mut held = Vec::new();
    for at in chunks {
        match client.write_at(&pattern(1, at, CHUNK), at) {
            Ok(()) => held.push(at),
            Err(error) => {
                assert_eq!(error.errno(), ENOSPC, "{error}");
                break;
            }
        }
    }
    let bytes = held.len() as u64 * CHUNK;
    assert!((2 * MIB - CHUNK..=2 * MIB).contains(&bytes), "{bytes} are held of a budget of 2 MiB");
    held
}

fn place(policy: &str) -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm", &place.file("vm"), BYTES).policy(policy);
    place.add(&[volume.with("budget = \"2MiB\"")]);
    place
}

/// Overwrites of what is held and reads of everything go on; new data gets ENOSPC; nothing is lost.
fn hold_forever(daemon: Daemon<'_>) {
    let held = fill_up(&daemon, chunks());
    let path = daemon.place.file("vm");
    let client = daemon.client("vm");
    for &at in &held {
        client.write_at(&pattern(2, at, CHUNK), at).expect("an overwrite of what is held");
    }
    let new = BYTES / 2;
    assert_eq!(failure(client.write_at(&pattern(2, new, CHUNK), new)).0, ENOSPC);
    let mut data = vec![0; CHUNK as usize];
    for &at in &held {
        client.read_at(&mut data, at).expect("held");
        check_same(&data, &pattern(2, at, CHUNK), "the newest");
    }
    client.read_at(&mut data, OLD).expect("a read of the disk");
    check_same(&data, &pattern(9, OLD, CHUNK), "from the disk");
    client.read_at(&mut data, new + CHUNK).expect("a miss finds room");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    eventually("the flush", || client.flush().ok());
    client.write_at(&pattern(3, new, CHUNK), new).expect("there is room again");
    drop(client);
    daemon.stop_clean();
    for at in held {
        check_backing(&path, 2, at, CHUNK);
    }
    check_backing(&path, 3, new, CHUNK);
}

/// A client that writes to one reactor's stripes only reaches the whole budget; then the other reactor, which holds
/// nothing, takes nothing, and both take again once the disk is well.
#[test]
fn one_reactor_holds_the_whole_budget() {
    let place = place(HOLD);
    let daemon = Daemon::start(&place);
    let held = fill_up(&daemon, chunks_of_one());
    assert_eq!(daemon.bytes("vm", "budget_bytes"), 2 * MIB);
    assert!(daemon.bytes("vm", "not_clean_bytes") <= 2 * MIB);
    let client = daemon.client("vm");
    assert_eq!(failure(client.write_at(&pattern(1, STRIPE, CHUNK), STRIPE)).0, ENOSPC);
    for &at in &held {
        client.write_at(&pattern(2, at, CHUNK), at).expect("an overwrite of what is held");
    }
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    eventually("the flush", || client.flush().ok());
    client.write_at(&pattern(3, STRIPE, CHUNK), STRIPE).expect("there is room again");
    drop(client);
    daemon.stop_clean();
    for at in held {
        check_backing(&place.file("vm"), 2, at, CHUNK);
    }
    check_backing(&place.file("vm"), 3, STRIPE, CHUNK);
}

/// All that is held is one reactor's; a write to the other one waits for the time-out, and then the oldest makes room.
#[test]
fn one_reactor_gives_up_for_a_write_to_another() {
    let place = place(r#"{ kind = "hold-until-pressure", pressure = "75%", stall_timeout = "200ms" }"#);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    let held: Vec<u64> = chunks_of_one().take(23).collect();
    for &at in &held {
        client.write_at(&pattern(1, at, CHUNK), at).expect("below the pressure");
    }
    assert!(client.flush().is_err());
    assert_eq!(daemon.extents("vm", "lost"), []);
    client.write_at(&pattern(1, STRIPE, 2 * CHUNK), STRIPE).expect("it waits, and something else makes room");
    let lost = daemon.extents("vm", "lost");
    assert!(
        !lost.is_empty() && lost.iter().all(|&(offset, _)| (offset / STRIPE).is_multiple_of(2)),
        "{lost:?}"
    );
    let bytes: u64 = lost.iter().map(|&(_, length)| length).sum();
    assert!((CHUNK..=4 * CHUNK).contains(&bytes), "{bytes} were given up for {}", 2 * CHUNK);
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    daemon.must(&["ack-loss", "vm", "--yes"]);
    eventually("the flush", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, STRIPE, 2 * CHUNK);
}

const HOLD: &str = r#"{ kind = "hold-forever", stall_timeout = "300ms" }"#;

#[test]
fn a_full_cache_that_holds_for_ever() {
    let place = place(HOLD);
    hold_forever(Daemon::start(&place));
}

#[test]
fn it_needs_no_rights_and_no_locked_memory() {
    if !can_use(&[]) {
        return;
    }
    let place = place(HOLD);
    place.give_to(65534);
    let daemon = Daemon::start_with(&place, &[], |command| {
        let limit = rustix::process::Rlimit { current: Some(64 << 10), maximum: Some(64 << 10) };
        let lower = move || {
            rustix::process::setrlimit(rustix::process::Resource::Memlock, limit)?;
            Ok(())
        };
        // SAFETY: between fork and exec the child makes one system call, which neither allocates nor locks.
        unsafe { command.pre_exec(lower) };
        command.uid(65534).gid(65534);
    });
    assert!(daemon.log().contains("not locked") || daemon.log().contains("RLIMIT_MEMLOCK"), "it says so");
    hold_forever(daemon);
}

/// A new write waits for the time-out, then the oldest failure makes room for it: listed, and EIO when read.
#[test]
fn a_full_cache_that_holds_until_pressure() {
    let place = place(r#"{ kind = "hold-until-pressure", pressure = "60%", stall_timeout = "200ms" }"#);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    let mut taken = Vec::new();
    for at in chunks() {
        client.write_at(&pattern(1, at, CHUNK), at).expect("it waits, and something else makes room");
        taken.push(at);
        if daemon.bytes("vm", "lost_bytes") > 0 {
            break;
        }
    }
    let lost = daemon.extents("vm", "lost");
    assert!(!lost.is_empty());
    let is_lost = |at: u64| lost.iter().any(|&(offset, length)| offset < at + CHUNK && at < offset + length);
    let mut data = vec![0; CHUNK as usize];
    for &at in &taken {
        match client.read_at(&mut data, at) {
            Ok(()) => check_same(&data, &pattern(1, at, CHUNK), "held"),
            Err(error) => assert!(error.errno() == EIO && is_lost(at), "{error}"),
        }
    }
    assert_eq!(failure(client.flush()).0, EIO, "a loss is EIO whatever its cause");
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    assert_eq!(failure(client.flush()).0, EIO);
    let lost = daemon.extents("vm", "lost");
    for &(offset, length) in &lost {
        client.write_at(&pattern(4, offset, length), offset).expect("written again from a copy");
    }
    eventually("the flush after the heal", || client.flush().ok());
    assert_eq!(daemon.extents("vm", "lost"), []);
    drop(client);
    daemon.stop_clean();
    for (offset, length) in lost {
        check_backing(&place.file("vm"), 4, offset, length);
    }
}

/// While the disk refuses, a write is acknowledged only after write-back: it is refused, and nothing new gets lost.
#[test]
fn a_cache_that_evicts_never_fills() {
    let place = place(r#"{ kind = "evict-immediately" }"#);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    // A line for each of the reactors: each finds out by itself that the disk refuses.
    let first = (STRIPE - LINE, 2 * LINE);
    client.write_at(&pattern(1, first.0, first.1), first.0).expect("acknowledged");
    assert!(client.flush().is_err());
    let (errno, _) = failure(client.write_at(&pattern(1, 2 * MIB, CHUNK), 2 * MIB));
    assert!([ENOSPC, EIO].contains(&errno));
    eventually("what was acknowledged is lost and listed", || {
        let _ = client.flush();
        daemon.extents("vm", "lost").contains(&first).then_some(())
    });
    assert!(daemon.bytes("vm", "not_clean_bytes") <= 2 * CHUNK);
    daemon.must(&["fault", "vm", "clear"]);
    eventually("a write", || client.write_at(&pattern(2, first.0, first.1), first.0).ok());
    daemon.must(&["retry", "vm", "--wait"]);
    daemon.must(&["ack-loss", "vm", "--yes"]);
    eventually("the flush", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 2, first.0, first.1);
}
