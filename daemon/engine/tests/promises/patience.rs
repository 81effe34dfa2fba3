//! C6, M10: what waits behind zeroes, or is zeroes that wait, ends: with its turn, or with its policy's verdict.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EIO, ENOSPC, EOPNOTSUPP};
use holdfast_policy::*;

const STALL_MS: u64 = 300;

fn hold_forever() -> Policy {
    Policy::HoldForever(HoldForever { stall_timeout_ms: STALL_MS })
}

/// A volume whose device has forgotten zeroes over its first four lines and refuses to do them again.
fn doubted(policy: Policy, errno: u16) -> Shell {
    let mut shell = Shell::new(Plan { rules: rules(policy, Retry::default()), ..Plan::default() });
    let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 0, 4 * LINE);
    shell.settle();
    assert_eq!(shell.errno(zeroes), Some(0));
    shell.disk().refuse(IoKind::Zero, errno);
    shell.disk().refuse(IoKind::Discard, errno);
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    shell.run_ms(2);
    shell
}

/// Writes and zeroes behind doubted zeroes wait for the stall timeout, then get ENOSPC; the zeroes stay what is read.
#[test]
fn requests_behind_doubted_zeroes_get_their_policys_verdict() {
    for policy in [hold_forever(), hold_until_pressure(900, STALL_MS)] {
        for operation in
            [Operation::Write { fua: false }, Operation::WriteZeroes { fua: false }, Operation::Discard]
        {
            let mut shell = doubted(policy, EIO);
            let waits = shell.send(0, 1, operation, LINE, LINE);
            shell.run_ms(STALL_MS - 50);
            assert_eq!(shell.errno(waits), None, "{operation:?}");
            shell.run_ms(100);
            assert_eq!(shell.errno(waits), Some(ENOSPC), "{operation:?}");
            assert_eq!(shell.get(LINE, LINE).unwrap(), all(0, 4096));
            assert_eq!((shell.stats().given_up, shell.stats().stalled_writes), (0, 0));
            shell.disk().heal();
            shell.run_ms(3_000);
            assert_eq!(shell.flushed(), 0);
            assert_eq!(shell.get(LINE, LINE).unwrap(), all(0, 4096));
        }
    }
}

/// evict-immediately has no stall timeout: a write is answered with what the device says of the zeroes in its way.
#[test]
fn a_write_behind_doubted_zeroes_is_written_through_to_the_refusal() {
    for errno in [EIO, ENOSPC] {
        let mut shell = doubted(evict_immediately(), errno);
        let waits = shell.write(LINE, LINE, 3);
        shell.run_ms(5);
        assert_eq!(shell.errno(waits), Some(errno));
        shell.disk().heal();
        shell.run_ms(3_000);
        assert_eq!(shell.get(LINE, LINE).unwrap(), all(0, 4096));
    }
}

/// A write behind zeroes that hang is refused when its policy says so, though the device has refused nothing.
#[test]
fn a_write_behind_zeroes_that_hang_is_refused() {
    let plan = Plan { rules: rules(hold_forever(), Retry::default()), io_timeout_ms: 100, ..Plan::default() };
    let mut shell = Shell::new(plan);
    shell.disk().hold(IoKind::Zero);
    shell.send(0, 1, Operation::WriteZeroes { fua: false }, 0, 4 * LINE);
    shell.turn();
    let waits = shell.write(LINE, LINE, 3);
    shell.run_ms(STALL_MS - 50);
    assert_eq!(shell.errno(waits), None);
    shell.run_ms(100);
    assert_eq!(shell.errno(waits), Some(ENOSPC));
}

/// A volume whose budget is full of what its disk refuses.
fn full(policy: Policy) -> Shell {
    let plan = Plan { rules: rules(policy, Retry::default()), budget: 40, ..Plan::default() };
    let mut shell = Shell::new(plan);
    shell.disk().refuse(IoKind::Write, ENOSPC);
    (0..40).for_each(|line| shell.put(line * LINE, LINE, 1));
    assert_eq!(shell.flushed(), ENOSPC);
    shell
}

/// hold-forever: the edges of zeroes, and zeroes that the device cannot do, wait for room until the stall timeout, then get
/// ENOSPC; nothing is given up.
#[test]
fn zeroes_that_find_no_room_are_refused_in_the_end() {
    for (offset, length) in [(100 * LINE + 512, 1024), (100 * LINE, 4 * LINE)] {
        let mut shell = full(hold_forever());
        shell.disk().refuse(IoKind::Zero, EOPNOTSUPP);
        let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, offset, length);
        shell.run_ms(STALL_MS - 50);
        assert_eq!(shell.errno(zeroes), None);
        shell.run_ms(100);
        assert_eq!((shell.errno(zeroes), shell.stats().given_up), (Some(ENOSPC), 0));
    }
}

/// hold-until-pressure: after the stall timeout the oldest failure is given up for them; but none for the rest of zeroes of
/// which a part is in the cache: it could be that very part, and its client does not know of it yet.
#[test]
fn failures_are_given_up_for_zeroes_that_find_no_room() {
    for (offset, length, answer) in
        [(100 * LINE + 512, 1024, 0), (100 * LINE, LINE, 0), (100 * LINE, 2 * LINE, ENOSPC)]
    {
        let mut shell = full(hold_until_pressure(1_000, STALL_MS));
        shell.disk().refuse(IoKind::Zero, EOPNOTSUPP);
        let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, offset, length);
        shell.run_ms(STALL_MS - 50);
        assert_eq!((shell.errno(zeroes), shell.stats().given_up), (None, 0));
        shell.run_ms(100);
        assert_eq!((shell.errno(zeroes), shell.stats().given_up), (Some(answer), 1));
        let lost = (0..40).filter(|line| shell.get(line * LINE, LINE) == Err(EIO)).count();
        assert_eq!(lost, 1);
    }
}

/// Newer writes do not take the room for which the edges of zeroes wait.
#[test]
fn writes_do_not_take_the_room_that_zeroes_wait_for() {
    let mut shell = Shell::new(Plan { budget: 40, ..Plan::default() });
    shell.disk().hold(IoKind::Flush);
    (0..40).for_each(|line| shell.put(line * LINE, LINE, 1));
    shell.flush();
    shell.run_ms(2);
    let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 200 * LINE + 512, 2 * LINE);
    shell.turn();
    let writes: Vec<u32> = (0..16).map(|line| shell.write((100 + line) * LINE, LINE, 2)).collect();
    shell.turn();
    // Room for one of them, each time.
    for line in 0..30 {
        let discard = shell.send(0, 1, Operation::Discard, line * LINE, LINE);
        shell.turn();
        shell.turn();
        shell.turn();
        assert_eq!(shell.errno(discard), Some(0));
        if shell.errno(zeroes).is_some() {
            break;
        }
        let newer = writes.iter().filter(|&&write| shell.errno(write).is_some()).count();
        assert_eq!(newer, 0, "{line} slots are free");
    }
    assert_eq!(shell.errno(zeroes), Some(0));
}

/// M10: zeroes over lines that are written all the time get their turn: newer writes and reads to their range come after.
#[test]
fn an_endless_writer_does_not_starve_a_discard() {
    for operation in [Operation::Discard, Operation::WriteZeroes { fua: false }] {
        let mut shell =
            Shell::new(Plan { volume_bytes: 64 << 20, stripe_bytes: 64 << 20, ..Plan::default() });
        let mut zeroes = None;
        let mut writes = Vec::new();
        for turn in 0..200u64 {
            if turn == 10 {
                zeroes = Some(shell.send(0, 1, operation, 0, 2_000 * LINE));
            }
            writes.push(shell.write_to(0, (turn * 7 % 900) * LINE, LINE, 1, true));
            shell.send(0, 1, Operation::Read, (1_000 + turn * 11 % 900) * LINE, LINE);
            shell.turn();
        }
        assert_eq!(shell.errno(zeroes.unwrap()), Some(0), "{operation:?}");
        shell.run_ms(100);
        assert!(writes.iter().all(|&write| shell.errno(write) == Some(0)));
        assert_eq!(shell.flushed(), 0);
    }
}

/// Zeroes that wait for an operation that hangs hold up nobody else over their range.
#[test]
fn zeroes_behind_what_hangs_do_not_bar_their_range() {
    let mut shell = Shell::new(Plan { io_timeout_ms: 100, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.run_ms(2);
    let discard = shell.send(0, 1, Operation::Discard, 0, 64 * LINE);
    shell.turn();
    let write = shell.write(8 * LINE, LINE, 2);
    let read = shell.send(0, 1, Operation::Read, 16 * LINE, LINE);
    shell.run_ms(50);
    assert_eq!((shell.errno(write), shell.errno(read)), (None, None), "they are newer");
    shell.run_ms(100);
    assert_eq!((shell.errno(write), shell.errno(read)), (Some(0), Some(0)));
    assert_eq!(shell.errno(discard), None);
    shell.disk().release();
    shell.run_ms(100);
    assert_eq!(shell.errno(discard), Some(0));
}
