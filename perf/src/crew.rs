//! One round by all clients: a thread each, begun together.

use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam::utils::CachePadded;

use crate::chance::Chance;
use crate::client::{Orders, Tally, run};
use crate::job::{Case, Job, PatternName};
use crate::load::Target;
use crate::stamps::{Stamps, Versions};

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What all clients of a round are told.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'run> {
    /// Of which `case` is one.
    pub job: &'run Job,
    /// The load.
    pub case: &'run Case,
    /// Which repeat: each has other places.
    pub repeat: u32,
    /// With `verify`.
    pub versions: Option<&'run Versions>,
    /// Client by client, again from the first if there are more clients.
    pub cores: &'run [usize],
}

/// What a round showed.
#[derive(Debug)]
pub struct Heard {
    /// Of each client.
    pub tallies: Vec<Tally>,
    /// Requests done by all clients until each look, one in 100 ms.
    pub timeline: Vec<(Duration, u64)>,
}

/// Has every client carry its orders out. `began` is told when that begins, `look` is told the requests a second since it was told last.
///
/// # Errors
/// Of the first client that has one.
///
/// # Panics
/// If there is not one target for each client.
pub fn round<T: Target + Send>(
    targets: Vec<T>,
    plan: Plan<'_>,
    began: impl FnOnce(Instant),
    mut look: impl FnMut(f64),
) -> anyhow::Result<Heard> {
    assert_eq!(targets.len(), plan.case.clients as usize, "a target for each client");
    let progress: Vec<_> = targets.iter().map(|_| CachePadded::new(AtomicU64::new(0))).collect();
    let together = Barrier::new(targets.len() + 1);
    thread::scope(|scope| {
        let clients: Vec<_> = (0u32..)
            .zip(targets)
            .zip(&progress)
            .map(|((client, target), progress)| {
                let together = &together;
                scope.spawn(move || one_client(client, target, plan, progress, together))
            })
            .collect();
        together.wait();
        let (start, mut timeline) = (Instant::now(), vec![(Duration::ZERO, 0)]);
        began(start);
        loop {
            thread::sleep(LOOK.min(Duration::from_secs_f64(plan.job.seconds / 4.0)));
            let over = clients.iter().all(thread::ScopedJoinHandle::is_finished);
            // Behind the end nothing happens: a look there would show a rate that nobody had.
            if over && timeline.len() > 1 {
                break;
            }
            let now = (start.elapsed(), progress.iter().map(|count| count.load(Relaxed)).sum());
            let last = timeline[timeline.len() - 1];
            look(rate(last, now));
            timeline.push(now);
        }
        let outcomes = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        Ok(Heard { tallies: outcomes.collect::<anyhow::Result<_>>()?, timeline })
    })
}

/// Requests a second between two looks.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
pub fn rate(from: (Duration, u64), to: (Duration, u64)) -> f64 {
    to.1.saturating_sub(from.1) as f64 / (to.0 - from.0).as_secs_f64().max(1e-9)
}

fn one_client<T: Target>(
    client: u32,
    mut target: T,
    plan: Plan<'_>,
    progress: &AtomicU64,
    together: &Barrier,
) -> anyhow::Result<Tally> {
    let core = plan.cores[client as usize % plan.cores.len()];
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    together.wait();
    anyhow::ensure!(pinned, "core {core} cannot be used: see `taskset -p $$` for those that can");
    let orders = Orders {
        case: plan.case,
        part: part(plan.job, plan.case, client),
        seed: seed(plan, client),
        stamps: Stamps { seed: plan.job.seed, versions: plan.versions },
        duration: Duration::from_secs_f64(plan.job.seconds),
        progress,
    };
    run(&mut target, &orders).with_context(|| format!("client {client}"))
}

/// Mixed, as neighbouring seeds would lead to neighbouring places.
fn seed(plan: Plan<'_>, client: u32) -> u64 {
    Chance::new(plan.job.seed ^ u64::from(plan.repeat) << 32 ^ u64::from(client) << 48).number()
}

/// A client's part of the set: all of it, or its own.
fn part(job: &Job, case: &Case, client: u32) -> Range<u64> {
    if !job.verify && case.pattern != PatternName::Sequential {
        return 0..job.span;
    }
    let unit = case.block.max(4096);
    let bytes = job.span / u64::from(case.clients) / unit * unit;
    u64::from(client) * bytes..(u64::from(client) + 1) * bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_blocks_inside_the_span_and_do_not_overlap() {
        let text = "# ?\nspan = 1048576\nverify = true\n[[case]]\nname = \"a\"\nreads_percent = 0\nclients = 3\nblock = 16384\n";
        let mut job = Job::parse(text).unwrap();
        let parts: Vec<_> = (0..3).map(|client| part(&job, &job.cases[0], client)).collect();
        assert_eq!(parts, [0..344_064, 344_064..688_128, 688_128..1_032_192]);
        job.verify = false;
        assert_eq!(part(&job, &job.cases[0], 2), 0..1 << 20);
    }
}
