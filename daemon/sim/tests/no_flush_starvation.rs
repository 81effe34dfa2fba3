//! A flush waits for what was acknowledged before it, not for what comes after: lines that are overwritten all the time
//! neither restart its wait nor end it.

use holdfast_engine::Operation;
use holdfast_policy::{HoldForever, Policy};
use holdfast_sim::{Memory, Shell, Trace, scene};

#[test]
fn hot_overwrites_do_not_starve_a_flush() {
    let policy = Policy::HoldForever(HoldForever::default());
    let plan = scene::plan(2, 128, &[scene::volume(2, 2_048, 80, policy)]);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let (writer, flusher) = (shell.clients.open(0), shell.clients.open(0));
    for round in 0..20 {
        (0..8).for_each(|line| assert_eq!(shell.write(writer, line * 100, 1).errno, 0));
        let flush = shell.ask(flusher, Operation::Flush, 0, 0);
        let mut steps = 0;
        while !shell.clients.outcomes.contains_key(&flush) {
            let room = 32usize.saturating_sub(shell.clients.outstanding.len()).min(8) as u64;
            for line in 0..room {
                shell.ask(writer, Operation::Write { fua: false }, line * 100 * scene::LINE, scene::LINE);
            }
            let time = shell.next_time().max(shell.now + 200_000);
            shell.step(time);
            steps += 1;
            assert!(steps < 5_000, "flush {round} is not answered");
        }
        assert_eq!(shell.outcome(flush).errno, 0);
        shell.run_until("the overwrites", |shell| shell.clients.outstanding.is_empty());
        shell.clients.outcomes.clear();
    }
}
