//! M9: a timeout is reported only once the request can no longer happen, and then nothing of it has.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC, ETIMEDOUT};
use holdfast_policy::*;

fn patient() -> Plan {
    let policy = Policy::HoldForever(HoldForever { stall_timeout_ms: 1_000_000 });
    Plan { rules: rules(policy, Retry::default()), budget: 16, io_timeout_ms: 1_000_000, ..Plan::default() }
}

/// A volume whose budget is full of what the disk refuses: the next write stalls.
fn full() -> Shell {
    let mut shell = Shell::new(patient());
    shell.put(0, 16 * LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.flush();
    shell.run_ms(10);
    shell
}

/// A write that found no room is withdrawn: it does not happen when room comes.
#[test]
fn a_stalled_write_is_withdrawn() {
    let mut shell = full();
    shell.timeout_ms = 50;
    let write = shell.write(100 * LINE, LINE, 9);
    shell.run_ms(45);
    assert_eq!(shell.errno(write), None);
    shell.run_ms(10);
    assert_eq!(shell.errno(write), Some(ETIMEDOUT));
    shell.disk().heal();
    shell.run_ms(60_000);
    assert_eq!(shell.stats().stalled_writes, 0);
    assert_eq!(shell.get(100 * LINE, LINE).unwrap(), all(0xd5, 4096));
}

/// A write that is in the cache waits for the device's word, however long: readers have seen it.
#[test]
fn a_write_that_has_happened_is_not_withdrawn() {
    for mode in [Mode::WriteBack, Mode::WriteThrough] {
        let mut shell = Shell::new(Plan { mode, ..patient() });
        shell.disk().hold(IoKind::Write);
        shell.timeout_ms = 50;
        let write = shell.write_to(0, 0, LINE, 9, true);
        shell.run_ms(500);
        assert_eq!(shell.errno(write), None);
        assert_eq!(shell.get(0, LINE).unwrap(), all(9, 4096));
        shell.disk().release();
        shell.run_ms(5_000);
        assert_eq!(shell.errno(write), Some(0));
    }
}

/// A read behind a device that hangs is answered in time; what the device says later goes nowhere but into the cache.
#[test]
fn a_read_does_not_wait_for_a_device_that_hangs() {
    let mut shell = Shell::new(patient());
    shell.disk().hold(IoKind::Read);
    shell.timeout_ms = 50;
    let read = shell.send(0, 1, Operation::Read, 0, LINE);
    shell.run_ms(60);
    assert_eq!(shell.errno(read), Some(ETIMEDOUT));
    let before = shell.data(read).to_vec();
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.data(read), before, "its payload is the client's again");
    assert_eq!(shell.get(0, LINE).unwrap(), all(0xd5, 4096));
}

/// A flush that is parked, and one whose device hangs, are given up; the data is as safe as before.
#[test]
fn a_flush_is_withdrawn() {
    let stall = FlushOnFailure::Stall { timeout_ms: 1_000_000 };
    let mut shell = Shell::new(Plan { flush_on_failure: stall, ..patient() });
    shell.put(0, LINE, 1);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.timeout_ms = 50;
    let parked = shell.flush();
    shell.run_ms(60);
    assert_eq!(shell.errno(parked), Some(ETIMEDOUT));
    shell.disk().heal();
    shell.disk().hold(IoKind::Flush);
    shell.run_ms(60_000);
    let hung = shell.flush();
    shell.run_ms(60);
    assert_eq!(shell.errno(hung), Some(ETIMEDOUT));
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(0), 1);
}

/// Zeroes that wait for an older operation are withdrawn; those that are at the device are waited for.
#[test]
fn zeroes_are_withdrawn_until_they_are_at_the_device() {
    let mut shell = Shell::new(patient());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.run_ms(5);
    shell.timeout_ms = 50;
    let waits = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 0, 4 * LINE);
    shell.run_ms(60);
    assert_eq!(shell.errno(waits), Some(ETIMEDOUT));
    shell.disk().release();
    shell.run_ms(100);
    assert_eq!(shell.disk().attempts(IoKind::Zero), 0);
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, 4096));
    shell.disk().hold(IoKind::Zero);
    let begun = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 0, 4 * LINE);
    shell.run_ms(200);
    assert_eq!(shell.errno(begun), None);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(begun), Some(0));
}

/// A device that answers with ETIMEDOUT has timed out itself, and its request may still happen: to clients that is EIO.
#[test]
fn a_device_that_times_out_is_no_timeout_of_a_request() {
    let mut shell = Shell::new(Plan { mode: Mode::WriteThrough, ..patient() });
    shell.disk().refuse(IoKind::Write, ETIMEDOUT);
    let write = shell.write(0, LINE, 9);
    shell.run_ms(200);
    assert_eq!(shell.errno(write), Some(EIO));
    assert_eq!(shell.get(0, LINE).unwrap(), all(9, 4096));
}
