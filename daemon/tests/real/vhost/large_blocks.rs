//! Disks whose smallest read or write is of 4096 bytes: a guest is told, and one that does not keep to it is refused.

use super::machine::{FLUSH, Machine, NEXT, READ};
use super::offered::{number, told};
use crate::needs::can_use;
use crate::pattern::{check_same, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::Daemon;
use crate::world::Loop;

const BYTES: u64 = 16 * MIB;
const IOERR: u8 = 1;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// One range, of so many sectors of 512 bytes: its answer.
fn change_range(machine: &mut Machine, kind: u32, sector: u64, sectors: u64) -> u8 {
    machine.put(Machine::data_at(2), sector);
    machine.put(Machine::data_at(2) + 8, sectors);
    machine.lay_out(2, kind, 0, 16);
    machine.describe(7, Machine::data_at(2), 16, NEXT, 8);
    machine.offer(6);
    machine.wait(1)[0].1
}

/// A request goes to the reactors in parts. One that is refused is refused whole: a part that would fit by itself is not
/// carried out while its neighbour is not.
#[test]
fn what_is_not_of_whole_blocks_or_passes_the_end_is_refused_and_changes_nothing() {
    if !can_use(&["losetup", "blockdev"]) {
        return;
    }
    let mut place = Place::new();
    let file = place.file("disk");
    let mut expected = pattern(1, 0, BYTES);
    std::fs::write(&file, &expected).expect("room");
    let block = Loop::of_blocks(&file, LINE);
    place.add(&[Volume::block("vm1", &block.device)]);
    place.open_vhost("vm1", "");
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    let (_, space) = told(&mut machine);
    assert_eq!(number(&space, 20, 4), LINE, "a block");
    assert_eq!(number(&space, 24, 1), 0, "which is the physical one");
    assert_eq!(number(&space, 0, 8), BYTES / 512, "and the size is in sectors of 512 bytes all the same");
    assert_eq!(number(&space, 44, 4) * 512, LINE, "discards of blocks");

    let refused = [
        (0, 512, "less than a block"),
        (512, LINE, "between blocks"),
        (LINE - 512, 1024, "the end of one and the beginning of the next"),
        (LINE, 2 * LINE + 512, "some blocks and a bit"),
        (STRIPE - LINE, LINE + 512, "a whole block of this reactor, and a bit of the next one's"),
        (BYTES - LINE, 2 * LINE, "a whole block, and one that is not there"),
        (BYTES, LINE, "behind the end"),
    ];
    for (offset, length, what) in refused {
        machine.write(1, offset, &pattern(9, offset, length));
        assert_eq!(machine.wait(1), [(1, IOERR)], "write: {what}");
        assert_eq!(machine.ask(1, READ, offset, length as u32), IOERR, "read: {what}");
        for kind in [DISCARD, WRITE_ZEROES] {
            let said = change_range(&mut machine, kind, offset / 512, length / 512);
            assert_eq!(said, IOERR, "{kind}: {what}");
        }
    }
    let blocks = [0, LINE, 2 * LINE, STRIPE - LINE, STRIPE, BYTES - LINE];
    for offset in blocks {
        assert_eq!(machine.ask(3, READ, offset, LINE as u32), 0, "the queue goes on");
        check_same(&machine.data(3, LINE as usize), &pattern(1, offset, LINE), "nothing changed");
    }
    let bytes = pattern(2, STRIPE - LINE, 2 * LINE);
    machine.must_write(1, STRIPE - LINE, &bytes);
    assert_eq!(change_range(&mut machine, WRITE_ZEROES, 8, 8), 0);
    expected[(STRIPE - LINE) as usize..(STRIPE + LINE) as usize].copy_from_slice(&bytes);
    expected[LINE as usize..2 * LINE as usize].fill(0);
    assert_eq!(machine.ask(1, FLUSH, 0, 0), 0);
    drop(machine);
    daemon.stop_clean();
    drop(block);
    check_same(&std::fs::read(&file).expect("ours"), &expected, "on the device");
}
