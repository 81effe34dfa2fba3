//! What operators change while a volume is in use.

use crate::disk::Disk;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::{EINVAL, ENOSPC};
use std::cell::RefCell;
use std::rc::Rc;

fn stalling() -> Plan {
    Plan { flush_on_failure: FlushOnFailure::Stall { timeout_ms: 1_000_000 }, ..Plan::default() }
}

/// A parked flush hears the error as soon as an operator says that flushes are to report, not after its old timeout.
#[test]
fn parked_flushes_hear_of_it_when_flushes_are_to_report() {
    let mut shell = Shell::new(stalling());
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.put(0, LINE, 1);
    let flush = shell.flush();
    shell.run_ms(2_000);
    assert_eq!((shell.errno(flush), shell.stats().parked_flushes), (None, 1));
    let rules = Plan::default().rules;
    let token = shell.operator(Command::SetPolicy { tuning: Box::new(tuning(rules)) });
    shell.run_ms(1_000);
    assert_eq!(shell.answers[&token], Answer::Done);
    assert_eq!(shell.errno(flush), Some(ENOSPC));
}

/// An operator's change is never refused for want of room among his commands: those are what he wants to get out of.
#[test]
fn a_policy_is_set_though_commands_wait() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Write);
    shell.write(0, LINE, 1);
    shell.run_ms(10);
    for _ in 0..40 {
        shell.operator(Command::Drain);
    }
    shell.run_ms(10);
    let token = shell.operator(Command::SetPolicy { tuning: Box::new(tuning(Plan::default().rules)) });
    shell.run_ms(10);
    assert_eq!(shell.answers[&token], Answer::Done);
}

/// A volume that grew takes what lies behind its old end, up to its new one, and keeps what it had.
#[test]
fn a_volume_grows_under_its_data() {
    let plan = Plan::default();
    let (old, new) = (plan.volume_bytes, plan.volume_bytes + 64 * LINE);
    let disk = Rc::new(RefCell::new(Disk::new(new as usize)));
    let shares = shares(&plan);
    let mut shell = Shell::over(plan, vec![disk], &shares);
    shell.put(old - LINE, LINE, 1);
    let beyond = shell.write(old, LINE, 2);
    shell.run_ms(10);
    assert_eq!(shell.errno(beyond), Some(EINVAL));
    let token = shell.operator(Command::Grow { bytes: new });
    shell.run_ms(10);
    assert_eq!(shell.answers[&token], Answer::Done);
    shell.put(old - LINE, 2 * LINE, 3);
    shell.put(new - LINE, LINE, 4);
    let beyond = shell.write(new, LINE, 2);
    shell.run_ms(10);
    assert_eq!(shell.errno(beyond), Some(EINVAL));
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.get(old - LINE, 2 * LINE).unwrap(), all(3, 2 * LINE as usize));
    assert_eq!(shell.stable((new - LINE) as usize), 4);
}

/// What cannot be meant is refused and changes nothing: smaller, not in whole blocks, beyond what the index is made for.
#[test]
fn a_volume_does_not_shrink_nor_outgrow_its_index() {
    let plan = Plan::default();
    let size = plan.volume_bytes;
    let mut shell = Shell::new(plan);
    for bytes in [size - LINE, size + 100, 2 * size + LINE, u64::MAX / 512 * 512] {
        let token = shell.operator(Command::Grow { bytes });
        shell.run_ms(10);
        assert_eq!(shell.answers[&token], Answer::Refused { errno: EINVAL }, "{bytes}");
    }
    let beyond = shell.write(size, LINE, 1);
    shell.run_ms(10);
    assert_eq!(shell.errno(beyond), Some(EINVAL));
}
