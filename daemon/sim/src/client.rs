//! The clients: what they asked for, what they hold in their payload memory, and what they were told.

use crate::Random;
use crate::reactor::Payload;
use crate::violation::{Clause, demand};
use holdfast_engine::{Begun, Completion, Operation, Request};
use std::collections::BTreeMap;

/// A request that was not answered by everybody yet.
#[derive(Clone, Debug)]
pub struct Outstanding {
    /// The model's name for it.
    pub id: u64,
    /// What was asked.
    pub request: Request,
    /// Reactors that still owe an answer, a bit each.
    pub owing: u32,
    /// The worst answer so far.
    pub errno: u16,
    /// The name of the failure, if one was given.
    pub failure_id: u64,
    /// When it was asked.
    pub since: u64,
    /// How many times the volume's device had failed reads then.
    pub read_harm: u64,
    /// Whether it must be refused as malformed.
    pub malformed: bool,
    /// What each reactor said when it took it in, 0 for nothing.
    pub records: [u64; 8],
    /// A daemon was killed meanwhile: whether it took the request in nobody can say.
    pub outlived: bool,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// 0 or the errno.
    pub errno: u16,
    /// The name of the failure, 0 if there is none.
    pub failure_id: u64,
    /// What a read returned.
    pub data: Vec<u64>,
    /// What was asked.
    pub request: Request,
    /// Nanoseconds until the answer.
    pub took_ns: u64,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Clients {
    /// The volume of each open session.
    pub sessions: BTreeMap<u32, u16>,
    /// Requests without an answer, by session and tag.
    pub outstanding: BTreeMap<(u32, u32), Outstanding>,
    /// Requests that were answered, by the model's name, until somebody takes them.
    pub outcomes: BTreeMap<u64, Outcome>,
    payload: BTreeMap<(u32, u32), Vec<u64>>,
    opened: u32,
    tags: u32,
}

/// Bytes of the payload area between two requests: a power of two above any length.
const BUFFER_SPACING: u64 = 1 << 32;

impl Clients {
    /// Opens a session.
    pub fn open(&mut self, volume: u16) -> u32 {
        self.opened += 1;
        self.sessions.insert(self.opened, volume);
        self.opened
    }

    /// Ends a session: its memory is gone at once.
    pub fn close(&mut self, session: u32) {
        self.sessions.remove(&session);
        self.outstanding.retain(|&(of, _), _| of != session);
        self.payload.retain(|&(of, _), _| of != session);
    }

    /// A session of the list, if there is any.
    pub fn any(&self, random: &mut Random) -> Option<(u32, u16)> {
        let at = usize::try_from(random.below(self.sessions.len() as u64)).unwrap_or(0);
        self.sessions.iter().nth(at).map(|(&session, &volume)| (session, volume))
    }

    /// A tag that no request has.
    pub fn next_tag(&mut self) -> u32 {
        self.tags += 1;
        self.tags
    }

    /// Where a request's data begins.
    pub fn buffer(tag: u32) -> u64 {
        u64::from(tag) * BUFFER_SPACING
    }

    /// Remembers a request and the memory it brings.
    pub fn asked(&mut self, outstanding: Outstanding, data: Vec<u64>) {
        let key = (outstanding.request.session.0, outstanding.request.tag);
        if matches!(outstanding.request.operation, Operation::Read | Operation::Write { .. }) {
            self.payload.insert(key, data);
        }
        self.outstanding.insert(key, outstanding);
    }

    /// A reactor took a write in.
    pub fn begun(&mut self, reactor: usize, begun: &Begun) {
        if let Some(waiting) = self.outstanding.get_mut(&(begun.session.0, begun.tag)) {
            waiting.records[reactor] = begun.generation;
        }
    }

    /// One reactor's answer. Returns the request and its data if it was the last one owed.
    pub fn answered(&mut self, reactor: usize, completion: &Completion) -> (Outstanding, Option<Vec<u64>>) {
        let key = (completion.session.0, completion.tag);
        let waiting = self.outstanding.get_mut(&key);
        let owed = waiting.as_ref().is_some_and(|waiting| {
            waiting.owing >> reactor & 1 == 1 && waiting.request.sequence == completion.sequence
        });
        demand(Clause::Seam, owed, || {
            format!("{completion:?} of reactor {reactor} answers nothing: {waiting:?}")
        });
        let waiting = waiting.expect("what was just demanded");
        waiting.owing &= !(1 << reactor);
        // EIO outranks: a part that is lost makes the whole lost.
        if waiting.errno == 0 || (completion.errno == 5) {
            waiting.errno = completion.errno;
            waiting.failure_id = completion.failure_id;
        }
        let copy = waiting.clone();
        if copy.owing != 0 {
            return (copy, None);
        }
        self.outstanding.remove(&key);
        (copy, Some(self.payload.remove(&key).unwrap_or_default()))
    }
}

impl Payload for Clients {
    fn load(&self, session: u32, buffer: u64) -> u64 {
        let (key, at) = place(session, buffer);
        let data = self.payload.get(&key).and_then(|data| data.get(at)).copied();
        demand(Clause::Seam, data.is_some(), || format!("session {session} has no payload at {buffer:#x}"));
        data.unwrap_or_default()
    }

    fn store(&mut self, session: u32, buffer: u64, stamp: u64) {
        let (key, at) = place(session, buffer);
        let data = self.payload.get_mut(&key).and_then(|data| data.get_mut(at));
        demand(Clause::Seam, data.is_some(), || format!("session {session} has no payload at {buffer:#x}"));
        *data.expect("what was just demanded") = stamp;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
const fn place(session: u32, buffer: u64) -> ((u32, u32), usize) {
    ((session, (buffer / BUFFER_SPACING) as u32), (buffer % BUFFER_SPACING / 512) as usize)
}
