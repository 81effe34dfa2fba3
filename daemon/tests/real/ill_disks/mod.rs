//! Every class of error that a disk can answer with, end to end: each way for a disk to be ill, under each policy, with flushes
//! that report and flushes that stall. One daemon a policy has all the ill disks at once, so that none may harm another.

mod disks;
mod play;

pub(crate) use disks::limit;

use crate::needs::can_use;
use crate::place::{Place, Volume};
use crate::running::{Daemon, PATIENCE};
use disks::{Disk, KINDS, Kind, Refuses};
use play::{Play, Policy};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Flushes that wait and flushes that tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Report,
    Stall,
}

/// The operators of one daemon, one of whom types at a time: it does not take as many connections as there are volumes here.
#[derive(Clone, Copy)]
struct Operators<'a> {
    daemon: &'a Daemon<'a>,
    turn: &'a Mutex<()>,
}

impl Operators<'_> {
    fn ask<T>(&self, ask: impl FnOnce(&Daemon<'_>) -> T) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        ask(self.daemon)
    }
}

/// As `running::eventually`, for a crowd: two dozen that ask a daemon a hundred times a second keep it from its work.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = found() {
            return result;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A disk of each kind for each way to flush, on one daemon under one policy.
fn all_under(policy: Policy) {
    let programs = ["mount", "losetup", "mkfs.ext4", "e2fsck", "blockdev", "nbdkit", "nbdfuse", "umount"];
    if !can_use(&programs) {
        return;
    }
    let mut place = Place::new();
    place.change("size = \"32MiB\"", "size = \"64MiB\"");
    place.change("sessions_max = 32", "sessions_max = 128");
    let mut cases: Vec<(&'static str, &'static Kind, Flush, Disk)> = Vec::new();
    for kind in KINDS {
        for flush in [Flush::Report, Flush::Stall] {
            let name = format!("{}-{flush:?}", kind.name).to_lowercase();
            // Names of volumes are words of the tests, which live as long as they.
            let name: &'static str = name.leak();
            let disk = (kind.make)(&place.file(name));
            let mut volume =
                Volume::over(name, disk.backing.clone()).policy(policy.toml()).with("budget = \"2MiB\"");
            if kind.refuses == Refuses::Everything {
                // Of these only: a machine with much to do may keep a disk waiting that is well.
                volume = volume.with("io_timeout = \"500ms\"");
            }
            if flush == Flush::Stall {
                // Over a loss that nobody acknowledges each flush waits for all of it.
                let timeout = if policy.gives_up(kind) { "6s" } else { "40s" };
                let stall = format!("flush_on_failure = {{ kind = \"stall\", timeout = \"{timeout}\" }}");
                volume = volume.with(&stall);
            }
            place.add(&[volume]);
            cases.push((name, kind, flush, disk));
        }
    }
    let (daemon, turn) = (Daemon::start(&place), Mutex::new(()));
    std::thread::scope(|scope| {
        for (name, kind, flush, disk) in &cases {
            let operators = Operators { daemon: &daemon, turn: &turn };
            let play = move || Play::new(operators, name, kind, *flush, policy, disk).run();
            std::thread::Builder::new().name((*name).to_owned()).spawn_scoped(scope, play).expect("a thread");
        }
    });
    daemon.stop_clean();
    for (name, _, _, disk) in &cases {
        play::check_disk(name, disk);
    }
}

#[test]
fn every_ill_disk_under_hold_forever() {
    all_under(Policy::HoldForever);
}

#[test]
fn every_ill_disk_under_hold_until_pressure() {
    all_under(Policy::HoldUntilPressure);
}

#[test]
fn every_ill_disk_under_evict_immediately() {
    all_under(Policy::EvictImmediately);
}
