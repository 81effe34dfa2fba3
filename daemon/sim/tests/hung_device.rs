//! Two volumes, one disk hangs: the other volume's requests take no more turns than before, and its budget is untouched.

use holdfast_engine::{Operation, VolumeId};
use holdfast_policy::{HoldForever, Policy, errno};
use holdfast_sim::{Kinds, Memory, Shell, Trace, Trouble, scene};

const HANG_NS: u64 = 20_000_000_000;

/// Turns that 100 writes, their reads and a flush of the healthy volume take.
fn work(shell: &mut Shell<'_>, session: u32) -> u64 {
    let before = shell.reactors[0].turns;
    for line in 0..100 {
        assert_eq!(shell.write(session, line, 1).errno, 0);
        assert_eq!(shell.read(session, 400 + line).errno, 0);
    }
    assert_eq!(shell.flush(session).errno, 0);
    shell.reactors[0].turns - before
}

#[test]
fn a_hung_disk_does_not_slow_another_volume() {
    let policy = Policy::HoldForever(HoldForever { stall_timeout_ms: 60_000 });
    let (hung, well) = (scene::volume(1, 512, 40, policy), scene::volume(1, 512, 40, policy));
    let plan = scene::plan(1, 128, &[hung, well]);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let (sick, session) = (shell.clients.open(0), shell.clients.open(1));
    let undisturbed = work(&mut shell, session);
    shell.fault(0, Kinds::ALL, 0..512, Trouble::Hang, HANG_NS);
    let begun = shell.now;
    // Far more than its budget, spread so that no run is long.
    for line in 0..60 {
        shell.ask(sick, Operation::Write { fua: false }, line * 7 * scene::LINE, scene::LINE);
    }
    let flush = shell.ask(sick, Operation::Flush, 0, 0);
    let disturbed = work(&mut shell, session);
    assert!(disturbed <= 3 * undisturbed, "{disturbed} turns, {undisturbed} without the hung disk");
    let stats = shell.reactors[0].engine.stats(VolumeId(0));
    assert!(stats.not_clean <= 40, "the hung volume is held to its budget: {stats:?}");
    shell.pass(5_000_000_000);
    assert!(shell.now < begun + HANG_NS);
    let outcome =
        shell.clients.outcomes.remove(&flush).expect("overdue counts as failing, the flush is answered");
    assert_eq!(outcome.errno, errno::EIO);
    assert!(shell.reactors[0].engine.stats(VolumeId(0)).overdue > 0);
    work(&mut shell, session);
    shell.pass(HANG_NS);
    shell.disks[0].heal();
    shell.pass(5_000_000_000);
    assert!(shell.clients.outstanding.is_empty(), "what waited was carried out or answered");
    assert_eq!(shell.flush(sick).errno, 0);
}
