//! The simulated daemon: performs what the engines want, in the documented order, and shows the model everything.

use crate::client::{Clients, Outstanding};
use crate::disk::Disk;
use crate::happening::{Happening, Queue};
use crate::ledger::{Entry, Ledger};
use crate::model::Model;
use crate::places::Places;
use crate::plan::{Memory, Plan};
use crate::probes::Probes;
use crate::reactor::Reactor;
use crate::rules::InForce;
use crate::starved::Ahead;
use crate::stuck::Stuck;
use crate::trace::Trace;
use crate::violation::{Clause, demand};
use crate::{Civil, Coverage, Random};
use holdfast_engine::{
    Actions, Answer, Command, DomainId, Engine, Event, Instant, IoKind, LedgerSeq, Notes, Operation, Request,
    SessionId, Share, Token, VolumeId, VolumeSetup, vacancy,
};
use std::collections::{BTreeMap, BTreeSet};

/// The whole simulated daemon with its disks, its ledger and its clients.
pub struct Shell<'a> {
    /// Nanoseconds since the run began.
    pub now: u64,
    /// What is fixed.
    pub plan: &'a Plan,
    /// The reactors.
    pub reactors: Vec<Reactor<'a>>,
    /// A disk for each flush domain.
    pub disks: Vec<Disk>,
    /// The ledger.
    pub ledger: Ledger,
    /// What will happen.
    pub queue: Queue,
    /// Who knows what is allowed.
    pub model: Model,
    /// The clients.
    pub clients: Clients,
    /// What was exercised.
    pub coverage: Coverage,
    /// What happened.
    pub trace: Trace,
    /// Operators' answers, by token and reactor, until somebody takes them.
    pub answers: BTreeMap<(u64, usize), Answer>,
    /// What the next requests ask for.
    pub timeout_ms: u32,
    /// Whether operators dropped anything of a volume.
    pub dropped: Vec<bool>,
    /// Whether they gave up all that is not stable, tried or not.
    pub abandoned: Vec<bool>,
    /// What the reactors have not answered yet, with the volume that it is about.
    pub(crate) owed: BTreeMap<(u64, usize), (u16, Command)>,
    /// What the reactors share of each volume.
    pub(crate) shares: &'a [Share],
    pub(crate) stuck: Vec<Stuck>,
    /// The rules that each reactor goes by.
    pub rules: InForce,
    pub(crate) probes: Probes,
    /// Which volumes are there.
    pub(crate) places: Places,
    /// Since when nothing is wrong with a volume.
    pub(crate) calm_since: Vec<u64>,
    /// What discards and zeroes wait behind, by the request's number.
    pub(crate) ahead: BTreeMap<u64, Ahead>,
    tokens: u64,
    pub(crate) civil: Civil,
    pub(crate) peers: BTreeMap<(usize, usize), u64>,
    pub(crate) flushing: Vec<bool>,
    /// How often the daemon was started.
    pub(crate) life: u64,
    /// Sessions that have not found their way to this life.
    pub(crate) away: BTreeSet<u32>,
    pub(crate) memory: &'a Memory,
    malformed: u64,
    idle_turns: u64,
    pub(crate) random: Random,
}

impl<'a> Shell<'a> {
    /// A shell over empty memory and blank disks.
    pub fn new(plan: &'a Plan, memory: &'a Memory, trace: Trace) -> Shell<'a> {
        let mut random = Random::new(plan.seed ^ 0x7368_656c_6c00);
        let places = Places::new(plan);
        let reactors = (0..plan.reactors).map(|number| start(plan, memory, &places, number)).collect();
        let disks = (0..plan.domains()).map(|domain| {
            let here = plan
                .volumes
                .iter()
                .enumerate()
                .filter(move |(_, volume)| usize::from(volume.domain) == domain);
            Disk::new(random.split(), here.map(|(number, volume)| (name(number), volume.medium)))
        });
        let disks = disks.collect();
        Shell {
            now: 1_000_000,
            plan,
            reactors,
            disks,
            ledger: Ledger::new(plan.reactors as usize, random.split()),
            queue: Queue::default(),
            model: Model::default(),
            clients: Clients::default(),
            coverage: Coverage::new(),
            trace,
            answers: BTreeMap::new(),
            timeout_ms: 0,
            dropped: vec![false; plan.volumes.len()],
            abandoned: vec![false; plan.volumes.len()],
            owed: BTreeMap::new(),
            shares: &memory.shares,
            stuck: vec![Stuck::default(); plan.volumes.len()],
            rules: InForce::new(plan),
            probes: Probes::default(),
            places,
            calm_since: vec![0; plan.volumes.len()],
            ahead: BTreeMap::new(),
            tokens: 0,
            civil: Civil::default(),
            peers: BTreeMap::new(),
            flushing: vec![false; plan.domains()],
            life: 0,
            away: BTreeSet::new(),
            memory,
            malformed: 0,
            idle_turns: 0,
            random,
        }
    }

    /// The disk of a volume.
    pub fn disk(&mut self, volume: u16) -> &mut Disk {
        &mut self.disks[usize::from(self.plan.volumes[usize::from(volume)].domain)]
    }

    /// A client asks; returns the model's name for the request. Flushes, zeroes and discards go to every reactor.
    pub fn ask(&mut self, session: u32, operation: Operation, offset: u64, length: u64) -> u64 {
        let volume = self.clients.sessions[&session];
        let plan = self.plan.volumes[usize::from(volume)];
        let tag = self.clients.next_tag();
        let (session, volume) = (SessionId(session), VolumeId(volume));
        let (buffer, timeout_ms) = (Clients::buffer(tag), self.timeout_ms);
        let request = Request {
            session,
            tag,
            sequence: u64::from(tag),
            volume,
            operation,
            offset,
            length,
            buffer,
            timeout_ms,
            replay: 0,
        };
        let block = u64::from(plan.geometry.block_bytes);
        let malformed = operation != Operation::Flush
            && !(offset.is_multiple_of(block)
                && length.is_multiple_of(block)
                && length > 0
                && offset.saturating_add(length) <= plan.geometry.volume_bytes);
        self.malformed += u64::from(malformed);
        let id = if malformed { u64::MAX - self.malformed } else { self.model.submitted((&request).into()) };
        let data = match operation {
            Operation::Write { .. } => (offset / 512..(offset + length).div_ceil(512))
                .map(|sector| crate::stamp(id, sector))
                .collect(),
            Operation::Read => vec![u64::MAX; usize::try_from(length.div_ceil(512)).unwrap_or(0)],
            _ => Vec::new(),
        };
        let single = matches!(operation, Operation::Read | Operation::Write { .. });
        let owner = usize::try_from(plan.geometry.owner(offset)).unwrap_or(0);
        let receivers: Vec<usize> = if single { vec![owner] } else { (0..self.reactors.len()).collect() };
        let owing = receivers.iter().fold(0, |bits, reactor| bits | 1 << reactor);
        let read_harm = self.disk(volume.0).harm[&volume.0].reads;
        self.clients.asked(
            Outstanding {
                id,
                request,
                owing,
                errno: 0,
                failure_id: 0,
                since: self.now,
                read_harm,
                malformed,
                records: [0; 8],
                outlived: false,
            },
            data,
        );
        // A client without a daemon keeps its request until it has one.
        if !self.away.contains(&session.0) {
            receivers.into_iter().for_each(|reactor| self.reactors[reactor].requests.push_back(request));
        }
        self.trace.mix(&[id, offset, length]);
        self.trace.line(self.now, format_args!("ask {id}: {request:?}"));
        id
    }

    /// A client goes away.
    pub fn close(&mut self, session: u32) {
        self.clients.close(session);
        self.model.closed(session);
        for reactor in &mut self.reactors {
            reactor.requests.retain(|request| request.session.0 != session);
            reactor.inbox.push_back(Event::SessionClosed(SessionId(session)));
        }
        self.trace.line(self.now, format_args!("close session {session}"));
    }

    /// An operator commands, on every reactor. Returns the token.
    pub fn command(&mut self, volume: u16, command: Command) -> u64 {
        self.tokens += 1;
        match command {
            Command::Retry { .. } | Command::Drain => {
                self.civil.asked(self.now, volume);
                self.probes.asked(self.now, volume);
            }
            Command::Drop { .. } => self.dropped[usize::from(volume)] = true,
            Command::Abandon | Command::Close { give_up: true } => {
                self.dropped[usize::from(volume)] = true;
                self.abandoned[usize::from(volume)] = true;
            }
            _ => {}
        }
        for (number, reactor) in self.reactors.iter_mut().enumerate() {
            let (token, volume) = (Token(self.tokens), VolumeId(volume));
            reactor.inbox.push_back(Event::Operator { token, volume, command: command.clone() });
            self.owed.insert((self.tokens, number), (volume.0, command.clone()));
        }
        self.trace.line(self.now, format_args!("operator {}: volume {volume} {command:?}", self.tokens));
        self.tokens
    }

    /// Operators' questions without an answer.
    pub fn owed(&self) -> impl Iterator<Item = (&(u64, usize), &Command)> {
        self.owed.iter().map(|(key, (_, command))| (key, command))
    }

    /// When something will happen; [`u64::MAX`] if nothing will.
    pub fn next_time(&self) -> u64 {
        let wake = |reactor: &Reactor<'_>| {
            let busy = !reactor.is_quiet();
            if busy { self.now } else { reactor.engine.next_wake().0 }
        };
        let wakes = self.reactors.iter().map(wake).chain(self.queue.next_time());
        wakes.fold(u64::MAX, u64::min).max(self.now)
    }

    /// Lets time pass to `time`, lets everything that is due happen, and gives every reactor with something to do a turn.
    pub fn step(&mut self, time: u64) {
        self.idle_turns = if time > self.now { 0 } else { self.idle_turns + 1 };
        demand(Clause::Liveness, self.idle_turns < 100_000, || {
            "turns without end, and time stands still".into()
        });
        self.now = self.now.max(time);
        while let Some(happening) = self.queue.pop_due(self.now) {
            self.happen(happening);
        }
        for number in 0..self.reactors.len() {
            let reactor = &self.reactors[number];
            let due = reactor.engine.next_wake().0 <= self.now;
            if due || !reactor.is_quiet() {
                self.turn(number);
            }
        }
        self.advance_places();
        self.check_stuck();
        self.check_starved();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Ends { reactor, op } => self.ends(reactor, op),
            Happening::Lands { reactor, key } => self.lands(reactor, key),
            Happening::Settles { volume, life } => self.settles(volume, life),
            Happening::Reconnects { session, life } => self.reconnects(session, life),
            Happening::Plugs { reactor, volume, life } => {
                if life == self.life {
                    self.reactors[reactor].plugs.push(volume);
                }
            }
            Happening::Nothing => {}
            Happening::Durable { reactor, up_to } => self.durable(reactor, up_to),
            Happening::Arrives { reactor, event } => self.reactors[reactor].inbox.push_back(*event),
            Happening::Reset { domain } => {
                let reverted = self.disks[domain].reset();
                self.coverage.fault(if reverted > 0 { "reset lost the cache" } else { "reset" });
                self.trace.line(self.now, format_args!("disk {domain} is reset, {reverted} sectors revert"));
                // Every reactor hears of it at once: until then it would read what the device fell back to.
                if let Some(domain) = self.places.domain(name(domain)).map(DomainId) {
                    for reactor in &mut self.reactors {
                        reactor.inbox.push_back(Event::DeviceChanged { domain });
                    }
                }
            }
            Happening::Grow { domain, chunks } => {
                self.coverage.fault("grow");
                self.trace.line(self.now, format_args!("disk {domain} grows by {chunks} chunks"));
                let media = self.disks[domain].media.values_mut();
                media.for_each(|medium| {
                    medium.setup.chunks_max = medium.setup.chunks_max.saturating_add(chunks)
                });
            }
        }
    }

    fn ends(&mut self, reactor: usize, op: u32) {
        let volume = self.reactors[reactor].flights[&op].io.volume.0;
        let domain = usize::from(self.plan.volumes[usize::from(volume)].domain);
        let key = self.key(reactor, op);
        let (io, result) =
            self.reactors[reactor].finish(op, &mut self.disks[domain], key, &mut self.coverage);
        self.trace.mix(&[reactor as u64, u64::from(op), u64::from(result.cast_unsigned())]);
        self.trace.line(self.now, format_args!("r{reactor} end {result}: {io:?}"));
        if io.kind == IoKind::Flush {
            self.flushing[domain] = false;
        }
        if io.kind == IoKind::Write && result <= 0 {
            let line = u64::from(self.plan.line_bytes);
            let lines = io.offset / line..=(io.offset + io.length - 1) / line;
            self.civil.refused(self.now, volume, lines, self.rules.floor_ns(volume));
        }
        let volumes = &self.plan.volumes;
        let flushed = |volume: u16| usize::from(volumes[usize::from(volume)].domain) == domain;
        self.probes.ended(&io, result, u64::from(self.plan.line_bytes), flushed);
        self.reactors[reactor].inbox.push_back(Event::Completed { op: io.op, result });
    }

    /// The disk's name for an operation of this life.
    pub(crate) fn key(&self, reactor: usize, op: u32) -> u64 {
        self.life << 48 | (reactor as u64) << 32 | u64::from(op)
    }

    fn durable(&mut self, reactor: usize, up_to: u64) {
        let mut reports = Vec::new();
        while let Some((entry, failure_id)) = self.ledger.next_durable(reactor, up_to) {
            match entry {
                Entry::Noted(noted) => {
                    let content = content(&self.disks, self.plan, noted.volume);
                    self.model.noted(noted.volume, noted.note, noted.range, true, &content);
                }
                Entry::Report(_, token) => reports.push(Event::Reported { token, failure_id }),
            }
        }
        self.trace.line(self.now, format_args!("r{reactor} ledger durable up to {up_to}"));
        let inbox = &mut self.reactors[reactor].inbox;
        inbox.push_back(Event::LedgerDurable { up_to: LedgerSeq(up_to) });
        inbox.extend(reports);
    }
}

impl Reactor<'_> {
    /// Whether nothing waits for a turn: no event, no volume, no request that the engine has room for.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.plugs.is_empty() && self.next_request().is_none()
    }

    /// The place of the first request that the engine has room for: others' volumes may have none.
    pub(crate) fn next_request(&self) -> Option<usize> {
        self.requests.iter().position(|request| self.engine.has_room_for(request.volume))
    }
}

fn start<'a>(plan: &Plan, memory: &'a Memory, places: &Places, number: u32) -> Reactor<'a> {
    let mut engine = engine(plan, memory, places, number as usize, 1_000_000);
    let mut nothing = Actions::default();
    engine.rebuild(Instant(1_000_000), &mut nothing).expect("empty memory");
    for volume in 0..plan.volumes.len() {
        let settled = Event::Settled { volume: VolumeId(name(volume)) };
        engine.apply(Instant(1_000_000), settled, &mut nothing);
    }
    Reactor::new(plan, number, engine, &memory.headers[number as usize])
}

/// A reactor's engine over what is in memory, not yet rebuilt. The places of volumes that are away are vacant.
pub(crate) fn engine<'a>(
    plan: &Plan,
    memory: &'a Memory,
    places: &Places,
    number: usize,
    now: u64,
) -> Engine<'a> {
    let notes = Notes::over(&memory.notes[number]);
    let limits = plan.limits_of(name32(number));
    let mut engine = Engine::resume(limits, &memory.headers[number], notes, Instant(now));
    for volume in 0..plan.volumes.len() {
        let setup = setup(plan, memory, places, number, volume);
        if places.has(name(volume)) {
            engine.add_volume(setup);
        } else {
            let VolumeSetup { id, geometry, rules, share, index, .. } = setup;
            engine.add_vacancy(vacancy(id, geometry, rules, share, index));
        }
    }
    engine.reserve_places(plan.volumes.len());
    engine
}

/// A volume as a reactor's engine gets it.
pub(crate) fn setup<'a>(
    plan: &Plan,
    memory: &'a Memory,
    places: &Places,
    number: usize,
    volume: usize,
) -> VolumeSetup<'a> {
    let of = &plan.volumes[volume];
    let geometry = of.geometry_of(name32(number));
    let domain = places.domain(of.domain).unwrap_or(u16::MAX);
    VolumeSetup {
        id: VolumeId(name(volume)),
        geometry,
        domain: DomainId(domain),
        domain_owner: u32::from(domain) % plan.reactors,
        mode: of.mode,
        budget_slots: of.budget_slots,
        room_slots: plan.room_slots(volume),
        share: &memory.shares[volume],
        rules: of.rules,
        flush_on_failure: of.flush_on_failure,
        parked_flushes_max: of.parked_flushes_max,
        io_timeout_ms: of.io_timeout_ms,
        write_back_from: of.write_back_from,
        write_back_after_ms: of.write_back_after_ms,
        index_lines: geometry.local_lines(),
        index: &memory.indexes[number][volume],
    }
}

/// What the disk has of a volume: the view of a reader, and what is stable.
pub(crate) fn content<'d>(disks: &'d [Disk], plan: &Plan, volume: u16) -> impl Fn(u64) -> (u64, u64) + 'd {
    let medium = &disks[usize::from(plan.volumes[usize::from(volume)].domain)].media[&volume];
    |sector| (medium.view.get(sector), medium.stable.get(sector))
}

pub(crate) fn name(number: usize) -> u16 {
    u16::try_from(number).expect("few volumes and domains")
}

pub(crate) fn name32(number: usize) -> u32 {
    u32::try_from(number).expect("few reactors")
}
