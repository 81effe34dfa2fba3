//! A device flush that fails says nothing about which writes are down: everything written since the last good one is
//! dirty again and is written again, and no flush succeeds before that.

use holdfast_engine::{ListState, VolumeId};
use holdfast_policy::{HoldForever, Policy, errno};
use holdfast_sim::{Happening, Kinds, Memory, Shell, Trace, Trouble, scene};

fn scene(trouble: Trouble) {
    let policy = Policy::HoldForever(HoldForever::default());
    let plan = scene::plan(2, 128, &[scene::volume(2, 2_048, 80, policy)]);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let session = shell.clients.open(0);
    shell.fault(0, Kinds::FLUSH, 0..2_048, trouble, u64::MAX);
    // Some lines on each reactor.
    (0..40).for_each(|line| assert_eq!(shell.write(session, line * 20, 1).errno, 0));
    let failed = shell.flush(session);
    assert_eq!(failed.errno, errno::EIO);
    assert_ne!(failed.failure_id, 0);
    assert_eq!(shell.flush(session).errno, errno::EIO, "it is still true");
    shell.disks[0].heal();
    // The next attempt is not due before the backoff is over: 80 ms at most.
    shell.pass(200_000_000);
    assert_eq!(shell.flush(session).errno, 0, "the cause is gone");
    let written: u64 =
        shell.reactors.iter().map(|reactor| reactor.engine.stats(VolumeId(0)).device_write_bytes).sum();
    assert!(written >= 2 * 40 * scene::LINE, "{written} bytes: everything was written again");
    assert!(shell.list(0, ListState::Unstable).is_empty() && shell.list(0, ListState::Dirty).is_empty());
}

#[test]
fn a_flush_that_lost_the_cache_is_made_good() {
    scene(Trouble::FlushLoses);
}

#[test]
fn a_flush_that_failed_after_persisting_is_not_believed_either() {
    scene(Trouble::FlushPersists);
}

/// The cache is lost in a reset, no flush fails: what was written and not flushed is written again.
#[test]
fn a_reset_makes_everything_unstable_dirty_again() {
    let policy = Policy::HoldForever(HoldForever::default());
    let plan = scene::plan(2, 128, &[scene::volume(2, 2_048, 80, policy)]);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    let session = shell.clients.open(0);
    (0..70).for_each(|line| assert_eq!(shell.write(session, line, 1).errno, 0));
    let unstable = |shell: &Shell<'_>| -> u64 {
        shell.reactors.iter().map(|reactor| reactor.engine.stats(VolumeId(0)).unstable).sum()
    };
    shell.run_until("a write-back", |shell| unstable(shell) > 0);
    shell.queue.push(shell.now, Happening::Reset { domain: 0 });
    assert_eq!(shell.flush(session).errno, 0);
}
