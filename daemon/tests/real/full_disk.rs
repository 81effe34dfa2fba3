//! The timeline of the design on disks that are really full: for each policy, on ext4, XFS and a block device.

use crate::needs::can_use;
use crate::pattern::{EIO, ENOSPC, check_backing, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use crate::world::{ALLOCATED, FULL_BYTES, FullDisk};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::{Client, Error};

/// A hole around the border of two reactors' stripes.
const HOLE: (u64, u64) = (2 * MIB - 32 * KIB, 64 * KIB);
const CHUNK: u64 = 64 * KIB;

const HOLD_FOREVER: &str = r#"{ kind = "hold-forever", stall_timeout = "300ms" }"#;
const HOLD_UNTIL_PRESSURE: &str =
    r#"{ kind = "hold-until-pressure", pressure = "50%", stall_timeout = "100ms" }"#;
const EVICT: &str = r#"{ kind = "evict-immediately" }"#;

struct Scene<'a> {
    daemon: &'a Daemon<'a>,
    client: Client,
    policy: &'a str,
    /// Chunks of pattern 3 that were acknowledged.
    acknowledged: Vec<u64>,
}

impl Scene<'_> {
    fn may_lose(&self) -> bool {
        self.policy != HOLD_FOREVER
    }

    /// Every acknowledged chunk reads as written, or as EIO where the daemon says that it is lost; and never as before.
    fn check_reads(&self) {
        for &chunk in &self.acknowledged {
            for line in (chunk..chunk + CHUNK).step_by(LINE as usize) {
                let mut data = vec![0; LINE as usize];
                match self.client.read_at(&mut data, line) {
                    Ok(()) => check_same(&data, &pattern(3, line, LINE), "a read never goes back"),
                    Err(error) => {
                        assert_eq!(error.errno(), EIO, "{error}");
                        assert!(self.may_lose(), "nothing is ever given up: {error}");
                        let lost = self.daemon.extents("vm", "lost");
                        assert!(covered(&lost, line), "{line} fails, lost are {lost:?}");
                    }
                }
            }
        }
    }

    /// The second flush of t6, from a session that saw nothing of the first, and its explanation.
    fn check_same_answer(&self, first: (i32, Option<u64>)) {
        let id = first.1.expect("a failed flush has a name");
        let again = failure(self.daemon.client("vm").flush());
        if self.may_lose() {
            assert!([ENOSPC, EIO].contains(&again.0));
        } else {
            assert_eq!((first.0, again), (ENOSPC, first), "level-triggered, for every session");
        }
        let told = self.daemon.must(&["explain", &format!("{id:016x}")]);
        assert_eq!(told["volume"], "vm");
        let first_extent = &told["extents"][0];
        assert_eq!(first_extent["refusal"]["errno"]["name"], "ENOSPC", "{told}");
        assert!(first_extent["refusal"]["attempts"].as_u64() >= Some(1), "{told}");
    }

    /// Writes into holes until the policy has shown what it does.
    fn press(&mut self) {
        let holes = (0..FULL_BYTES).step_by(CHUNK as usize);
        let is_hole = |&at: &u64| !ALLOCATED.iter().any(|&from| (from..from + MIB).contains(&at));
        let is_free = |&at: &u64| at + CHUNK <= HOLE.0 || at >= HOLE.0 + HOLE.1;
        let mut refused = 0;
        for chunk in holes.filter(is_hole).filter(is_free) {
            match self.client.write_at(&pattern(3, chunk, CHUNK), chunk) {
                Ok(()) => self.acknowledged.push(chunk),
                Err(error) => {
                    assert!(matches!(error.errno(), ENOSPC | EIO), "{error}");
                    refused += 1;
                }
            }
            let lost = self.daemon.bytes("vm", "lost_bytes");
            if refused == 3 || (self.policy == HOLD_UNTIL_PRESSURE && lost > 0) {
                break;
            }
        }
        match self.policy {
            HOLD_FOREVER => assert_eq!(refused, 3, "a full budget answers ENOSPC"),
            HOLD_UNTIL_PRESSURE => assert!(self.daemon.bytes("vm", "lost_bytes") > 0, "one was given up"),
            _ => assert!(refused > 0, "acknowledged only after write-back"),
        }
    }
}

fn covered(ranges: &[(u64, u64)], at: u64) -> bool {
    ranges.iter().any(|&(offset, length)| (offset..offset + length).contains(&at))
}

fn play(disk: &FullDisk, policy: &str) {
    let volume = if disk.is_block {
        Volume::block("vm", &disk.backing)
    } else {
        Volume::existing("vm", &disk.backing)
    };
    let place = Place::serving(&[volume.policy(policy).with(r#"budget = "3MiB""#)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");

    // A full disk takes what overwrites.
    client.write_at(&pattern(2, 0, CHUNK), 0).expect("acknowledged");
    client.flush().expect("an overwrite of what is allocated succeeds on a full disk");

    client.write_at(&pattern(3, HOLE.0, HOLE.1), HOLE.0).expect("acknowledged");
    let first = failure(client.flush());
    assert!(first.0 == ENOSPC || (policy == EVICT && first.0 == EIO), "{first:?}");
    let mut scene = Scene { daemon: &daemon, client, policy, acknowledged: vec![HOLE.0] };
    scene.check_reads();
    scene.check_same_answer(first);
    if policy == EVICT {
        // It is given up when it is for good; every flush until then asks for an attempt.
        eventually("the loss", || {
            let (errno, _) = failure(scene.client.flush());
            let settled = daemon.bytes("vm", "not_clean_bytes") == 0;
            // A file system finds a block after all now and then.
            (errno == EIO && settled && daemon.bytes("vm", "lost_bytes") > 0).then_some(())
        });
    }
    // Overwrites go on while what must allocate fails. Only who acknowledges nothing that is not written back says no:
    // until a probe succeeds, no write but the probe goes out.
    let beside = ALLOCATED[1];
    let overwritten: Result<(), Error> = scene.client.write_at(&pattern(4, beside, CHUNK), beside);
    match &overwritten {
        Ok(()) => {}
        Err(error) => assert_eq!((policy, error.errno()), (EVICT, ENOSPC), "held or written, but taken"),
    }

    scene.press();
    scene.check_reads();
    assert_ne!(daemon.ctl(&["status"]).exit, Exit::Ok);

    disk.make_room();
    daemon.must(&["retry", "vm", "--wait"]);
    assert_eq!(daemon.extents("vm", "failed"), []);
    let lost = daemon.extents("vm", "lost");
    assert!(lost.is_empty() || scene.may_lose());
    if !lost.is_empty() {
        assert_eq!(failure(scene.client.flush()).0, EIO, "a loss is a loss with room, too");
        assert_eq!(daemon.ctl(&["status"]).exit, Exit::Faulted);
        scene.check_reads();
        daemon.must(&["ack-loss", "vm", "--yes"]);
    }
    eventually("the flush of t8", || scene.client.flush().ok());
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
    let acknowledged = std::mem::take(&mut scene.acknowledged);
    drop(scene);
    daemon.stop_clean();

    check_backing(&disk.backing, 2, 0, CHUNK);
    if overwritten.is_ok() {
        check_backing(&disk.backing, 4, beside, CHUNK);
    }
    check_backing(&disk.backing, 1, beside + CHUNK, MIB - CHUNK);
    for line in acknowledged.iter().flat_map(|&chunk| (chunk..chunk + CHUNK).step_by(LINE as usize)) {
        if !covered(&lost, line) {
            check_backing(&disk.backing, 3, line, LINE);
        }
    }
}

fn play_all(programs: &[&str], disk: impl Fn(&std::path::Path) -> FullDisk) {
    if !can_use(programs) {
        return;
    }
    for policy in [HOLD_FOREVER, HOLD_UNTIL_PRESSURE, EVICT] {
        let directory = tempfile::tempdir().expect("a directory");
        play(&disk(directory.path()), policy);
    }
}

#[test]
fn the_timeline_on_a_full_ext4() {
    play_all(&["mount", "losetup", "mkfs.ext4"], |directory| FullDisk::file_system("ext4", directory));
}

#[test]
fn the_timeline_on_a_full_xfs() {
    play_all(&["mount", "losetup", "mkfs.xfs"], |directory| FullDisk::file_system("xfs", directory));
}

#[test]
fn the_timeline_on_a_full_block_device() {
    play_all(&["mount", "losetup"], FullDisk::block);
}
