//! The suites, in the order in which they are tried: the simulator, directed tests, loom.

use super::build::{Built, Program};
use super::trial::{End, run};
use super::{Verdict, concerns, for_each};
use crate::step::{Failed, root};
use holdfast_mutants::{Mutant, Place};
use std::time::{Duration, Instant};

/// What can kill a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Drawn worlds.
    Simulator,
    /// Tests that somebody wrote down.
    Tests,
    /// Every interleaving of the lock-free parts.
    Loom,
}

impl Suite {
    pub(crate) const ALL: [Suite; 3] = [Suite::Simulator, Suite::Tests, Suite::Loom];
}

/// Seeds of a thorough run: the rarest mutant of the list dies at about half of them.
const SEEDS: u64 = 1_000;
/// Seeds of a quick one; whoever survives those is tried by the other suites, and then by [`SEEDS`].
const SEEDS_QUICK: u64 = 200;
/// Seeds that one process runs: its limit is a matter of minutes, and each says where it is.
const SEEDS_A_PROCESS: u64 = 20;
/// A process that takes so long hangs: an honest one takes seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// And so does, in a quick run, a test program that takes so many times as long as without a mutant, and [`LIMIT_LEAST`].
const LIMIT_TIMES: u32 = 10;
/// On a busy machine, something else may run meanwhile.
const LIMIT_LEAST: Duration = Duration::from_secs(20);

/// Tries one mutant.
pub(crate) fn try_mutant(built: &Built, mutant: Mutant, quick: bool) -> Verdict {
    let mut verdict = Verdict { mutant, by: Vec::new() };
    let seeds = if quick { SEEDS_QUICK } else { SEEDS };
    for suite in Suite::ALL {
        let tried = match suite {
            Suite::Simulator if mutant.place() == Place::Engine => {
                Some(simulate(built, Some(mutant), 1, seeds))
            }
            Suite::Simulator => None,
            Suite::Tests => Some(test(&built.tests, mutant)),
            // Minutes, for what only a weaker memory than this machine's would show.
            Suite::Loom if !verdict.is_dead() => Some(test(&built.loom, mutant)),
            Suite::Loom => None,
        };
        verdict.by.extend(tried.map(|killed| (suite, killed)));
        if quick && verdict.is_dead() {
            return verdict;
        }
    }
    if quick && mutant.place() == Place::Engine {
        let killed = simulate(built, Some(mutant), SEEDS_QUICK + 1, SEEDS - SEEDS_QUICK);
        verdict.by.push((Suite::Simulator, killed));
    }
    verdict
}

/// Runs seeds until one fails: which, and what it says.
fn simulate(built: &Built, mutant: Option<Mutant>, first: u64, seeds: u64) -> Option<String> {
    let mut seed = first;
    while seed < first + seeds {
        let count = SEEDS_A_PROCESS.min(first + seeds - seed);
        let words =
            ["--seed", &seed.to_string(), "--seeds", &count.to_string(), "--no-shrink"].map(String::from);
        match run(&built.simulator, &words, &root(), mutant, LIMIT) {
            End::Passed => seed += count,
            End::Failed(said) => return Some(of_seed(&said)),
            End::Hung(_) => return Some(format!("seeds {seed}.. hang")),
        }
    }
    None
}

/// `seed 17: C5`, from what the simulator says.
fn of_seed(said: &str) -> String {
    let mut words = said.split_whitespace();
    let seed = words.by_ref().skip_while(|&word| word != "seed").nth(1).unwrap_or("?");
    let clause = said.lines().find_map(|line| line.split_once(" is broken: ")).map(|(clause, _)| clause);
    let panics = clause.unwrap_or("panic").trim();
    format!("seed {seed}: {panics}")
}

/// Runs test programs until one fails: which test.
fn test(programs: &[Program], mutant: Mutant) -> Option<String> {
    let ours = programs.iter().filter(|program| program.place == mutant.place());
    ours.into_iter().find_map(|program| {
        match run(&program.path, &words(program), &program.folder, Some(mutant), program.limit) {
            End::Passed => None,
            End::Failed(said) => Some(format!("{}: {}", program.name, failed_test(&said))),
            End::Hung(said) => Some(format!("{}: {} hangs", program.name, last_test(&said))),
        }
    })
}

/// What a test program is told.
fn words(program: &Program) -> Vec<String> {
    program.filters.iter().map(|&filter| filter.to_owned()).collect()
}

/// The first test that libtest calls failed. Where a process aborts, none is.
fn failed_test(said: &str) -> &str {
    let mut lines = said.lines().filter_map(|line| line.strip_prefix("test "));
    lines.find_map(|line| line.strip_suffix(" ... FAILED")).unwrap_or("aborts")
}

/// What libtest says of a test that takes longer than a minute.
fn last_test(said: &str) -> &str {
    let mut lines = said.lines().filter_map(|line| line.strip_prefix("test "));
    lines.find_map(|line| line.split_once(" has been running")).map_or("a test", |(name, _)| name)
}

/// One thing that must be well without a mutant.
enum Check<'a> {
    /// As many seeds as one process runs.
    Worlds {
        first: u64,
    },
    Program(&'a Program),
}

/// Without a mutant, nothing may fail: else every mutant would count as dead. Says how long a test program may take
/// with one.
pub(crate) fn healthy(built: &mut Built, chosen: &[Mutant], quick: bool) -> Result<(), Failed> {
    println!("==> without a mutant, first");
    let seeds = if quick { SEEDS_QUICK } else { SEEDS };
    let parts = if concerns(chosen, Place::Engine) { seeds / SEEDS_A_PROCESS } else { 0 };
    let worlds = (0..parts).map(|part| Check::Worlds { first: 1 + part * SEEDS_A_PROCESS });
    let checks: Vec<Check<'_>> = built.tests.iter().map(Check::Program).chain(worlds).collect();
    let told = for_each(&checks, |_, check| {
        let began = Instant::now();
        let said = match check {
            Check::Worlds { first } => simulate(built, None, *first, SEEDS_A_PROCESS),
            Check::Program(program) => {
                match run(&program.path, &words(program), &program.folder, None, LIMIT) {
                    End::Passed => None,
                    End::Failed(said) | End::Hung(said) => Some(format!("{}: {said}", program.name)),
                }
            }
        };
        (began.elapsed(), said)
    });
    // A thorough run waits until libtest names the test that hangs.
    for (program, (took, _)) in built.tests.iter_mut().zip(&told).filter(|_| quick) {
        program.limit = limit_of(*took);
    }
    let way_out = "the build with mutants fails without any: mend that first";
    let failed = |what: String| Err(Failed { what, way_out: way_out.into() });
    told.into_iter().find_map(|(_, said)| said).map_or(Ok(()), failed)
}

/// How long a test program may take that took so long without a mutant.
fn limit_of(took: Duration) -> Duration {
    (took * LIMIT_TIMES).clamp(LIMIT_LEAST, LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_and_the_promise_are_named() {
        let said = "\nthread 'main' panicked at daemon/sim/src/violation.rs:92:5:\nC5 is broken: 519: Request\nnote: x\nseed 171 failed\n";
        assert_eq!(of_seed(said), "seed 171: C5");
        assert_eq!(of_seed("thread panicked:\nno edge\nseed 3 failed\n"), "seed 3: panic");
    }

    #[test]
    fn a_program_has_many_times_its_own_time() {
        let seconds =
            |took, limit| assert_eq!(limit_of(Duration::from_secs(took)), Duration::from_secs(limit));
        seconds(0, 20);
        seconds(5, 50);
        seconds(60, 120);
    }

    #[test]
    fn the_test_is_named() {
        let said = "running 2 tests\ntest one ... ok\ntest a::two ... FAILED\ntest three ... FAILED\n";
        assert_eq!(failed_test(said), "a::two");
        assert_eq!(failed_test("memory allocation failed"), "aborts");
        assert_eq!(last_test("test a::b has been running for over 60 seconds\n"), "a::b");
    }
}
