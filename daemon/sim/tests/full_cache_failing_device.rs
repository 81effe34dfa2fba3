//! A cache full of dirty lines over a device that refuses everything: elsewhere more than half of the client's writes
//! failed at once. Here held lines are read and overwritten as before, new ones wait and are then refused, and nothing is
//! lost.

use holdfast_engine::VolumeId;
use holdfast_policy::{HoldForever, Policy, errno};
use holdfast_sim::{Kinds, Memory, Shell, Trace, Trouble, scene};

#[test]
fn held_lines_stay_readable_and_writable_and_others_wait() {
    let policy = Policy::HoldForever(HoldForever { stall_timeout_ms: 300 });
    let (sick, well) = (scene::volume(1, 512, 40, policy), scene::volume(1, 512, 40, policy));
    let plan = scene::plan(1, 128, &[sick, well]);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    shell.fault(0, Kinds::WRITE, 0..512, Trouble::Refuse(errno::EROFS), u64::MAX);
    let (session, other) = (shell.clients.open(0), shell.clients.open(1));
    let accepted = (0..200).take_while(|&line| shell.write(session, line, 1).errno == 0).count() as u64;
    assert!((30..=40).contains(&accepted), "{accepted} of a budget of 40 were accepted");
    let refused = shell.write(session, 200, 1);
    assert_eq!(refused.errno, errno::ENOSPC);
    assert!(refused.took_ns >= 300_000_000, "it waited for room: {} ns", refused.took_ns);
    for line in 0..accepted {
        assert_eq!(shell.write(session, line, 1).errno, 0, "an overwrite of a held line needs no budget");
        assert_eq!(shell.read(session, line).errno, 0);
    }
    assert_eq!(shell.read(session, 300).errno, 0, "a miss still finds a slot");
    for line in 0..200 {
        let outcome = shell.write(other, line, 1);
        assert_eq!(outcome.errno, 0, "the other volume's writes go on");
    }
    assert_eq!(shell.flush(other).errno, 0);
    assert_eq!(shell.flush(session).errno, errno::EIO);
    assert_eq!(shell.reactors[0].engine.stats(VolumeId(0)).given_up, 0);
    shell.disks[0].heal();
    shell.pass(3_000_000_000);
    assert_eq!(shell.flush(session).errno, 0, "the disk came back, everything held was written");
}
