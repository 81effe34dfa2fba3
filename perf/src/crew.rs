//! One round by all clients, begun together: each a process of its own, this program run again.

use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::board::{Board, CLIENTS_MAX};
use crate::chance::Chance;
use crate::client::{Orders, Tally, Told, run};
use crate::door::Door;
use crate::job::{Case, Job, PatternName};
use crate::load::Target;
use crate::stamps::Stamps;

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long clients may take to be ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// Looks after which the core is offered to others.
const SPINS: u32 = 1 << 10;

/// What all clients of a round are told.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'run> {
    /// Of which `case` is one.
    pub job: &'run Job,
    /// The load.
    pub case: &'run Case,
    /// Which repeat: each has other places.
    pub repeat: u32,
    /// What the clients share; with versions, every read is checked against them.
    pub board: &'run Board,
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

/// What one client's process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Errand {
    door: Door,
    job: Job,
    case: Case,
    repeat: u32,
    client: u32,
    core: usize,
    /// Who starts it: it ends when that process does.
    parent: u32,
}

/// Running clients; killed if nobody waited for them.
struct Crew(Vec<Child>);

impl Drop for Crew {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Fails only if it ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Has every client carry its orders out, each in a process of its own. `began` is told when that begins, `look` the
/// requests a second since it was told last.
///
/// # Errors
/// Of the first client that has one.
pub fn round(
    door: &Door,
    plan: Plan<'_>,
    began: impl FnOnce(Instant),
    look: impl FnMut(f64),
) -> anyhow::Result<Heard> {
    plan.board.reset();
    let mut crew = Crew(Vec::new());
    for client in 0..plan.case.clients {
        crew.0.push(spawn(door, plan, client)?);
    }
    let ended = |crew: &mut Crew| crew.0.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None)));
    let deadline = Instant::now() + READY_MAX;
    while plan.board.head().ready.load(Acquire) < plan.case.clients {
        if ended(&mut crew) {
            // Not all of them can begin: whoever ended says why.
            return Err(complaint(crew));
        }
        ensure!(Instant::now() < deadline, "the clients were not ready within 60 s");
        thread::sleep(Duration::from_millis(1));
    }
    // Pairs with the Acquire in `serve`.
    plan.board.head().go.store(1, Release);
    let timeline = watch(plan, began, look, || {
        plan.board.head().over.load(Relaxed) == plan.case.clients || ended(&mut crew)
    });
    let outcomes: Vec<_> = crew.0.drain(..).zip(0..).map(|(child, client)| tally_of(child, client)).collect();
    Ok(Heard { tallies: outcomes.into_iter().collect::<anyhow::Result<_>>()?, timeline })
}

/// The same with one client, a thread of this process: for a target that cannot be opened twice.
///
/// # Errors
/// Of the client.
///
/// # Panics
/// If the case has more clients.
pub fn round_here<T: Target + Send>(
    mut target: T,
    plan: Plan<'_>,
    look: impl FnMut(f64),
) -> anyhow::Result<Heard> {
    assert_eq!(plan.case.clients, 1, "one target");
    plan.board.reset();
    thread::scope(|scope| {
        let core = plan.cores[0];
        let client = scope.spawn(move || {
            pin(core)?;
            one_client(&mut target, plan, 0)
        });
        let timeline = watch(plan, |_| (), look, || client.is_finished());
        let tally = client.join().expect("a client does not panic")?;
        Ok(Heard { tallies: vec![tally], timeline })
    })
}

/// Looks at the progress until the round is over.
fn watch(
    plan: Plan<'_>,
    began: impl FnOnce(Instant),
    mut look: impl FnMut(f64),
    mut is_over: impl FnMut() -> bool,
) -> Vec<(Duration, u64)> {
    let (start, mut timeline) = (Instant::now(), vec![(Duration::ZERO, 0)]);
    began(start);
    loop {
        thread::sleep(LOOK.min(Duration::from_secs_f64(plan.job.seconds / 4.0)));
        let over = is_over();
        // Behind the end nothing happens: a look there would show a rate that nobody had.
        if over && timeline.len() > 1 {
            return timeline;
        }
        let progress = &plan.board.head().progress;
        let now = (start.elapsed(), progress.iter().map(|count| count.load(Relaxed)).sum());
        let last = timeline[timeline.len() - 1];
        look(rate(last, now));
        timeline.push(now);
    }
}

fn spawn(door: &Door, plan: Plan<'_>, client: u32) -> anyhow::Result<Child> {
    assert!((client as usize) < CLIENTS_MAX, "client {client}");
    let errand = Errand {
        door: door.clone(),
        job: plan.job.clone(),
        case: plan.case.clone(),
        repeat: plan.repeat,
        client,
        core: plan.cores[client as usize % plan.cores.len()],
        parent: std::process::id(),
    };
    Command::new(std::env::current_exe()?)
        .args(["client", &serde_json::to_string(&errand)?])
        .stdin(Stdio::from(plan.board.file()?))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting a client's process")
}

/// Waits for a client's end.
fn tally_of(child: Child, client: u32) -> anyhow::Result<Tally> {
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "client {client}: {}", said.trim());
    let told: Told = serde_json::from_slice(&output.stdout).with_context(|| format!("client {client}"))?;
    Ok(told.into())
}

/// Why not all clients are there.
fn complaint(mut crew: Crew) -> anyhow::Error {
    let failed = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
    let found = crew.0.iter_mut().position(failed).map(|at| (crew.0.swap_remove(at), at));
    let client = found.map(|(child, at)| tally_of(child, u32::try_from(at).unwrap_or(u32::MAX)));
    match client {
        Some(Err(error)) => error,
        _ => anyhow::anyhow!("a client's process ended before the round began"),
    }
}

/// What a client's process does: carries out what `errand` says, with the memory of the round as standard input, and
/// returns what it saw, to be printed.
///
/// # Errors
/// If it was not started by `round`, or a request fails.
pub fn serve(errand: &str) -> anyhow::Result<String> {
    let errand: Errand =
        serde_json::from_str(errand).context("a client's process is started by `run` and `compare` only")?;
    let board = Board::open(rustix::io::dup(std::io::stdin())?)?;
    pin(errand.core)?;
    let Errand { ref door, ref job, ref case, repeat, client, .. } = errand;
    ensure!((client as usize) < CLIENTS_MAX, "client {client} of at most {CLIENTS_MAX}");
    let plan = Plan { job, case, repeat, board: &board, cores: &[errand.core] };
    let tally = door.carry_out(plan, client, || await_beginning(&board, errand.parent));
    board.head().over.fetch_add(1, Relaxed);
    Ok(serde_json::to_string(&Told::from(&tally?))?)
}

fn await_beginning(board: &Board, parent: u32) -> anyhow::Result<()> {
    // Pairs with the Acquire in `round`.
    board.head().ready.fetch_add(1, Release);
    let mut fruitless = 0u32;
    while board.head().go.load(Acquire) == 0 {
        fruitless += 1;
        if fruitless.is_multiple_of(SPINS) {
            ensure!(std::os::unix::process::parent_id() == parent, "whoever started this client is gone");
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
    Ok(())
}

fn pin(core: usize) -> anyhow::Result<()> {
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    ensure!(pinned, "core {core} cannot be used: see `taskset -p $$` for those that can");
    Ok(())
}

/// One client's part of a plan.
pub(crate) fn one_client<T: Target>(target: &mut T, plan: Plan<'_>, client: u32) -> anyhow::Result<Tally> {
    let orders = Orders {
        case: plan.case,
        part: part(plan.job, plan.case, client),
        seed: seed(plan, client),
        stamps: Stamps { seed: plan.job.seed, versions: plan.board.versions() },
        duration: Duration::from_secs_f64(plan.job.seconds),
        progress: &plan.board.head().progress[client as usize],
    };
    Ok(run(target, &orders)?)
}

/// Requests a second between two looks.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
pub fn rate(from: (Duration, u64), to: (Duration, u64)) -> f64 {
    to.1.saturating_sub(from.1) as f64 / (to.0 - from.0).as_secs_f64().max(1e-9)
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
