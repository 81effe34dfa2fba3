//! The engine itself: its parts, its entry points and the order of a tick.

use crate::cache::Cache;
use crate::domain::Domain;
use crate::failures::Failures;
use crate::list::{LISTS_MAX, ListWanted};
use crate::ops::Ops;
use crate::outbox::Outbox;
use crate::requests::{Pending, RequestId, Requests};
use crate::volume::Volume;
use crate::waits::Waits;
use crate::{
    Actions, CacheStats, Completion, Event, Header, Instant, LedgerSeq, Limits, Notes, Operation, Request,
    SlotId, VolumeId, VolumeSetup, VolumeStats,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use holdfast_mutants::mutant;
use holdfast_policy::errno;

/// Entries that the ledger must be able to have on their way: the sweep begins where there is room for 128, with what is
/// in flight beside them.
const LEDGER_ENTRIES_LEAST: usize = 192;

/// A change of headers that waits for the turn's copies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Staged {
    /// The slot's data is complete. What it supersedes, if anything, is in flight and goes by itself.
    Publish(SlotId),
    /// The slot's data is complete: the second half of [`Cache::overwrite`].
    Overwrite { before: SlotId, slot: SlotId },
    /// The slot's data is complete, and `before`, to which nothing but this leads any more, is free.
    Replace { before: SlotId, slot: SlotId },
    /// The slot took over more sectors, if it still is what it was.
    Widen { slot: SlotId, generation: u64, mask: u32 },
    /// A slot that is zeroed instead of filled, with the sectors that it then holds.
    Filled { slot: SlotId, generation: u64, mask: u32 },
    /// The slot is superseded, if it still is what it was.
    Free { slot: SlotId, generation: u64 },
}

impl Staged {
    /// The slot whose copies it waits for, if a write's.
    pub(crate) fn incoming(self) -> Option<SlotId> {
        match self {
            Staged::Publish(slot) | Staged::Replace { slot, .. } | Staged::Overwrite { slot, .. } => {
                Some(slot)
            }
            Staged::Widen { .. } | Staged::Filled { .. } | Staged::Free { .. } => None,
        }
    }
}

/// An error that its client hears once the ledger holds the reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldAnswer {
    pub(crate) seq: LedgerSeq,
    pub(crate) request: RequestId,
    pub(crate) errno: u16,
}

/// One reactor's cache. See the crate's documentation for how to drive it.
pub struct Engine<'a> {
    pub(crate) limits: Limits,
    pub(crate) now: Instant,
    pub(crate) cache: Cache<'a>,
    pub(crate) volumes: Vec<Volume<'a>>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) ops: Ops,
    pub(crate) requests: Requests,
    pub(crate) waits: Waits,
    /// Requests of which a part has just been settled.
    pub(crate) settled: Vec<RequestId>,
    pub(crate) failures: Failures,
    pub(crate) ledger: Outbox,
    pub(crate) staged: Vec<Staged>,
    /// Reads that found no slot or no operation, and replays that found no place to wait in.
    pub(crate) parked: VecDeque<RequestId>,
    pub(crate) held: VecDeque<HeldAnswer>,
    /// Pages that operators want to see.
    pub(crate) lists: VecDeque<ListWanted>,
    /// Slots on their way out, of all volumes.
    pub(crate) condemned: usize,
    pub(crate) next_token: u64,
    pub(crate) notes: Notes<'a>,
    /// Volumes begin unsettled.
    pub(crate) resumes: bool,
    /// The first generation of this life.
    pub(crate) first_generation: u64,
    /// The newest generation whose header is published.
    pub(crate) published: u64,
    /// Slots that operations of an earlier life may still use.
    pub(crate) quarantine: Vec<SlotId>,
    /// Slots with damaged headers, and what has to be durable before they are used again.
    pub(crate) doubtful: Vec<(SlotId, LedgerSeq)>,
    /// Where the tick begins, so that no volume is always first.
    pub(crate) turn: usize,
    /// Slots that may hold data which is not clean: all but the reserve.
    pub(crate) room: u64,
    /// Each volume has the room that it is to have.
    pub(crate) rooms_settled: bool,
    /// Slots that the fills of one volume may have: those of a device that hangs must leave what other volumes may write.
    pub(crate) fills_max: u64,
    /// Advances with everything that may change what a write has to heed: all but hits.
    pub(crate) facts: u64,
    /// So that a test can compare what hits do with what the long way does.
    #[cfg(test)]
    pub(crate) always_the_long_way: bool,
    /// Requests that did not take it.
    #[cfg(test)]
    pub(crate) hits: u64,
    /// Until when what other reactors said is good enough for requests; never asked if there are none.
    pub(crate) hearsay_until: Instant,
}

impl<'a> Engine<'a> {
    /// An engine without volumes over `headers`, all of them free.
    ///
    /// # Panics
    /// If a header is not free, the reserve is smaller than one request or leaves nothing, or what background work asks of
    /// the ledger at a time does not fit. The configuration refuses what could lead here, by the names of its keys.
    pub fn new(limits: Limits, headers: &'a [Header], now: Instant) -> Engine<'a> {
        Engine::with(limits, headers.len(), Cache::new(headers, limits.seed), now)
    }

    pub(crate) fn with(limits: Limits, slots: usize, cache: Cache<'a>, now: Instant) -> Engine<'a> {
        let reserve = limits.reserve_slots as usize;
        assert!(
            limits.request_lines_max <= reserve,
            "the reserve of {reserve} slots does not hold one request"
        );
        let entries = limits.ledger_entries_max;
        assert!(entries >= LEDGER_ENTRIES_LEAST, "{entries} ledger entries: write-back would never begin");
        assert!(reserve < slots, "the reserve of {reserve} slots leaves none of {slots}");
        assert!(
            (1..=crate::RUN_LINES_MAX).contains(&limits.run_lines_max),
            "runs of {}",
            limits.run_lines_max
        );
        Engine {
            limits,
            now,
            cache,
            volumes: Vec::new(),
            domains: Vec::new(),
            ops: Ops::new(limits.ops_max),
            requests: Requests::new(limits.requests_max),
            waits: Waits::new(limits.waits_max(), limits.waits_least(), limits.seed),
            settled: Vec::new(),
            failures: Failures::new(slots),
            ledger: Outbox::new(limits.ledger_entries_max),
            staged: Vec::with_capacity(2 * limits.copies_max()),
            parked: VecDeque::with_capacity(limits.requests_max),
            held: VecDeque::with_capacity(limits.requests_max),
            lists: VecDeque::with_capacity(LISTS_MAX),
            condemned: 0,
            next_token: 1,
            notes: Notes::NONE,
            resumes: false,
            first_generation: 1,
            published: 0,
            quarantine: Vec::new(),
            doubtful: Vec::new(),
            turn: 0,
            room: (slots - reserve) as u64,
            rooms_settled: true,
            fills_max: 0,
            facts: 1,
            #[cfg(test)]
            always_the_long_way: false,
            #[cfg(test)]
            hits: 0,
            hearsay_until: if limits.reactors > 1 { now } else { Instant::NEVER },
        }
    }

    /// Adds a volume. Volumes are numbered from 0 in the order they are added, domains in the order they appear.
    ///
    /// # Panics
    /// If the volume or a new domain is out of order, its budget holds less than one request, the index's storage is too
    /// small, or the volumes' room does not leave the reserve.
    pub fn add_volume(&mut self, setup: VolumeSetup<'a>) {
        assert_eq!(usize::from(setup.id.0), self.volumes.len(), "volumes are numbered in order");
        let (budget, request) = (setup.budget_slots, self.limits.request_lines_max as u64);
        assert!(budget >= request, "a budget of {budget} slots does not hold a request of {request}");
        let domain = usize::from(setup.domain.0);
        assert!(domain <= self.domains.len(), "domains are numbered in order");
        if domain == self.domains.len() {
            self.domains.push(Domain::new(setup.domain_owner, self.limits.reactors, self.now));
        }
        self.requests.add_volume();
        self.waits.add_volume();
        self.settled.reserve(self.waits.max());
        self.volumes.push(Volume::new(setup, self.limits.requests_max));
        let volume = self.volumes.last_mut().expect("it was just added");
        if self.resumes {
            volume.settled = false;
            // What refused operations of an earlier life left on the device may go away until a flush.
            volume.torn.add(0, setup.geometry.local_lines(), self.now);
        }
        let given: u64 = self.volumes.iter().map(|volume| volume.allowance.room()).sum();
        let room = self.room;
        assert!(given <= room, "the volumes may take {given} slots; the reserve leaves {room}");
        self.divide_fills();
    }

    /// What is neither promised to writes nor needed by one of them is divided among the volumes' fills.
    pub(crate) fn divide_fills(&mut self) {
        let given: u64 = self.volumes.iter().map(|volume| volume.allowance.room()).sum();
        // An overwrite takes its slots before it gives back those that it replaces.
        let promised = given + self.limits.request_lines_max as u64;
        let volumes = self.requests.volumes().max(1) as u64;
        self.fills_max = (self.cache.slots().saturating_sub(promised) / volumes).max(1);
    }

    /// Takes in one event. The caller has asked [`Actions::has_room`].
    pub fn apply(&mut self, now: Instant, event: Event, out: &mut Actions) {
        self.now = now;
        self.hear_anew(now);
        if let Event::Request(request) = &event
            && self.hit(request, out)
        {
            #[cfg(test)]
            {
                self.hits += 1;
            }
            return;
        }
        self.facts += 1;
        self.take_in_event(now, event, out);
    }

    #[inline(never)]
    fn take_in_event(&mut self, now: Instant, event: Event, out: &mut Actions) {
        match event {
            Event::Request(request) => self.request(now, request, out),
            Event::Completed { op, result } => self.completed(now, op, result, out),
            Event::LedgerDurable { up_to } => self.ledger_durable(up_to, out),
            Event::Reported { token, failure_id } => self.reported(token, failure_id, out),
            Event::Settled { volume } => self.settled(volume),
            Event::SessionClosed(session) => self.requests.orphan(session),
            Event::Flushed { domain, number, errno, verifier } => {
                self.flushed(now, domain, number, errno, verifier, out)
            }
            Event::FlushWanted { domain, from, number } => self.flush_wanted(now, domain, from, number, out),
            Event::DeviceChanged { domain } => self.device_changed(domain, out),
            Event::Operator { token, volume, command } => self.operator(now, token, volume, command, out),
        }
    }

    /// Restores what must always hold: room to allocate, write-back under way, probes sent, flushes answered. Once a
    /// turn, after the events; a bounded amount of work each time.
    pub fn tick(&mut self, now: Instant, out: &mut Actions) {
        self.now = now;
        self.facts += 1;
        self.evict(out);
        out.begin_tick();
        self.settle_rooms();
        // What failed again may have been on record already: no word of the ledger follows then.
        self.release_held(out);
        self.withdraw_late(now, out);
        self.retry_parked(now, out);
        self.turn = self.turn.wrapping_add(1);
        for step in 0..self.volumes.len() {
            let volume = (self.turn + step) % self.volumes.len();
            if self.volumes[volume].settled {
                self.tick_volume(now, volume, out);
            }
        }
        self.tick_domains(now, out);
        self.answer_list(out);
        if mutant!(HeaderIsEarly) {
            self.commit();
        }
    }

    fn tick_volume(&mut self, now: Instant, volume: usize, out: &mut Actions) {
        self.rebase_epochs(volume);
        self.settle_written(volume, out);
        self.recheck_reported(volume, out);
        self.begin_turn(now, volume);
        self.mark_overdue(now, volume);
        self.retry_stalled(now, volume, out);
        self.advance_zeroes(now, volume, out);
        self.give_up_for_oldest(now, volume, out);
        self.advance_tasks(volume, out);
        self.advance_judging(now, volume, out);
        self.advance_passes(now, volume, out);
        self.send_probe(now, volume, out);
        self.advance_flushes(now, volume, out);
        self.sweep(now, volume, out);
        self.end_turn(volume);
    }

    /// When [`Engine::tick`] must run again at the latest, though nothing happens meanwhile.
    pub fn next_wake(&self) -> Instant {
        let quiet = (self.requests.len() == 0 || mutant!(PendingSleeps))
            && self.cache.not_clean() == 0
            && self.volumes.iter().all(|volume| {
                volume.gate.is_none()
                    && volume.tasks.is_empty()
                    && !volume.allowance.is_engaged()
                    && volume.zeroed.is_empty()
                    && volume.torn.is_empty()
                    && volume.recheck.is_none()
            });
        let background = !self.lists.is_empty()
            || self.held.front().is_some_and(|held| self.ledger.is_durable(held.seq))
            || self.volumes.iter().any(|volume| volume.redirty && volume.settled);
        match (quiet, background) {
            (_, true) => self.now,
            (true, false) => Instant::NEVER,
            (false, false) => self.now.after_ms(1),
        }
    }

    /// The slots that the next writes will be copied to, the first one first, if no slot is freed before: for a shell that
    /// has time to bring their memory near. They are free: nothing in them may be changed.
    pub fn next_slots(&self) -> impl Iterator<Item = SlotId> {
        self.cache.next_free()
    }

    /// Whether a request of the volume can be taken in now: without room, one more would be answered with `EAGAIN`. The
    /// shell leaves it where it is, and asks again in the next turn.
    ///
    /// A volume of which many requests wait, because its device hangs or its budget is used up, has no room when others
    /// have.
    #[inline]
    pub fn has_room_for(&self, volume: VolumeId) -> bool {
        let index = usize::from(volume.0);
        // A volume that is not there is an error to be answered.
        self.volumes.get(index).is_none_or(|volume| volume.vacant) || self.requests.has_room(index)
    }

    /// What is going on in a volume; zeroes if there is none of that name.
    pub fn stats(&self, volume: VolumeId) -> VolumeStats {
        self.volumes.get(usize::from(volume.0)).map(|volume| volume.snapshot(self.now)).unwrap_or_default()
    }

    /// What is going on in the cache as a whole.
    pub fn cache_stats(&self) -> CacheStats {
        CacheStats {
            slots: self.cache.slots(),
            free: self.cache.free(),
            not_clean: self.cache.not_clean(),
            evictions: self.cache.evictions(),
            requests: self.requests.len() as u64,
            ops: self.ops.len() as u64,
            ledger_entries: self.ledger.pending(),
        }
    }

    fn request(&mut self, now: Instant, request: Request, out: &mut Actions) {
        let lines = match self.check(&request) {
            Ok(lines) => lines,
            Err(errno) => return answer(&request, errno, 0, out),
        };
        // What can be answered at once never becomes a pending request. Reads that can have been.
        let at_once = matches!(request.operation, Operation::Write { .. }) && request.replay == 0;
        if at_once && self.write_at_once(&request, lines, out) {
            return;
        }
        // Asked here, since a volume that closes answers nothing at once.
        if self.volumes[usize::from(request.volume.0)].closing {
            return answer(&request, errno::ENXIO, 0, out);
        }
        if !self.requests.has_room(usize::from(request.volume.0)) {
            answer(&request, errno::EAGAIN, 0, out);
            return;
        }
        let pending = Pending {
            request,
            since: now,
            cursor: 0,
            first_zeroed: 0,
            end: 0,
            remaining: 0,
            errno: 0,
            chunks: 0,
            fallback: false,
            orphan: false,
            taken_before: 0,
            begun: false,
        };
        let id = self.requests.insert(pending);
        match request.operation {
            Operation::Read => self.read(now, id, lines, out),
            Operation::Write { .. } if request.replay != 0 => self.replay(id, lines, out),
            Operation::Write { .. } => self.write(id, lines, out),
            Operation::Flush => self.flush(id),
            Operation::Discard | Operation::WriteZeroes { .. } => self.zero(id),
        }
    }

    /// What a client may not ask for, as an errno; else the lines of a read or write.
    fn check(&self, request: &Request) -> Result<(u64, u64), u16> {
        let volume = self.volumes.get(usize::from(request.volume.0)).ok_or(errno::ENXIO)?;
        match request.operation {
            Operation::Flush => Ok((0, 0)),
            Operation::Discard | Operation::WriteZeroes { .. } => {
                if volume.holds(request.offset, request.length) { Ok((0, 0)) } else { Err(errno::EINVAL) }
            }
            Operation::Read | Operation::Write { .. } => {
                let lines = volume.lines_of(request.offset, request.length).ok_or(errno::EINVAL)?;
                let short = lines.1 - lines.0 <= self.limits.request_lines_max as u64;
                if short { Ok(lines) } else { Err(errno::EINVAL) }
            }
        }
    }

    /// Answers a request and forgets it.
    pub(crate) fn complete(&mut self, id: RequestId, errno: u16, failure_id: u64, out: &mut Actions) {
        let pending = self.requests.remove(id);
        // A device that timed out says nothing about the request: it may still happen, as with any other error.
        let errno = if errno == errno::ETIMEDOUT { errno::EIO } else { errno };
        if !pending.orphan {
            answer(&pending.request, errno, failure_id, out);
        }
    }

    /// Answers requests whose time is over and of which nothing has happened; nobody waits for them any more, and what
    /// waits for its turn drops them when that comes (M9).
    fn withdraw_late(&mut self, now: Instant, out: &mut Actions) {
        let mut left = self.limits.steps_a_turn;
        while out.has_room(&self.limits)
            && let Some(id) = self.requests.next_late(now, &mut left)
        {
            let pending = self.requests.get_mut(id);
            pending.orphan = true;
            answer(&pending.request, errno::ETIMEDOUT, 0, out);
        }
    }

    /// Settles the parts that were found to be, each with this errno.
    pub(crate) fn settle_parts(&mut self, errno: u16, out: &mut Actions) {
        while let Some(request) = self.settled.pop() {
            self.settle_part(request, errno, out);
        }
    }

    /// One of the lines or pieces that a request waits for is settled; answers it if it was the last.
    pub(crate) fn settle_part(&mut self, id: RequestId, errno: u16, out: &mut Actions) {
        let pending = self.requests.get_mut(id);
        pending.remaining -= 1;
        if pending.errno == 0 {
            pending.errno = errno;
        }
        let (done, errno) = (pending.remaining == 0 && pending.cursor >= pending.end, pending.errno);
        // If the ledger holds all that it was told, no later word of it would release the answer.
        let told = self.ledger.is_durable(self.ledger.last());
        let told = told || mutant!(ToldBeforeRecorded);
        let waits_for_ledger = errno != 0 && pending.request.operation != Operation::Read && !told;
        match (done, waits_for_ledger) {
            (false, _) => {}
            (true, false) => self.complete(id, errno, 0, out),
            (true, true) => self.held.push_back(HeldAnswer { seq: self.ledger.last(), request: id, errno }),
        }
    }
}

pub(crate) fn answer(request: &Request, errno: u16, failure_id: u64, out: &mut Actions) {
    out.completions.push(Completion {
        session: request.session,
        tag: request.tag,
        sequence: request.sequence,
        errno,
        failure_id,
    });
}
