//! M10: discard and zeroes are write-through.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC, EOPNOTSUPP};
use holdfast_policy::*;

fn zeroes(shell: &mut Shell, offset: u64, length: u64, fua: bool) -> u32 {
    shell.send(0, 1, Operation::WriteZeroes { fua }, offset, length)
}

/// M10: zeroes are acknowledged after the device accepted them; what the cache holds is superseded only then.
#[test]
fn zeroes_are_acknowledged_by_the_device() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, 4 * LINE, 1);
    shell.disk().hold(IoKind::Zero);
    let tag = zeroes(&mut shell, 0, 4 * LINE, false);
    shell.run_ms(10);
    assert_eq!(shell.errno(tag), None);
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096));
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.get(0, 4 * LINE).unwrap(), all(0, 4 * 4096));
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.disk().stable[..4 * 4096], all(0, 4 * 4096));
}

/// M10: on an error the cached data stays, dirty as it was.
#[test]
fn refused_zeroes_leave_the_data() {
    for (operation, kind) in
        [(Operation::WriteZeroes { fua: false }, IoKind::Zero), (Operation::Discard, IoKind::Discard)]
    {
        let mut shell = Shell::new(Plan::default());
        shell.put(0, 4 * LINE, 1);
        shell.disk().refuse(kind, EIO);
        let tag = shell.send(0, 1, operation, 0, 4 * LINE);
        shell.settle();
        assert_eq!(shell.errno(tag), Some(EIO));
        assert_eq!(shell.get(0, 4 * LINE).unwrap(), all(1, 4 * 4096));
        assert_eq!(shell.flushed(), 0);
        assert_eq!(shell.disk().stable[..4 * 4096], all(1, 4 * 4096));
    }
}

/// C1, M10: what refused zeroes left in the device's cache is read, but not kept: it may be gone after a reset, and a
/// copy of it would be there still. Once a device flush has succeeded, it is kept like any other.
#[test]
fn what_refused_zeroes_left_is_not_cached_until_it_is_stable() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Flush);
    shell.disk().refuse(IoKind::Zero, EIO);
    let tag = zeroes(&mut shell, 0, 4 * LINE, false);
    shell.settle();
    assert_eq!(shell.errno(tag), Some(EIO));
    shell.disk().heal();
    shell.disk().media[..2 * 4096].fill(0);
    assert_eq!(shell.get(0, LINE).unwrap(), all(0, 4096));
    shell.put(LINE, 512, 7);
    assert_eq!(shell.get(LINE, LINE).unwrap()[512..], all(0, 4096 - 512));
    let kept = shell.disk().stable.clone();
    shell.disk().media = kept;
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.get(0, LINE).unwrap(), all(0xd5, 4096));
    assert_eq!(shell.get(LINE, LINE).unwrap()[512..], all(0xd5, 4096 - 512));
    shell.run_ms(2 * shell.limits.flush_after_ms);
    shell.get(0, LINE).unwrap();
    let reads = shell.disk().attempts(IoKind::Read);
    assert_eq!(shell.get(0, LINE).unwrap(), all(0xd5, 4096));
    assert_eq!(shell.disk().attempts(IoKind::Read), reads, "it is in the cache");
}

/// M10: a discard that the device cannot do with defined zeroes touches nothing.
#[test]
fn a_discard_that_cannot_be_done_touches_nothing() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Discard, EOPNOTSUPP);
    let discard = shell.send(0, 1, Operation::Discard, 0, 4 * LINE);
    shell.settle();
    assert_eq!(shell.errno(discard), Some(EOPNOTSUPP));
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(0xd5, 4096));
}

/// M10: zeroes that the device cannot do go through the cache, more of them than the budget holds at once.
#[test]
fn zeroes_that_the_device_cannot_do_go_through_the_cache() {
    let mut shell = Shell::new(Plan { budget: 64, ..Plan::default() });
    shell.put(LINE, LINE, 1);
    shell.disk().refuse(IoKind::Zero, EOPNOTSUPP);
    let tag = zeroes(&mut shell, 512, 300 * LINE, false);
    shell.run_ms(5_000);
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.flushed(), 0);
    let disk = shell.disk();
    assert_eq!((disk.stable[511], disk.stable[300 * 4096 + 512]), (0xd5, 0xd5));
    assert!(disk.stable[512..300 * 4096 + 512].iter().all(|&byte| byte == 0));
}

/// C5: zeroes of which a part was given up before they were all written are not answered with success, also if an operator
/// has acknowledged that loss meanwhile: the client would read old data and hear of nothing (simulator seed 270).
#[test]
fn zeroes_that_were_given_up_on_the_way_are_an_error() {
    let mut shell = Shell::new(Plan { budget: 64, ..Plan::default() });
    shell.disk().refuse(IoKind::Zero, EOPNOTSUPP);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    let tag = zeroes(&mut shell, 0, 300 * LINE, false);
    shell.run_ms(100);
    let stalled = shell.write(400 * LINE, LINE, 1);
    shell.operator(Command::Drop { range: ByteRange::ALL });
    while shell.stats().lost == 0 {
        shell.run_ms(1);
    }
    shell.operator(Command::AckLoss { range: ByteRange::ALL });
    shell.disk().heal();
    shell.run_ms(5_000);
    assert_eq!((shell.errno(tag), shell.errno(stalled)), (Some(EIO), Some(0)));
    assert_eq!(shell.flushed(), 0, "the rest is where it belongs");
}

/// C5: zeroes that no device flush has covered are shown to readers whatever the device says; what was written after them and
/// is lost is not among them (simulator seed 691).
#[test]
fn zeroes_do_not_cover_what_was_lost_after_them() {
    for keeps_a_slot in [false, true] {
        let mut shell = Shell::new(Plan::default());
        shell.put(0, LINE, 1);
        assert_eq!(shell.flushed(), 0);
        shell.disk().hold(IoKind::Flush);
        zeroes(&mut shell, 0, LINE, false);
        shell.run_ms(5);
        shell.disk().refuse(IoKind::Write, ENOSPC);
        shell.put(512, 1024, 2);
        shell.flush();
        shell.run_ms(5);
        shell.operator(Command::Drop { range: ByteRange::ALL });
        shell.run_ms(20);
        assert_eq!(shell.stats().lost, 1);
        if keeps_a_slot {
            shell.put(4 * 512, 512, 3);
        }
        assert_eq!(shell.get(0, 512), Ok(all(0, 512)), "zeroes");
        assert_eq!(shell.get(512, 512), Err(EIO), "given up");
        assert_eq!(shell.get(0, LINE), Err(EIO), "in part");
    }
}

/// M10: the partial lines at both ends are zeroed sector by sector, their neighbours keep what they have.
#[test]
fn zeroes_end_at_the_sector() {
    for (first, count) in [(3, 2), (3, 20), (0, 9), (7, 1), (5, 11), (8, 8)] {
        let mut shell = Shell::new(Plan::default());
        shell.put(0, 4 * LINE, 1);
        let tag = zeroes(&mut shell, first * 512, count * 512, false);
        shell.settle();
        assert_eq!(shell.errno(tag), Some(0));
        let data = shell.get(0, 4 * LINE).unwrap();
        for sector in 0..32 {
            let expected = u8::from(!(first..first + count).contains(&sector));
            assert_eq!(data[sector as usize * 512], expected, "sector {sector} of {first}+{count}");
        }
        assert_eq!(shell.flushed(), 0);
        assert_eq!(shell.disk().stable[..4 * 4096], data[..]);
    }
}

/// M10: FUA zeroes are answered when they are stable, whole lines and edges alike.
#[test]
fn fua_zeroes_are_answered_when_they_are_stable() {
    for (offset, length) in [(0, 4 * LINE), (512, 1024), (512, 3 * LINE)] {
        for refused in [None, Some(EOPNOTSUPP)] {
            let mut shell = Shell::new(Plan::default());
            refused.inspect(|&errno| shell.disk().refuse(IoKind::Zero, errno));
            shell.disk().hold(IoKind::Flush);
            let tag = zeroes(&mut shell, offset, length, true);
            shell.run_ms(20);
            assert_eq!(shell.errno(tag), None, "{length} at {offset}");
            shell.disk().release();
            shell.run_ms(20);
            assert_eq!(shell.errno(tag), Some(0), "{length} at {offset}");
            let range = offset as usize..(offset + length) as usize;
            assert!(shell.disk().stable[range].iter().all(|&byte| byte == 0));
        }
    }
}

/// M10: zeroes supersede what failed: the volume is well again once they are stable.
#[test]
fn zeroes_supersede_what_failed() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().bad.insert(0, i32::from(EIO));
    assert_eq!(shell.flushed(), EIO);
    let tag = zeroes(&mut shell, 0, LINE, false);
    shell.settle();
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.stats().failed, 0);
    assert_eq!(shell.flushed(), 0);
    assert!(shell.ledger.not_stable.is_empty());
}

/// C7, M10: zeroes that a failed device flush puts in doubt are done again.
#[test]
fn zeroes_in_doubt_are_done_again() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    assert_eq!(shell.flushed(), 0);
    let tag = zeroes(&mut shell, 0, LINE, false);
    shell.settle();
    assert_eq!(shell.errno(tag), Some(0));
    let forgotten = shell.disk().stable.clone();
    shell.disk().media = forgotten;
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.get(0, LINE).unwrap(), all(0, 4096));
    assert_eq!(shell.disk().stable[..4096], all(0, 4096));
}

/// M6: a flush is answered though zeroes that are in doubt are refused; it succeeds when they are not any more.
#[test]
fn a_flush_is_answered_though_zeroes_cannot_be_redone() {
    for errno in [EIO, ENOSPC] {
        let mut shell = Shell::new(Plan::default());
        let tag = zeroes(&mut shell, 0, LINE, false);
        shell.settle();
        assert_eq!(shell.errno(tag), Some(0));
        shell.disk().refuse(IoKind::Zero, errno);
        shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
        shell.turn();
        let flush = shell.flush();
        shell.run_ms(200);
        assert!(shell.errno(flush).is_some_and(|answer| answer != 0), "{:?}", shell.errno(flush));
        assert_eq!(shell.ledger.not_stable.len(), 8, "and that is on record");
        assert!(shell.get(0, LINE).is_ok_and(|data| data == all(0, 4096)), "the zeroes are the newest data");
        shell.put(40 * LINE, LINE, 5);
        shell.disk().heal();
        shell.run_ms(3_000);
        assert_eq!(shell.flushed(), 0);
        assert_eq!(shell.get(0, LINE).unwrap(), all(0, 4096));
        assert!(shell.ledger.not_stable.is_empty());
    }
}

/// Zeroes are not starved by writes elsewhere, though there is one in every turn.
#[test]
fn a_stream_of_writes_does_not_starve_a_discard() {
    let mut shell = Shell::new(Plan::default());
    let discard = shell.send(0, 1, Operation::Discard, 0, 8 * LINE);
    for turn in 0..200u64 {
        shell.write((100 + turn % 50) * LINE, LINE, 1);
        shell.turn();
    }
    assert_eq!(shell.errno(discard), Some(0));
}

/// M10: a discard of the whole volume takes all that is cached with it.
#[test]
fn a_whole_volume_is_discarded() {
    let mut shell = Shell::new(Plan { volume_bytes: 64 << 20, ..Plan::default() });
    for line in 0..100 {
        shell.put(line * 150 * LINE, LINE, 1);
    }
    let discard = shell.send(0, 1, Operation::Discard, 0, 64 << 20);
    shell.run_ms(50);
    assert_eq!(shell.errno(discard), Some(0));
    assert_eq!(shell.stats().not_clean, 0);
    assert!(shell.disk().media.iter().all(|&byte| byte == 0));
    assert_eq!(shell.get(150 * LINE, LINE).unwrap(), all(0, 4096));
    let flush = shell.flush();
    shell.run_ms(20);
    assert_eq!(shell.errno(flush), Some(0));
}

/// A write waits for the zeroes over its block, and comes after them.
#[test]
fn a_write_waits_for_zeroes_in_flight() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Zero);
    zeroes(&mut shell, 0, 4 * LINE, false);
    shell.turn();
    let write = shell.write(LINE, LINE, 3);
    let elsewhere = shell.write(50 * LINE, LINE, 3);
    shell.run_ms(5);
    assert_eq!((shell.errno(write), shell.errno(elsewhere)), (None, Some(0)));
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(write), Some(0));
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(0), shell.stable(4096)), (0, 3));
}

/// Refused zeroes of a volume with evict-immediately end with the error, and no write waits behind them for ever.
#[test]
fn refused_zeroes_do_not_block_their_lines() {
    let mut shell =
        Shell::new(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
    shell.disk().refuse(IoKind::Zero, ENOSPC);
    let tag = zeroes(&mut shell, 512, 4 * LINE, false);
    shell.settle();
    assert_eq!(shell.errno(tag), Some(ENOSPC));
    shell.put(LINE, LINE, 3);
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(512), shell.stable(4096)), (0xd5, 3));
}
