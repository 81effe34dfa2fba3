//! One reactor as a test drives it: an engine, its slots, a disk for each volume, a ledger, clients.

use crate::allocations::allocations;
use crate::disk::{Disk, in_flight};
use crate::ledger::Ledger;
pub(crate) use crate::plan::*;
use holdfast_engine::*;
use holdfast_policy::*;
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

pub(crate) const LINE: u64 = 4096;
/// The reactor of operations whose daemon died before they ended.
pub(crate) const DEAD: u32 = u32::MAX;
/// Each request has its own part of the payload area.
const PAYLOAD_SHIFT: u32 = 24;

pub(crate) struct Shell {
    pub(crate) engine: Engine<'static>,
    pub(crate) limits: Limits,
    pub(crate) now_ms: u64,
    pub(crate) disks: Vec<Rc<RefCell<Disk>>>,
    pub(crate) ledger: Ledger,
    pub(crate) events: VecDeque<Event>,
    /// Requests that wait until the engine has room for them.
    pub(crate) rings: VecDeque<Request>,
    /// Whether the engine is asked for room at all.
    pub(crate) asks_for_room: bool,
    pub(crate) done: BTreeMap<u32, Completion>,
    pub(crate) answers: BTreeMap<u64, Answer>,
    pub(crate) peers: Vec<(u32, PeerMessage)>,
    pub(crate) headers: &'static [Header],
    /// What requests ask for from now on.
    pub(crate) timeout_ms: u32,
    pub(crate) shares: Vec<&'static Share>,
    /// The records of writes that were taken in: the tag, and the first generation.
    pub(crate) begun: BTreeMap<u32, u64>,
    pub(crate) requests: BTreeMap<u32, Request>,
    pub(crate) notes: &'static [AtomicU64],
    pub(crate) plan: Plan,
    pub(crate) out: Actions,
    domains: Vec<u16>,
    slots: Vec<u8>,
    payload: BTreeMap<u32, Vec<u8>>,
    next_tag: u32,
    next_token: u64,
}

impl Shell {
    pub(crate) fn new(plan: Plan) -> Shell {
        let disk = || Rc::new(RefCell::new(Disk::new(usize::try_from(plan.volume_bytes).unwrap())));
        let disks = (0..plan.volumes).map(|_| disk()).collect();
        let shares = shares(&plan);
        Shell::over(plan, disks, &shares)
    }

    /// A reactor over disks and budgets that it may share with others.
    pub(crate) fn over(plan: Plan, disks: Vec<Rc<RefCell<Disk>>>, shares: &[&'static Share]) -> Shell {
        let headers: Vec<Header> = (0..plan.slots).map(|_| Header::default()).collect();
        let headers: &'static [Header] = Box::leak(headers.into_boxed_slice());
        let notes: Vec<AtomicU64> =
            (0..Notes::words_needed(plan.volumes.into())).map(|_| AtomicU64::new(0)).collect();
        let notes: &'static [AtomicU64] = Box::leak(notes.into_boxed_slice());
        let mut engine = Engine::new(plan.limits, headers, Instant(0));
        plan.add_volumes(&mut engine, shares);
        Shell {
            engine,
            limits: plan.limits,
            now_ms: 1,
            disks,
            ledger: Ledger::default(),
            events: VecDeque::new(),
            rings: VecDeque::with_capacity(1024),
            asks_for_room: true,
            done: BTreeMap::new(),
            answers: BTreeMap::new(),
            peers: Vec::new(),
            headers,
            timeout_ms: 0,
            shares: shares.to_vec(),
            begun: BTreeMap::new(),
            requests: BTreeMap::new(),
            notes,
            out: Actions::with_capacity(&plan.limits),
            domains: (0..plan.volumes).map(|id| plan.domain(id)).collect(),
            slots: vec![0xee; plan.slots * 4096],
            payload: BTreeMap::new(),
            next_tag: 1,
            next_token: 1,
            plan,
        }
    }

    pub(crate) fn disk(&self) -> RefMut<'_, Disk> {
        self.disks[0].borrow_mut()
    }

    /// A byte of the first disk that would survive a power cut.
    pub(crate) fn stable(&self, at: usize) -> u8 {
        self.disk().stable[at]
    }

    /// A byte of the first disk as it would be read.
    pub(crate) fn media(&self, at: usize) -> u8 {
        self.disk().media[at]
    }

    pub(crate) fn stats(&self) -> VolumeStats {
        self.engine.stats(VolumeId(0))
    }

    /// One turn of the loop that the engine's documentation describes.
    pub(crate) fn turn(&mut self) {
        let lost = self.stats().lost > 0;
        let count = allocations(|| self.work());
        let excused = lost || self.stats().lost > 0 || !self.out.answers.is_empty();
        assert!(excused || count == 0, "the engine allocated {count} times");
        let mut out = std::mem::take(&mut self.out);
        self.note_and_copy(&out);
        assert_eq!(allocations(|| self.engine.commit()), 0, "to publish allocates nothing");
        self.ledger.entries.append(&mut out.ledger);
        self.peers.append(&mut out.peers);
        self.answers.extend(out.answers.drain(..).map(|(token, answer)| (token.0, answer)));
        for io in &out.ios {
            self.submit(io, &out.segments);
        }
        for completion in &out.completions {
            let before = self.done.insert(completion.tag, *completion);
            assert!(before.is_none(), "request {} is answered twice", completion.tag);
        }
        out.clear();
        self.out = out;
        self.settle_ledger();
        self.end_operations();
    }

    /// The first effects of a turn: the records of writes, then their bytes.
    pub(crate) fn note_and_copy(&mut self, out: &Actions) {
        self.begun.extend(out.begun.iter().map(|begun| (begun.tag, begun.generation)));
        for &copy in &out.copies {
            self.copy(copy);
        }
    }

    /// The engine's part of a turn.
    pub(crate) fn work(&mut self) {
        let now = Instant(self.now_ms * 1_000_000);
        for _ in 0..self.rings.len() {
            let Some(request) = self.rings.pop_front() else { break };
            if self.out.has_room(&self.limits) && self.engine.has_room_for(request.volume) {
                self.engine.apply(now, Event::Request(request), &mut self.out);
            } else {
                self.rings.push_back(request);
            }
        }
        while let Some(event) = self.events.pop_front() {
            if !self.out.has_room(&self.limits) {
                self.events.push_front(event);
                break;
            }
            match event {
                Event::Request(request) if !self.may_take(request.volume) => self.rings.push_back(request),
                event => self.engine.apply(now, event, &mut self.out),
            }
        }
        self.engine.tick(now, &mut self.out);
    }

    fn may_take(&self, volume: VolumeId) -> bool {
        let first = self.rings.iter().all(|waiting| waiting.volume != volume);
        !self.asks_for_room || (first && self.engine.has_room_for(volume))
    }

    fn copy(&mut self, copy: Copy) {
        let at = |slot: SlotId, at: u32, length: u32| {
            let first = slot.0 as usize * 4096 + at as usize;
            first..first + length as usize
        };
        let client = |buffer: u64, length: u32| {
            let first = usize::try_from(buffer & ((1 << PAYLOAD_SHIFT) - 1)).unwrap();
            (u32::try_from(buffer >> PAYLOAD_SHIFT).unwrap(), first..first + length as usize)
        };
        match copy {
            Copy::In { buffer, slot, at: first, length, .. } => {
                let (tag, range) = client(buffer, length);
                self.slots[at(slot, first, length)].copy_from_slice(&self.payload[&tag][range]);
            }
            Copy::Out { buffer, slot, at: first, length, .. } => {
                let (tag, range) = client(buffer, length);
                let slot = &self.slots[at(slot, first, length)];
                self.payload.get_mut(&tag).unwrap()[range].copy_from_slice(slot);
            }
            Copy::Merge { from, to, mask } => {
                for sector in (0..8).filter(|sector| mask >> sector & 1 == 1) {
                    let source = at(from, sector * 512, 512);
                    self.slots.copy_within(source, at(to, sector * 512, 512).start);
                }
            }
            Copy::Zero { slot, at: first, length } => self.slots[at(slot, first, length)].fill(0),
        }
    }

    fn submit(&mut self, io: &Io, segments: &[Segment]) {
        let first = io.first_segment as usize;
        let pieces: Vec<(u32, usize, usize)> = segments[first..first + io.segments as usize]
            .iter()
            .map(|segment| (segment.slot.0, segment.at as usize, segment.length as usize))
            .collect();
        let data = if io.kind == IoKind::Write { self.gather(&pieces) } else { Vec::new() };
        let states: &[State] = match io.kind {
            IoKind::Write => &[State::Writing],
            _ => &[State::Filling],
        };
        // M1: no slot is the target of an operation under any other state.
        for &(slot, _, _) in &pieces {
            assert!(states.contains(&self.headers[slot as usize].state()), "slot {slot} of {io:?}");
        }
        let io = in_flight(io, pieces, data, self.limits.reactor);
        self.disks[usize::from(io.volume)].borrow_mut().submit(io);
    }

    fn gather(&self, pieces: &[(u32, usize, usize)]) -> Vec<u8> {
        let piece = |&(slot, at, length): &(u32, usize, usize)| {
            let first = slot as usize * 4096 + at;
            self.slots[first..first + length].to_vec()
        };
        pieces.iter().flat_map(piece).collect()
    }

    fn settle_ledger(&mut self) {
        if let Some((up_to, reports)) = self.ledger.settle() {
            self.events.push_back(Event::LedgerDurable { up_to });
            let named = reports.into_iter();
            self.events.extend(named.map(|(token, failure_id)| Event::Reported { token, failure_id }));
        }
    }

    fn end_operations(&mut self) {
        for volume in 0..self.disks.len() {
            let ready = self.disks[volume].borrow_mut().take_ready();
            for io in ready {
                if io.reactor == self.limits.reactor || io.reactor == DEAD {
                    self.end(&io);
                } else {
                    self.disks[volume].borrow_mut().in_flight.push(io);
                }
            }
        }
    }

    fn end(&mut self, io: &crate::disk::InFlight) {
        if io.kind == IoKind::Write {
            // M3: what the device reads does not change under it.
            assert!(self.gather(&io.pieces) == io.data, "a slot changed while it was written: {io:?}");
        }
        let (result, mut read) = self.disks[usize::from(io.volume)].borrow_mut().perform(io, self.now_ms);
        for &(slot, at, length) in io.pieces.iter().filter(|_| io.kind == IoKind::Read) {
            let length = length.min(read.len());
            let first = slot as usize * 4096 + at;
            self.slots[first..first + length].copy_from_slice(&read[..length]);
            read.drain(..length);
        }
        if io.kind == IoKind::Flush && result == 0 {
            let domain = self.domains[usize::from(io.volume)];
            for (volume, _) in self.domains.iter().enumerate().filter(|&(_, &other)| other == domain) {
                let disk = &mut *self.disks[volume].borrow_mut();
                disk.stable.copy_from_slice(&disk.media);
            }
        }
        if io.reactor != DEAD {
            self.events.push_back(Event::Completed { op: io.op, result });
        }
    }

    /// Turns without time passing, until nothing moves.
    pub(crate) fn settle(&mut self) {
        let mut still = 0;
        while still < 3 {
            self.turn();
            still = if self.events.is_empty() { still + 1 } else { 0 };
        }
    }

    /// Lets time pass, a turn each millisecond.
    pub(crate) fn run_ms(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now_ms += 1;
            self.turn();
            self.turn();
        }
    }

    pub(crate) fn send(
        &mut self,
        volume: u16,
        session: u32,
        operation: Operation,
        offset: u64,
        length: u64,
    ) -> u32 {
        let tag = self.next_tag;
        self.next_tag += 1;
        let bytes = if matches!(operation, Operation::Read | Operation::Write { .. }) { length } else { 0 };
        self.payload.entry(tag).or_insert_with(|| vec![0xaa; usize::try_from(bytes).unwrap()]);
        let request = Request {
            session: SessionId(session),
            tag,
            sequence: u64::from(tag),
            volume: VolumeId(volume),
            operation,
            offset,
            length,
            buffer: u64::from(tag) << PAYLOAD_SHIFT,
            replay: 0,
            timeout_ms: self.timeout_ms,
        };
        self.requests.insert(tag, request);
        self.events.push_back(Event::Request(request));
        tag
    }

    /// Sends a write of `length` bytes of `value`.
    pub(crate) fn write(&mut self, offset: u64, length: u64, value: u8) -> u32 {
        self.write_to(0, offset, length, value, false)
    }

    pub(crate) fn write_to(&mut self, volume: u16, offset: u64, length: u64, value: u8, fua: bool) -> u32 {
        let bytes = vec![value; usize::try_from(length).unwrap()];
        self.payload.insert(self.next_tag, bytes);
        self.send(volume, 1, Operation::Write { fua }, offset, length)
    }

    /// Writes and insists on the acknowledgement.
    pub(crate) fn put(&mut self, offset: u64, length: u64, value: u8) {
        let tag = self.write(offset, length, value);
        self.turn();
        assert_eq!(self.errno(tag), Some(0), "a write of {length} bytes at {offset}");
    }

    pub(crate) fn flush(&mut self) -> u32 {
        self.send(0, 1, Operation::Flush, 0, 0)
    }

    /// Flushes, waits, and returns the answer's errno.
    pub(crate) fn flushed(&mut self) -> u16 {
        let tag = self.flush();
        self.settle();
        self.errno(tag).expect("the flush is answered without time passing")
    }

    /// Reads, waits, and returns the bytes or the errno.
    pub(crate) fn get(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, u16> {
        let tag = self.send(0, 1, Operation::Read, offset, length);
        self.settle();
        match self.errno(tag).expect("the read is answered without time passing") {
            0 => Ok(self.payload[&tag].clone()),
            errno => Err(errno),
        }
    }

    pub(crate) fn errno(&self, tag: u32) -> Option<u16> {
        self.done.get(&tag).map(|completion| completion.errno)
    }

    pub(crate) fn data(&self, tag: u32) -> &[u8] {
        &self.payload[&tag]
    }

    /// Gives an operator's command to the first volume.
    pub(crate) fn operator(&mut self, command: Command) -> u64 {
        self.operator_of(0, command)
    }

    pub(crate) fn operator_of(&mut self, volume: u16, command: Command) -> u64 {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.events.push_back(Event::Operator { token, volume: VolumeId(volume), command });
        self.next_token
    }

    /// Attaches a volume over a disk, in a place that is vacant or the next; its domain has the place's number.
    pub(crate) fn attach(
        &mut self,
        setup: VolumeSetup<'static>,
        disk: Rc<RefCell<Disk>>,
    ) -> Option<LooseVolume<'static>> {
        let place = usize::from(setup.id.0);
        if place == self.disks.len() {
            self.disks.push(disk);
            self.domains.push(setup.domain.0);
        } else {
            (self.disks[place], self.domains[place]) = (disk, setup.domain.0);
        }
        let loose = LooseVolume::new(setup, &self.limits);
        let now = Instant(self.now_ms * 1_000_000);
        let (mut left, engine) = (None, &mut self.engine);
        assert_eq!(allocations(|| left = engine.attach(now, loose)), 0, "to attach allocates nothing");
        left
    }

    pub(crate) fn list(&mut self, state: ListState) -> Vec<Extent> {
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(place) = from {
            let token = self.operator(Command::List { state, from: place });
            self.settle();
            let Some(Answer::Listed { extents, next }) = self.answers.get(&token) else { panic!("no page") };
            all.extend(extents);
            from = *next;
        }
        all
    }
}

/// Bytes as they are expected.
pub(crate) fn all(value: u8, length: usize) -> Vec<u8> {
    vec![value; length]
}
