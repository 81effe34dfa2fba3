//! A turn's requests: taken in groups, and answered group by group as long as they are hits.

use super::{Reactor, Seat, Source};
use crate::reactor::wire;
use holdfast_engine::Engine;

/// Requests of one session that a turn takes at most, so that a deep queue does not become everybody's wait.
const REQUESTS_A_SESSION: usize = 32;
/// Requests that are carried out before their answers are shown. Were it a whole turn's, client and reactor would take
/// turns instead of working at the same time: the client of a deep queue would get 32 answers at once and leave the reactor
/// without requests while it looks at them. Fewer cost a store to the client's memory for each.
const GROUP: usize = 8;

impl Reactor {
    /// Takes requests. A group of nothing but hits is performed and shown to its clients at once; from the first request on
    /// that needs more, the rest waits for the tick. Whether there were any.
    pub(super) fn take_requests(&mut self) -> bool {
        if self.quiet {
            return false;
        }
        let polled = self.sessions.begin_turn();
        let mut left = self.limits.requests_a_turn;
        loop {
            let taken = self.take_group(polled, GROUP.min(left));
            left -= taken;
            if taken == 0 || left == 0 {
                return left < self.limits.requests_a_turn;
            }
            if self.actions.is_plain() {
                self.perform_hits();
            }
        }
    }

    /// Takes up to `most` requests from the sessions that this turn looks at, beginning with another one each time.
    fn take_group(&mut self, polled: usize, most: usize) -> usize {
        self.first_session = if self.first_session + 1 < polled { self.first_session + 1 } else { 0 };
        let mut taken = 0;
        for step in 0..polled {
            let from_first = self.first_session + step;
            let index = if from_first < polled { from_first } else { from_first - polled };
            let left = REQUESTS_A_SESSION.saturating_sub(self.sessions.requests(index)).min(most - taken);
            let count = self.take_from(index, left);
            if count > 0 {
                self.sessions.asked(index, count);
                taken += count;
            }
            if taken == most {
                break;
            }
        }
        taken
    }

    /// Takes up to `most` requests of the `index`-th of those sessions; how many there were.
    fn take_from(&mut self, index: usize, most: usize) -> usize {
        let taken = self.sessions.polled(index);
        if taken.over {
            return 0;
        }
        let seat = &mut taken.seat;
        if most > 1 {
            look_ahead(seat, &self.engine, most);
        }
        for count in 0..most {
            // A volume without room waits; the others' may have some.
            if !self.actions.has_room(&self.limits) || !self.engine.has_room_for(seat.volume) {
                return count;
            }
            match wire::take(seat, self.now) {
                Ok(None) => return count,
                Ok(Some(wire::Taken::Event(event))) => {
                    self.engine.apply(self.now, event, &mut self.actions);
                }
                Ok(Some(wire::Taken::Done)) => {}
                Err(fault) => {
                    taken.over = true;
                    self.ending.push((taken.seat.session, Some(fault)));
                    return count;
                }
            }
        }
        most
    }
}

/// Has what the next requests need brought near, if several of them wait.
#[inline]
fn look_ahead(seat: &mut Seat, engine: &Engine<'_>, most: usize) {
    let Source::Ring { ring, .. } = &mut seat.source else { return };
    // What is wrong with it is found when a request is taken.
    if ring.has_request() == Ok(true) && ring.peek_offset(1).is_some() {
        engine.bring_near(seat.volume, (0..).map_while(|ahead| ring.peek_offset(ahead)).take(most));
    }
}
