//! The two things that a ring is made of: a cache line that goes to and fro, and a copy.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::memory::{Shared, Span};
use super::process::Floor;
use super::serve::Phase;
use crate::load::LoadError;
use crate::offsets::Offsets;

/// Steps between two looks at the clock.
const BATCH: u32 = 256;

/// Median time in ns of a round trip: a number is written to one cache line, and seen in another that the other process
/// wrote when it saw the first.
///
/// # Errors
/// If the other process ended.
pub fn ping_pong_ns(floor: &mut Floor, duration: Duration) -> Result<f64, LoadError> {
    let mut session = floor.session(Phase::PingPong);
    let mut ball = session.ring().pong.load(Acquire);
    median_ns(duration, || {
        ball = ball.wrapping_add(1);
        session.ring().ping.store(ball, Release);
        while session.ring().pong.load(Acquire) != ball {
            session.fruitless()?;
        }
        session.fruitful();
        Ok(())
    })
}

/// Median time in ns of a copy of 4 KiB from memory that stays in the cache to random blocks of a span, by one process.
pub fn copy_ns(span: &mut Span, source: &Shared, duration: Duration, seed: u64) -> f64 {
    let mut offsets = Offsets::new(seed, span.bytes());
    let window = source.window(0);
    window.fill(seed);
    let copied = median_ns(duration, || {
        span.store(offsets.draw(), window);
        Ok(())
    });
    copied.expect("a copy cannot fail")
}

/// The time of one step: the median over batches, so that those in which the core was taken away do not count.
fn median_ns(duration: Duration, mut step: impl FnMut() -> Result<(), LoadError>) -> Result<f64, LoadError> {
    let mut batches = Histogram::<u64>::new_with_max(60_000_000_000, 3).expect("constants that it accepts");
    let began = Instant::now();
    let mut last = began;
    while last - began < duration {
        for _ in 0..BATCH {
            step()?;
        }
        let now = Instant::now();
        batches.saturating_record(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
        last = now;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most a minute in ns")]
    let batch_ns = batches.value_at_quantile(0.5) as f64;
    Ok(batch_ns / f64::from(BATCH))
}
