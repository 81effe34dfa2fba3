//! The other side's loop: what it does is told by a word in the shared memory.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::hint::spin_loop;

use rustix::thread::futex;

use super::memory::{Shared, Span};
use super::ring::Server;

/// Fruitless looks after which the core is offered to others: some 100 us.
pub(super) const SPINS: u32 = 1 << 14;
/// How long a sleep lasts before it is asked whether the client is still there.
const SLEEP: futex::Timespec = futex::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// What the other side shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// Sleep: its core is somebody else's now.
    Parked = 0,
    /// Serve the ring.
    Ring = 1,
    /// Send back each number that comes.
    PingPong = 2,
    /// Return.
    Quit = 3,
}

/// Tells the other side what to do next, and wakes it.
pub(super) fn order(shared: &Shared, phase: Phase) {
    shared.ring().phase.store(phase as u32, Release);
    // Fails only for an address that is none.
    let _ = futex::wake(&shared.ring().phase, futex::Flags::empty(), 1);
}

/// Serves until told to quit, or until `abandoned` says that there is no client any more.
pub fn serve(shared: &Shared, span: &mut Span, abandoned: impl Fn() -> bool) {
    let phase = &shared.ring().phase;
    let mut server = Server::new(shared);
    shared.ring().ready.store(span.pages() as u32, Release);
    let mut fruitless = 0u32;
    while !abandoned() {
        loop {
            let now = phase.load(Acquire);
            let progress = match now {
                _ if now == Phase::Ring as u32 => server.turn(span) > 0,
                _ if now == Phase::PingPong as u32 => echo(shared),
                _ if now == Phase::Quit as u32 => return,
                _ => break park(shared),
            };
            fruitless = if progress { 0 } else { fruitless + 1 };
            if fruitless == SPINS {
                fruitless = 0;
                std::thread::yield_now();
                break;
            }
            if !progress {
                spin_loop();
            }
        }
    }
}

fn echo(shared: &Shared) -> bool {
    let ring = shared.ring();
    let ball = ring.ping.load(Acquire);
    // Only this side writes `pong`.
    let new = ball != ring.pong.load(Relaxed);
    if new {
        ring.pong.store(ball, Release);
    }
    new
}

fn park(shared: &Shared) {
    // Told, timed out or interrupted: the caller looks again in every case.
    let _ = futex::wait(&shared.ring().phase, futex::Flags::empty(), Phase::Parked as u32, Some(&SLEEP));
}
