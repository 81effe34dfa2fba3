//! What a disk offers beyond reads, writes and flushes: said where virtio says it, and so when it is made use of.

use super::machine::{DEVICE_WRITES, FLUSH, INDIRECT, Machine, NEXT, READ, WRITE};
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;
use vm_memory::{Bytes, GuestAddress};

const BYTES: u64 = 16 * MIB;
const IOERR: u8 = 1;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

// Bits, as virtio 1.2 has them in 5.2.3 and 6.
const SIZE_MAX: u32 = 1;
const SEG_MAX: u32 = 2;
const RO: u32 = 5;
const BLK_SIZE: u32 = 6;
const F_FLUSH: u32 = 9;
const TOPOLOGY: u32 = 10;
const CONFIG_WCE: u32 = 11;
const MQ: u32 = 12;
const F_DISCARD: u32 = 13;
const F_WRITE_ZEROES: u32 = 14;
const EVENT_IDX: u32 = 29;
/// vhost's own: the pages that the device writes to are noted, as a migration needs it.
const LOG_ALL: u32 = 26;

fn place(lines: &str) -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm1", &place.file("vm1"), BYTES);
    place.add(&[volume]);
    place.open_vhost("vm1", lines);
    place
}

/// The features, and the first 64 bytes of the configuration space.
pub(super) fn told(machine: &mut Machine) -> (u64, Vec<u8>) {
    let frontend = machine.frontend.as_mut().expect("connected");
    let features = vhost::VhostBackend::get_features(frontend).expect("features");
    let (_, space) = frontend.get_config(0, 64, VhostUserConfigFlags::empty(), &[0; 64]).expect("told");
    (features, space)
}

fn has(features: u64, bits: &[u32]) -> Vec<bool> {
    bits.iter().map(|bit| features & 1 << bit != 0).collect()
}

pub(super) fn number(space: &[u8], at: usize, length: usize) -> u64 {
    space[at..at + length].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A request whose data is in so many pieces, by an indirect table: 16 bytes each, one behind the other.
fn in_pieces(machine: &mut Machine, kind: u32, pieces: u16) -> u8 {
    let table = Machine::data_at(8);
    machine.lay_out(1, kind, 0, 512);
    let data = if kind == READ { DEVICE_WRITES } else { 0 };
    let put = |index: u16, address: u64, length: u32, flags: u16| {
        let entry = virtio_queue::desc::split::Descriptor::new(address, length, flags, index + 1);
        machine.put(table + 16 * u64::from(index), entry);
    };
    put(0, Machine::header(1), 16, NEXT);
    for piece in 0..pieces {
        put(piece + 1, Machine::data_at(1) + 512 * u64::from(piece), 512, NEXT | data);
    }
    put(pieces + 1, Machine::status_at(1), 1, DEVICE_WRITES);
    machine.describe(3, table, 16 * (u32::from(pieces) + 2), INDIRECT, 0);
    machine.offer(3);
    machine.wait(1)[0].1
}

#[test]
fn a_disk_says_its_limits_and_keeps_them() {
    let place = place("queues = 3");
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    let (features, space) = told(&mut machine);
    let all = [
        SIZE_MAX,
        SEG_MAX,
        BLK_SIZE,
        F_FLUSH,
        TOPOLOGY,
        CONFIG_WCE,
        MQ,
        F_DISCARD,
        F_WRITE_ZEROES,
        EVENT_IDX,
    ];
    assert_eq!(has(features, &all), [true; 10], "{features:#x}");
    assert_eq!(has(features, &[RO]), [false]);
    assert_eq!(has(features, &[LOG_ALL]), [false], "nobody would note the pages: QEMU refuses to migrate");
    let (size_max, seg_max, block) = (number(&space, 8, 4), number(&space, 12, 4), number(&space, 20, 4));
    assert_eq!(number(&space, 0, 8), BYTES / 512, "sectors");
    assert_eq!(seg_max, 126);
    assert_eq!(block << number(&space, 24, 1), LINE, "a physical block is a line");
    assert_eq!(number(&space, 25, 1), 0, "and begins at 0");
    assert_eq!(number(&space, 26, 2) * block, LINE, "the least that makes sense");
    assert_eq!(number(&space, 28, 4) * block, 128 * KIB, "the best is the largest request of a reactor");
    assert_eq!(number(&space, 32, 1), 1, "a write cache");
    assert_eq!(number(&space, 34, 2), 3, "queues");
    for at in [36, 48] {
        assert_eq!(number(&space, at, 4) * 512, 1 << 30, "the longest discard and write-zeroes");
        assert_eq!(number(&space, at + 4, 4), 1, "of one range");
    }
    assert_eq!((number(&space, 44, 4) * 512, number(&space, 56, 1)), (LINE, 1), "discards of lines");

    let pieces = u16::try_from(seg_max).expect("few");
    let bytes = pattern(1, 0, 512 * seg_max);
    machine.memory.write_slice(&bytes, GuestAddress(Machine::data_at(1))).expect("memory");
    assert_eq!(in_pieces(&mut machine, WRITE, pieces), 0, "as many pieces as it says");
    machine.memory.write_slice(&vec![0; bytes.len()], GuestAddress(Machine::data_at(1))).expect("memory");
    assert_eq!(in_pieces(&mut machine, READ, pieces), 0);
    check_same(&machine.data(1, bytes.len()), &bytes, "in pieces");
    assert_eq!(in_pieces(&mut machine, WRITE, pieces + 2), IOERR, "and no more");
    assert!(size_max * seg_max >= 128 * KIB, "{size_max} bytes a piece");
    drop(machine);
    daemon.stop_clean();
}

/// Told by the frontend's key. Requests that a guest makes all the same are refused, and the queue goes on.
#[test]
fn a_disk_for_reading_says_so_and_is_not_written() {
    let place = place("read_only = true");
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    client.write_at(&pattern(1, 0, LINE), 0).expect("the volume itself can be written");
    client.flush().expect("flushed");
    let mut machine = Machine::started(&place.vhost());
    let (features, _) = told(&mut machine);
    assert_eq!(has(features, &[RO, F_DISCARD, F_WRITE_ZEROES]), [true, false, false], "{features:#x}");
    machine.write(1, 0, &pattern(2, 0, LINE));
    assert_eq!(machine.wait(1), [(1, IOERR)]);
    for kind in [DISCARD, WRITE_ZEROES] {
        // One range: its sector, how many, no flags.
        machine.put(Machine::data_at(2), 0_u64);
        machine.put(Machine::data_at(2) + 8, 8_u64);
        machine.lay_out(2, kind, 0, 16);
        machine.describe(7, Machine::data_at(2), 16, NEXT, 8);
        machine.offer(6);
        assert_eq!(machine.wait(1), [(2, IOERR)], "{kind}");
    }
    assert_eq!(machine.ask(3, FLUSH, 0, 0), 0);
    assert_eq!(machine.ask(4, READ, 0, LINE as u32), 0);
    check_same(&machine.data(4, LINE as usize), &pattern(1, 0, LINE), "as the client wrote it");
    check_backing(&place.file("vm1"), 1, 0, LINE);
    drop(machine);
    drop(client);
    daemon.stop_clean();
}

/// The guest says at which answer it wants to be called, and the disk at which request it wants to be kicked.
#[test]
fn with_event_idx_both_sides_are_rung_for_where_they_asked() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let mut machine = Machine::new();
    machine.with_features(1 << EVENT_IDX);
    machine.connect(&place.vhost());
    assert_eq!(machine.ask(0, READ, 0, 512), 0);
    eventually("the call that every new session begins with", || (machine.calls() > 0).then_some(()));
    // Called when the fifth answer is there: those before it are seen when the guest looks.
    machine.call_at(4);
    for _ in 0..3 {
        assert_eq!(machine.ask(0, READ, STRIPE, 512), 0);
    }
    assert_eq!(machine.ask(0, READ, 0, 512), 0, "the fifth");
    let calls = eventually("a call", || Some(machine.calls()).filter(|&calls| calls > 0));
    assert_eq!(calls, 1, "for the fifth answer alone");
    eventually("a reactor that sleeps asks for a kick at the next request", || {
        (machine.kick_at() == machine.offered()).then_some(())
    });
    assert_eq!(machine.ask(0, READ, 0, 512), 0, "and is woken by it");
    drop(machine);
    daemon.stop_clean();
}

/// What is not offered is not taken either: a front end that asks for a log of dirty pages all the same is told no, instead of
/// migrating a guest whose memory changes unnoticed.
#[test]
fn a_log_of_dirty_pages_is_refused() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let frontend = Machine::new().negotiate(&place.vhost());
    let offered = vhost::VhostBackend::get_features(&frontend).expect("features");
    let asked = vhost::VhostBackend::set_features(&frontend, offered | 1 << LOG_ALL);
    assert!(asked.is_err(), "features that were not offered");
    let mut machine = Machine::started(&place.vhost());
    machine.must_write(1, 0, &pattern(1, 0, LINE));
    drop(machine);
    drop(frontend);
    daemon.stop_clean();
}
