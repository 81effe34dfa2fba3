//! The end of a run: everything is repaired, and from here on everything must come to a good end.

use crate::violation::{Clause, demand};
use crate::{Outcome, Ranges, Shell};
use holdfast_engine::{Answer, ByteRange, Command, ListState, Operation, VolumeId};
use holdfast_policy::ClassSet;

/// Simulated time in which a healed world must come to rest: above the longest hang (40 s), the longest backoff (10 s)
/// and a few sweeps.
const REST_NS: u64 = 300_000_000_000;

impl Shell<'_> {
    /// Lets time pass until `done`; what is not done within five simulated minutes never will be.
    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.now + REST_NS;
        while !done(self) {
            let time = self.next_time();
            demand(Clause::Liveness, time < end, || {
                let requests: Vec<_> =
                    self.clients.outstanding.values().take(5).map(|waiting| &waiting.request).collect();
                let commands: Vec<_> = self.owed().take(5).collect();
                let stats: Vec<_> = self
                    .reactors
                    .iter()
                    .flat_map(|reactor| {
                        (0..self.plan.volumes.len())
                            .map(|volume| reactor.engine.stats(VolumeId(u16::try_from(volume).unwrap_or(0))))
                    })
                    .collect();
                format!(
                    "{what}: not done when nothing is left to happen before {time}; {requests:?} {commands:?} {stats:#?}"
                )
            });
            self.step(time);
        }
    }

    /// Waits for a request's answer and takes it.
    pub fn outcome(&mut self, id: u64) -> Outcome {
        self.run_until("a request", |shell| shell.clients.outcomes.contains_key(&id));
        self.clients.outcomes.remove(&id).expect("an answer that was just seen")
    }

    /// Waits until an operator's command is answered by every reactor, and takes the answers.
    pub fn reply(&mut self, token: u64) -> Vec<Answer> {
        self.run_until("a command", |shell| !shell.owed().any(|(&(owed, _), _)| owed == token));
        (0..self.reactors.len()).filter_map(|reactor| self.answers.remove(&(token, reactor))).collect()
    }

    /// All extents of a state, page by page from every reactor, as sectors.
    pub fn list(&mut self, volume: u16, state: ListState) -> Ranges {
        let mut ranges = Ranges::default();
        let mut from = Some(0);
        while let Some(start) = from {
            let token = self.command(volume, Command::List { state, from: start });
            from = None;
            let answers = self.reply(token);
            // A page ends where the first reactor's page ends: beyond it the others are asked again.
            let nexts = answers
                .iter()
                .filter_map(|answer| if let Answer::Listed { next, .. } = answer { *next } else { None });
            let end = nexts.min();
            for answer in &answers {
                let Answer::Listed { extents, .. } = answer else {
                    panic!("a list is answered by {answer:?}")
                };
                for extent in extents {
                    demand(Clause::C9, extent.state == state, || {
                        format!("{extent:?} is in a list of {state:?}")
                    });
                    ranges.insert(extent.range.offset / 512, extent.range.end() / 512);
                }
            }
            demand(Clause::Liveness, end.is_none_or(|end| end > start), || {
                format!("page {start} is followed by {end:?}")
            });
            from = end.or(from);
        }
        ranges
    }

    fn is_idle(&self) -> bool {
        self.clients.outstanding.is_empty() && self.owed().next().is_none()
    }
}

/// Repairs the world and checks that everything ends well.
pub(crate) fn settle(shell: &mut Shell<'_>) {
    shell.disks.iter_mut().for_each(crate::Disk::heal);
    shell.ledger.outage_until = 0;
    shell.trace.line(shell.now, format_args!("everything is repaired"));
    // What began before may hang for a while, or be refused in the end, and then nothing but another command of an
    // operator may be allowed to try again.
    let hung = |disk: &crate::Disk| disk.media.keys().map(|&volume| disk.hung_until(volume)).max();
    let hung = shell.disks.iter().filter_map(hung).max().unwrap_or(0);
    let last = shell.queue.last_end().unwrap_or(0).max(hung);
    shell.pass(last.saturating_sub(shell.now) + 1);
    shell.bring_all_back();
    for volume in 0..shell.plan.volumes.len() {
        let volume = u16::try_from(volume).expect("few volumes");
        shell.command(volume, Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    }
    shell.run_until("what was asked before the repair", Shell::is_idle);
    // An attempt that was refused just before the repair may not be repeated before its backoff is over: 10 s at most.
    shell.pass(11_000_000_000);
    for volume in 0..shell.plan.volumes.len() {
        volume_settles(shell, u16::try_from(volume).expect("few volumes"));
    }
    for volume in 0..shell.plan.volumes.len() {
        let volume = u16::try_from(volume).expect("few volumes");
        if shell.goes_and_comes(volume) {
            let session = shell.clients.open(volume);
            read_all(shell, session, volume, &Ranges::default());
        }
    }
}

fn volume_settles(shell: &mut Shell<'_>, volume: u16) {
    let session = shell.clients.open(volume);
    let id = shell.ask(session, Operation::Flush, 0, 0);
    let first = shell.outcome(id);
    let lost = shell.model.lost(volume);
    // Nothing else happens any more, so that what is lost now was lost then, or healed by that very flush.
    demand(Clause::C3, first.errno == 0 || first.errno == 5, || {
        format!("a repaired disk's flush says {}", first.errno)
    });
    let again = shell.ask(session, Operation::Flush, 0, 0);
    let again = shell.outcome(again);
    demand(Clause::C3, (again.errno == 0) == lost.is_empty(), || {
        format!("a repaired disk's flush says {again:?}; lost: {lost:?}")
    });
    let listed = shell.list(volume, ListState::Lost);
    demand(Clause::C9, listed == lost, || format!("listed as lost is {listed:?}, lost is {lost:?}"));
    for state in [ListState::Dirty, ListState::Unstable, ListState::Failed] {
        let listed = shell.list(volume, state);
        demand(Clause::C9, listed.is_empty(), || format!("all is well, and {state:?} lists {listed:?}"));
    }
    read_all(shell, session, volume, &lost);
    if !lost.is_empty() {
        shell.coverage.event("losses acknowledged in the end");
        let token = shell.command(volume, Command::AckLoss { range: ByteRange::ALL });
        shell.reply(token);
        let id = shell.ask(session, Operation::Flush, 0, 0);
        let last = shell.outcome(id);
        demand(Clause::C2, last.errno == 0, || format!("all losses are acknowledged, flush says {last:?}"));
        read_all(shell, session, volume, &Ranges::default());
    }
    let token = shell.command(volume, Command::Drain);
    for answer in shell.reply(token) {
        demand(Clause::Liveness, answer == Answer::Drained { left: 0 }, || format!("drain says {answer:?}"));
    }
    for reactor in &shell.reactors {
        let class = reactor.engine.stats(VolumeId(volume)).gate_class;
        demand(Clause::Liveness, class == 0, || {
            format!("all is drained, and volume {volume} counts as refused: {class}")
        });
    }
}

/// Reads every line that was ever written: what is not lost reads as it is on stable media, what is lost does not read.
fn read_all(shell: &mut Shell<'_>, session: u32, volume: u16, lost: &Ranges) {
    let plan = shell.plan.volumes[usize::from(volume)];
    let line = u64::from(plan.geometry.line_bytes) / 512;
    let mut lines: Vec<u64> =
        shell.model.written(volume).into_iter().map(|sector| sector / line * line).collect();
    lines.dedup();
    for from in lines {
        let to = (from + line).min(plan.medium.sectors);
        let id = shell.ask(session, Operation::Read, from * 512, (to - from) * 512);
        let outcome = shell.outcome(id);
        let bad = lost.overlaps(from, to);
        demand(Clause::C5, (outcome.errno == 5) == bad, || {
            format!("a read says {}; lost: {lost:?}", outcome.errno)
        });
        for (sector, stamp) in (from..to).zip(outcome.data).filter(|_| !bad) {
            let stable = shell.disk(volume).media[&volume].stable.get(sector);
            demand(Clause::C1, stamp == stable, || {
                format!("sector {sector} reads {stamp:x} and is {stable:x} on disk")
            });
        }
    }
}
