//! Discarding or zeroing 1 TiB takes bounded memory and a bounded number of operations, whatever is cached in it.

use holdfast_engine::{Geometry, Operation};
use holdfast_policy::{HoldForever, Policy, errno};
use holdfast_sim::{MediumSetup, Memory, Plan, Shell, Trace, VolumePlan, scene};

const TIB: u64 = 1 << 40;
const LINE: u32 = 16_384;
const STRIPE: u64 = 1 << 34;

fn plan(discards: bool) -> Plan {
    let policy = Policy::HoldForever(HoldForever::default());
    let plain = scene::volume(2, 64, 100, policy);
    let geometry = Geometry { volume_bytes: TIB, line_bytes: LINE, stripe_bytes: STRIPE, ..plain.geometry };
    let medium = MediumSetup { sectors: TIB / 512, discards, ..plain.medium };
    let plan = scene::plan(2, 160, &[VolumePlan { geometry, medium, ..plain }]);
    Plan { line_bytes: LINE, ..plan }
}

/// A line here and there, half of them written back already.
fn write_some(shell: &mut Shell<'_>, session: u32) {
    for at in 0..120 {
        assert_eq!(shell.write(session, at * (TIB / u64::from(LINE) / 128), 1).errno, 0);
        if at == 60 {
            assert_eq!(shell.flush(session).errno, 0);
        }
    }
}

fn is_zero(shell: &mut Shell<'_>, session: u32) {
    for at in 0..120 {
        let outcome = shell.read(session, at * (TIB / u64::from(LINE) / 128));
        assert_eq!(outcome.errno, 0);
        assert!(outcome.data.iter().all(|&stamp| stamp == 0), "line {at} still has data");
    }
}

#[test]
fn one_tebibyte_is_discarded_and_zeroed_in_bounded_steps() {
    let plan = plan(true);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let session = shell.clients.open(0);
    for operation in
        [Operation::Discard, Operation::WriteZeroes { fua: false }, Operation::WriteZeroes { fua: true }]
    {
        write_some(&mut shell, session);
        let turns = |shell: &Shell<'_>| -> u64 { shell.reactors.iter().map(|reactor| reactor.turns).sum() };
        let before = turns(&shell);
        let id = shell.ask(session, operation, 0, TIB);
        assert_eq!(shell.outcome(id).errno, 0);
        let taken = turns(&shell) - before;
        // 65,536 pieces of 16 MiB, each submitted and answered in a turn of its own at most.
        assert!(taken < 4 * 65_536, "{operation:?} took {taken} turns");
        is_zero(&mut shell, session);
        assert_eq!(shell.flush(session).errno, 0);
        is_zero(&mut shell, session);
        assert!(
            shell.disks[0].media[&0].stable.written(0, TIB / 512).next().is_none(),
            "the disk has none of it"
        );
    }
}

#[test]
fn a_discard_that_the_device_cannot_do_touches_nothing() {
    let plan = plan(false);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let session = shell.clients.open(0);
    write_some(&mut shell, session);
    let before: Vec<_> =
        (0..120).map(|at| shell.read(session, at * (TIB / u64::from(LINE) / 128)).data).collect();
    let id = shell.ask(session, Operation::Discard, 0, TIB);
    assert_eq!(shell.outcome(id).errno, errno::EOPNOTSUPP);
    let after: Vec<_> =
        (0..120).map(|at| shell.read(session, at * (TIB / u64::from(LINE) / 128)).data).collect();
    assert_eq!(before, after);
    assert_eq!(shell.flush(session).errno, 0);
}
