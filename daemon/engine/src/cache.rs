//! Slots and the map from lines to them.
//!
//! Every slot is either free, on the free list; or the *newest* slot of its line, in the map; or superseded, and then
//! only waiting: for the commit of the turn, or for its own device operation.

mod left;
mod overwrite;

use crate::header::{at, place};
use crate::{Header, Identity, SlotId, Status};
use alloc::vec::Vec;
use hashbrown::HashTable;
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, State};
pub(crate) use overwrite::Overwrite;

const NONE: u32 = u32::MAX;

/// How many lines of a volume are in each state, indexed by [`State`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    by_state: [u64; 16],
    not_clean: u64,
}

impl Counts {
    pub(crate) fn of(&self, state: State) -> u64 {
        self.by_state[state as usize]
    }

    #[inline]
    fn moved(&mut self, from: State, to: State) {
        self.left(from);
        self.entered(to);
        self.not_clean = self.not_clean.wrapping_add(change(from, to));
    }

    /// Free slots are nobody's: their count wraps around, and nobody asks for it. No other goes below zero.
    #[inline]
    fn left(&mut self, state: State) {
        self.by_state[state as usize & 15] = self.by_state[state as usize & 15].wrapping_sub(1);
    }

    #[inline]
    fn entered(&mut self, state: State) {
        self.by_state[state as usize & 15] = self.by_state[state as usize & 15].wrapping_add(1);
    }

    /// Slots whose content is not on stable media.
    pub(crate) fn not_clean(&self) -> u64 {
        self.not_clean
    }
}

/// What a move changes in a count of the slots that are not clean: 0, 1, or -1 as two's complement. Such a count never
/// wraps: it is the number of slots in those states, since each slot enters and leaves them through here alone.
#[inline]
fn change(from: State, to: State) -> u64 {
    u64::from(to.holds_unstable_data()).wrapping_sub(u64::from(from.holds_unstable_data()))
}

/// The slots of one reactor.
pub(crate) struct Cache<'a> {
    headers: &'a [Header],
    map: HashTable<u32>,
    /// One word a slot, by its state. Free: the next free slot. Filling: the operation that fills it. Not clean: the
    /// flush epoch of its oldest data that is not stable.
    link: Vec<u32>,
    /// One bit a slot: used since the hand came by. It says something of clean slots only, so that a write notes its use
    /// when its line becomes clean.
    visited: Vec<u64>,
    free_head: u32,
    free: u32,
    hand: usize,
    not_clean: u64,
    evictions: u64,
    next_generation: u64,
    hasher: Hasher,
}

impl<'a> Cache<'a> {
    /// A cache in which every slot is free.
    ///
    /// # Panics
    /// If a header is not free, or there are more slots than a `u32` counts.
    pub(crate) fn new(headers: &'a [Header], seed: u64) -> Cache<'a> {
        assert!(headers.iter().all(|header| header.state() == State::Free), "the arena holds data");
        Cache::unchecked(headers, seed)
    }

    fn unchecked(headers: &'a [Header], seed: u64) -> Cache<'a> {
        let slots = u32::try_from(headers.len()).expect("a reactor has fewer than 2^32 slots");
        Cache {
            headers,
            map: HashTable::with_capacity(headers.len()),
            link: (1..=slots).map(|next| if next == slots { NONE } else { next }).collect(),
            visited: alloc::vec![0; headers.len().div_ceil(64)],
            free_head: if slots == 0 { NONE } else { 0 },
            free: slots,
            hand: 0,
            not_clean: 0,
            evictions: 0,
            next_generation: 1,
            hasher: Hasher::new(seed),
        }
    }

    pub(crate) fn slots(&self) -> u64 {
        self.headers.len() as u64
    }

    pub(crate) fn free(&self) -> u64 {
        u64::from(self.free)
    }

    /// The slots that are taken next, if nothing is freed before: the last one freed comes first.
    pub(crate) fn next_free(&self) -> impl Iterator<Item = SlotId> {
        let mut next = self.free_head;
        core::iter::from_fn(move || {
            let slot = SlotId(next);
            (next != NONE).then(|| {
                next = self.link(slot);
                slot
            })
        })
    }

    /// Slots of all volumes that hold data which is not on stable media.
    pub(crate) fn not_clean(&self) -> u64 {
        self.not_clean
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    #[inline]
    pub(crate) fn header(&self, slot: SlotId) -> &'a Header {
        &self.headers[at(slot)]
    }

    /// The newest slot of a line.
    pub(crate) fn newest(&self, volume: u16, line: u64) -> Option<SlotId> {
        self.find(volume, line)
    }

    /// [`Cache::newest`], for a place that cannot afford the call.
    #[inline(always)]
    pub(crate) fn find(&self, volume: u16, line: u64) -> Option<SlotId> {
        let wanted = place(volume, line);
        self.map
            .find(self.hasher.hash(wanted), |&slot| self.headers[slot as usize].place() == wanted)
            .map(|&s| SlotId(s))
    }

    /// Brings near what [`Cache::newest`] will look at: entries of the map and headers lie far from each other, and one line
    /// after the other each is waited for. Here no look depends on another line's, so that they are waited for together.
    /// Changes nothing; any line will do.
    #[inline]
    pub(crate) fn bring_near(&self, volume: u16, lines: impl Iterator<Item = u64>) {
        // The first entry of the same hash byte mostly is the one.
        let guess = |line| self.map.find(self.hasher.hash(place(volume, line)), |_| true);
        let places = lines.filter_map(guess).map(|&slot| self.headers[slot as usize].place());
        core::hint::black_box(places.fold(0, |sum, place| sum ^ place));
    }

    pub(crate) fn is_newest(&self, slot: SlotId) -> bool {
        let header = self.header(slot);
        self.newest(header.volume(), header.line()) == Some(slot)
    }

    /// Notes that a line was used.
    #[inline(always)]
    pub(crate) fn touch(&mut self, slot: SlotId) {
        let word = &mut self.visited[at(slot) / 64];
        let bit = 1 << (slot.0 % 64);
        if *word & bit == 0 {
            *word |= bit;
        }
    }

    #[inline]
    pub(crate) fn link(&self, slot: SlotId) -> u32 {
        self.link[at(slot)]
    }

    #[inline]
    pub(crate) fn set_link(&mut self, slot: SlotId, value: u32) {
        self.link[at(slot)] = value;
    }

    #[inline]
    pub(crate) fn take_generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation - 1
    }

    /// Takes a free slot; its header still says free.
    ///
    /// # Panics
    /// If none is free: the caller has asked [`Cache::free`].
    #[inline]
    pub(crate) fn take(&mut self) -> SlotId {
        let slot = SlotId(self.free_head);
        assert!(slot.0 != NONE, "a slot was promised that is not there");
        self.free_head = self.link[at(slot)];
        self.free -= 1;
        slot
    }

    /// Takes a free slot and gives it an identity; its status still says free.
    ///
    /// # Panics
    /// As [`Cache::take`].
    pub(crate) fn allocate(&mut self, identity: Identity) -> SlotId {
        let slot = self.take();
        self.headers[at(slot)].assign(identity);
        slot
    }

    /// Makes `slot` the newest of its line, which has no entry yet.
    pub(crate) fn map(&mut self, slot: SlotId) {
        let (headers, hasher) = (self.headers, self.hasher);
        let place = |slot: &u32| headers[*slot as usize].place();
        self.map.insert_unique(hasher.hash(place(&slot.0)), slot.0, |other| hasher.hash(place(other)));
    }

    /// Puts `slot` in the place of the line's newest slot, which is returned, in one look. If the line has none, nothing
    /// happens: [`Cache::map`] is for those. The slot's identity may still be to come; nobody looks it up before.
    #[inline]
    pub(crate) fn replace_newest(&mut self, volume: u16, line: u64, slot: SlotId) -> Option<SlotId> {
        let (headers, wanted) = (self.headers, place(volume, line));
        let same = |&slot: &u32| headers[slot as usize].place() == wanted;
        let entry = self.map.find_mut(self.hasher.hash(wanted), same)?;
        Some(SlotId(core::mem::replace(entry, slot.0)))
    }

    /// Takes `slot` out of the map, if it is the newest of its line.
    pub(crate) fn unmap(&mut self, slot: SlotId) -> bool {
        let wanted = self.header(slot).place();
        match self.map.find_entry(self.hasher.hash(wanted), |&other| other == slot.0) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Moves a slot along an edge of the state machine and keeps the rest of its status.
    #[inline]
    pub(crate) fn pass(&mut self, counts: &mut Counts, slot: SlotId, cause: Cause) {
        let to = self.moves(counts, slot, cause);
        self.headers[at(slot)].advance(to);
    }

    /// Moves a slot along an edge of the state machine; all of `status` but its state is what the header will say.
    ///
    /// # Panics
    /// If there is no such edge.
    #[inline]
    pub(crate) fn publish(&mut self, counts: &mut Counts, slot: SlotId, cause: Cause, status: Status) {
        let to = self.moves(counts, slot, cause);
        self.header(slot).publish(if to == State::Free { Status::FREE } else { status.with_state(to) });
    }

    /// [`Cache::pass`] of a slot whose state the caller knows. Where `from` and `cause` are written out, the compiler
    /// looks the edge up.
    ///
    /// # Panics
    /// If the slot is in another state, or there is no such edge.
    #[inline(always)]
    pub(crate) fn pass_from(&mut self, counts: &mut Counts, slot: SlotId, from: State, cause: Cause) {
        let to = from.after(cause).unwrap_or_else(|| no_edge(slot, from, cause));
        self.enter(counts, slot, from, to);
        self.header(slot).advance_from(from, to);
    }

    /// A free slot becomes an incoming write's; all of `status` but its state is what the header will say.
    #[inline(always)]
    pub(crate) fn accept(&mut self, counts: &mut Counts, slot: SlotId, status: Status) {
        let to =
            State::Free.after(Cause::Accepted).unwrap_or_else(|| no_edge(slot, State::Free, Cause::Accepted));
        self.enter(counts, slot, State::Free, to);
        self.header(slot).exchange(State::Free, status.with_state(to));
    }

    /// Where an edge leads, and its books.
    #[inline]
    fn moves(&mut self, counts: &mut Counts, slot: SlotId, cause: Cause) -> State {
        let from = self.header(slot).state();
        let to = State::from_u8(EDGES[from as usize][cause as usize])
            .unwrap_or_else(|| no_edge(slot, from, cause));
        self.enter(counts, slot, from, to);
        to
    }

    /// The books of a move: all but the header itself.
    #[inline(always)]
    fn enter(&mut self, counts: &mut Counts, slot: SlotId, from: State, to: State) {
        counts.moved(from, to);
        self.not_clean = self.not_clean.wrapping_add(change(from, to));
        if to == State::Free {
            self.link[at(slot)] = self.free_head;
            self.free_head = slot.0;
            self.free += 1;
        }
    }

    /// Adds sectors to what a slot holds, without a change of state.
    pub(crate) fn widen(&mut self, slot: SlotId, mask: u32) {
        let status = self.header(slot).status();
        self.header(slot).publish(Status { valid: status.valid | mask, ..status });
    }

    /// Moves the hand over at most `steps` headers and stops at the first clean line that was not used since it came by
    /// last (SIEVE: Zhang et al., NSDI 2024, with CLOCK's moving hand). Lines in flight or not clean are passed over.
    pub(crate) fn next_victim(&mut self, steps: &mut usize) -> Option<SlotId> {
        while *steps > 0 && !self.headers.is_empty() {
            *steps -= 1;
            let index = self.hand;
            self.hand = if index + 1 == self.headers.len() { 0 } else { index + 1 };
            let state = self.headers[index].state();
            if state != State::Clean && !(mutant!(UnstableIsEvicted) && state == State::Unstable) {
                continue;
            }
            let bit = 1u64 << (index % 64);
            if self.visited[index / 64] & bit != 0 {
                self.visited[index / 64] &= !bit;
                continue;
            }
            let slot = SlotId(u32::try_from(index).expect("slots are counted in u32"));
            if self.is_newest(slot) {
                return Some(slot);
            }
        }
        None
    }

    /// Frees a clean line.
    pub(crate) fn evict(&mut self, counts: &mut Counts, slot: SlotId) {
        self.unmap(slot);
        self.pass(counts, slot, Cause::Evicted);
        self.evictions += 1;
    }
}

#[cold]
fn no_edge(slot: SlotId, from: State, cause: Cause) -> State {
    panic!("slot {} is {from:?}: no edge {cause:?}", slot.0)
}

/// [`State::after`] as a table, 255 where there is no edge: a hit takes three edges, and a load is cheaper than a tree of
/// comparisons.
static EDGES: [[u8; Cause::ALL.len()]; State::ALL.len()] = {
    let mut edges = [[u8::MAX; Cause::ALL.len()]; State::ALL.len()];
    let mut state = 0;
    while state < edges.len() {
        let mut cause = 0;
        while cause < edges[state].len() {
            if let Some(next) = State::ALL[state].after(Cause::ALL[cause]) {
                edges[state][cause] = next as u8;
            }
            cause += 1;
        }
        state += 1;
    }
    edges
};

/// Spreads places over buckets: one multiplication to 128 bits, folded (the idea of wyhash, by Wang Yi), keyed by the
/// seed because clients choose their addresses.
#[derive(Clone, Copy, Debug)]
struct Hasher {
    seed: u64,
    factor: u64,
}

impl Hasher {
    fn new(seed: u64) -> Hasher {
        Hasher { seed, factor: 0x9e37_79b9_7f4a_7c15 ^ seed.rotate_left(32) | 1 }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "both halves of the product are folded into one word")]
    fn hash(self, place: u64) -> u64 {
        let product = u128::from(place ^ self.seed) * u128::from(self.factor);
        (product >> 64) as u64 ^ product as u64
    }
}

/// The same without a place to keep the factor.
pub(crate) fn hash(seed: u64, place: u64) -> u64 {
    Hasher::new(seed).hash(place)
}
