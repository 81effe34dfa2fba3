//! When an answer says that data is with the device, it is: the backing is read past every cache before any flush.

use crate::pattern::{EIO, ENOSPC, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// Around the border of two reactors' stripes.
const AT: (u64, u64) = (STRIPE - 32 * KIB, 64 * KIB);

/// What the disk itself has.
fn on_disk(path: &Path, (offset, length): (u64, u64)) -> Vec<u8> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty()).expect("O_DIRECT");
    // Memory of its own pages: O_DIRECT wants it aligned.
    let mut memory = memmap2::MmapMut::map_anon(length as usize).expect("memory");
    let count = rustix::io::pread(&file, &mut memory[..], offset).expect("read");
    assert_eq!(count as u64, length);
    memory.to_vec()
}

fn place(mode: &str) -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm", &place.file("vm"), 8 * MIB);
    place.add(&[volume.with(mode).with(r#"write_back = { from = "100%", after = "1h" }"#)]);
    place
}

#[test]
fn a_write_through_write_is_with_the_device_when_it_is_acknowledged() {
    let place = place("mode = \"write-through\"");
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    for version in 1..=3 {
        client.write_at(&pattern(version, AT.0, AT.1), AT.0).expect("written");
        check_same(&on_disk(&place.file("vm"), AT), &pattern(version, AT.0, AT.1), "on the disk");
    }
    assert_eq!(daemon.count("vm", "flushes_ok"), 0, "nobody flushed");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC"]);
    assert_eq!(failure(client.write_at(&pattern(4, AT.0, LINE), AT.0)).0, ENOSPC);
    let mut data = vec![0; LINE as usize];
    client.read_at(&mut data, AT.0).expect("refused, and visible");
    check_same(&data, &pattern(4, AT.0, LINE), "refused writes stay dirty and visible");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    client.flush().expect("nothing is wrong any more");
    check_same(&on_disk(&place.file("vm"), (AT.0, LINE)), &pattern(4, AT.0, LINE), "on the disk");
    drop(client);
    daemon.stop_clean();
}

#[test]
fn a_fua_write_is_on_stable_media_when_it_is_acknowledged() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    for version in 1..=3 {
        let flushes = daemon.count("vm", "device_flushes");
        client.write_at_fua(&pattern(version, AT.0, AT.1), AT.0).expect("stable");
        check_same(&on_disk(&place.file("vm"), AT), &pattern(version, AT.0, AT.1), "on the disk");
        eventually("a device flush", || (daemon.count("vm", "device_flushes") > flushes).then_some(()));
    }
    client.write_at(&pattern(1, 4 * MIB, LINE), 4 * MIB).expect("acknowledged");
    let beside = on_disk(&place.file("vm"), (4 * MIB, LINE));
    check_same(&beside, &pattern(0, 4 * MIB, LINE), "an ordinary write is in the cache");
    daemon.must(&["fault", "vm", "add", "flush", "EIO"]);
    assert_eq!(failure(client.write_at_fua(&pattern(4, AT.0, LINE), AT.0)).0, EIO, "written, not stable");
    daemon.must(&["fault", "vm", "clear"]);
    eventually("the flush", || client.flush().ok());
    drop(client);
    daemon.stop_clean();
}

/// Zeroes and discards are with the device, too, and what was cached there is gone.
#[test]
fn zeroes_and_discards_reach_the_device() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, AT.0, AT.1), AT.0).expect("acknowledged");
    client.flush().expect("the disk is well");
    client.write_at(&pattern(2, AT.0, AT.1), AT.0).expect("acknowledged");
    client.write_zeroes(AT.0, 2 * LINE).expect("zeroed");
    check_same(&on_disk(&place.file("vm"), (AT.0, 2 * LINE)), &pattern(0, AT.0, 2 * LINE), "zeroes");
    client.discard(AT.0 + 2 * LINE, 2 * LINE).expect("discarded");
    let mut data = vec![0; AT.1 as usize];
    client.read_at(&mut data, AT.0).expect("read");
    check_same(&data[..2 * LINE as usize], &pattern(0, AT.0, 2 * LINE), "zeroes");
    let rest = (AT.0 + 4 * LINE, AT.1 - 4 * LINE);
    check_same(&data[4 * LINE as usize..], &pattern(2, rest.0, rest.1), "untouched");
    let length = 6 * MIB;
    client.discard(0, length).expect("most of the volume at once");
    client.flush().expect("the disk is well");
    drop(client);
    daemon.stop_clean();
    let mut zeroes = on_disk(&place.file("vm"), (0, length));
    zeroes.dedup();
    assert_eq!(zeroes, [0], "nothing cached came back");
}
