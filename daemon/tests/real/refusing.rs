//! A disk that answers EIO on demand: nbdkit behind nbdfuse.

use crate::needs::can_use;
use crate::pattern::{EIO, check_backing, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually, ranges};
use crate::world::Fuse;
use std::path::Path;

const BYTES: u64 = 8 * MIB;
/// Across the border of two reactors.
const AT: (u64, u64) = (MIB - 32 * KIB, 64 * KIB);

fn start(directory: &Path, rate: &str, inject: &Path) -> Fuse {
    let file = format!("error-file={}", inject.display());
    let nbdkit = ["--filter=error", "memory", "8M", "error=EIO", rate, &file];
    Fuse::start(directory, BYTES, &nbdkit)
}

/// A disk over a file, by shell commands, which can do no more than what is added.
fn over_file(directory: &Path, disk: &Path, more: &[&str]) -> Fuse {
    std::fs::File::create(disk).and_then(|file| file.set_len(BYTES)).expect("a disk");
    let path = disk.display();
    let size = format!("get_size=echo {BYTES}");
    let read = format!("pread=dd if={path} skip=$4 count=$3 iflag=count_bytes,skip_bytes status=none");
    let write = format!("pwrite=dd of={path} seek=$4 conv=notrunc oflag=seek_bytes status=none");
    let known = ["eval", &size, &read, &write, "can_write=exit 0"];
    Fuse::start(directory, BYTES, &[&known, more].concat())
}

/// What has nothing to flush becomes clean without, and is written once.
#[test]
fn a_disk_without_flush_is_cleaned() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let disk = directory.path().join("disk");
    let fuse = over_file(directory.path(), &disk, &[]);
    let place = Place::serving(&[Volume::file("vm", &fuse.file, BYTES)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, AT.0, AT.1), AT.0).expect("acknowledged");
    client.flush().expect("the disk has no cache");
    check_backing(&disk, 1, AT.0, AT.1);
    assert_eq!(daemon.bytes("vm", "not_clean_bytes"), 0);
    assert_eq!(daemon.count("vm", "device_write_bytes"), AT.1, "written once");
    drop(client);
    daemon.stop_clean();
}

#[test]
fn writes_that_are_refused_are_held_and_heal() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let inject = directory.path().join("inject");
    let fuse = start(directory.path(), "error-pwrite-rate=100%", &inject);
    let place = Place::serving(&[Volume::file("vm", &fuse.file, BYTES)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, AT.0, AT.1), AT.0).expect("acknowledged");
    client.flush().expect("the disk is well");

    std::fs::write(&inject, "").expect("broken");
    client.write_at(&pattern(2, AT.0, AT.1), AT.0).expect("acknowledged");
    let first = failure(client.flush());
    let id = first.1.expect("a failed flush has a name");
    assert_eq!(first.0, EIO);
    let told = daemon.must(&["explain", &format!("{id:016x}")]);
    assert_eq!(ranges(&told), [AT], "exactly what was written: {told}");
    let other = daemon.client("vm");
    assert_eq!(failure(other.flush()), first, "level-triggered, for every session");
    let mut data = vec![0; AT.1 as usize];
    other.read_at(&mut data, AT.0).expect("held");
    check_same(&data, &pattern(2, AT.0, AT.1), "a read never goes back");

    std::fs::remove_file(&inject).expect("healed");
    eventually("a flush after the cause is gone", || client.flush().ok());
    assert_eq!(daemon.bytes("vm", "failed_bytes"), 0);
    let told = daemon.must(&["explain", &format!("{id:016x}")]);
    assert_eq!(told["unresolved"], false, "{told}");
    drop((client, other));
    daemon.stop_clean();
    check_backing(&fuse.file, 2, AT.0, AT.1);
}

#[test]
fn reads_that_fail_harm_no_flush() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let inject = directory.path().join("inject");
    let fuse = start(directory.path(), "error-pread-rate=100%", &inject);
    let place = Place::serving(&[Volume::file("vm", &fuse.file, BYTES)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    std::fs::write(&inject, "").expect("broken");
    let mut data = vec![0; AT.1 as usize];
    assert_eq!(failure(client.read_at(&mut data, AT.0)).0, EIO);
    client.write_at(&pattern(1, AT.0, LINE), AT.0).expect("acknowledged");
    client.flush().expect("a failing read is no reason for a flush to fail");
    assert_eq!(failure(client.read_at(&mut data, AT.0)).0, EIO, "whole or not at all");
    client.read_at(&mut data[..LINE as usize], AT.0).expect("it is in the cache");
    check_same(&data[..LINE as usize], &pattern(1, AT.0, LINE), "a hit");
    assert!(daemon.count("vm", "device_reads_refused") >= 2);

    std::fs::remove_file(&inject).expect("healed");
    client.read_at(&mut data, AT.0).expect("the cause is gone");
    let mut expected = pattern(0, AT.0, AT.1);
    expected[..LINE as usize].copy_from_slice(&pattern(1, AT.0, LINE));
    check_same(&data, &expected, "a read of cache and disk");
    drop(client);
    daemon.stop_clean();
    check_backing(&fuse.file, 1, AT.0, LINE);
}

/// The device took the data and cannot promise to keep it: nothing is clean before a flush that succeeds.
#[test]
fn flushes_that_are_refused_are_reported_until_one_succeeds() {
    if !can_use(&["nbdkit", "nbdfuse"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (disk, inject) = (directory.path().join("disk"), directory.path().join("inject"));
    let flush = format!("flush=if [ -f {} ]; then echo EIO refused >&2; exit 1; fi", inject.display());
    let fuse = over_file(directory.path(), &disk, &["can_flush=exit 0", &flush]);
    let place = Place::serving(&[Volume::file("vm", &fuse.file, BYTES)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    std::fs::write(&inject, "").expect("broken");
    client.write_at(&pattern(1, AT.0, AT.1), AT.0).expect("acknowledged");
    let (errno, id) = failure(client.flush());
    assert_eq!(errno, EIO);
    let told = daemon.must(&["explain", &format!("{:016x}", id.expect("a name"))]);
    assert_eq!(ranges(&told), [AT], "{told}");
    for _ in 0..3 {
        assert_eq!(failure(daemon.client("vm").flush()).0, EIO, "as long as it is true");
    }
    assert!(daemon.count("vm", "device_flushes_failed") >= 1);
    assert!(daemon.bytes("vm", "not_clean_bytes") >= AT.1, "nothing of it is clean");

    std::fs::remove_file(&inject).expect("healed");
    eventually("a flush after the cause is gone", || client.flush().ok());
    assert_eq!(daemon.bytes("vm", "not_clean_bytes"), 0);
    drop(client);
    daemon.stop_clean();
    check_backing(&disk, 1, AT.0, AT.1);
}
