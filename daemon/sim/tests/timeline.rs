//! The timeline of the design's first section, for each policy: the disk refuses, people flush, read and repair.

use holdfast_engine::{ByteRange, Command, ListState};
use holdfast_policy::{ClassSet, EvictImmediately, HoldForever, HoldUntilPressure, Policy, errno};
use holdfast_sim::{Kinds, Memory, Plan, Shell, Trace, Trouble, scene};

const SECOND: u64 = 1_000_000_000;

fn plan(policy: Policy) -> Plan {
    scene::plan(2, 64, &[scene::volume(2, 2_048, 32, policy)])
}

/// t0 to t3: block 0 holds A, B is written, the pool is full, the flush fails. Returns the session and the stamps.
fn until_the_flush_fails(shell: &mut Shell<'_>) -> (u32, Vec<u64>) {
    let session = shell.clients.open(0);
    assert_eq!(shell.write(session, 0, 1).errno, 0);
    assert_eq!(shell.flush(session).errno, 0);
    shell.fault(0, Kinds::WRITE, 0..u64::MAX, Trouble::Refuse(errno::ENOSPC), u64::MAX);
    assert_eq!(shell.write(session, 0, 1).errno, 0, "B is acknowledged: it is in the cache");
    let written = shell.read(session, 0);
    assert_eq!(written.errno, 0);
    let failed = shell.flush(session);
    assert_eq!(failed.errno, errno::ENOSPC);
    assert_ne!(failed.failure_id, 0, "a failed flush has a name");
    (session, written.data)
}

/// t4: clean lines are pushed out of the cache by reading others.
fn memory_gets_tight(shell: &mut Shell<'_>, session: u32) {
    (100..400).for_each(|line| assert_eq!(shell.read(session, line).errno, 0));
}

#[test]
fn hold_forever_keeps_the_data_and_the_error_until_the_disk_is_repaired() {
    let plan = plan(Policy::HoldForever(HoldForever { stall_timeout_ms: 200 }));
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let (session, written) = until_the_flush_fails(&mut shell);
    memory_gets_tight(&mut shell, session);
    shell.pass(20 * SECOND);
    assert_eq!(shell.read(session, 0).data, written, "B, never A");
    let (first, other) = (shell.flush(session), shell.clients.open(0));
    let second = shell.flush(other);
    assert_eq!(
        (first.errno, first.failure_id),
        (errno::ENOSPC, second.failure_id),
        "a new session is told the same"
    );
    assert_eq!(second.errno, errno::ENOSPC);
    assert_eq!(shell.list(0, ListState::Failed).iter().collect::<Vec<_>>(), [(0, 8)]);
    shell.disks[0].heal();
    let token = shell.command(0, Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    shell.reply(token);
    assert_eq!(shell.flush(session).errno, 0);
    let stable: Vec<u64> = (0..8).map(|sector| shell.disks[0].media[&0].stable.get(sector)).collect();
    assert_eq!(stable, written, "B is on the disk");
}

#[test]
fn evict_immediately_gives_up_and_every_flush_says_so_until_it_is_acknowledged() {
    let plan = plan(Policy::EvictImmediately(EvictImmediately {}));
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let (session, written) = until_the_flush_fails(&mut shell);
    shell.pass(20 * SECOND);
    assert_eq!(shell.list(0, ListState::Lost).iter().collect::<Vec<_>>(), [(0, 8)]);
    assert_eq!(shell.read(session, 0).errno, errno::EIO, "neither B nor A");
    memory_gets_tight(&mut shell, session);
    assert_eq!(shell.read(session, 0).errno, errno::EIO);
    shell.disks[0].heal();
    let other = shell.clients.open(0);
    assert_eq!(shell.flush(session).errno, errno::EIO, "the disk is well, the data is still lost");
    assert_eq!(shell.flush(other).errno, errno::EIO);
    let token = shell.command(0, Command::AckLoss { range: ByteRange::ALL });
    shell.reply(token);
    assert_eq!(shell.flush(session).errno, 0);
    let after = shell.read(session, 0);
    assert_eq!(after.errno, 0);
    let on_disk: Vec<u64> = (0..8).map(|sector| shell.disks[0].media[&0].view.get(sector)).collect();
    assert_eq!(after.data, on_disk, "the operator accepted what the disk has");
    assert_ne!(written, vec![0; 8]);
}

#[test]
fn hold_until_pressure_gives_up_the_oldest_once_writes_have_stalled() {
    let policy = HoldUntilPressure { pressure: 900, stall_timeout_ms: 200 };
    let plan = plan(Policy::HoldUntilPressure(policy));
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let (session, written) = until_the_flush_fails(&mut shell);
    memory_gets_tight(&mut shell, session);
    shell.pass(20 * SECOND);
    assert_eq!(shell.read(session, 0).data, written, "no pressure, so B is held");
    // More than the budget of 32 slots of the reactor that owns the first stripe.
    (1..80).for_each(|line| assert_eq!(shell.write(session, line, 1).errno, 0));
    let lost = shell.list(0, ListState::Lost);
    assert!(lost.contains(0), "the oldest failure went first; lost is {lost:?}");
    assert_eq!(shell.read(session, 0).errno, errno::EIO);
    shell.disks[0].heal();
    shell.pass(5 * SECOND);
    assert_eq!(shell.flush(session).errno, errno::EIO, "what was given up is not stable");
    (0..80).for_each(|line| assert_eq!(shell.write(session, line, 1).errno, 0));
    assert_eq!(shell.flush(session).errno, 0, "every lost line was overwritten, and that is stable");
    assert!(shell.list(0, ListState::Lost).is_empty());
}
