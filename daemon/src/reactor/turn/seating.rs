//! Seats come and go, answers go out, letters go round.

use super::{Mail, Reactor, Seat, Source};
use crate::reactor::wire;
use crate::vhost::Letter;
use holdfast_engine::{Completion, SessionId};
use std::sync::Arc;

impl Reactor {
    pub(super) fn admit(&mut self, mut seat: Box<Seat>) {
        let session = seat.session;
        let mut watched = Ok(());
        match &mut seat.source {
            Source::Ring { ring, .. } => watched = self.disk.watch(ring.wake_fd(), u64::from(session.0)),
            Source::Queues(queues) => {
                for (queue, kick) in queues.kicks() {
                    watched = watched.and(self.disk.watch(kick, kick_key(session, queue)));
                }
                for (file, bell) in queues.calls() {
                    *bell = Some(self.disk.add_bell(Arc::clone(file)));
                }
            }
        }
        self.sessions.insert(seat);
        if watched.is_err() {
            self.ending.push((session, None));
        }
    }

    /// Lets go of what [`Reactor::admit`] had the kernel watch.
    pub(super) fn dismiss(&mut self, session: SessionId) {
        let Some(mut seat) = self.sessions.remove(session) else { return };
        // Nothing is to be unwatched if the watch was refused; and a ring that fails says so at the next enter.
        match &mut seat.source {
            Source::Ring { .. } => drop(self.disk.unwatch(u64::from(session.0))),
            Source::Queues(queues) => {
                queues.kicks().for_each(|(queue, _)| drop(self.disk.unwatch(kick_key(session, queue))));
                queues.calls().for_each(|(_, bell)| {
                    if let Some(bell) = bell.take() {
                        self.disk.remove_bell(bell);
                    }
                });
            }
        }
    }

    /// What another reactor says about a guest's request. The guest may have left meanwhile.
    pub(super) fn read_letter(&mut self, letter: Letter) {
        match letter {
            Letter::Ask(request) => {
                let taken = self.sessions.get(request.session);
                if let Some(queues) = taken.and_then(|taken| taken.seat.queues()) {
                    queues.arrive(request);
                    self.sessions.warm(request.session);
                }
            }
            Letter::Answer { session, tag, errno } => {
                self.pass_on(&Completion { session, tag, sequence: 0, errno, failure_id: 0 });
            }
        }
    }

    /// Passes an answer on to whoever asked, if he is still there.
    pub(super) fn pass_on(&mut self, completion: &Completion) {
        let Some(taken) = self.sessions.get(completion.session) else { return };
        match wire::answer(&mut taken.seat, completion) {
            Ok(Some(begun)) => self.stopwatch.answer(taken.seat.volume, begun),
            Ok(None) => {}
            Err(fault) => self.ending.push((completion.session, Some(fault))),
        }
        self.sessions.touch(completion.session);
    }

    /// The turn is over for those whom it touched: who sleeps is woken, and letters about guests' requests go to their
    /// reactors. A guest has seen each answer as soon as it was given, so that it is called once a turn, not once a group:
    /// a call is an interrupt, and the look whether it wants one is a fence.
    pub(super) fn ring_bells(&mut self) {
        while let Some(seat) = self.sessions.next_touched() {
            match &mut seat.source {
                Source::Ring { ring, .. } => ring.ring_bell(),
                Source::Queues(queues) => {
                    let disk = &mut self.disk;
                    if let Err(fault) = queues.publish(|bell| disk.ring_bell(bell)) {
                        self.ending.push((seat.session, Some(fault.into())));
                    }
                    while let Some((to, letter)) = queues.take_letter() {
                        self.late_mail.push_back((to, Mail::Letter(letter)));
                    }
                }
            }
        }
        self.post_mail();
    }

    /// Gives other reactors their letters, as far as their boxes have room.
    pub(super) fn post_mail(&mut self) {
        while let Some((to, mail)) = self.late_mail.pop_front() {
            if let Err(back) = self.outlets.links[to as usize].inbox.push(mail) {
                self.late_mail.push_front((to, back));
                break;
            }
        }
    }
}

/// What a guest's kick is watched by: no session's own name has so many bits.
fn kick_key(session: SessionId, queue: u8) -> u64 {
    (u64::from(queue) + 1) << 32 | u64::from(session.0)
}

/// Whose a watch is: a client's or a guest's.
#[allow(clippy::cast_possible_truncation, reason = "the part that `kick_key` and `admit` put there")]
pub(super) fn session_of(key: u64) -> SessionId {
    SessionId(key as u32)
}
