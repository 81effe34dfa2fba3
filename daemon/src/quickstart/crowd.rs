//! t4: memory gets tight, because a client goes on writing.

use super::error::Error;
use super::expected::total;
use super::pattern::{CROWD, LINE, STRIPE, lines};
use super::plan::{Policy, STALL};
use super::session::name;
use super::timeline::Timeline;
use super::transcript::step;
use holdfast_ctl::size::binary;
use rustix::io::Errno;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How a client fared that went on writing.
#[derive(Default)]
struct Crowd {
    /// Where they went.
    offsets: Vec<u64>,
    /// Writes acknowledged at once.
    quick: usize,
    /// How long the last one waited, and how it ended, if it waited or was refused.
    last: Option<(Duration, Option<Errno>)>,
}

/// Writes on, and looks at what the policy does about it. Gives back the offsets of the lines written to.
///
/// # Errors
/// If the daemon goes away.
pub(super) fn press(timeline: &mut Timeline<'_>) -> Result<Vec<u64>, Error> {
    match timeline.volume.policy {
        Policy::HoldForever => hold_forever(timeline),
        Policy::HoldUntilPressure => hold_until_pressure(timeline),
        Policy::EvictImmediately => evict_immediately(timeline),
    }
}

fn hold_forever(timeline: &mut Timeline<'_>) -> Result<Vec<u64>, Error> {
    let crowd = write_on(timeline)?;
    let lost = timeline.lost()?;
    let held = crowd.last.is_some_and(|(waited, errno)| errno == Some(Errno::NOSPC) && waited >= STALL);
    let what = step("t4", "C6", "write on until memory is tight");
    timeline.transcript.check(what, "a write waits 1 s, then ENOSPC", &crowd.to_string(), held);
    let what = step("t4", "C9", "what is held stays held");
    let seen = format!("{} lost", binary(total(&lost)));
    timeline.transcript.check(what, "0 B lost", &seen, lost.is_empty());
    Ok(crowd.offsets)
}

fn hold_until_pressure(timeline: &mut Timeline<'_>) -> Result<Vec<u64>, Error> {
    let crowd = write_on(timeline)?;
    let lost = timeline.lost()?;
    let admitted = crowd.last.is_some_and(|(waited, errno)| errno.is_none() && waited >= STALL);
    let what = step("t4", "C6", "write on until memory is tight");
    timeline.transcript.check(what, "a write waits 1 s, then success", &crowd.to_string(), admitted);
    let what = step("t4", "C9", "the oldest failure made room for it");
    let seen = format!("{} listed as lost", binary(total(&lost)));
    timeline.transcript.check(what, "some listed as lost", &seen, !lost.is_empty());
    Ok(crowd.offsets)
}

/// One write to each reactor: as long as the disk refuses, nothing is acknowledged that it has not taken.
fn evict_immediately(timeline: &mut Timeline<'_>) -> Result<Vec<u64>, Error> {
    let offsets = [CROWD.start, CROWD.start + STRIPE];
    for offset in offsets {
        // A disk that answers EIO speaks of single blocks only, and the next write may be well.
        let refuses = timeline.operator.volume(timeline.volume.name())?.gate.is_some();
        let bytes = timeline.ink(b'C').bytes(offset, LINE);
        let refused = timeline.write(offset, &bytes)?;
        let seen = refused.map_or("acknowledged".to_owned(), name);
        let expected = if refuses { "ENOSPC, not acknowledged" } else { "acknowledged" };
        let what = step("t4", "C9", "write on while the disk refuses");
        timeline.transcript.check(what, expected, &seen, refused.is_some() == refuses);
    }
    Ok(offsets.to_vec())
}

/// Writes line after line until one has to wait or is refused.
fn write_on(timeline: &mut Timeline<'_>) -> Result<Crowd, Error> {
    let mut crowd = Crowd::default();
    for offset in lines(CROWD) {
        let bytes = timeline.ink(b'C').bytes(offset, LINE);
        let begun = Instant::now();
        let refused = timeline.write(offset, &bytes)?;
        let waited = begun.elapsed();
        crowd.offsets.push(offset);
        if refused.is_some() || waited >= STALL {
            crowd.last = Some((waited, refused));
            break;
        }
        crowd.quick += 1;
    }
    Ok(crowd)
}

impl std::fmt::Display for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("{} taken", self.quick);
        match self.last {
            Some((waited, None)) => write!(text, ", then {} ms, success", waited.as_millis())?,
            Some((waited, Some(errno))) => write!(text, ", then {} ms, {}", waited.as_millis(), name(errno))?,
            None => text += ", none waited",
        }
        f.write_str(&text)
    }
}
