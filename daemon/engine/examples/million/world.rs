//! An engine over a disk of refusals, without data: how long its turns are does not depend on what is in the lines.

use holdfast_engine::*;
use holdfast_policy::*;
use std::sync::atomic::AtomicU64;

/// Bytes of a line.
pub(crate) const LINE: u64 = 4096;

/// What the disk says to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It does what it is asked for.
    Well,
    /// It refuses writes with this errno.
    Refuses(u16),
}

/// An engine with the limits of a daemon, one volume of as many lines as are to fail, and a shell that moves no byte.
pub(crate) struct World<'a> {
    /// The engine.
    pub(crate) engine: Engine<'a>,
    /// Its limits.
    pub(crate) limits: Limits,
    /// Time, in milliseconds.
    pub(crate) now_ms: u64,
    /// How the disk is.
    pub(crate) mood: Mood,
    /// Device flushes do not end while this is set.
    pub(crate) holds_flushes: bool,
    /// Operators' answers that nobody has taken yet.
    pub(crate) answers: Vec<Answer>,
    /// Requests answered with success, and with an error.
    pub(crate) answered: (u64, u64),
    /// The most lines that one turn looked up.
    pub(crate) most_steps: usize,
    out: Actions,
    waiting: std::collections::VecDeque<Event>,
    held: Vec<Event>,
    tags: u32,
}

/// Memory that an engine borrows: headers, and the words of one index.
pub(crate) fn memory(lines: u64) -> (Vec<Header>, Vec<AtomicU64>) {
    let slots = usize::try_from(lines + lines / 4 + 4096).expect("a test's size");
    let headers = (0..slots).map(|_| Header::default()).collect();
    (headers, (0..DirtyIndex::words_needed(lines)).map(|_| AtomicU64::new(0)).collect())
}

impl<'a> World<'a> {
    /// A world whose volume has `lines` lines.
    pub(crate) fn new(
        lines: u64,
        policy: Policy,
        headers: &'a [Header],
        index: &'a [AtomicU64],
    ) -> World<'a> {
        let limits = Limits {
            ops_max: 128,
            run_lines_max: 64,
            requests_max: 4096,
            request_lines_max: 33,
            ledger_entries_max: 4096,
            reserve_slots: 2048,
            requests_a_turn: 64,
            steps_a_turn: 256,
            ..Limits::small(0, 1)
        };
        let mut engine = Engine::new(limits, headers, Instant(0));
        let retry = Retry { on_timer: false, ..Retry::default() };
        let rule = Rule { classes: ClassSet::ANY, policy, retry };
        engine.add_volume(VolumeSetup {
            id: VolumeId(0),
            geometry: Geometry {
                volume_bytes: lines * LINE,
                block_bytes: 512,
                line_bytes: 4096,
                stripe_bytes: 1 << 20,
                reactors: 1,
                reactor: 0,
            },
            domain: DomainId(0),
            domain_owner: 0,
            mode: Mode::WriteBack,
            budget_slots: lines + lines / 8 + 1024,
            room_slots: lines + lines / 8 + 1024,
            share: Box::leak(Box::new(Share::new(1))),
            rules: Rules::new(&[rule]).expect("one rule for every class"),
            flush_on_failure: FlushOnFailure::Report,
            parked_flushes_max: 16,
            io_timeout_ms: 30_000,
            write_back_from: 1000,
            write_back_after_ms: 0,
            index_lines: lines,
            index,
        });
        World {
            engine,
            now_ms: 1,
            mood: Mood::Well,
            holds_flushes: false,
            answers: Vec::new(),
            answered: (0, 0),
            most_steps: 0,
            out: Actions::with_capacity(&limits),
            waiting: std::collections::VecDeque::new(),
            held: Vec::new(),
            tags: 0,
            limits,
        }
    }

    /// A client asks, in the next turn.
    pub(crate) fn ask(&mut self, operation: Operation, offset: u64, length: u64) {
        self.tags += 1;
        self.waiting.push_back(Event::Request(Request {
            session: SessionId(1),
            tag: self.tags,
            sequence: u64::from(self.tags),
            volume: VolumeId(0),
            operation,
            offset,
            length,
            buffer: 0,
            timeout_ms: 0,
            replay: 0,
        }));
    }

    /// An operator asks, in the next turn.
    pub(crate) fn command(&mut self, command: Command) {
        self.waiting.push_back(Event::Operator { token: Token(0), volume: VolumeId(0), command });
    }

    /// The engine's part of a turn: what a reactor's length of turn is made of, but for copies and the kernel.
    pub(crate) fn think(&mut self) {
        let now = Instant(self.now_ms * 1_000_000);
        while self.out.has_room(&self.limits)
            && let Some(event) = self.waiting.pop_front()
        {
            self.engine.apply(now, event, &mut self.out);
        }
        self.engine.tick(now, &mut self.out);
        self.engine.commit();
    }

    /// The rest of it: the disk and the ledger answer at once, to be heard in the next turn.
    pub(crate) fn act(&mut self) {
        self.most_steps = self.most_steps.max(self.out.steps());
        for io in &self.out.ios {
            let result = match (io.kind, self.mood) {
                (IoKind::Write, Mood::Refuses(errno)) => -i32::from(errno),
                _ => i32::try_from(io.length).expect("a run is short"),
            };
            let done = Event::Completed { op: io.op, result };
            let held = io.kind == IoKind::Flush && self.holds_flushes;
            if held { self.held.push(done) } else { self.waiting.push_back(done) }
        }
        if !self.holds_flushes {
            self.waiting.extend(self.held.drain(..));
        }
        if let Some(&(up_to, _)) = self.out.ledger.last() {
            self.waiting.push_back(Event::LedgerDurable { up_to });
        }
        for (_, entry) in &self.out.ledger {
            if let LedgerEntry::Report { token, .. } = *entry {
                self.waiting.push_back(Event::Reported { token, failure_id: 1 });
            }
        }
        for completion in &self.out.completions {
            let well = completion.errno == 0;
            self.answered = (self.answered.0 + u64::from(well), self.answered.1 + u64::from(!well));
        }
        self.answers.extend(self.out.answers.drain(..).map(|(_, answer)| answer));
        self.out.clear();
    }

    /// What is going on.
    pub(crate) fn stats(&self) -> VolumeStats {
        self.engine.stats(VolumeId(0))
    }
}
