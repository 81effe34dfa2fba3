//! How fast dirty data is written back that nobody waits for, and that nobody has to wait for it.

use crate::shell::*;

/// A volume with a budget of 128 lines, of which `lines` are dirty, a run for each.
fn dirty(lines: u64, write_back_from: u16, write_back_after_ms: u64) -> Shell {
    let plan = Plan { write_back_from, write_back_after_ms, ..Plan::default() };
    let mut shell = Shell::new(plan);
    for line in 0..lines {
        let tag = shell.write(2 * line * LINE, LINE, 1);
        shell.turn();
        assert_eq!(shell.errno(tag), Some(0));
    }
    shell
}

fn written_after_ms(shell: &mut Shell, milliseconds: u64) -> u64 {
    let before = shell.stats().device_writes;
    shell.run_ms(milliseconds);
    shell.stats().device_writes - before
}

/// A quarter of the way from where write-back begins to where it goes at full speed, all that is dirty is spread over three
/// quarters of half a second.
#[test]
fn what_nobody_waits_for_is_spread_over_time() {
    let mut shell = dirty(76, 500, 1_000_000);
    let first = written_after_ms(&mut shell, 75);
    assert!((10..=20).contains(&first), "{first} of 76 in a fifth of the time");
    shell.run_ms(2_000);
    assert!((1..64).contains(&shell.stats().dirty), "what is below the share waits for its age");
}

/// Lines that are written again and again go out once in a while.
#[test]
fn a_hot_line_is_written_back_at_the_pace_not_at_the_rate_of_its_writes() {
    let mut shell = dirty(20, 100, 1_000);
    let before = shell.stats().device_writes;
    for _ in 0..1_000 {
        for line in 0..20 {
            shell.write(2 * line * LINE, LINE, 2);
        }
        shell.run_ms(1);
    }
    let writes = shell.stats().device_writes - before;
    assert!((20..=100).contains(&writes), "{writes} device writes for 20,000 of a client in a second");
}

/// From three quarters of the way to a full budget on nothing is held back.
#[test]
fn near_a_full_budget_write_back_goes_at_full_speed() {
    // Where it begins at 10%, that is 77.5% of 128 lines.
    let mut shell = dirty(100, 100, 1_000);
    shell.run_ms(20);
    assert!(shell.stats().device_writes >= 50, "{}", shell.stats().device_writes);
    let mut at_once = dirty(1, 0, 1_000_000);
    assert_eq!(written_after_ms(&mut at_once, 2), 1, "a share of nothing means at once");
}

/// Who waits for the data does not wait for the pace.
#[test]
fn a_flush_does_not_wait_for_the_pace() {
    let mut shell = dirty(60, 100, 1_000_000);
    let flush = shell.flush();
    shell.run_ms(20);
    assert_eq!(shell.errno(flush), Some(0));
}

/// Data that waits for its age has gone out half as much later, at most, though others come all the time; and then there is
/// a pause.
#[test]
fn old_data_is_gone_half_its_time_after_it_is_due() {
    let mut shell = dirty(12, 1_000, 200);
    let old =
        |shell: &Shell| (0..6).filter(|line| shell.disk().media[(4 * line * LINE) as usize] == 1).count();
    for millisecond in 0..390 {
        // Every other one, before the cursor and behind it.
        shell.write((4 * (millisecond % 6) + 2) * LINE, LINE, 3);
        shell.run_ms(1);
        assert!(millisecond > 150 || old(&shell) == 0);
        assert!(millisecond < 310 || old(&shell) == 6, "{} after {millisecond} ms", old(&shell));
    }
    let writes = shell.stats().device_writes;
    assert!((6..=12).contains(&writes), "{writes}");
}
