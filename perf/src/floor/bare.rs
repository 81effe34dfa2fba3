//! The two things that a ring is made of: a cache line that goes to and fro, and a copy.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use super::memory::{Shared, Span};
use super::process::Floor;
use super::serve::Phase;
use crate::load::LoadError;
use crate::offsets::Offsets;

/// Steps between two looks at the clock.
const BATCH: u32 = 256;

/// Mean time in ns of a round trip: a number is written to one cache line, and seen in another that the other process
/// wrote when it saw the first.
///
/// # Errors
/// If the other process ended.
pub fn ping_pong_ns(floor: &mut Floor, duration: Duration) -> Result<f64, LoadError> {
    let mut session = floor.session(Phase::PingPong);
    let mut ball = session.ring().pong.load(Acquire);
    mean_ns(duration, || {
        ball = ball.wrapping_add(1);
        session.ring().ping.store(ball, Release);
        while session.ring().pong.load(Acquire) != ball {
            session.fruitless()?;
        }
        session.fruitful();
        Ok(())
    })
}

/// Mean time in ns of a copy of 4 KiB from memory that stays in the cache to random blocks of a span, by one process.
pub fn copy_ns(span: &mut Span, source: &Shared, duration: Duration, seed: u64) -> f64 {
    let mut offsets = Offsets::new(seed, span.bytes());
    let window = source.window(0);
    window.fill(seed);
    let copied = mean_ns(duration, || {
        span.store(offsets.draw(), window);
        Ok(())
    });
    copied.expect("a copy cannot fail")
}

fn mean_ns(duration: Duration, mut step: impl FnMut() -> Result<(), LoadError>) -> Result<f64, LoadError> {
    let began = Instant::now();
    let mut steps = 0u32;
    loop {
        for _ in 0..BATCH {
            step()?;
        }
        steps = steps.saturating_add(BATCH);
        let elapsed = began.elapsed();
        if elapsed >= duration {
            return Ok(elapsed.as_secs_f64() * 1e9 / f64::from(steps));
        }
    }
}
