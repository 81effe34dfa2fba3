//! The daemon is killed, now and then in the middle of a turn, and starts again over what it left.

use crate::Note;
use crate::happening::Happening;
use crate::shell::{Shell, content, engine, name};
use holdfast_engine::{
    Actions, ByteRange, Command, Event, Instant, IoKind, Operation, Request, SessionId, Share, Token,
    VolumeId,
};
use std::collections::BTreeSet;

/// How long a lock stays after the last operation of a killed daemon has ended, at most: 40 ms were seen.
const LOCK_NS: u64 = 40_000_000;

impl Shell<'_> {
    /// Kills the daemon and starts it again.
    pub fn kill(&mut self) {
        let writing = self.reactors.iter().flat_map(|reactor| reactor.flights.values());
        let writing = writing.filter(|flight| flight.io.kind == IoKind::Write).count();
        self.coverage.fault("kill");
        if writing > 0 {
            self.coverage.event("kill with writes in flight");
        }
        self.trace.line(self.now, format_args!("kill, {writing} writes in flight"));
        self.die();
        self.forget();
        self.life += 1;
        self.restart();
    }

    /// Most deaths come in the middle of a turn.
    pub(crate) fn die(&mut self) {
        if self.random.chance(700) {
            let victim = self.random.below(self.reactors.len() as u64);
            self.die_in_turn(usize::try_from(victim).expect("few reactors"));
        }
    }

    /// A turn that ends somewhere.
    fn die_in_turn(&mut self, number: usize) {
        self.think(number);
        let mut actions = std::mem::take(&mut self.reactors[number].actions);
        self.perform_part(number, &actions);
        actions.clear();
        self.reactors[number].actions = actions;
    }

    fn perform_part(&mut self, number: usize, actions: &Actions) {
        let stage = self.random.below(6);
        let upto = |here: u64, count: usize, part: usize| if stage > here { count } else { part };
        let part = |count: usize, random: &mut crate::Random| {
            usize::try_from(random.below(count as u64 + 1)).unwrap_or(count)
        };
        let begun = upto(0, actions.begun.len(), part(actions.begun.len(), &mut self.random));
        actions.begun.iter().take(begun).for_each(|begun| self.clients.begun(number, begun));
        let copies = if stage == 0 {
            0
        } else {
            upto(1, actions.copies.len(), part(actions.copies.len(), &mut self.random))
        };
        for copy in actions.copies.iter().take(copies) {
            self.reactors[number].copy(copy, &mut self.clients);
        }
        if stage < 2 {
            return;
        }
        if stage == 2 {
            let count = part(actions.begun.len() * 3 + 2, &mut self.random);
            self.trace.line(self.now, format_args!("r{number} dies after {count} changes of its commit"));
            self.reactors[number].engine.commit_first(count);
            self.coverage.event("kill within a commit");
            return;
        }
        self.reactors[number].engine.commit();
        if stage > 3 {
            self.send_ledger(number, &actions.ledger);
            let ios = upto(4, actions.ios.len(), part(actions.ios.len(), &mut self.random));
            for &io in actions.ios.iter().take(ios) {
                self.submit(number, io, actions);
            }
        }
        if stage > 4 {
            let told = part(actions.completions.len(), &mut self.random);
            actions.completions.iter().take(told).for_each(|completion| self.answered(number, completion));
        }
    }

    /// What dies with the daemon: what it told itself, and what the ledger had not got.
    pub(crate) fn forget(&mut self) {
        for reactor in 0..self.reactors.len() {
            let (unheard, fresh, forgotten) = self.ledger.killed(reactor);
            for noted in &fresh {
                let content = content(&self.disks, self.plan, noted.volume);
                self.model.noted(noted.volume, noted.note, noted.range, true, &content);
            }
            for noted in unheard.iter().chain(&fresh) {
                self.model.unheard(noted.volume, noted.note, noted.range);
            }
            for noted in forgotten.iter().rev() {
                self.model.forgotten(noted.volume, noted.note, noted.range);
            }
            if forgotten.iter().any(|noted| matches!(noted.note, Note::Lost(_))) {
                self.coverage.event("kill before a loss was on record");
            }
        }
        let life = self.life;
        self.forget_memory(life);
    }

    /// The engines of the next life.
    fn forget_memory(&mut self, life: u64) {
        self.places_after_death();
        let key = |reactor: usize, op: u32| life << 48 | (reactor as u64) << 32 | u64::from(op);
        self.queue.killed(key);
        self.memory.forget_indexes();
        self.shares.iter().for_each(Share::forget);
        for number in 0..self.reactors.len() {
            let engine = engine(self.plan, self.memory, &self.places, number, self.now);
            self.reactors[number].killed(engine, |op| key(number, op));
        }
        self.civil.restarted();
        self.rules.restarted(self.now, self.plan);
        self.probes.restarted();
        self.owed.clear();
        self.clients.outstanding.values_mut().for_each(|asked| asked.outlived = true);
        self.away = self.clients.sessions.keys().copied().collect();
        self.flushing.fill(false);
    }

    pub(crate) fn restart(&mut self) {
        for number in 0..self.reactors.len() {
            self.rebuild(number);
        }
        let waiting = self.orphaned();
        for volume in self.present().into_iter().filter(|volume| !waiting.contains(volume)) {
            self.settle_soon(volume);
        }
        for session in self.clients.sessions.keys().copied().collect::<Vec<_>>() {
            let most = self.random.pick(&[100_000, 10_000_000, 400_000_000]);
            let time = self.now + self.random.below(most);
            self.queue.push(time, Happening::Reconnects { session, life: self.life });
        }
    }

    fn rebuild(&mut self, number: usize) {
        let now = Instant(self.now);
        let mut actions = std::mem::take(&mut self.reactors[number].actions);
        let losses = |volume| self.losses_of(volume).into_iter().map(move |loss| operator(volume, loss));
        let ledger: Vec<Event> = self.present().into_iter().flat_map(losses).collect();
        let engine = &mut self.reactors[number].engine;
        for event in ledger {
            engine.apply(now, event, &mut actions);
            actions.clear();
        }
        let rebuilt = engine.rebuild(now, &mut actions).expect("what an engine left");
        for volume in self.present() {
            let engine = &mut self.reactors[number].engine;
            for (from, to) in self.ledger.failed(volume) {
                let command = Command::RestoreReport { range: bytes(from, to), first: now };
                engine.apply(now, operator(volume, command), &mut actions);
                actions.clear();
            }
        }
        actions.clear();
        self.reactors[number].actions = actions;
        self.trace.line(self.now, format_args!("r{number} starts again with {rebuilt:?}"));
    }

    fn present(&self) -> Vec<u16> {
        (0..self.plan.volumes.len()).map(name).filter(|&volume| self.places.has(volume)).collect()
    }

    /// What tells an engine of the losses that the ledger has of a volume.
    pub(crate) fn losses_of(&self, volume: u16) -> Vec<Command> {
        let lost = self.ledger.lost(volume).into_iter();
        let restore = |((from, to), generation)| {
            let (range, first) = (bytes(from, to), Instant(self.now));
            Command::RestoreLoss { range, class: 4, errno: 5, first, generation }
        };
        lost.map(restore).collect()
    }

    /// The volumes on which operations of earlier lives are in flight.
    fn orphaned(&self) -> BTreeSet<u16> {
        let orphans = self.reactors.iter().flat_map(|reactor| reactor.orphans.values());
        orphans.map(|flight| flight.io.volume.0).collect()
    }

    fn settle_soon(&mut self, volume: u16) {
        let time = self.now + self.random.pick(&[0, 1_000_000, LOCK_NS]);
        self.queue.push(time, Happening::Settles { volume, life: self.life });
    }

    pub(crate) fn lands(&mut self, reactor: usize, key: u64) {
        let volume = self.reactors[reactor].orphans[&key].io.volume.0;
        let domain = usize::from(self.plan.volumes[usize::from(volume)].domain);
        let io = self.reactors[reactor].land(key, &mut self.disks[domain], &mut self.coverage);
        self.coverage.event("operation of a killed daemon landed");
        self.trace.line(self.now, format_args!("r{reactor} lands {io:?}"));
        if !self.orphaned().contains(&volume) {
            self.settle_soon(volume);
        }
    }

    pub(crate) fn settles(&mut self, volume: u16, life: u64) {
        if life != self.life {
            return;
        }
        self.trace.line(self.now, format_args!("volume {volume} is settled"));
        for reactor in &mut self.reactors {
            reactor.inbox.push_back(Event::Settled { volume: VolumeId(volume) });
        }
    }

    /// A client sends again what was not answered, oldest first.
    pub(crate) fn reconnects(&mut self, session: u32, life: u64) {
        if life != self.life || !self.clients.sessions.contains_key(&session) {
            return;
        }
        self.away.remove(&session);
        for waiting in
            self.clients.outstanding.values().filter(|waiting| waiting.request.session == SessionId(session))
        {
            let writes = matches!(waiting.request.operation, Operation::Write { .. });
            for reactor in (0..self.reactors.len()).filter(|reactor| waiting.owing >> reactor & 1 == 1) {
                let replay = if writes { waiting.records[reactor] } else { 0 };
                self.reactors[reactor].requests.push_back(Request { replay, ..waiting.request });
                if replay != 0 {
                    self.coverage.event("write replayed that was begun");
                }
            }
        }
    }
}

fn bytes(from: u64, to: u64) -> ByteRange {
    ByteRange { offset: from * 512, length: (to - from) * 512 }
}

fn operator(volume: u16, command: Command) -> Event {
    Event::Operator { token: Token(0), volume: VolumeId(volume), command }
}
