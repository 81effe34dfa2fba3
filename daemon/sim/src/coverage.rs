//! How often a run, or many of them, went through each thing that can happen.

use crate::violation::{Clause, checks};
use holdfast_policy::{Cause, State};
use std::collections::BTreeMap;
use std::fmt;

const STATES: usize = State::ALL.len();

/// What operators do and clients are told that must be among what a long series of runs exercises.
const EVENTS: [&str; 42] = [
    "budget: a write waits and the volume fails",
    "budget: a write waits and the volume hangs",
    "budget: given up for another reactor",
    "flush",
    "flush failed with EIO",
    "flush failed with ENOSPC",
    "flush out of time",
    "ledger: healed",
    "ledger: loss acknowledged",
    "ledger: loss healed",
    "ledger: lost",
    "ledger: not stable",
    "ledger: rescinded",
    "kill while a volume comes",
    "kill while a volume goes",
    "kill while a volume is away",
    "losses acknowledged in the end",
    "malformed request",
    "operator: abandon",
    "operator: another budget",
    "operator: lists what is being retried",
    "operator: other rules",
    "read",
    "read failed",
    "read out of time",
    "turn: answered before its tick",
    "volume add",
    "volume add: others had the device",
    "volume add: with losses on record",
    "volume remove",
    "volume remove: gives up what is left",
    "volume remove: refused, data is held",
    "volume remove: refused, it is not drained",
    "write",
    "write failed",
    "write fua",
    "write out of time",
    "zeroes",
    "zeroes failed",
    "zeroes not supported",
    "zeroes out of time",
    "zeroes wait",
];

/// Counts of edges, faults and checks.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    edges: [[u64; STATES]; STATES],
    faults: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    checks: [u64; Clause::ALL.len()],
    checks_before: [u64; Clause::ALL.len()],
}

impl Coverage {
    /// Nothing yet.
    pub fn new() -> Coverage {
        Coverage { checks_before: checks(), ..Coverage::default() }
    }

    /// A slot's header went from one state to another between two turns.
    pub fn edge(&mut self, from: State, to: State) {
        self.edges[from as usize][to as usize] += 1;
    }

    /// A fault struck.
    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// Something worth counting happened.
    pub fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    /// How often the event of this name happened.
    pub fn events(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or(0)
    }

    /// The run is over: takes over how often each clause was checked on this thread since [`Coverage::new`].
    pub fn close(&mut self) {
        let now = checks();
        self.checks = std::array::from_fn(|at| now[at] - self.checks_before[at]);
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Coverage) {
        for (from, edges) in self.edges.iter_mut().enumerate() {
            edges.iter_mut().enumerate().for_each(|(to, count)| *count += other.edges[from][to]);
        }
        other.faults.iter().for_each(|(name, count)| *self.faults.entry(name).or_default() += count);
        other.events.iter().for_each(|(name, count)| *self.events.entry(name).or_default() += count);
        self.checks.iter_mut().zip(other.checks).for_each(|(sum, count)| *sum += count);
    }

    /// What was never exercised, though any series of runs must: kinds of trouble, clauses.
    pub fn gaps(&self) -> Vec<String> {
        let struck = |name: &str| {
            self.faults.contains_key(name)
                || name == "reset" && self.faults.contains_key("reset lost the cache")
        };
        let faults = crate::Kind::ALL.iter().map(|kind| kind.name()).filter(|name| !struck(name));
        let clauses = Clause::ALL.iter().filter(|&&clause| self.checks[clause as usize] == 0);
        faults.chain(clauses.map(|clause| clause.name())).map(String::from).collect()
    }

    /// What was never exercised, though a thousand runs must: besides [`Coverage::gaps`], edges of the state table and
    /// what is rare.
    pub fn gaps_of_a_long_series(&self) -> Vec<String> {
        let never = self.gaps().into_iter();
        never.chain(self.edges_never_seen()).chain(self.events_never_seen()).collect()
    }
}

impl Coverage {
    /// Edges of the state table that no run took. A slot is never seen as incoming: it is that within a turn only.
    fn edges_never_seen(&self) -> impl Iterator<Item = String> {
        let edges = State::ALL.into_iter().flat_map(|from| {
            let after = move |cause| from.after(cause).map(|to| (from, to));
            Cause::ALL.into_iter().filter_map(after)
        });
        let seen = |state| state != State::Incoming;
        let missing = edges
            .filter(move |&(from, to)| seen(from) && seen(to) && self.edges[from as usize][to as usize] == 0);
        missing.map(|(from, to)| format!("{} -> {}", from.name(), to.name()))
    }

    fn events_never_seen(&self) -> impl Iterator<Item = String> {
        EVENTS.iter().filter(|name| !self.events.contains_key(**name)).map(|name| String::from(*name))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "edges (seen between turns)")?;
        for from in State::ALL {
            for to in State::ALL.into_iter().filter(|&to| self.edges[from as usize][to as usize] > 0) {
                let count = self.edges[from as usize][to as usize];
                writeln!(f, "  {:<10} -> {:<10} {count:>10}", from.name(), to.name())?;
            }
        }
        writeln!(f, "faults")?;
        self.faults.iter().try_for_each(|(name, count)| writeln!(f, "  {name:<34} {count:>10}"))?;
        writeln!(f, "events")?;
        self.events.iter().try_for_each(|(name, count)| writeln!(f, "  {name:<34} {count:>10}"))?;
        writeln!(f, "checks")?;
        Clause::ALL.iter().try_for_each(|&clause| {
            writeln!(f, "  {:<34} {:>10}", clause.name(), self.checks[clause as usize])
        })
    }
}
