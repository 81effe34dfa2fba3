//! `holdfast-sim`: runs seeds until one fails, and then says how to see it again.
#![forbid(unsafe_code)]

use clap::Parser;
use holdfast_sim::{Coverage, Kind, Options, run};
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Drives the real engine and policies through everything that can go wrong, drawn from seeds.
#[derive(Parser, Clone, Debug)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Turns of each run before everything is repaired.
    #[arg(long, default_value_t = 500)]
    turns: u64,
    /// Sessions of each run at most.
    #[arg(long, default_value_t = 6)]
    sessions: u64,
    /// Leave out a kind of trouble; may be repeated.
    #[arg(long, value_parser = kind)]
    without: Vec<Kind>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Do not look for the shortest run that fails.
    #[arg(long)]
    no_shrink: bool,
}

/// The seed that is running, for whoever has to say which one failed.
static SEED: AtomicU64 = AtomicU64::new(0);

fn kind(name: &str) -> Result<Kind, String> {
    Kind::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("not a kind of trouble; there are {}", names.join(", "))
    })
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            turns: self.turns,
            sessions: self.sessions,
            without: self.without.clone(),
            print: self.trace,
        }
    }

    /// The command line that runs exactly one seed like this.
    fn repeat(&self, seed: u64) -> Vec<String> {
        let mut words: Vec<String> =
            ["--seed", &seed.to_string(), "--turns", &self.turns.to_string()].map(String::from).into();
        words.extend(["--sessions".into(), self.sessions.to_string()]);
        words.extend(self.without.iter().flat_map(|kind| ["--without".into(), kind.name().into()]));
        words
    }

    /// The test that runs exactly one seed like this.
    fn test(&self, seed: u64) -> String {
        let Arguments { turns, sessions, .. } = self;
        let without: Vec<String> = self.without.iter().map(|kind| format!("Kind::{kind:?}")).collect();
        let without = without.join(", ");
        format!(
            "#[test]\nfn seed_{seed}() {{\n    let options = Options {{ turns: {turns}, sessions: {sessions}, \
             without: vec![{without}], print: false }};\n    assert!(run({seed}, &options).turns > 0);\n}}"
        )
    }

    fn child(&self, seed: u64, trace: bool) -> std::io::Result<Output> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(self.repeat(seed)).arg("--no-shrink");
        if trace {
            command.arg("--trace");
        }
        command.output()
    }

    fn fails(&self, seed: u64) -> bool {
        self.child(seed, false).is_ok_and(|output| !output.status.success())
    }

    /// Fewer turns, fewer sessions, fewer kinds of trouble, as long as the seed still fails.
    fn shrink(mut self, seed: u64) -> Arguments {
        let mut step = self.turns / 2;
        while step > 0 {
            let shorter = Arguments { turns: self.turns.saturating_sub(step), ..self.clone() };
            if shorter.turns < self.turns && shorter.fails(seed) { self = shorter } else { step /= 2 }
        }
        for sessions in 1..self.sessions {
            let fewer = Arguments { sessions, ..self.clone() };
            if fewer.fails(seed) {
                self = fewer;
                break;
            }
        }
        for kind in Kind::ALL {
            let mut calmer = self.clone();
            calmer.without.push(kind);
            if calmer.fails(seed) {
                self = calmer;
            }
        }
        self
    }
}

/// What a failing seed leaves behind. Runs in the panic hook, because the release profile aborts after it.
fn explain(arguments: &Arguments, seed: u64) {
    eprintln!("seed {seed} failed");
    if arguments.no_shrink {
        return;
    }
    let shortest = arguments.clone().shrink(seed);
    if let Ok(output) = shortest.child(seed, true) {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(60)).for_each(|line| eprintln!("{line}"));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    eprintln!("repeat: cargo run --release -p holdfast-sim -- {} --trace", shortest.repeat(seed).join(" "));
    eprintln!("keep it, with its story, in daemon/sim/tests/kept_seeds.rs:\n{}", shortest.test(seed));
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let hook = std::panic::take_hook();
    let kept = arguments.clone();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        explain(&kept, SEED.load(Ordering::Relaxed));
        std::process::exit(1);
    }));
    let (mut coverage, mut turns) = (Coverage::default(), 0);
    let begun = Instant::now();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        SEED.store(seed, Ordering::Relaxed);
        let report = run(seed, &arguments.options());
        coverage.add(&report.coverage);
        turns += report.turns;
    }
    let seconds = begun.elapsed().as_secs_f64();
    if !arguments.no_shrink {
        println!("{coverage}");
        println!("{} seeds, {turns} turns of reactors, {seconds:.1} s: all promises held", arguments.seeds);
    }
    let gaps = coverage.gaps_of_a_long_series();
    if arguments.seeds >= 1000 && !gaps.is_empty() {
        println!("never exercised: {}", gaps.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::parse_from(std::iter::once("holdfast-sim").chain(line.split(' ')))
    }

    /// What is printed runs the same seed in the same way.
    #[test]
    fn a_shortest_run_can_be_repeated_and_kept() {
        let shortest = arguments("--turns 70 --sessions 2 --without space --without kill");
        let again = arguments(&shortest.repeat(9).join(" "));
        assert_eq!((again.seed, again.seeds, again.turns, again.sessions), (9, 1, 70, 2));
        assert_eq!(again.without, [Kind::Space, Kind::Kill]);
        let test = shortest.test(9);
        let options = "turns: 70, sessions: 2, without: vec![Kind::Space, Kind::Kill], print: false";
        assert!(test.contains(options) && test.contains("run(9, &options)"), "{test}");
    }
}
