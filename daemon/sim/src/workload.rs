//! What clients and operators ask for in a run.

use crate::{Random, Shell};
use holdfast_engine::{ByteRange, Command, ListState, Operation};
use holdfast_policy::ClassSet;

/// The habits of a run's clients and operators.
#[derive(Debug)]
pub struct Workload {
    random: Random,
    /// Weights of reads, writes, FUA writes, flushes, zeroes, discards and nonsense.
    weights: [u64; 7],
    /// How often an offset is one of the few hot ones, in parts of 1000.
    hot: u64,
    /// Operators' commands in parts of 1000 turns.
    operators: u64,
    drops: bool,
    /// Operators change the rules.
    policies: bool,
    /// Somebody writes the same lines all the time, while others zero them.
    endless: bool,
    /// Requests with a timeout, in parts of 1000.
    timeouts: u64,
    requests_a_turn: u64,
    /// The one reactor whose stripes clients ask for, more often than not, for a while.
    favourite: Option<u64>,
}

impl Workload {
    /// Draws habits.
    pub fn new(mut random: Random) -> Workload {
        let weights = std::array::from_fn(|at| {
            random.pick(&[[30, 60], [40, 80], [0, 8], [2, 10], [0, 6], [0, 6], [0, 1]][at])
        });
        let hot = random.pick(&[100, 500, 900]);
        let operators = random.pick(&[0, 10, 40]);
        let drops = random.chance(300);
        let requests_a_turn = random.pick(&[1, 3, 8]);
        let policies = random.chance(300);
        let endless = random.chance(150);
        let timeouts = random.pick(&[0, 0, 100, 500]);
        Workload {
            random,
            weights,
            hot,
            operators,
            drops,
            policies,
            endless,
            timeouts,
            requests_a_turn,
            favourite: None,
        }
    }

    /// Half of the turns bring requests.
    pub fn turn(&mut self, shell: &mut Shell<'_>) {
        if self.random.chance(10) {
            let reactors = u64::from(shell.plan.reactors);
            self.favourite = self.random.chance(700).then(|| self.random.below(reactors));
        }
        if self.random.chance(500) && shell.clients.outstanding.len() < 400 {
            for _ in 0..self.random.between(1, self.requests_a_turn) {
                self.request(shell);
            }
        }
        if self.endless && shell.clients.outstanding.len() < 100 {
            self.write_endlessly(shell);
        }
        if self.random.chance(self.operators) {
            self.command(shell);
        }
    }

    /// Writes to lines that others want to zero, so that some of them are in flight at all times.
    fn write_endlessly(&mut self, shell: &mut Shell<'_>) {
        let Some((session, volume)) = shell.clients.any(&mut self.random) else { return };
        let geometry = shell.plan.volumes[usize::from(volume)].geometry;
        let line = u64::from(geometry.line_bytes);
        let lines = (geometry.volume_bytes / line).min(24);
        for _ in 0..4 {
            let offset = self.random.below(lines) * line;
            shell.ask(session, Operation::Write { fua: true }, offset, line);
        }
        if self.random.chance(30) {
            let operation = self.random.pick(&[Operation::Discard, Operation::WriteZeroes { fua: false }]);
            shell.ask(session, operation, 0, lines * line);
        }
    }

    fn request(&mut self, shell: &mut Shell<'_>) {
        let Some((session, volume)) = shell.clients.any(&mut self.random) else { return };
        let total: u64 = self.weights.iter().sum();
        let mut at = self.random.below(total);
        let kind = self.weights.iter().position(|&weight| {
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        });
        let geometry = shell.plan.volumes[usize::from(volume)].geometry;
        let block = u64::from(geometry.block_bytes);
        let mut offset = self.offset(geometry.volume_bytes, u64::from(geometry.line_bytes), block);
        if self.random.chance(900) {
            offset = self.favoured(offset, &geometry);
        }
        let length = self.length(offset, &geometry, shell.plan.limits.request_lines_max as u64);
        let fua = self.random.chance(200);
        shell.timeout_ms =
            if self.random.chance(self.timeouts) { self.random.pick(&[1, 30, 600]) } else { 0 };
        match kind {
            Some(0) => shell.ask(session, Operation::Read, offset, length),
            Some(1) => shell.ask(session, Operation::Write { fua: false }, offset, length),
            Some(2) => shell.ask(session, Operation::Write { fua: true }, offset, length),
            Some(3) => shell.ask(session, Operation::Flush, 0, 0),
            Some(4 | 5) => {
                let (offset, length) = self.wide(offset, length, geometry.volume_bytes, block);
                let operation =
                    if kind == Some(4) { Operation::WriteZeroes { fua } } else { Operation::Discard };
                shell.ask(session, operation, offset, length)
            }
            _ => {
                let operation = self.random.pick(&[Operation::Read, Operation::Discard]);
                let (offset, length) = self.random.pick(&[
                    (1, 512),
                    (u64::MAX - 511, 512),
                    (geometry.volume_bytes, 512),
                    (0, 0),
                ]);
                shell.ask(session, operation, offset, length)
            }
        };
        shell.timeout_ms = 0;
    }

    fn offset(&mut self, bytes: u64, line: u64, block: u64) -> u64 {
        let lines = bytes.div_ceil(line);
        let hot = self.random.chance(self.hot);
        // A few lines spread over the volume, so that each reactor has some.
        let line_at = if hot {
            self.random.below(12) * lines / 12 + self.random.below(3)
        } else {
            self.random.below(lines)
        };
        let at = line_at * line
            + if self.random.chance(400) { self.random.below(line / block) * block } else { 0 };
        at.min(bytes - block)
    }

    /// The same place in a stripe of the reactor that is asked for more than others, if there is one.
    fn favoured(&self, offset: u64, geometry: &holdfast_engine::Geometry) -> u64 {
        let Some(reactor) = self.favourite else { return offset };
        let (stripe, reactors) = (offset / geometry.stripe_bytes, u64::from(geometry.reactors));
        let there = (stripe - stripe % reactors + reactor) * geometry.stripe_bytes;
        let there = there + offset % geometry.stripe_bytes;
        if there < geometry.volume_bytes { there } else { offset }
    }

    fn length(&mut self, offset: u64, geometry: &holdfast_engine::Geometry, lines_max: u64) -> u64 {
        let (line, block) = (u64::from(geometry.line_bytes), u64::from(geometry.block_bytes));
        let wanted = match self.random.below(4) {
            0 => self.random.between(1, 3) * block,
            1 | 2 => line,
            _ => self.random.between(1, 12) * line,
        };
        let in_lines = (lines_max - 1) * line;
        let in_stripe = geometry.stripe_bytes - offset % geometry.stripe_bytes;
        wanted.min(in_lines).min(in_stripe).min(geometry.volume_bytes - offset)
    }

    /// Zeroes and discards are wide now and then, up to all of the volume.
    fn wide(&mut self, offset: u64, length: u64, bytes: u64, block: u64) -> (u64, u64) {
        match self.random.below(12) {
            0 => (0, bytes),
            1 => (offset, (self.random.below(bytes - offset) / block + 1) * block),
            _ => (offset, length),
        }
    }

    /// A budget up to the one that the volume begins with, if a smaller one holds a request on each reactor.
    fn budget(&mut self, shell: &mut Shell<'_>, volume: u16) -> Option<Command> {
        let (plan, index) = (shell.plan, usize::from(volume));
        let most = plan.volumes[index].budget_slots;
        let least = (2 * plan.limits.request_lines_max as u64 * u64::from(plan.reactors)).min(most);
        let budget_slots = self.random.between(least, most);
        // Its part of the room, as if the others had what they began with: all together never exceed it.
        let room_slots = plan.room_slots(index) * budget_slots / most;
        let holds = room_slots >= 2 * plan.limits.request_lines_max as u64;
        holds.then(|| {
            shell.coverage.event("operator: another budget");
            Command::SetBudget { budget_slots, room_slots }
        })
    }

    fn command(&mut self, shell: &mut Shell<'_>) {
        let volume = u16::try_from(self.random.below(shell.plan.volumes.len() as u64)).expect("few volumes");
        let bytes = shell.plan.volumes[usize::from(volume)].geometry.volume_bytes;
        let offset = self.random.below(bytes);
        let some = ByteRange { offset, length: self.random.below(bytes) };
        let range = if self.random.chance(500) { ByteRange::ALL } else { some };
        let state =
            self.random.pick(&[ListState::Dirty, ListState::Unstable, ListState::Failed, ListState::Lost]);
        let command = match self.random.below(10) {
            0..=2 => Command::Retry { range, classes: ClassSet::ANY },
            3 if self.drops => Command::Drop { range },
            4 | 5 => Command::AckLoss { range },
            6 => Command::Drain,
            7 if self.policies => {
                shell.coverage.event("operator: other rules");
                let plan = &shell.plan.volumes[usize::from(volume)];
                Command::SetPolicy { tuning: Box::new(plan.tuning(crate::draw::rules(&mut self.random))) }
            }
            8 if self.drops && self.random.chance(200) => {
                shell.coverage.event("operator: abandon");
                Command::Abandon
            }
            9 if self.policies && self.random.chance(300) => match self.budget(shell, volume) {
                Some(command) => command,
                None => Command::Drain,
            },
            _ => Command::List { state, from: if self.random.chance(500) { 0 } else { offset } },
        };
        shell.command(volume, command);
    }
}
