//! `cargo xtask mutants`: deliberate bugs, and which suite kills each. All of them are in one build; a run-time variable
//! chooses one. A bug that survives is a check that is missing, and fails the habit.

mod build;
mod suite;
mod table;
mod trial;

use crate::step::{Failed, root};
use build::Built;
pub(crate) use build::wrapped_rustc;
use holdfast_mutants::{Mutant, Place};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use suite::Suite;

/// Which mutants, and how thoroughly.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    only: Vec<Mutant>,
    /// Few seeds, and no suite after the first that kills.
    quick: bool,
    /// Write the page of the documentation.
    save: bool,
}

/// What became of one mutant.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) mutant: Mutant,
    /// The suites that were run, with what killed it in each.
    pub(crate) by: Vec<(Suite, Option<String>)>,
}

impl Verdict {
    /// Whether any suite killed it.
    pub(crate) fn is_dead(&self) -> bool {
        self.by.iter().any(|(_, killed)| killed.is_some())
    }

    /// What killed it in a suite.
    pub(crate) fn in_suite(&self, suite: Suite) -> Option<&str> {
        self.by.iter().find(|(other, _)| *other == suite).and_then(|(_, killed)| killed.as_deref())
    }
}

fn refused(what: String) -> Failed {
    Failed {
        what,
        way_out: "cargo xtask mutants [--only NAME]... [--quick] [--save]; the names are in docs/mutants.md"
            .into(),
    }
}

fn parse(arguments: &[String]) -> Result<Options, Failed> {
    let mut options = Options { only: Vec::new(), quick: false, save: false };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => options.quick = true,
            "--save" => options.save = true,
            "--only" => {
                let name = words.next().ok_or_else(|| refused("`--only` without a name".into()))?;
                let mutant = Mutant::from_name(name);
                options.only.push(mutant.ok_or_else(|| refused(format!("there is no mutant `{name}`")))?);
            }
            other => return Err(refused(format!("`{other}` is no argument of mutants"))),
        }
    }
    Ok(options)
}

/// Builds once, tries every mutant, prints the table, and with `--save` writes it to `docs/mutants.md`, too.
pub(crate) fn mutants(arguments: &[String]) -> Result<(), Failed> {
    let options = parse(arguments)?;
    let chosen: Vec<Mutant> =
        if options.only.is_empty() { Mutant::ALL.to_vec() } else { options.only.clone() };
    let mut built = build::build(&chosen)?;
    suite::healthy(&mut built, &chosen, options.quick)?;
    let verdicts = try_all(&built, &chosen, options.quick);
    let text = table::table(&verdicts);
    println!("\n{text}");
    if options.save && options.only.is_empty() {
        let path = root().join("docs/mutants.md");
        std::fs::write(&path, table::page(&verdicts)).map_err(|error| Failed {
            what: format!("{} could not be written: {error}", path.display()),
            way_out: "look at the folder's rights".into(),
        })?;
    }
    judge(&verdicts)
}

fn try_all(built: &Built, chosen: &[Mutant], quick: bool) -> Vec<Verdict> {
    for_each(chosen, |at, &mutant| {
        let verdict = suite::try_mutant(built, mutant, quick);
        println!("{:>3}/{} {}", at + 1, chosen.len(), table::line(&verdict));
        verdict
    })
}

/// Works on as many at a time as there are processors; what came of each, in their order.
pub(crate) fn for_each<T: Sync, R: Send>(all: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(all.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((at, one)) = next_of(all, &next) {
                    let result = work(at, one);
                    done.lock().expect("no worker panics with the list").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no worker panics with the list");
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn next_of<'a, T>(all: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    all.get(at).map(|one| (at, one))
}

/// All must die, and of all there are two thirds in the simulator.
fn judge(verdicts: &[Verdict]) -> Result<(), Failed> {
    let alive: Vec<&str> =
        verdicts.iter().filter(|verdict| !verdict.is_dead()).map(|verdict| verdict.mutant.name()).collect();
    if !alive.is_empty() {
        return Err(Failed {
            what: format!("{} of {} mutants survive: {}", alive.len(), verdicts.len(), alive.join(", ")),
            way_out: "add the check that is missing to the simulator or its model, or a test; leave the mutant as it is"
                .into(),
        });
    }
    let simulated = verdicts.iter().filter(|verdict| verdict.in_suite(Suite::Simulator).is_some()).count();
    if verdicts.len() == Mutant::ALL.len() && simulated * 3 < verdicts.len() * 2 {
        return Err(Failed {
            what: format!(
                "the simulator kills {simulated} of {} mutants, which is less than two thirds",
                verdicts.len()
            ),
            way_out: "strengthen the model; that another suite sees a bug is luck".into(),
        });
    }
    Ok(())
}

/// The places that a run is about.
fn concerns(chosen: &[Mutant], place: Place) -> bool {
    chosen.iter().any(|mutant| mutant.place() == place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn arguments_name_mutants() {
        let options = parse(&words("--only NoFence --quick")).expect("good arguments");
        assert_eq!(options, Options { only: vec![Mutant::NoFence], quick: true, save: false });
        assert!(parse(&words("--only Nobody")).is_err());
        assert!(parse(&words("--only")).is_err());
        assert!(parse(&words("--slow")).is_err());
    }

    #[test]
    fn each_is_worked_on_once_and_told_in_its_order() {
        let all: Vec<u64> = (0..100).collect();
        let doubled = for_each(&all, |at, &one| {
            assert_eq!(at as u64, one);
            one * 2
        });
        assert_eq!(doubled, (0..100).map(|one| one * 2).collect::<Vec<u64>>());
        assert!(for_each(&[(); 0], |_, ()| ()).is_empty());
    }

    #[test]
    fn a_survivor_fails_and_so_does_a_simulator_that_sees_too_little() {
        let dead = |mutant, suite| Verdict { mutant, by: vec![(suite, Some("seed 1".into()))] };
        let alive = Verdict { mutant: Mutant::NoFence, by: vec![(Suite::Simulator, None)] };
        assert!(judge(&[alive]).expect_err("it lives").what.contains("NoFence"));
        let all = |suite| Mutant::ALL.iter().map(|&mutant| dead(mutant, suite)).collect::<Vec<_>>();
        assert!(judge(&all(Suite::Simulator)).is_ok());
        assert!(judge(&all(Suite::Tests)).is_err());
    }

    /// The page in the documentation is of this list.
    #[test]
    fn the_page_has_every_mutant() {
        let page = std::fs::read_to_string(root().join("docs/mutants.md")).expect("docs/mutants.md");
        for mutant in Mutant::ALL {
            let name = format!("| {} |", mutant.name());
            assert!(page.contains(&name), "{} is missing: run `cargo xtask mutants --save`", mutant.name());
        }
    }
}
