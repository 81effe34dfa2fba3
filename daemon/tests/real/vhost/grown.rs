//! A disk that becomes larger while a machine has it.

use super::guest::{Guest, root};
use super::machine::{FLUSH, Machine, READ};
use super::offered::{number, told};
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::Daemon;

const BEFORE: u64 = 9 * MIB;
const AFTER: u64 = 11 * MIB;

/// Nothing is said to the guest, whose session goes on as if nothing had been; what it asks of a disk that it does not know of is
/// answered by the disk that there is. Who connects anew is told the new size.
#[test]
fn a_disk_that_has_grown_is_larger_for_the_next_session() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm1", &place.file("vm1"), BEFORE)]);
    place.open_vhost("vm1", "");
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    assert_eq!(number(&told(&mut machine).1, 0, 8), BEFORE / 512);
    machine.must_write(1, BEFORE - LINE, &pattern(1, BEFORE - LINE, LINE));
    assert_eq!(machine.ask(2, READ, BEFORE, LINE as u32), 1, "behind the end");
    let called = machine.calls();
    assert!(called > 0, "for the answers");
    daemon.must(&["volume", "resize", "vm1", &AFTER.to_string()]);
    assert_eq!(machine.ask(2, READ, BEFORE - LINE, LINE as u32), 0, "the session goes on");
    check_same(&machine.data(2, LINE as usize), &pattern(1, BEFORE - LINE, LINE), "as before");
    assert_eq!(daemon.must(&["sessions"])["sessions"].as_array().map(Vec::len), Some(1), "and is the same");

    machine.frontend = None;
    machine.connect(&place.vhost());
    assert_eq!(number(&told(&mut machine).1, 0, 8), AFTER / 512, "the next one is told");
    // Over the old end, and up to the new one.
    for offset in [BEFORE - LINE, AFTER - 2 * LINE] {
        machine.must_write(3, offset, &pattern(2, offset, 2 * LINE));
        assert_eq!(machine.ask(4, READ, offset, 2 * LINE as u32), 0);
        check_same(&machine.data(4, 2 * LINE as usize), &pattern(2, offset, 2 * LINE), "there");
    }
    assert_eq!(machine.ask(5, READ, AFTER - LINE, 2 * LINE as u32), 1, "over the new end");
    assert_eq!(machine.ask(6, FLUSH, 0, 0), 0);
    check_backing(&place.file("vm1"), 2, BEFORE - LINE, 2 * LINE);
    check_backing(&place.file("vm1"), 2, AFTER - 2 * LINE, 2 * LINE);
    drop(machine);
    daemon.stop_clean();
}

/// What docs/vm.md says: a guest that runs keeps the disk that it has found, and starts anew to find the larger one.
#[test]
fn a_machine_finds_what_its_disk_has_grown_by_when_it_starts_anew() {
    let Some(root) = root() else { return };
    let mut place = Place::new();
    place.add(&[Volume::file("vm1", &place.file("vm1"), BEFORE)]);
    place.open_vhost("vm1", "queues = 2");
    let daemon = Daemon::start(&place);
    let sectors = |guest: &mut Guest| guest.must("cat /sys/block/vda/size").parse::<u64>().expect("a number");
    let mut guest = Guest::boot(&place, &root);
    assert_eq!(sectors(&mut guest) * 512, BEFORE);
    daemon.must(&["volume", "resize", "vm1", &AFTER.to_string()]);
    guest.must("dd if=/dev/vda of=/tmp/all bs=64k 2>/dev/null && [ $(stat -c %s /tmp/all) = 9437184 ]");
    assert_eq!(sectors(&mut guest) * 512, BEFORE, "as it found it");
    drop(guest);
    let mut guest = Guest::boot(&place, &root);
    assert_eq!(sectors(&mut guest) * 512, AFTER);
    guest.must("echo at the end | dd of=/dev/vda bs=4096 seek=2815 conv=fsync,sync 2>/dev/null");
    drop(guest);
    daemon.stop_clean();
    let bytes = std::fs::read(place.file("vm1")).expect("ours");
    assert!(bytes[2815 * 4096..].starts_with(b"at the end\n"), "in the last block of the larger disk");
}
