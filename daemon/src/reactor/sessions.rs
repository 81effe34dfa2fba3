//! The sessions of one reactor.

use super::link::{SEATS_MAX, Seat, place_of};
use holdfast_engine::SessionId;

/// A seat that is taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) seat: Box<Seat>,
    /// Something was popped or pushed since the last publish.
    pub(super) touched: bool,
}

/// A table of seats, and the list of those that are taken.
#[derive(Debug)]
pub(super) struct Sessions {
    seats: Vec<Option<Taken>>,
    active: Vec<u32>,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        let mut seats = Vec::new();
        seats.resize_with(SEATS_MAX as usize, || None);
        Sessions { seats, active: Vec::with_capacity(SEATS_MAX as usize) }
    }

    pub(super) fn insert(&mut self, seat: Box<Seat>) {
        let place = place_of(seat.session);
        assert!(self.seats[place].is_none(), "seat {place} is taken");
        self.seats[place] = Some(Taken { seat, touched: false });
        self.active.push(u32::try_from(place).expect("few seats"));
    }

    pub(super) fn remove(&mut self, session: SessionId) -> Option<Box<Seat>> {
        let place = place_of(session);
        let found = self.seats[place].as_ref().is_some_and(|taken| taken.seat.session == session);
        if !found {
            return None;
        }
        self.active.retain(|&other| other as usize != place);
        self.seats[place].take().map(|taken| taken.seat)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    /// The `index`-th of those that are taken.
    pub(super) fn at(&mut self, index: usize) -> &mut Taken {
        let place = self.active[index] as usize;
        self.seats[place].as_mut().expect("an active seat is taken")
    }

    /// A session, if it is still there.
    pub(super) fn get(&mut self, session: SessionId) -> Option<&mut Taken> {
        self.seats[place_of(session)].as_mut().filter(|taken| taken.seat.session == session)
    }
}
