//! The sessions of one reactor.

use super::link::{SEATS_MAX, Seat, place_of};
use holdfast_engine::SessionId;

/// Up to so many sessions are all looked at every turn; of more, those that asked lately and so many others.
const LOOKS_A_TURN: usize = 16;
/// Turns without a request after which a session is one of those others: as long as a client that works needs between two
/// requests. An idle turn takes some 0.1 us.
const WARM_TURNS: u64 = 4096;

/// A seat that is taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) seat: Box<Seat>,
    /// It is on the list of those that have something to publish.
    touched: bool,
    /// The turn of its last request; that of its first look, if there was none.
    busy_at: u64,
    /// Requests that were taken in that turn.
    pub(super) requests: usize,
}

/// A table of seats, the list of those that are taken, and the list of those that this turn looks at.
#[derive(Debug)]
pub(super) struct Sessions {
    seats: Vec<Option<Taken>>,
    active: Vec<u32>,
    /// Looked at in this turn: every session, if there are few.
    polled: Vec<u32>,
    /// What a turn has published or is to publish.
    touched: Vec<u32>,
    /// Where the next slice of those that are not warm begins.
    cold: usize,
    turn: u64,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        let mut seats = Vec::new();
        seats.resize_with(SEATS_MAX as usize, || None);
        let places = || Vec::with_capacity(SEATS_MAX as usize);
        Sessions { seats, active: places(), polled: places(), touched: places(), cold: 0, turn: 1 }
    }

    pub(super) fn insert(&mut self, seat: Box<Seat>) {
        let place = place_of(seat.session);
        assert!(self.seats[place].is_none(), "seat {place} is taken");
        self.seats[place] = Some(Taken { seat, touched: false, busy_at: self.turn, requests: 0 });
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

    /// Chooses whom this turn looks at; how many they are. Of many sessions those that asked lately, and some of the others
    /// in turn: a ring that nobody uses costs a look at memory that another core may have, and 256 of them would cost more
    /// than the requests of the one that is busy.
    pub(super) fn begin_turn(&mut self) -> usize {
        self.turn += 1;
        if self.active.len() > LOOKS_A_TURN {
            self.choose();
        }
        self.polled.len()
    }

    fn choose(&mut self) {
        let (seats, turn) = (&self.seats, self.turn);
        let warm = |&place: &u32| {
            seats[place as usize].as_ref().is_some_and(|taken| turn - taken.busy_at < WARM_TURNS)
        };
        self.polled.retain(warm);
        for _ in 0..LOOKS_A_TURN {
            self.cold = if self.cold + 1 < self.active.len() { self.cold + 1 } else { 0 };
            let place = self.active[self.cold];
            if !warm(&place) {
                self.polled.push(place);
            }
        }
    }

    /// The `index`-th of those that this turn looks at.
    pub(super) fn polled(&mut self, index: usize) -> &mut Taken {
        self.seat(self.polled[index])
    }

    /// Counts requests that were taken from the `index`-th of those.
    pub(super) fn asked(&mut self, index: usize, count: usize) {
        let (place, turn) = (self.polled[index], self.turn);
        let taken = self.seat(place);
        taken.requests = if taken.busy_at == turn { taken.requests + count } else { count };
        taken.busy_at = turn;
        self.touch(place);
    }

    /// How many requests of the `index`-th of those were taken in this turn.
    pub(super) fn requests(&mut self, index: usize) -> usize {
        let turn = self.turn;
        let taken = self.polled(index);
        if taken.busy_at == turn { taken.requests } else { 0 }
    }

    /// A session has something to publish.
    pub(super) fn touch_session(&mut self, session: SessionId) {
        self.touch(u32::try_from(place_of(session)).expect("few seats"));
    }

    fn touch(&mut self, place: u32) {
        let taken = self.seat(place);
        if !taken.touched {
            taken.touched = true;
            self.touched.push(place);
        }
    }

    /// Shows the clients what there is; those who just lie down must be rung for, too (`ring_bells`).
    pub(super) fn publish(&mut self) {
        for &place in &self.touched {
            self.seats[place as usize].as_mut().expect("a listed seat is taken").seat.ring.publish();
        }
    }

    /// The turn is over for those who were touched.
    pub(super) fn ring_bells(&mut self) {
        while let Some(place) = self.touched.pop() {
            let taken = self.seat(place);
            taken.touched = false;
            taken.seat.ring.ring_bell();
        }
    }

    /// Whether one of those that the last turn looked at asks for something: a look, for a reactor that spins.
    pub(super) fn somebody_asks(&mut self) -> bool {
        let seats = &mut self.seats;
        let mut polled = self.polled.iter();
        // A fault is something to do, too.
        polled.any(|&place| {
            let taken = seats[place as usize].as_mut().expect("a listed seat is taken");
            taken.seat.ring.has_request() != Ok(false)
        })
    }
}
