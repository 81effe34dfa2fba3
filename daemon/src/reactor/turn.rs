//! The loop of a reactor: answers first, then letters, then requests, of which hits are answered at once; then the tick;
//! then the effects, in their order.

mod effects;
mod requests;
mod seating;

use super::clock::Clock;
use super::idle::{Idler, Rest};
use super::link::{Entry, Link, Mail, Plug, ReactorStats, Seat, SeatFault, Source, Word};
use super::post::Post;
use super::sessions::Sessions;
use super::stopwatch::Stopwatch;
use crate::arena::Slots;
use crate::config::Idle;
use crate::device::{Backing, Disk, DiskError, Reaped};
use holdfast_engine::{Actions, Answer, Engine, Event, Instant, Limits, OpId, SessionId, Token, VolumeId};
use holdfast_policy::errno;
use holdfast_ringbuf::daemon_side::WakeState;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Looks at the rings between two idle turns: cheaper than a turn, so a request is found sooner.
const LOOKS: usize = 8;
/// Nanoseconds between two looks at the board by others: what `status` may lag.
const PUBLISH_NS: u64 = 2_000_000;
/// The watch of the inbox's bell; sessions are watched by their place.
const BELL_KEY: u64 = u64::MAX;

/// How long a reactor that has been stopped waits for a ledger whose box is full: as long as the ledger for its disk.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Where a reactor's words go.
#[derive(Clone)]
pub struct Outlets {
    /// To the ledger.
    pub ledger: Arc<Post<Entry>>,
    /// To the thread that keeps the sessions and answers operators.
    pub words: Arc<Post<Word>>,
    /// All reactors, this one among them.
    pub links: Arc<[Link]>,
}

/// One reactor with all it owns.
pub struct Reactor {
    number: u32,
    limits: Limits,
    engine: Engine<'static>,
    actions: Actions,
    disk: Disk,
    slots: Slots,
    sessions: Sessions,
    outlets: Outlets,
    clock: Clock,
    /// The beginning of this turn.
    now: Instant,
    idler: Idler,
    stats: ReactorStats,
    stopwatch: Stopwatch,
    volumes: usize,
    /// Completions and wake-ups that did not fit their turn.
    reaped: VecDeque<(OpId, i32)>,
    woken: VecDeque<u64>,
    /// Letters that found the box full. The engine bounds what it has out; this only bridges a slow reader.
    late_entries: VecDeque<Entry>,
    late_words: VecDeque<Word>,
    late_mail: VecDeque<(u32, Mail)>,
    ending: Vec<(SessionId, Option<SeatFault>)>,
    first_session: usize,
    quiet: bool,
    stopped: bool,
}

impl Reactor {
    /// Puts a reactor together; the engine has its volumes, the disk its files.
    ///
    /// # Errors
    /// The inbox's bell cannot be watched.
    #[allow(clippy::too_many_arguments, reason = "the parts of a reactor, each made elsewhere")]
    pub fn new(
        limits: Limits,
        engine: Engine<'static>,
        mut disk: Disk,
        slots: Slots,
        outlets: Outlets,
        clock: Clock,
        idle: Idle,
        core: Option<u32>,
        volumes: usize,
    ) -> Result<Reactor, DiskError> {
        let number = limits.reactor;
        disk.watch(outlets.links[number as usize].inbox.bell(), BELL_KEY)?;
        Ok(Reactor {
            number,
            actions: Actions::with_capacity(&limits),
            engine,
            disk,
            slots,
            sessions: Sessions::new(),
            outlets,
            now: clock.now(),
            clock,
            idler: Idler::new(idle),
            stats: ReactorStats { core, ..ReactorStats::default() },
            stopwatch: Stopwatch::new(limits.requests_max * 3, limits.ops_max),
            volumes,
            reaped: VecDeque::with_capacity(2 * limits.ops_max),
            woken: VecDeque::with_capacity(1024),
            late_entries: VecDeque::with_capacity(limits.ledger_entries_max),
            late_words: VecDeque::with_capacity(256),
            late_mail: VecDeque::with_capacity(256),
            ending: Vec::with_capacity(64),
            first_session: 0,
            quiet: false,
            stopped: false,
            limits,
        })
    }

    /// What the engine has to say before its first turn.
    pub fn begin_with(&mut self, mut actions: Actions) {
        let number = self.number;
        let entries = actions.ledger.drain(..).map(|(seq, entry)| Entry { reactor: number, seq, entry });
        self.late_entries.extend(entries);
    }

    /// Polls until it is told to stop.
    ///
    /// # Errors
    /// The ring to the kernel is of no more use.
    pub fn run(&mut self) -> Result<(), DiskError> {
        // One look at the clock a turn: the beginning of a turn is the end of the one before.
        self.now = self.clock.now();
        while !self.stopped {
            if !self.pass()? {
                self.rest()?;
                self.now = self.clock.now();
            }
        }
        self.say_the_rest();
        Ok(())
    }

    /// One pass of the loop, without its rest: for whoever measures turns. Whether there was anything to do.
    ///
    /// # Errors
    /// As [`Reactor::run`].
    pub fn pass(&mut self) -> Result<bool, DiskError> {
        let began = self.now;
        let busy = self.turn()?;
        if busy {
            self.now = self.clock.now();
            let link = &self.outlets.links[self.number as usize];
            self.stopwatch.lap(began, self.now, &link.board.measured);
            self.stats.longest_turn_ns = self.stats.longest_turn_ns.max(self.now.since_ns(began));
            self.stats.busy_turns += 1;
            self.idler.busy();
        } else {
            self.stats.idle_turns += 1;
        }
        Ok(busy)
    }

    /// What the ledger has not heard when it closes, the next daemon does not know: that a range was healed, or lost. Nobody
    /// waits for this reactor any more but whoever ends the daemon.
    fn say_the_rest(&mut self) {
        if !self.outlets.ledger.push_all_within(&mut self.late_entries, LAST_WORDS) {
            let (reactor, entries) = (self.number, self.late_entries.len());
            tracing::error!(reactor, entries, "the ledger has not taken what was last said to it");
        }
    }

    /// One turn; whether there was anything to do.
    fn turn(&mut self) -> Result<bool, DiskError> {
        let mut busy = self.take_answers();
        busy |= self.take_mail();
        busy |= self.take_requests();
        self.engine.tick(self.now, &mut self.actions);
        busy |= self.perform();
        self.ring_bells();
        self.end_sessions();
        self.disk.enter()?;
        if self.now.since_ns(Instant(self.stats.at_ns)) >= PUBLISH_NS {
            self.publish();
        }
        Ok(busy)
    }

    fn take_answers(&mut self) -> bool {
        let (reaped, woken) = (&mut self.reaped, &mut self.woken);
        self.disk.reap(|found| match found {
            Reaped::Completed { op, result } => reaped.push_back((op, result)),
            Reaped::Wake { key } => woken.push_back(key),
        });
        let busy = !self.reaped.is_empty();
        let measured = &self.outlets.links[self.number as usize].board.measured;
        while busy && self.actions.has_room(&self.limits) {
            let Some((op, result)) = self.reaped.pop_front() else { break };
            self.stopwatch.complete(op, result, self.now, measured);
            self.engine.apply(self.now, Event::Completed { op, result }, &mut self.actions);
        }
        while let Some(key) = self.woken.pop_front() {
            self.wake(key);
        }
        busy
    }

    /// Something happened at a descriptor that is watched.
    fn wake(&mut self, key: u64) {
        if key == BELL_KEY {
            self.outlets.links[self.number as usize].inbox.hush();
            return;
        }
        let session = seating::session_of(key);
        // Who rings asks for something: it is looked at in this turn.
        self.sessions.warm(session);
        let Some(taken) = self.sessions.get(session) else { return };
        // A guest's kick needs no look at its descriptor.
        if let Source::Ring { ring, .. } = &mut taken.seat.source
            && ring.drain_wake() == WakeState::HungUp
        {
            self.ending.push((session, None));
        }
    }

    fn take_mail(&mut self) -> bool {
        let mut busy = false;
        // An empty box is asked by two loads; `pop` would begin with a fence, which waits for what the last turn published.
        while !self.outlets.links[self.number as usize].inbox.is_empty()
            && self.actions.has_room(&self.limits)
        {
            let Some(mail) = self.outlets.links[self.number as usize].inbox.pop() else { break };
            busy = true;
            match mail {
                Mail::Event(event) => self.engine.apply(self.now, event, &mut self.actions),
                Mail::Plug(plug) => self.plug(*plug),
                Mail::Unplug { token, volume } => self.unplug(token, volume),
                Mail::Seat(seat) => self.admit(seat),
                Mail::Open(session) => {
                    if let Some(taken) = self.sessions.get(session)
                        && let Some(queues) = taken.seat.queues()
                    {
                        queues.open();
                        self.sessions.touch(session);
                        self.sessions.warm(session);
                    }
                }
                Mail::Letter(letter) => self.read_letter(letter),
                Mail::Leave(session) => self.ending.push((session, None)),
                Mail::Device { token, volume, backing } => self.exchange(token, volume, backing),
                Mail::Warm => {
                    let fallbacks = self.disk.register_memory();
                    fallbacks.iter().for_each(|fallback| tracing::warn!("{fallback}"));
                }
                Mail::Quiet => self.quiet = true,
                Mail::Stop => self.stopped = true,
            }
        }
        busy
    }

    /// Gives a volume its place: the ring has its device before the engine may want it.
    fn plug(&mut self, plug: Plug) {
        let Plug { token, volume, backing, faults } = plug;
        let id = volume.id();
        let answer = match self.disk.attach(id, &backing, faults) {
            Ok(()) => {
                let board = &self.outlets.links[self.number as usize].board;
                board.measured.begin_anew(usize::from(id.0));
                let husk = self.engine.attach(self.now, volume);
                self.volumes = self.volumes.max(usize::from(id.0) + 1);
                self.late_words.extend(husk.map(Word::Husk));
                Answer::Done
            }
            Err(_) => {
                self.late_words.push_back(Word::Husk(volume));
                Answer::Refused { errno: errno::ENXIO }
            }
        };
        self.late_words.push_back(Word::Answer { token, reactor: self.number, answer });
    }

    fn unplug(&mut self, token: Token, volume: VolumeId) {
        self.disk.detach(volume);
        self.late_words.push_back(Word::Answer { token, reactor: self.number, answer: Answer::Done });
    }

    /// Another description of the volume's device, or none.
    #[cold]
    fn exchange(&mut self, token: Token, volume: VolumeId, backing: Option<Arc<Backing>>) {
        let answer = match self.disk.exchange(volume, backing.as_deref()) {
            Ok(()) => Answer::Done,
            Err(_) => Answer::Refused { errno: errno::ENXIO },
        };
        self.late_words.push_back(Word::Answer { token, reactor: self.number, answer });
    }

    /// Lets go of a session that is over, one a turn: the engine looks through its requests. They are not answered to
    /// anybody.
    fn end_sessions(&mut self) {
        while let Some((session, fault)) = self.ending.pop() {
            if self.sessions.get(session).is_none() {
                continue;
            }
            self.dismiss(session);
            self.engine.apply(self.now, Event::SessionClosed(session), &mut self.actions);
            let fault = fault.map(|fault| fault.to_string());
            self.late_words.push_back(Word::Over { session, fault });
            self.late_words.push_back(Word::Left(session));
            return;
        }
    }

    fn publish(&mut self) {
        self.stats.at_ns = self.now.0;
        self.stats.cache = self.engine.cache_stats();
        let board = &self.outlets.links[self.number as usize].board;
        for volume in 0..self.volumes {
            let id = VolumeId(u16::try_from(volume).expect("few volumes"));
            board.put_volume(volume, self.engine.stats(id));
        }
        board.put_reactor(self.stats);
    }

    /// After an idle turn: spins, yields or sleeps.
    fn rest(&mut self) -> Result<(), DiskError> {
        match self.idler.rest(self.now, self.engine.next_wake()) {
            Rest::Spin => self.spin(),
            Rest::Yield => std::thread::yield_now(),
            Rest::Sleep(timeout) => self.sleep(timeout)?,
        }
        Ok(())
    }

    /// Looks for requests alone, a few times.
    fn spin(&mut self) {
        for _ in 0..LOOKS {
            std::hint::spin_loop();
            if self.sessions.somebody_asks() {
                return;
            }
        }
    }

    fn sleep(&mut self, timeout: Duration) -> Result<(), DiskError> {
        let late = !self.late_entries.is_empty() || !self.late_words.is_empty() || !self.late_mail.is_empty();
        let waiting = late || !self.reaped.is_empty() || !self.ending.is_empty();
        if waiting || !self.outlets.links[self.number as usize].inbox.prepare_sleep() {
            return Ok(());
        }
        let mut may_sleep = true;
        let mut armed = 0;
        let listening = if self.quiet { 0 } else { self.sessions.len() };
        for index in 0..listening {
            let taken = self.sessions.at(index);
            // What it asks can only be taken in once something else has happened, which wakes this reactor.
            if !self.engine.has_room_for(taken.seat.volume) {
                continue;
            }
            armed = index + 1;
            let session = taken.seat.session;
            match taken.seat.prepare_sleep() {
                Ok(true) => {}
                Ok(false) => {
                    self.sessions.warm(session);
                    may_sleep = false;
                }
                Err(fault) => {
                    self.ending.push((session, Some(fault)));
                    may_sleep = false;
                }
            }
            if !may_sleep {
                break;
            }
        }
        if may_sleep {
            self.publish();
            self.disk.sleep(Some(timeout))?;
        }
        for index in 0..armed {
            self.sessions.at(index).seat.awake();
        }
        self.outlets.links[self.number as usize].inbox.awake();
        Ok(())
    }
}
