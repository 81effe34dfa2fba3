//! What the reactors of a volume share: its budget, and a few words about how each of them fares.
//!
//! The budget is handed out in slots: a reactor takes some before data of the volume fills them, and gives back what it
//! has no use for. So the sum can never exceed the budget, whatever the reactors do at the same time. Rejected: each
//! publishes what it holds, and all keep to the sum. A sum is old as soon as it is read, so that all could overshoot
//! together by a turn's requests each.
//!
//! The words are advice. They may be a turn old, and nothing that is promised depends on their being newer: who acts on
//! them is bounded by what was taken.

use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The most reactors: one bit each in a word.
const REACTORS_MAX: u32 = 64;

/// Two cache lines, because processors fetch them in pairs: what one reactor writes does not slow the others' reads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// One volume's budget and the reactors' words about it. All reactors of a daemon have the same one.
#[derive(Debug)]
pub struct Share {
    board: Apart<Board>,
    seats: Vec<Apart<Seat>>,
}

/// What every reactor looks at in every turn: one line.
#[derive(Debug, Default)]
struct Board {
    /// Slots that reactors have taken.
    taken: AtomicU64,
    /// One bit for each reactor whose words are not all zero.
    speaking: AtomicU64,
}

/// One reactor's words. Only it writes them.
#[derive(Debug, Default)]
struct Seat {
    fails: AtomicU64,
    since: AtomicU64,
    wanted: AtomicU64,
    oldest: AtomicU64,
}

/// What a reactor says of a volume; all zero if there is nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// The number of the error class that the volume fails with there, and, above it, of its closed gate's class, with
    /// [`Words::KEEPS_UNREFUSED`].
    pub(crate) fails: u64,
    /// Since when its oldest request waits for room in the budget, in nanoseconds.
    pub(crate) since: u64,
    /// For how many lines that request's policy wants failures to be given up.
    pub(crate) wanted: u64,
    /// When the oldest failure that it could give up for such a request happened, in nanoseconds; [`Words::NOTHING`]
    /// if there is none, 0 if it was not looked for.
    pub(crate) oldest: u64,
}

impl Words {
    /// In `fails`: a refused flush has closed the gate, or the device does not answer.
    pub(crate) const KEEPS_UNREFUSED: u64 = 1 << 16;
    /// There is no failure to give up.
    pub(crate) const NOTHING: u64 = u64::MAX;
}

impl Share {
    /// The share of a volume of which nothing is taken and nothing said.
    ///
    /// # Panics
    /// If there is no reactor, or there are more than 64.
    pub fn new(reactors: u32) -> Share {
        assert!((1..=REACTORS_MAX).contains(&reactors), "{reactors} reactors share a volume");
        Share { board: Apart::default(), seats: (0..reactors).map(|_| Apart::default()).collect() }
    }

    /// All who shared it are dead, and what they took with them. For whoever plays a death.
    pub fn forget(&self) {
        self.board.0.taken.store(0, Release);
        (0..self.reactors()).for_each(|reactor| self.say(reactor, Words::default()));
    }

    /// How many reactors share it.
    pub(crate) fn reactors(&self) -> u32 {
        u32::try_from(self.seats.len()).expect("at most 64")
    }

    /// Slots that all reactors together have taken.
    pub fn taken(&self) -> u64 {
        // SYNC POINT budget-taken: pairs with the AcqRel of `take`. Who sees slots that were taken sees that the taker no
        // longer asks for failures to be given up.
        self.board.0.taken.load(Acquire)
    }

    /// Takes at least `least` slots of a budget and at most `most`, or none; returns how many. While much is left it is
    /// about `most`; the less is left the fewer, so that no reactor holds what another one needs.
    pub(crate) fn take(&self, budget: u64, least: u64, most: u64) -> u64 {
        let reactors = u64::from(self.reactors());
        let wanted = |taken: u64| {
            let spare = budget.saturating_sub(taken).checked_sub(least)?;
            Some(least + (spare / (2 * reactors)).min(most.saturating_sub(least)))
        };
        let amount = |taken| wanted(taken).map(|amount| taken + amount);
        match self.board.0.taken.fetch_update(AcqRel, Acquire, amount) {
            Ok(before) => wanted(before).expect("it was taken"),
            Err(_) => 0,
        }
    }

    /// Takes all of a budget.
    pub(crate) fn take_all(&self, budget: u64) {
        self.board.0.taken.fetch_add(budget, AcqRel);
    }

    /// Gives slots back.
    ///
    /// # Panics
    /// If fewer were taken.
    pub(crate) fn give_back(&self, slots: u64) {
        let before = self.board.0.taken.fetch_sub(slots, AcqRel);
        assert!(before >= slots, "{slots} slots are given back of {before} that were taken");
    }

    /// Replaces what a reactor says.
    pub(crate) fn say(&self, reactor: u32, words: Words) {
        let seat = &self.seats[reactor as usize].0;
        // A wish is never seen beside an older wish's time: that would make it older than it is.
        seat.wanted.store(0, Release);
        seat.fails.store(words.fails, Relaxed);
        seat.since.store(words.since, Relaxed);
        seat.oldest.store(words.oldest, Relaxed);
        // SYNC POINT wish-begins: pairs with the Acquire of `Seat::words`.
        seat.wanted.store(words.wanted, Release);
        let bit = 1 << reactor;
        // SYNC POINT seat-speaks: pairs with the Acquire of `heard`.
        if words == Words::default() {
            self.board.0.speaking.fetch_and(!bit, Release);
        } else {
            self.board.0.speaking.fetch_or(bit, Release);
        }
    }

    /// A reactor does not ask for failures to be given up any more. Comes before it takes what became free: who sees
    /// that it was taken must not see the wish.
    pub(crate) fn withdraw(&self, reactor: u32) {
        self.seats[reactor as usize].0.wanted.store(0, Release);
    }

    /// What all reactors but one say, as far as they say anything.
    pub(crate) fn heard(&self, by: u32) -> impl Iterator<Item = (u32, Words)> {
        let mut speaking = self.board.0.speaking.load(Acquire) & !(1 << by);
        core::iter::from_fn(move || {
            let reactor = (speaking != 0).then(|| speaking.trailing_zeros())?;
            speaking &= speaking - 1;
            Some((reactor, self.seats[reactor as usize].0.words()))
        })
    }
}

impl Seat {
    fn words(&self) -> Words {
        let wanted = self.wanted.load(Acquire);
        let (fails, since) = (self.fails.load(Relaxed), self.since.load(Relaxed));
        Words { fails, since, wanted, oldest: self.oldest.load(Relaxed) }
    }
}

/// Slots of one reactor that a volume's data which is not clean may take: what its budget's part of `budgets`, the sum of
/// all volumes' budgets, is of the reactor's `room`; but no more than its budget.
///
/// That is all of its budget if the budgets together fit into one reactor's room, and never less than its even share over
/// the reactors if they fit into all of them. The parts of all volumes together never exceed the room: whatever the
/// others' disks do, each finds its part free (C6).
///
/// # Panics
/// If the budget is more than the sum.
pub fn room_slots(budget: u64, budgets: u64, room: u64) -> u64 {
    assert!(budget <= budgets, "a budget of {budget} in a sum of {budgets}");
    let part = u128::from(room) * u128::from(budget) / u128::from(budgets.max(1));
    u64::try_from(part).expect("at most the room").min(budget)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::thread;

    /// C6: reactors that take and give back at the same time never have more than the budget between them.
    #[test]
    fn threads_never_take_more_than_the_budget() {
        const BUDGET: u64 = 50;
        let (share, held) = (Share::new(4), AtomicU64::new(0));
        thread::scope(|scope| {
            for reactor in 0..4u64 {
                let (share, held) = (&share, &held);
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let least = 1 + (round * 7 + reactor * 3) % 20;
                        let got = share.take(BUDGET, least, least + 8);
                        assert!(got == 0 || (least..=least + 8).contains(&got));
                        let sum = held.fetch_add(got, AcqRel) + got;
                        assert!(sum <= BUDGET, "{sum} slots of a budget of {BUDGET}");
                        held.fetch_sub(got, AcqRel);
                        share.give_back(got);
                    }
                });
            }
        });
        assert_eq!(share.taken(), 0);
    }

    #[test]
    fn the_last_slots_are_taken_one_request_at_a_time() {
        let share = Share::new(2);
        assert_eq!(share.take(100, 1, 9), 9);
        assert_eq!(share.take(100, 80, 90), 82, "a quarter of the 11 that it leaves");
        assert_eq!(share.take(100, 10, 20), 0, "all or none");
        assert_eq!(share.take(100, 9, 20), 9);
        assert_eq!(share.take(100, 1, 2), 0);
        share.give_back(100);
        assert_eq!(share.taken(), 0);
    }

    #[test]
    fn who_has_nothing_to_say_is_not_heard() {
        let share = Share::new(3);
        let words = Words { fails: 2, since: 7, wanted: 4, oldest: 0 };
        share.say(2, words);
        assert_eq!(share.heard(0).collect::<Vec<_>>(), [(2, words)]);
        assert_eq!(share.heard(2).count(), 0);
        share.withdraw(2);
        assert_eq!(share.heard(1).collect::<Vec<_>>(), [(2, Words { wanted: 0, ..words })]);
        share.say(2, Words::default());
        assert_eq!(share.heard(1).count(), 0);
    }

    /// C6: the volumes' parts of one reactor fit into it together, and none is less than an even share of its budget.
    #[test]
    fn rooms_fit_together() {
        let draws = (1u64..8, 1u64..100_000, proptest::collection::vec(1u64..1000, 1..20));
        proptest!(|((reactors, room, weights) in draws)| {
            let sum: u64 = weights.iter().sum();
            let budgets: Vec<u64> = weights.iter().map(|weight| room * weight / sum * reactors).collect();
            let all = budgets.iter().sum();
            let rooms = budgets.iter().map(|&budget| (budget, room_slots(budget, all, room)));
            prop_assert!(rooms.clone().map(|(_, part)| part).sum::<u64>() <= room);
            for (budget, part) in rooms {
                prop_assert!((budget / reactors..=budget).contains(&part), "{} of {}", part, budget);
                prop_assert!(all > room || part == budget);
            }
        });
    }
}
