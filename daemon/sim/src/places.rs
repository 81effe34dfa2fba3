//! Volumes that an operator takes away and brings back while the daemon runs: the steps of the daemon's `volume remove` and
//! `volume add`, in their order, with whatever may come in between.
//!
//! ```text
//! sessions end -> drain (-> give up -> drain) -> closed on all reactors | detached -> away
//! opened -> on each reactor, one after another -> the ledger's losses -> settled -> sessions
//! ```
//! Up to the bar an operator takes it back if anything stands in the way. A daemon that dies on the way finds the volume in
//! its arena, and serves it. Whoever has the device in between may change it.

use crate::happening::Happening;
use crate::shell::{Shell, content, name, setup};
use crate::violation::{Clause, demand};
use crate::{Plan, Random};
use holdfast_engine::{Answer, Command, Event, Instant, LooseVolume, VolumeId};
use holdfast_policy::State;
use std::collections::BTreeMap;

/// How long a removal waits in all for its device, as the daemon's.
const PATIENCE_NS: u64 = 20_000_000_000;
/// Losses that a reactor is told of at a time, as by the daemon.
const LETTERS_AT_A_TIME: usize = 16;

/// What a volume that goes or comes waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The command of this token drains it.
    Drain(u64),
    /// ... gives up what the drain left.
    Abandon(u64),
    /// ... drains it once more.
    DrainAgain(u64),
    /// ... closes it.
    Close(u64),
    /// ... detaches it.
    Detach(u64),
    /// So many reactors do not have it yet.
    Plug(usize),
    /// They have been told of so many of its losses.
    Restore(usize),
}

/// A volume that goes or comes.
#[derive(Clone, Copy, Debug)]
struct Move {
    volume: u16,
    abandon: bool,
    /// How many sessions it had, and will have again.
    sessions: usize,
    deadline: u64,
    step: Step,
}

/// Which volumes are there.
#[derive(Debug)]
pub(crate) struct Places {
    /// Volumes that are not, with the sessions that they had.
    away: BTreeMap<u16, usize>,
    moving: Option<Move>,
    /// The engines' numbers of flush domains, in their order: which disk each is of in this life.
    domains: Vec<u16>,
    /// How often an operator does something, in parts of 1000 turns.
    odds: u64,
    random: Random,
}

impl Places {
    /// Every volume is there.
    pub(crate) fn new(plan: &Plan) -> Places {
        // Its own numbers: what else a seed draws does not depend on it.
        let mut random = Random::new(plan.seed ^ 0x706c_6163_6573);
        let odds = random.pick(&[0, 0, 15, 50]);
        Places { away: BTreeMap::new(), moving: None, domains: numbered(plan, |_| true), odds, random }
    }

    /// Whether a volume has a place, on its way in or out, too.
    pub(crate) fn has(&self, volume: u16) -> bool {
        !self.away.contains_key(&volume)
    }

    /// The engines' number of the flush domain of a disk, if they have one in it.
    pub(crate) fn domain(&self, disk: u16) -> Option<u16> {
        self.domains.iter().position(|&of| of == disk).map(name)
    }

    /// The number of a disk's flush domain for a volume that comes: its own, that of one which no volume is in any more, or
    /// the next.
    fn domain_for(&mut self, disk: u16, plan: &Plan) {
        if self.domain(disk).is_some() {
            return;
        }
        let used = |of: u16| (0..).zip(&plan.volumes).any(|(at, volume)| volume.domain == of && self.has(at));
        match self.domains.iter().position(|&of| !used(of)) {
            Some(at) => self.domains[at] = disk,
            None => self.domains.push(disk),
        }
    }

    /// Volumes that are neither away nor on their way.
    fn served(&self, plan: &Plan) -> Vec<u16> {
        let moving = self.moving.map(|moving| moving.volume);
        (0..name(plan.volumes.len())).filter(|&volume| self.has(volume) && moving != Some(volume)).collect()
    }
}

/// The disks of the volumes that are there, in the order of their places: the flush domains of a life that begins.
fn numbered(plan: &Plan, has: impl Fn(u16) -> bool) -> Vec<u16> {
    let mut domains: Vec<u16> = Vec::new();
    for (_, volume) in (0..).zip(&plan.volumes).filter(|&(at, _)| has(at)) {
        if !domains.contains(&volume.domain) {
            domains.push(volume.domain);
        }
    }
    domains
}

impl Shell<'_> {
    /// Maybe an operator takes a volume away, or brings one back.
    pub(crate) fn rearrange(&mut self) {
        let odds = self.places.odds;
        if self.places.moving.is_some() || odds == 0 || !self.places.random.chance(odds) {
            return;
        }
        let away: Vec<u16> = self.places.away.keys().copied().collect();
        let served = self.places.served(self.plan);
        let random = &mut self.places.random;
        if served.is_empty() || !away.is_empty() && random.chance(600) {
            let volume = random.pick(&away);
            self.add_volume(volume);
        } else {
            let (volume, abandon) = (random.pick(&served), random.chance(400));
            self.remove_volume(volume, abandon);
        }
    }

    /// `volume remove`, with or without `--abandon`.
    pub(crate) fn remove_volume(&mut self, volume: u16, abandon: bool) {
        let stats = |number: usize| self.reactors[number].engine.stats(VolumeId(volume));
        let mut all = (0..self.reactors.len()).map(stats);
        let held = all.any(|stats| {
            stats.failed > 0 || (stats.gate_class > 0 && stats.not_clean > 0) || stats.overdue > 0
        });
        self.trace.line(self.now, format_args!("operator: volume remove {volume}, abandon {abandon}"));
        if held && !abandon {
            self.coverage.event("volume remove: refused, data is held");
            return;
        }
        let sessions = self.clients.sessions.iter().filter(|(_, of)| **of == volume);
        let sessions: Vec<u32> = sessions.map(|(&session, _)| session).collect();
        sessions.iter().for_each(|&session| self.close(session));
        let deadline = self.now + PATIENCE_NS;
        // A world in which nothing else happens still goes on until then.
        self.queue.push(deadline, Happening::Nothing);
        let step = Step::Drain(self.command(volume, Command::Drain));
        self.places.moving = Some(Move { volume, abandon, sessions: sessions.len(), deadline, step });
    }

    /// `volume add`: its device is opened, and each reactor gets it when it gets it.
    pub(crate) fn add_volume(&mut self, volume: u16) {
        let Some(sessions) = self.places.away.remove(&volume) else { return };
        self.coverage.event("volume add");
        self.trace.line(self.now, format_args!("operator: volume add {volume}"));
        self.used_by_others(volume);
        self.places.domain_for(self.plan.volumes[usize::from(volume)].domain, self.plan);
        self.memory.forget_index(usize::from(volume));
        let (deadline, step) = (u64::MAX, Step::Plug(self.reactors.len()));
        self.places.moving = Some(Move { volume, abandon: false, sessions, deadline, step });
        for reactor in 0..self.reactors.len() {
            let time = self.now + self.places.random.pick(&[0, 1_000, 5_000_000]);
            self.queue.push(time, Happening::Plugs { reactor, volume, life: self.life });
        }
    }

    /// A reactor takes a volume in, in a turn of its own.
    pub(crate) fn plug(&mut self, number: usize, volume: u16) {
        let now = Instant(self.now);
        let setup = setup(self.plan, self.memory, &self.places, number, usize::from(volume));
        let loose = LooseVolume::new(setup, &self.reactors[number].limits);
        let _husk = self.reactors[number].engine.attach(now, loose);
        self.trace.line(self.now, format_args!("r{number} has volume {volume}"));
        if let Some(Move { step: Step::Plug(left), .. }) = &mut self.places.moving {
            *left -= 1;
        }
    }

    /// Goes on with the volume that goes or comes.
    pub(crate) fn advance_places(&mut self) {
        let Some(moving) = self.places.moving else { return };
        let token = match moving.step {
            Step::Plug(0) => return self.restores(moving, 0),
            Step::Restore(told) => return self.restores(moving, told),
            Step::Plug(_) => return,
            Step::Drain(token) | Step::Abandon(token) | Step::DrainAgain(token) => token,
            Step::Close(token) | Step::Detach(token) => token,
        };
        if !self.owed().any(|(&(owed, _), _)| owed == token) {
            let answers: Vec<Answer> =
                (0..self.reactors.len()).filter_map(|at| self.answers.remove(&(token, at))).collect();
            self.answered_move(moving, &answers);
        } else if self.now >= moving.deadline && !matches!(moving.step, Step::Detach(_)) {
            self.stays(moving, "volume remove: refused, its device takes too long");
        }
    }

    fn answered_move(&mut self, moving: Move, answers: &[Answer]) {
        let done = answers.iter().all(|answer| *answer == Answer::Done);
        let drained = answers.iter().all(|answer| *answer == Answer::Drained { left: 0 });
        let Move { volume, abandon, .. } = moving;
        let step = match moving.step {
            Step::Drain(_) | Step::DrainAgain(_) if drained => {
                Step::Close(self.command(volume, Command::Close { give_up: abandon }))
            }
            Step::Drain(_) if abandon => {
                self.coverage.event("volume remove: gives up what is left");
                Step::Abandon(self.command(volume, Command::Abandon))
            }
            Step::Abandon(_) => Step::DrainAgain(self.command(volume, Command::Drain)),
            Step::Close(_) if done => Step::Detach(self.command(volume, Command::Detach)),
            Step::Detach(_) => {
                demand(Clause::Seam, done, || format!("volume {volume} is closed and stays: {answers:?}"));
                return self.is_away(moving);
            }
            _ => return self.stays(moving, "volume remove: refused, it is not drained"),
        };
        self.places.moving = Some(Move { step, ..moving });
    }

    /// A removal is taken back: the volume serves again.
    fn stays(&mut self, moving: Move, event: &'static str) {
        self.coverage.event(event);
        self.command(moving.volume, Command::Reopen);
        self.serves(moving);
    }

    fn serves(&mut self, moving: Move) {
        self.places.moving = None;
        (0..moving.sessions).for_each(|_| _ = self.clients.open(moving.volume));
    }

    /// Every reactor has it: a few of the losses that the ledger knows, and after the last that its device may be used.
    fn restores(&mut self, moving: Move, told: usize) {
        let id = VolumeId(moving.volume);
        let losses: Vec<Command> = self.losses_of(moving.volume).into_iter().skip(told).collect();
        for loss in losses.iter().take(LETTERS_AT_A_TIME) {
            self.coverage.event("volume add: with losses on record");
            self.command(moving.volume, loss.clone());
        }
        if losses.len() > LETTERS_AT_A_TIME {
            let step = Step::Restore(told + LETTERS_AT_A_TIME);
            self.places.moving = Some(Move { step, ..moving });
            return;
        }
        let settled = Event::Settled { volume: id };
        self.reactors.iter_mut().for_each(|reactor| reactor.inbox.push_back(settled.clone()));
        self.serves(moving);
    }

    /// No reactor has it any more: nothing of it may be left here, and what it was told is on its device or on record as lost.
    fn is_away(&mut self, moving: Move) {
        let Move { volume, sessions, .. } = moving;
        let (id, at) = (VolumeId(volume), usize::from(volume));
        for reactor in &self.reactors {
            let flying = reactor.flights.values().find(|flight| flight.io.volume == id);
            demand(Clause::Seam, flying.is_none(), || format!("volume {volume} is away, and {flying:?}"));
            let ours = |header: &&holdfast_engine::Header| {
                header.state() != State::Free && header.volume() == volume
            };
            let slots = reactor.headers().iter().filter(ours).count();
            demand(Clause::Seam, slots == 0, || format!("volume {volume} is away and has {slots} slots"));
        }
        let taken = self.shares[at].taken();
        demand(Clause::C6, taken == 0, || format!("volume {volume} is away and has {taken} of its budget"));
        let failed = self.ledger.failed(volume);
        demand(Clause::C9, failed.is_empty(), || {
            format!("volume {volume} is away, {failed:?} is on record as not stable")
        });
        self.model.departed(volume, &content(&self.disks, self.plan, volume));
        self.coverage.event("volume remove");
        self.trace.line(self.now, format_args!("volume {volume} is away"));
        self.places.moving = None;
        self.places.away.insert(volume, sessions);
        self.rules.left(self.now, volume, self.plan);
        self.civil.left(volume);
        self.probes.left(volume);
    }

    /// Whoever else had the device meanwhile has changed some of it.
    fn used_by_others(&mut self, volume: u16) {
        if !self.places.random.chance(500) {
            return;
        }
        let written = self.model.written(volume);
        let disk = &mut self.disks[usize::from(self.plan.volumes[usize::from(volume)].domain)];
        let medium = disk.media.get_mut(&volume).expect("a volume of this disk");
        for sector in written {
            if self.places.random.chance(300) {
                let stamp = self.model.changed_elsewhere(volume, sector);
                medium.replace(sector, stamp);
            }
        }
        self.coverage.event("volume add: others had the device");
    }

    /// The daemon died: a volume that was on its way is in the arena, and served by the next life. One that was away is, now
    /// and then, in the configuration.
    pub(crate) fn places_after_death(&mut self) {
        if let Some(moving) = self.places.moving {
            let comes = matches!(moving.step, Step::Plug(_) | Step::Restore(_));
            self.coverage.event(if comes { "kill while a volume comes" } else { "kill while a volume goes" });
            self.serves(moving);
        }
        for (volume, sessions) in self.places.away.clone() {
            self.coverage.event("kill while a volume is away");
            if self.places.random.chance(300) {
                self.places.away.remove(&volume);
                self.used_by_others(volume);
                (0..sessions).for_each(|_| _ = self.clients.open(volume));
            }
        }
        self.places.domains = numbered(self.plan, |volume| self.places.has(volume));
    }

    /// The last act of operators: everything is repaired, so that each volume can go, and comes back as it was.
    pub(crate) fn bring_all_back(&mut self) {
        self.run_until("a volume that goes or comes", |shell| shell.places.moving.is_none());
        while let Some(volume) = self.places.away.keys().next().copied() {
            self.add_volume(volume);
            self.run_until("a volume that comes", |shell| shell.places.moving.is_none());
        }
    }

    /// Takes a volume with nothing wrong away, and brings it back. Whether operators of this run do such things at all.
    pub(crate) fn goes_and_comes(&mut self, volume: u16) -> bool {
        if self.places.odds == 0 {
            return false;
        }
        self.remove_volume(volume, false);
        self.run_until("a volume that goes", |shell| shell.places.moving.is_none());
        demand(Clause::Liveness, !self.places.has(volume), || {
            format!("volume {volume} is drained on a good device, and stays")
        });
        self.bring_all_back();
        true
    }
}
