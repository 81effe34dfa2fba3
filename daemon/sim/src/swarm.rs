//! Whole runs from seeds: first everything that can go wrong, then everything is repaired and must end well.

use crate::weather::{Kind, Weather};
use crate::workload::Workload;
use crate::{Coverage, Memory, Random, Shell, Trace, draw, settle};

/// How to run a seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Turns of the world before everything is repaired.
    pub turns: u64,
    /// Sessions at most.
    pub sessions: u64,
    /// Kinds of trouble that are left out.
    pub without: Vec<Kind>,
    /// Whether to print what happens.
    pub print: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { turns: 500, sessions: 6, without: Vec::new(), print: false }
    }
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it went through.
    pub coverage: Coverage,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// Turns of reactors, all together.
    pub turns: u64,
}

/// Runs a seed.
///
/// # Panics
/// If a promise is broken or the engine asserts something that does not hold.
pub fn run(seed: u64, options: &Options) -> Report {
    let plan = draw::plan(seed);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, options.print));
    shell.trace.line(0, format_args!("{plan:?}"));
    let mut random = Random::new(seed);
    let mut weather = Weather::new(random.split(), &options.without);
    let mut workload = Workload::new(random.split());
    for volume in 0..random.between(1, options.sessions.max(1)) {
        let volume = volume % plan.volumes.len() as u64;
        shell.clients.open(u16::try_from(volume).expect("few volumes"));
    }
    // How much time passes between turns differs by orders: timers, timeouts and device operations must all meet.
    let pace = random.pick(&[100_000, 2_000_000, 40_000_000]);
    for _ in 0..options.turns {
        weather.turn(&mut shell);
        workload.turn(&mut shell);
        shell.rearrange();
        let time = if random.chance(600) { shell.next_time() } else { shell.now + random.below(pace) };
        shell.step(if time == u64::MAX { shell.now + pace } else { time });
        shell.clients.outcomes.clear();
    }
    settle::settle(&mut shell);
    shell.coverage.close();
    let turns = shell.reactors.iter().map(|reactor| reactor.turns).sum();
    Report { coverage: shell.coverage.clone(), trace_hash: shell.trace.hash(), turns }
}
