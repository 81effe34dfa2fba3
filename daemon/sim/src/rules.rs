//! Which rules each reactor goes by: operators change them in the middle of a run, and every reactor learns it at its turn.

use crate::Plan;
use holdfast_engine::{Command, Event};
use holdfast_policy::{ErrorClass, Rule, Rules};

/// The rules in force.
#[derive(Debug)]
pub struct InForce {
    /// By reactor and volume, what the reactor goes by during its turn: what it began with, and what it was told in it.
    turns: Vec<Vec<Vec<Rules>>>,
    /// The shortest floor between two attempts that any rule of a volume ever had, in nanoseconds.
    floors: Vec<u64>,
    /// When a volume's rules were last changed on any reactor.
    changed: Vec<u64>,
}

fn floor_ns(rules: &Rules) -> u64 {
    rules.as_slice().iter().map(|rule| rule.retry.floor_ms() * 1_000_000).min().unwrap_or(0)
}

impl InForce {
    /// The rules of a plan, everywhere.
    pub fn new(plan: &Plan) -> InForce {
        let rules: Vec<Vec<Rules>> = plan.volumes.iter().map(|volume| vec![volume.rules]).collect();
        InForce {
            turns: vec![rules; plan.reactors as usize],
            floors: plan.volumes.iter().map(|volume| floor_ns(&volume.rules)).collect(),
            changed: vec![0; plan.volumes.len()],
        }
    }

    /// The daemon starts again: what operators changed in use is forgotten, what was attempted before is not.
    pub fn restarted(&mut self, now: u64, plan: &Plan) {
        let InForce { turns, .. } = InForce::new(plan);
        self.turns = turns;
        self.changed.fill(now);
    }

    /// A volume is gone: it comes back with the rules of its plan.
    pub fn left(&mut self, now: u64, volume: u16, plan: &Plan) {
        let at = usize::from(volume);
        self.turns.iter_mut().for_each(|volumes| volumes[at] = vec![plan.volumes[at].rules]);
        self.changed[at] = now;
    }

    /// A reactor's turn begins, in which it hears `events`.
    pub fn begin<'e>(&mut self, now: u64, reactor: usize, events: impl Iterator<Item = &'e Event>) {
        for rules in &mut self.turns[reactor] {
            rules.drain(..rules.len() - 1);
        }
        for event in events {
            if let Event::Operator { volume, command: Command::SetPolicy { tuning }, .. } = event {
                let (volume, rules) = (usize::from(volume.0), &tuning.rules);
                self.turns[reactor][volume].push(*rules);
                self.floors[volume] = self.floors[volume].min(floor_ns(rules));
                self.changed[volume] = now;
            }
        }
    }

    /// The rules that may judge a failure of this class in the reactor's turn.
    pub fn judges(&self, reactor: usize, volume: u16, class: ErrorClass) -> impl Iterator<Item = &Rule> {
        self.turns[reactor][usize::from(volume)].iter().map(move |rules| rules.for_class(class))
    }

    /// The shortest floor between two attempts, in nanoseconds.
    pub fn floor_ns(&self, volume: u16) -> u64 {
        self.floors[usize::from(volume)]
    }

    /// The rules that all reactors go by, and since when; nothing while they do not agree.
    pub fn agreed(&self, volume: usize) -> Option<(&Rules, u64)> {
        let mut current = self.turns.iter().filter_map(|volumes| volumes[volume].last());
        let first = current.next()?;
        current.all(|other| other == first).then_some((first, self.changed[volume]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene;
    use holdfast_engine::{Token, VolumeId};
    use holdfast_policy::{EvictImmediately, HoldForever, Policy};

    /// What operators set in use dies with the daemon: judged by it, the next life would be wrong about what is given up
    /// (seed 720).
    #[test]
    fn a_restart_forgets_the_rules_that_operators_set() {
        let hold = Policy::HoldForever(HoldForever::default());
        let plan = scene::plan(1, 64, &[scene::volume(1, 64, 32, hold)]);
        let mut rules = InForce::new(&plan);
        let evict = scene::rules(Policy::EvictImmediately(EvictImmediately {}));
        let command = Command::SetPolicy { tuning: Box::new(plan.volumes[0].tuning(evict)) };
        let event = Event::Operator { token: Token(1), volume: VolumeId(0), command };
        rules.begin(5, 0, std::iter::once(&event));
        let policies = |rules: &InForce| -> Vec<Policy> {
            rules.judges(0, 0, ErrorClass::Medium).map(|rule| rule.policy).collect()
        };
        assert_eq!(policies(&rules), [hold, Policy::EvictImmediately(EvictImmediately {})]);
        rules.restarted(9, &plan);
        assert_eq!(policies(&rules), [hold]);
        assert_eq!(rules.agreed(0).map(|(_, changed)| changed), Some(9));
    }
}
