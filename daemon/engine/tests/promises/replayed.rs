//! C10, M9: a request that a dead daemon did not answer is sent again, and carried out once.

use crate::life::reborn;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::EIO;
use holdfast_policy::{HoldForever, Policy, Retry};

fn shell() -> Shell {
    reborn(Plan::default())
}

/// It was published and not answered, and somebody has overwritten it since: the replay does not bring it back.
#[test]
fn a_write_that_happened_does_not_happen_again() {
    let mut shell = shell();
    let first = shell.write(LINE, LINE, 1);
    shell.die_in_commit(usize::MAX);
    shell.start_again();
    shell.settle_volumes();
    shell.settle();
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096), "it was published");
    shell.put(LINE, LINE, 2);
    shell.send_again(first);
    shell.settle();
    assert_eq!(shell.errno(first), Some(0));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(2, 4096));
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(4096), 2);
}

/// It was taken in and not published: now it happens.
#[test]
fn a_write_that_did_not_happen_happens_now() {
    let mut shell = shell();
    let tag = shell.write(LINE, LINE, 1);
    shell.die_in_commit(0);
    shell.start_again();
    shell.settle_volumes();
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(0xd5, 4096));
    shell.send_again(tag);
    shell.settle();
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096));
}

/// Of a write of four lines the first ones happened, and are overwritten before it comes again: only the others are done.
#[test]
fn only_the_lines_that_did_not_happen_are_done() {
    for done in 0..=4 {
        let mut shell = shell();
        let tag = shell.write(LINE, 4 * LINE, 1);
        shell.die_in_commit(done);
        shell.start_again();
        shell.settle_volumes();
        shell.settle();
        let published =
            (1..5).take_while(|line| shell.get(line * LINE, LINE).unwrap() == all(1, 4096)).count();
        assert_eq!(published, done);
        shell.put(LINE, 4 * LINE, 2);
        shell.send_again(tag);
        shell.settle();
        assert_eq!(shell.errno(tag), Some(0));
        for line in 0..4 {
            let value = if line < done as u64 { 2 } else { 1 };
            assert_eq!(
                shell.get((1 + line) * LINE, LINE).unwrap(),
                all(value, 4096),
                "line {line} of {done}"
            );
        }
    }
}

/// It happened two lives ago, and the daemon died again before the client came back.
#[test]
fn what_happened_is_known_lives_later() {
    for published in [false, true] {
        let mut shell = shell();
        let tag = shell.write(LINE, LINE, 1);
        shell.die_in_commit(if published { usize::MAX } else { 0 });
        shell.start_again();
        shell.settle_volumes();
        for value in 2..5 {
            shell.put(LINE, LINE, value);
            shell.put(7 * LINE, LINE, value);
            shell.restart();
        }
        shell.send_again(tag);
        shell.settle();
        assert_eq!(shell.errno(tag), Some(0));
        let expected = if published { 4 } else { 1 };
        assert_eq!(shell.get(LINE, LINE).unwrap(), all(expected, 4096));
    }
}

/// So many lives ago that nobody knows: an error, and nothing happens.
#[test]
fn what_nobody_knows_any_more_is_an_error() {
    let mut shell = shell();
    let tag = shell.write(LINE, LINE, 1);
    shell.die_in_commit(0);
    shell.start_again();
    shell.settle_volumes();
    for _ in 0..70 {
        shell.put(9 * LINE, LINE, 3);
        let _ = shell.write(11 * LINE, LINE, 3);
        shell.die_in_commit(0);
        shell.start_again();
        shell.settle_volumes();
        shell.settle();
    }
    shell.put(LINE, LINE, 2);
    shell.send_again(tag);
    shell.settle();
    assert_eq!(shell.errno(tag), Some(EIO));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(2, 4096));
}

/// A replayed FUA write whose lines were published is answered once they are stable, not before.
#[test]
fn a_replayed_fua_waits_for_what_happened_before() {
    let mut shell = shell();
    let tag = shell.write_to(0, LINE, LINE, 1, true);
    shell.die_in_commit(usize::MAX);
    shell.start_again();
    shell.settle_volumes();
    shell.disk().hold(IoKind::Flush);
    shell.send_again(tag);
    shell.settle();
    assert_eq!(shell.errno(tag), None);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.stable(4096), 1);
}

/// What a replayed FUA write had published was given up meanwhile, and the line is in the cache again for the sake of its other
/// sectors: the write is an error, unless what was lost is not its own.
#[test]
fn a_replayed_fua_does_not_take_other_sectors_for_its_own() {
    for (newer, own) in [(false, true), (true, true), (false, false)] {
        let mut shell =
            reborn(Plan { rules: rules(evict_immediately(), Retry::default()), ..Plan::default() });
        let tag = shell.write_to(0, LINE, 512, 1, true);
        shell.die_in_commit(usize::MAX);
        shell.start_again();
        shell.settle_volumes();
        if !own {
            assert_eq!(shell.flushed(), 0);
            shell.put(LINE + 1024, 512, 3);
        }
        shell.disk().bad.insert(1, i32::from(EIO));
        shell.flush();
        shell.run_ms(5_000);
        assert_eq!(shell.stats().lost, 1);
        shell.disk().heal();
        if newer {
            shell.put(LINE + 2048, 512, 2);
        } else {
            shell.get(LINE + 2048, 512).unwrap();
        }
        shell.send_again(tag);
        shell.run_ms(100);
        assert_eq!(shell.errno(tag), Some(if own { EIO } else { 0 }), "newer {newer}, own {own}");
    }
}

/// A record that no engine has given, from a client that lies, is a generation like any other: nothing breaks, and
/// nothing of others is touched.
#[test]
fn a_record_that_is_a_lie_harms_nobody() {
    for replay in [1, 2, 1 << 40, u64::MAX - 1, u64::MAX] {
        let mut shell = shell();
        shell.put(LINE, LINE, 1);
        shell.restart();
        shell.put(LINE, LINE, 2);
        let tag = shell.write(5 * LINE, 3 * LINE, 3);
        shell.events.clear();
        shell.begun.insert(tag, replay);
        shell.send_again(tag);
        shell.settle();
        assert!(shell.errno(tag).is_some(), "record {replay}");
        assert_eq!(shell.get(LINE, LINE).unwrap(), all(2, 4096));
        assert_eq!(shell.flushed(), 0);
    }
}

/// C6: a durable write over a failed line waits for its try, also if the daemon dies before that: the next life does not know
/// any more that the data is newer than the refusal, and no timer, flush or operator asks for it.
#[test]
fn a_replayed_write_over_a_failed_line_gets_its_try() {
    let quiet = Retry { on_timer: false, on_flush: false, on_overwrite: false, ..Retry::default() };
    let policy = Policy::HoldForever(HoldForever::default());
    let mut shell = reborn(Plan { rules: rules(policy, quiet), ..Plan::default() });
    shell.disk().bad.insert(3, i32::from(EIO));
    shell.put(3 * LINE, LINE, 1);
    assert_eq!(shell.flushed(), EIO);
    let tag = shell.write_to(0, 3 * LINE, LINE, 2, true);
    shell.turn();
    assert_eq!(shell.errno(tag), None, "its try keeps a distance from the last one");
    shell.disk().heal();
    shell.restart();
    shell.send_again(tag);
    shell.run_ms(60_000);
    assert_eq!(shell.errno(tag), Some(0));
    assert_eq!(shell.stable(3 * 4096), 2);
}
