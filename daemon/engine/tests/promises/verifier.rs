//! C7, M5: written is not stable.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::EIO;

/// C7: a write that completed before a device flush that failed is dirty again, and is written again.
#[test]
fn a_failed_device_flush_makes_what_was_written_dirty_again() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.put(9 * LINE, 512, 2);
    shell.disk().refuse(IoKind::Flush, EIO);
    assert_eq!(shell.flushed(), EIO);
    assert_eq!(shell.disk().attempts(IoKind::Write), 2);
    assert_eq!((shell.stats().dirty, shell.stats().unstable), (2, 0));
    assert_eq!(shell.ledger.not_stable.len(), 16);
    // What the device forgot is written again once it is well.
    let clean = shell.disk().stable.clone();
    shell.disk().media = clean;
    shell.disk().heal();
    shell.run_ms(500);
    assert_eq!(shell.flushed(), 0);
    assert_eq!((shell.stable(0), shell.stable(9 * 4096)), (1, 2));
}

/// C7: the probe of a device whose flush failed has to survive a flush, too.
#[test]
fn a_gate_that_a_flush_closed_opens_only_by_a_flush() {
    let mut shell = Shell::new(Plan::default());
    for line in 0..30 {
        shell.put(line * 2 * LINE, LINE, 1);
    }
    shell.disk().refuse(IoKind::Flush, EIO);
    assert_eq!(shell.flushed(), EIO);
    let before = shell.disk().attempts(IoKind::Write);
    shell.run_ms(60_000);
    let writes = shell.disk().attempts(IoKind::Write) - before;
    assert!((3..=14).contains(&writes), "{writes} probes in a minute");
    shell.disk().heal();
    shell.run_ms(31_000);
    assert_eq!(shell.flushed(), 0);
}

/// C7: a write that was in flight when the device changed is not believed; it is written again.
#[test]
fn a_write_across_a_change_of_the_device_is_not_believed() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    let flush = shell.flush();
    shell.settle();
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    shell.turn();
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!(shell.disk().attempts(IoKind::Write), 2, "once before, once after the change");
}

/// C7: what was written before the device changed, and not flushed, is written again; so is what was overwritten since.
#[test]
fn a_change_of_the_device_puts_written_data_in_doubt() {
    let mut shell = Shell::new(Plan::default());
    for line in 0..20 {
        shell.put(line * LINE, LINE, 1);
    }
    shell.disk().hold(IoKind::Flush);
    let flush = shell.flush();
    shell.settle();
    shell.put(5 * LINE, 512, 2);
    let fresh = shell.disk().stable.clone();
    shell.disk().media = fresh;
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    shell.turn();
    assert_eq!(shell.errno(flush), None);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(flush), Some(0));
    let disk = shell.disk();
    assert!((0..20).filter(|&line| line != 5).all(|line| disk.stable[line * 4096] == 1));
    assert_eq!(disk.stable[5 * 4096 + 512], 1, "the sectors that the newer write took over");
}

/// M5: a request for a device flush never joins one that has begun.
#[test]
fn a_flush_never_joins_one_that_has_begun() {
    let mut shell = Shell::new(Plan { volumes: 2, one_domain: true, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Flush);
    let first = shell.flush();
    shell.settle();
    let write = shell.write_to(1, 0, LINE, 2, true);
    shell.settle();
    assert_eq!(shell.disks[1].borrow().media[0], 2, "written while the flush is in flight");
    shell.disk().release();
    shell.turn();
    shell.turn();
    assert_eq!(shell.errno(write), None, "the flush began before");
    shell.settle();
    assert_eq!((shell.errno(first), shell.errno(write)), (Some(0), Some(0)));
    assert_eq!(shell.disk().attempts(IoKind::Flush), 2);
}

/// C6: of two volumes of one file system, one that has no space does not keep the other's data from becoming stable.
#[test]
fn a_volume_without_space_does_not_hold_up_its_domain() {
    let mut shell = Shell::new(Plan { volumes: 2, one_domain: true, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.write_to(1, 0, LINE, 2, false);
    shell.disk().refuse(IoKind::Write, holdfast_policy::errno::ENOSPC);
    shell.disk().refuse(IoKind::Flush, EIO);
    shell.flush();
    shell.send(1, 1, Operation::Flush, 0, 0);
    shell.run_ms(300);
    shell.disk().refused.remove(&IoKind::Flush);
    shell.run_ms(60_000);
    let other = shell.send(1, 1, Operation::Flush, 0, 0);
    shell.run_ms(50);
    assert_eq!(shell.errno(other), Some(0));
    assert_eq!(shell.disks[1].borrow().stable[0], 2);
    assert_ne!(shell.stats().gate_class, 0, "the first one's disk still refuses");
}

/// C6, M6: after a failed device flush one volume of a domain probes, is well again and takes new writes; that the probe of
/// its neighbour hangs does not hold up its flush (simulator seed 3051).
#[test]
fn a_volume_that_is_well_does_not_wait_for_a_probe_that_hangs() {
    let mut shell = Shell::new(Plan { volumes: 2, one_domain: true, ..Plan::default() });
    shell.put(0, LINE, 1);
    shell.write_to(1, 0, LINE, 2, false);
    shell.disk().refuse(IoKind::Flush, EIO);
    shell.flush();
    shell.send(1, 1, Operation::Flush, 0, 0);
    shell.run_ms(50);
    shell.disk().heal();
    shell.disk().hold(IoKind::Write);
    shell.run_ms(60_000);
    let (sick, well) = (shell.stats(), shell.engine.stats(VolumeId(1)));
    assert!(sick.gate_class != 0 && sick.writing == 1, "its probe hangs: {sick:?}");
    assert_eq!((well.gate_class, well.not_clean), (0, 0), "{well:?}");
    shell.write_to(1, LINE, LINE, 3, false);
    let flush = shell.send(1, 1, Operation::Flush, 0, 0);
    shell.run_ms(50);
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!(shell.disks[1].borrow().stable[4096], 3);
}
