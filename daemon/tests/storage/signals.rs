//! Signals that come while memory is taken.
#![allow(unsafe_code, reason = "a signal to one thread has no safe wrapper")]

use crate::support::{HugePages, layout};
use holdfast_daemon::arena::{Arena, ArenaLayout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The kernel gives up allocating huge pages when a signal is pending: a daemon did not start because of that, on a machine
/// with nothing wrong.
#[test]
fn an_arena_is_made_under_a_storm_of_signals() {
    let Some(huge) = HugePages::mount() else { return };
    let large = ArenaLayout { size_bytes: 32 << 20, ..layout(&huge.mounted) };
    // In peace first: under the storm the arena's wait for missing pages would not come to its end.
    let Some(calm) = huge.arena(&large) else { return };
    calm.remove().expect("removed");
    let seen = Arc::new(AtomicUsize::new(0));
    signal_hook::flag::register_usize(signal_hook::consts::SIGUSR1, Arc::clone(&seen), 1)
        .expect("registered");
    let over = Arc::new(AtomicBool::new(false));
    // SAFETY: asks for the name of this thread, nothing else.
    let maker = unsafe { libc::pthread_self() };
    let storm = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            while !over.load(Ordering::Relaxed) {
                // SAFETY: the maker joins this thread before it ends, so that its name stays good; SIGUSR1 has a routine.
                unsafe { libc::pthread_kill(maker, libc::SIGUSR1) };
                std::thread::yield_now();
            }
        }
    });
    let made: Vec<_> = (0..2).map(|_| Arena::create(&large, &mut |_, _| {}).map(Arena::remove)).collect();
    over.store(true, Ordering::Relaxed);
    storm.join().expect("it only sends");
    let outcomes: Vec<_> = made.into_iter().map(|made| made.and_then(|removed| removed)).collect();
    assert_eq!(seen.load(Ordering::Relaxed), 1, "signals arrived");
    for outcome in outcomes {
        outcome.expect("made and removed");
    }
}
