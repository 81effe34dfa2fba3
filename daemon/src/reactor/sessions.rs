//! The sessions of one reactor.

use super::link::{SEATS_MAX, Seat, Source, place_of};
use holdfast_engine::SessionId;

/// Up to so many sessions are all looked at in every group; of more, those that asked lately, and in a turn never more than
/// so many others.
const LOOKS_A_TURN: usize = 16;
/// Turns and requests for each look at another session: a look brings memory into the cache that nobody else needs, which
/// costs a client that asks for one thing at a time as much as its request, and one in every four turns or requests next
/// to nothing.
const STEPS_A_LOOK: usize = 4;
/// Turns without a request after which a reactor that spins looks at others all the time: nobody is kept waiting by that.
const QUIET_TURNS: u64 = 64;
/// Turns without a request after which a session is one of those others: as long as a client that works needs between two
/// requests. An idle turn takes some 0.1 us.
const WARM_TURNS: u64 = 4096;

/// A seat that is taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) seat: Box<Seat>,
    /// It has broken a rule and is about to be let go of: nothing more is taken from it.
    pub(super) over: bool,
    /// It is on the list of those whom the turn touches.
    touched: bool,
    /// The turn of its last request, or in which it was known to have one, or in which it came.
    busy_at: u64,
    /// Requests that were taken in that turn.
    requests: usize,
}

/// A table of seats, the list of those that are taken, and the list of those that this turn looks at.
#[derive(Debug)]
pub(super) struct Sessions {
    seats: Vec<Option<Taken>>,
    active: Vec<u32>,
    /// From which this turn takes requests: every session, if there are few; else those that are warm.
    polled: Vec<u32>,
    /// Those who have something to publish, or to be rung for.
    touched: Vec<u32>,
    /// Of the active ones, the one that was looked at last though it was not warm.
    cold: usize,
    /// Turns and requests since the last look at one.
    steps: usize,
    turn: u64,
    /// The turn of the last request.
    busy_at: u64,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        let mut seats = Vec::new();
        seats.resize_with(SEATS_MAX as usize, || None);
        let places = || Vec::with_capacity(SEATS_MAX as usize);
        let (active, polled, touched) = (places(), places(), places());
        Sessions { seats, active, polled, touched, cold: 0, steps: 0, turn: 1, busy_at: 1 }
    }

    pub(super) fn insert(&mut self, seat: Box<Seat>) {
        let place = place_of(seat.session);
        assert!(self.seats[place].is_none(), "seat {place} is taken");
        self.seats[place] =
            Some(Taken { seat, over: false, touched: false, busy_at: self.turn, requests: 0 });
        let place = u32::try_from(place).expect("few seats");
        self.active.push(place);
        self.polled.push(place);
    }

    pub(super) fn remove(&mut self, session: SessionId) -> Option<Box<Seat>> {
        let place = place_of(session);
        let found = self.seats[place].as_ref().is_some_and(|taken| taken.seat.session == session);
        if !found {
            return None;
        }
        for list in [&mut self.active, &mut self.polled, &mut self.touched] {
            list.retain(|&other| other as usize != place);
        }
        if self.active.len() <= LOOKS_A_TURN {
            self.polled.clone_from(&self.active);
        }
        self.seats[place].take().map(|taken| taken.seat)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    /// The `index`-th of those that are taken.
    pub(super) fn at(&mut self, index: usize) -> &mut Taken {
        self.seat(self.active[index])
    }

    fn seat(&mut self, place: u32) -> &mut Taken {
        self.seats[place as usize].as_mut().expect("a listed seat is taken")
    }

    /// A session, if it is still there.
    pub(super) fn get(&mut self, session: SessionId) -> Option<&mut Taken> {
        self.seats[place_of(session)].as_mut().filter(|taken| taken.seat.session == session)
    }

    /// Chooses whom this turn takes requests from; how many they are. Of many sessions those that asked lately: a ring that
    /// nobody uses costs a look at memory that nothing else brings into the cache, and 256 of them in every group would cost
    /// more than the requests of the one that is busy. The others are looked at in turn, more of them the more a turn does:
    /// so the wait of one that begins to ask is bounded in time, whatever the busy ones do.
    pub(super) fn begin_turn(&mut self) -> usize {
        self.turn += 1;
        if self.active.len() > LOOKS_A_TURN {
            let mut polled = std::mem::take(&mut self.polled);
            polled.retain(|&place| self.is_warm(place));
            self.polled = polled;
            self.steps += 1;
            for _ in 0..(self.steps / STEPS_A_LOOK).min(LOOKS_A_TURN) {
                self.look_at_another();
            }
            self.steps %= STEPS_A_LOOK;
        }
        self.polled.len()
    }

    fn is_warm(&self, place: u32) -> bool {
        let taken = self.seats[place as usize].as_ref().expect("a listed seat is taken");
        self.turn - taken.busy_at < WARM_TURNS
    }

    /// Looks at the next session, if it is not warm; which it is from now on if it asks for something. Whether it does.
    fn look_at_another(&mut self) -> bool {
        self.cold = if self.cold + 1 < self.active.len() { self.cold + 1 } else { 0 };
        let place = self.active[self.cold];
        let asks = !self.is_warm(place) && self.seat(place).seat.asks();
        if asks {
            self.warm_place(place);
        }
        asks
    }

    /// A session is about to ask for something: it is looked at as those are that asked lately.
    pub(super) fn warm(&mut self, session: SessionId) {
        if self.get(session).is_some() {
            self.warm_place(place_number(session));
        }
    }

    fn warm_place(&mut self, place: u32) {
        if !self.is_warm(place) && !self.polled.contains(&place) {
            self.polled.push(place);
        }
        let turn = self.turn;
        let taken = self.seat(place);
        if taken.busy_at != turn {
            (taken.busy_at, taken.requests) = (turn, 0);
        }
    }

    /// The `index`-th of those that this turn looks at.
    pub(super) fn polled(&mut self, index: usize) -> &mut Taken {
        self.seat(self.polled[index])
    }

    /// Counts requests that were taken from the `index`-th of those.
    pub(super) fn asked(&mut self, index: usize, count: usize) {
        let place = self.polled[index];
        self.warm_place(place);
        (self.busy_at, self.steps) = (self.turn, self.steps.wrapping_add(count));
        self.seat(place).requests += count;
        self.touch_place(place);
    }

    /// How many requests of the `index`-th of those were taken in this turn.
    pub(super) fn requests(&mut self, index: usize) -> usize {
        let turn = self.turn;
        let taken = self.polled(index);
        if taken.busy_at == turn { taken.requests } else { 0 }
    }

    /// A session, which is there, has something to publish or to be rung for.
    pub(super) fn touch(&mut self, session: SessionId) {
        self.touch_place(place_number(session));
    }

    fn touch_place(&mut self, place: u32) {
        let taken = self.seat(place);
        if !taken.touched {
            taken.touched = true;
            self.touched.push(place);
        }
    }

    /// Shows clients of the rings what there is; those who just lie down must be rung for, too. Guests have seen it.
    pub(super) fn publish(&mut self) {
        for &place in &self.touched {
            let taken = self.seats[place as usize].as_mut().expect("a listed seat is taken");
            if let Source::Ring { ring, .. } = &mut taken.seat.source {
                ring.publish();
            }
        }
    }

    /// The next one of those whom the turn touched, to be rung for; it is one no longer.
    pub(super) fn next_touched(&mut self) -> Option<&mut Seat> {
        let place = self.touched.pop()?;
        let taken = self.seat(place);
        taken.touched = false;
        Some(&mut taken.seat)
    }

    /// Whether one of those that the last turn looked at asks for something, or another one: a look, for a reactor that
    /// spins.
    pub(super) fn somebody_asks(&mut self) -> bool {
        let (seats, mut polled) = (&mut self.seats, self.polled.iter());
        let asks = |&place: &u32| {
            let taken = seats[place as usize].as_mut().expect("a listed seat is taken");
            taken.seat.asks()
        };
        let quiet = self.turn - self.busy_at > QUIET_TURNS && self.active.len() > LOOKS_A_TURN;
        polled.any(asks) || quiet && self.look_at_another()
    }
}

fn place_number(session: SessionId) -> u32 {
    u32::try_from(place_of(session)).expect("few seats")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use holdfast_engine::VolumeId;
    use holdfast_ringbuf::VolumeInfo;
    use holdfast_ringbuf::client::{Options, Queue};
    use holdfast_ringbuf::daemon_side::{Door, Offer, Session};
    use std::path::Path;
    use std::time::Duration;

    /// A session of a client of our own, with room for two requests.
    pub(crate) fn connect(door: &Door, path: &Path, number: u32) -> (Queue, Session) {
        let time = Duration::from_secs(60);
        let connecting = || {
            let options = Options { queue_depth: 2, request_bytes: 4096, ..Options::default() };
            Queue::connect(path, "volume", options).expect("a session")
        };
        std::thread::scope(|scope| {
            let client = scope.spawn(connecting);
            let mut pending = loop {
                if let Some(pending) = door.accept().expect("a door") {
                    break pending;
                }
                std::thread::yield_now();
            };
            let hello = pending.read_hello(time).expect("a client of our own");
            let (ring_entries, payload_bytes) = Offer::sized_for(&hello, 8, 1 << 20);
            let offer = Offer {
                session: u64::from(number),
                incarnation: 1,
                arena: 1,
                volume: VolumeInfo {
                    bytes: 1 << 20,
                    block_bytes: 512,
                    line_bytes: 4096,
                    stripe_bytes: 1 << 20,
                    read_only: false,
                },
                reactors: 1,
                ring_entries,
                payload_bytes,
                request_bytes_max: 4096,
            };
            let session = pending.offer(&offer, time).expect("the client takes it");
            (client.join().expect("connected"), session)
        })
    }

    /// Whoever begins to ask is found within one round of looks, and the others are not looked at meanwhile.
    #[test]
    fn one_of_a_crowd_is_found_when_it_asks() {
        const CROWD: u32 = 40;
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("socket");
        let door = Door::bind(&path, 0o600).expect("a socket");
        let mut sessions = Sessions::new();
        let mut queues = Vec::new();
        let mut opened = Vec::new();
        for number in 1..=CROWD {
            let (queue, mut session) = connect(&door, &path, number);
            let ring = session.rings.remove(0);
            sessions.insert(Box::new(Seat::new(SessionId(number), VolumeId(0), false, ring)));
            queues.push(queue);
            opened.push(session);
        }
        assert_eq!(sessions.begin_turn(), CROWD as usize, "who has just come is about to ask");
        while sessions.begin_turn() > 0 {
            assert!(sessions.turn <= 2 + WARM_TURNS, "those who do not ask are warm for ever");
        }
        queues[6].submit_flush(0).expect("asked");
        queues[6].publish();
        let rounds = (0..CROWD * 4).position(|_| sessions.begin_turn() > 0);
        assert!(rounds.is_some(), "a round of looks has not found it");
        assert_eq!(sessions.polled(0).seat.session, SessionId(7));
        sessions.asked(0, 1);
        assert_eq!((sessions.requests(0), sessions.begin_turn(), sessions.requests(0)), (1, 1, 0));
        // A byte at its socket says so of another one, once and for all.
        sessions.warm(SessionId(20));
        sessions.warm(SessionId(20));
        assert_eq!(sessions.begin_turn(), 2);
        // Of a few, everybody is looked at.
        for number in LOOKS_A_TURN + 1..=CROWD as usize {
            drop(sessions.remove(SessionId(u32::try_from(number).expect("few"))));
        }
        assert_eq!(sessions.begin_turn(), LOOKS_A_TURN);
    }
}
