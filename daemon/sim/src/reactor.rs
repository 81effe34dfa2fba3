//! One reactor's memory and what it must never be asked to do with it.

use crate::disk::{Operation, Work};
use crate::plan::{Plan, VolumePlan};
use crate::violation::{Clause, demand};
use crate::{Civil, Coverage, Disk};
use holdfast_engine::{Actions, Copy, Engine, Event, Header, Io, IoKind, Limits, Request, Segment, SlotId};
use holdfast_policy::State;
use std::collections::{BTreeMap, VecDeque};

/// What the device does with a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Use {
    #[default]
    None,
    /// It will write into it.
    Target,
    /// It reads from it; with the generation at submission.
    Source(u64),
}

/// A device operation in flight.
#[derive(Clone, Debug)]
pub struct Flight {
    /// What was submitted.
    pub io: Io,
    segments: Vec<Segment>,
}

/// One reactor: its engine, its slots, and what waits for its next turn.
pub struct Reactor<'a> {
    /// The brain.
    pub engine: Engine<'a>,
    /// What it wants done.
    pub actions: Actions,
    /// Its limits.
    pub limits: Limits,
    /// Answers, words of peers and operators' commands.
    pub inbox: VecDeque<Event>,
    /// Volumes that are to get their places.
    pub plugs: Vec<u16>,
    /// Requests that it has not looked at.
    pub requests: VecDeque<Request>,
    /// Its device operations in flight.
    pub flights: BTreeMap<u32, Flight>,
    /// Those of earlier lives, by the disk's name for them.
    pub orphans: BTreeMap<u64, Flight>,
    /// Turns it had.
    pub turns: u64,
    headers: &'a [Header],
    states: Vec<State>,
    /// The places of slots that are condemned.
    condemned: BTreeMap<usize, (u16, u64)>,
    slots: Vec<u64>,
    uses: Vec<Use>,
    line_sectors: usize,
    capacities: [usize; 7],
}

/// Words of the client's memory that a copy reads or writes.
pub trait Payload {
    /// The stamp at a byte of a session's payload.
    fn load(&self, session: u32, buffer: u64) -> u64;
    /// Sets it.
    fn store(&mut self, session: u32, buffer: u64, stamp: u64);
}

fn capacities(actions: &Actions) -> [usize; 7] {
    [
        actions.copies.capacity(),
        actions.ios.capacity(),
        actions.segments.capacity(),
        actions.completions.capacity(),
        actions.ledger.capacity(),
        actions.peers.capacity(),
        actions.answers.capacity(),
    ]
}

impl<'a> Reactor<'a> {
    /// Reactor `number` of a plan, over these headers.
    pub fn new(plan: &Plan, number: u32, engine: Engine<'a>, headers: &'a [Header]) -> Reactor<'a> {
        let limits = plan.limits_of(number);
        let actions = Actions::with_capacity(&limits);
        let line_sectors = (plan.line_bytes / 512) as usize;
        Reactor {
            engine,
            capacities: capacities(&actions),
            actions,
            limits,
            inbox: VecDeque::new(),
            plugs: Vec::new(),
            requests: VecDeque::new(),
            flights: BTreeMap::new(),
            orphans: BTreeMap::new(),
            turns: 0,
            headers,
            states: vec![State::Free; headers.len()],
            condemned: BTreeMap::new(),
            slots: vec![0; headers.len() * line_sectors],
            uses: vec![Use::None; headers.len()],
            line_sectors,
        }
    }

    /// The daemon was killed: everything but the arena is gone, and what is in flight stays in flight.
    pub fn killed(&mut self, engine: Engine<'a>, key: impl Fn(u32) -> u64) {
        self.engine = engine;
        self.actions.clear();
        self.inbox.clear();
        self.plugs.clear();
        self.requests.clear();
        self.orphans
            .extend(std::mem::take(&mut self.flights).into_iter().map(|(op, flight)| (key(op), flight)));
    }

    /// The host lost its power: nothing is in flight, and memory holds anything.
    pub fn power_cut(&mut self) {
        self.flights.clear();
        self.orphans.clear();
        self.condemned.clear();
        self.uses.fill(Use::None);
        self.slots.fill(u64::MAX);
    }

    /// An operation of an earlier life ends: a write with what its slots hold by now.
    pub fn land(&mut self, key: u64, disk: &mut Disk, coverage: &mut Coverage) -> Io {
        let Flight { io, segments } = self.orphans.remove(&key).expect("an operation in flight");
        let places: Vec<usize> = segments
            .iter()
            .flat_map(|segment| self.sectors(segment.slot, segment.at, segment.length))
            .collect();
        if io.kind == IoKind::Write {
            disk.overtake(key, places.iter().map(|&place| self.slots[place]).collect());
        }
        let finished = disk.finish(key, coverage);
        for (place, stamp) in places.into_iter().zip(finished.data) {
            self.slots[place] = stamp;
        }
        for segment in &segments {
            self.uses[segment.slot.0 as usize] = Use::None;
        }
        io
    }

    /// What the headers of all slots say.
    pub fn headers(&self) -> &[Header] {
        self.headers
    }

    /// What a slot's header says.
    pub fn header(&self, slot: SlotId) -> &Header {
        &self.headers[slot.0 as usize]
    }

    fn sectors(&self, slot: SlotId, at: u32, length: u32) -> std::ops::Range<usize> {
        let from = slot.0 as usize * self.line_sectors + at as usize / 512;
        let to = from + length as usize / 512;
        let whole = at.is_multiple_of(512)
            && length.is_multiple_of(512)
            && length > 0
            && (at + length) as usize <= self.line_sectors * 512;
        demand(Clause::Seam, whole, || format!("bytes {at}+{length} of {slot:?} are not sectors of it"));
        from..to
    }

    /// The list of actions never grows: memory is fixed at the start.
    pub fn check_capacities(&self, actions: &Actions) {
        let now = capacities(actions);
        demand(Clause::Seam, now == self.capacities, || {
            format!("actions grew from {:?} to {now:?}", self.capacities)
        });
    }

    /// Does one copy.
    pub fn copy(&mut self, copy: &Copy, payload: &mut impl Payload) {
        match *copy {
            Copy::In { session, buffer, slot, at, length } => {
                self.check_target(slot, mask(at, length), copy);
                for (place, byte) in self.sectors(slot, at, length).zip((buffer..).step_by(512)) {
                    self.slots[place] = payload.load(session.0, byte);
                }
            }
            Copy::Out { session, buffer, slot, at, length } => {
                self.check_source(slot, copy);
                for (place, byte) in self.sectors(slot, at, length).zip((buffer..).step_by(512)) {
                    payload.store(session.0, byte, self.slots[place]);
                }
            }
            Copy::Merge { from, to, mask } => {
                self.check_source(from, copy);
                self.check_target(to, mask, copy);
                for sector in (0..self.line_sectors).filter(|sector| mask >> sector & 1 == 1) {
                    let stamp = self.slots[from.0 as usize * self.line_sectors + sector];
                    self.slots[to.0 as usize * self.line_sectors + sector] = stamp;
                }
            }
            Copy::Zero { slot, at, length } => {
                self.check_target(slot, mask(at, length), copy);
                let sectors = self.sectors(slot, at, length);
                self.slots[sectors].fill(0);
            }
        }
    }

    /// M3: what is acknowledged is never changed in place, and what a device reads or writes not at all.
    fn check_target(&self, slot: SlotId, mask: u32, copy: &Copy) {
        let header = &self.headers[slot.0 as usize];
        let used = self.uses[slot.0 as usize];
        demand(Clause::Seam, used == Use::None, || format!("{copy:?} changes a slot in use: {used:?}"));
        let fresh = matches!(header.state(), State::Free | State::Incoming | State::Filling);
        demand(Clause::Seam, fresh || header.valid() & mask == 0, || {
            format!("{copy:?} changes acknowledged sectors in place: {:?}", header.status())
        });
    }

    fn check_source(&self, slot: SlotId, copy: &Copy) {
        let used = self.uses[slot.0 as usize];
        demand(Clause::Seam, used != Use::Target, || {
            format!("{copy:?} reads a slot that the device is filling")
        });
    }

    /// Checks an operation that the engine wants, and takes what a write would read now.
    pub fn submit(&mut self, io: Io, segments: &[Segment], volume: &VolumePlan) -> Operation {
        self.check_place(&io, volume);
        let first = io.first_segment as usize;
        let segments = segments[first..first + io.segments as usize].to_vec();
        let data = io.kind == IoKind::Read || io.kind == IoKind::Write;
        let total: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
        demand(Clause::Seam, total == if data { io.length } else { 0 }, || {
            format!("{io:?} has segments {segments:?}")
        });
        demand(Clause::Seam, segments.len() <= self.limits.run_lines_max, || format!("{io:?} is too long"));
        let mut stamps = Vec::new();
        for segment in &segments {
            self.check_slot(&io, segment, volume);
            let slot = segment.slot.0 as usize;
            let sectors = self.sectors(segment.slot, segment.at, segment.length);
            self.uses[slot] = if io.kind == IoKind::Write {
                stamps.extend_from_slice(&self.slots[sectors]);
                Use::Source(self.headers[slot].generation())
            } else {
                Use::Target
            };
        }
        let before = self.flights.insert(io.op.0, Flight { io, segments });
        demand(Clause::Seam, before.is_none(), || format!("{:?} is used twice", io.op));
        demand(Clause::Seam, self.flights.len() <= self.limits.ops_max, || {
            format!("{} in flight", self.flights.len())
        });
        let work = match io.kind {
            IoKind::Read => Work::Read,
            IoKind::Write => Work::Write(stamps),
            IoKind::Zero => Work::Zero,
            IoKind::Discard => Work::Discard,
            IoKind::Flush => Work::Flush,
        };
        Operation { volume: io.volume.0, from: io.offset / 512, to: (io.offset + io.length) / 512, work }
    }

    fn check_place(&self, io: &Io, volume: &VolumePlan) {
        if io.kind == IoKind::Flush {
            return;
        }
        let old = self.orphans.values().any(|flight| flight.io.volume == io.volume);
        demand(Clause::M1, !old, || format!("{io:?} while an operation of an earlier life is in flight"));
        let block = u64::from(volume.geometry.block_bytes);
        let inside = io.length > 0 && io.offset + io.length <= volume.geometry.volume_bytes;
        let whole = io.offset.is_multiple_of(block) && io.length.is_multiple_of(block);
        demand(Clause::Seam, inside && whole, || format!("{io:?} is not whole blocks of the volume"));
        for other in self.flights.values().map(|flight| &flight.io) {
            let apart = other.volume != io.volume
                || other.kind == IoKind::Flush
                || other.offset + other.length <= io.offset
                || io.offset + io.length <= other.offset;
            demand(Clause::M2, apart, || format!("{io:?} and {other:?} are in flight together"));
        }
    }

    fn check_slot(&self, io: &Io, segment: &Segment, volume: &VolumePlan) {
        let slot = segment.slot.0 as usize;
        let header = &self.headers[slot];
        let wanted = if io.kind == IoKind::Write { State::Writing } else { State::Filling };
        demand(Clause::Seam, header.state() == wanted, || {
            format!("{io:?} is submitted while {:?} says {:?}", segment.slot, header.status())
        });
        demand(Clause::Seam, self.uses[slot] == Use::None, || format!("{io:?} uses {segment:?} twice"));
        let geometry = volume.geometry_of(self.limits.reactor);
        let offset = geometry.offset_of(header.line());
        let here = header.volume() == io.volume.0
            && offset >= io.offset - io.offset % u64::from(volume.geometry.line_bytes)
            && offset < io.offset + io.length;
        demand(Clause::Seam, here, || format!("{io:?} uses a slot of another place, byte {offset}"));
    }

    /// An operation of this reactor ended: gives its slots back and puts in them what was read.
    pub fn finish(&mut self, op: u32, disk: &mut Disk, key: u64, coverage: &mut Coverage) -> (Io, i32) {
        let Flight { io, segments } = self.flights.remove(&op).expect("an operation in flight");
        let finished = disk.finish(key, coverage);
        let mut data = finished.data.into_iter();
        for segment in &segments {
            let slot = segment.slot.0 as usize;
            if let Use::Source(generation) = std::mem::take(&mut self.uses[slot]) {
                let same = self.headers[slot].generation() == generation
                    && self.headers[slot].state() == State::Writing;
                demand(Clause::Seam, same, || {
                    format!("{io:?} was writing from {:?}, which was given away", segment.slot)
                });
            }
            for (place, stamp) in self.sectors(segment.slot, segment.at, segment.length).zip(data.by_ref()) {
                self.slots[place] = stamp;
            }
        }
        (io, finished.result)
    }

    /// Looks at what became of every slot since the last call; what became clean must be stable (C7). Returns the volumes and
    /// lines of slots that are condemned no more.
    pub fn observe(
        &mut self,
        plan: &Plan,
        disks: &[Disk],
        civil: &Civil,
        coverage: &mut Coverage,
    ) -> Vec<(u16, u64)> {
        let mut released = Vec::new();
        for (slot, header) in self.headers.iter().enumerate() {
            let (before, now) = (self.states[slot], header.state());
            if before == now {
                continue;
            }
            coverage.edge(before, now);
            self.states[slot] = now;
            released.extend(self.condemned.remove(&slot));
            if now == State::Condemned {
                self.condemned.insert(slot, (header.volume(), header.line()));
            }
            if before == State::Unstable && now == State::Clean {
                self.check_clean(slot, header, plan, disks);
            }
            if now == State::Failed {
                let geometry = plan.volumes[usize::from(header.volume())].geometry_of(self.limits.reactor);
                let line = geometry.offset_of(header.line()) / u64::from(plan.line_bytes);
                civil.held(header.volume(), line);
            }
        }
        released
    }

    fn check_clean(&self, slot: usize, header: &Header, plan: &Plan, disks: &[Disk]) {
        let volume = &plan.volumes[usize::from(header.volume())];
        let first = volume.geometry_of(self.limits.reactor).offset_of(header.line()) / 512;
        let medium = &disks[usize::from(volume.domain)].media[&header.volume()];
        for sector in (0..self.line_sectors).filter(|sector| header.dirty() >> sector & 1 == 1) {
            let (held, stable) =
                (self.slots[slot * self.line_sectors + sector], medium.stable.get(first + sector as u64));
            demand(Clause::C7, held == stable, || {
                format!(
                    "slot {slot} is clean with {held:x}, stable is {stable:x}, sector {}",
                    first + sector as u64
                )
            });
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a line has at most 32 sectors")]
fn mask(at: u32, length: u32) -> u32 {
    (((1u64 << (length / 512)) - 1) << (at / 512)) as u32
}
