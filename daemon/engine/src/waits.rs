//! Write-through and FUA writes that wait for their lines.

use crate::places::Places;
use crate::requests::RequestId;
use alloc::vec::Vec;

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Until {
    /// The device accepted it.
    Written,
    /// It is on stable media.
    Stable,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    request: RequestId,
    volume: u16,
    line: u64,
    generation: u64,
    until: Until,
}

/// No wait; the end of a list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None`: the place is free.
    wait: Option<Wait>,
    /// The next wait of the bucket, or the next free place.
    next: u32,
}

/// A bounded set of waits, found by their line: lists by a hash of it, oldest first. A line that is written by a thousand
/// requests at once has a thousand waits; others are not looked at with it.
pub(crate) struct Waits {
    entries: Vec<Entry>,
    /// First and last wait of each bucket.
    buckets: Vec<(u32, u32)>,
    free: u32,
    /// Which of them the volumes have.
    places: Places,
    least: usize,
    seed: u64,
}

impl Waits {
    /// `max` waits, and `least` more for each volume: what one request of it may need.
    pub(crate) fn new(max: usize, least: usize, seed: u64) -> Waits {
        let mut waits = Waits {
            entries: Vec::new(),
            buckets: alloc::vec![(NONE, NONE); max.next_power_of_two()],
            free: NONE,
            places: Places::new(max, least),
            least,
            seed,
        };
        waits.grow(max);
        waits
    }

    /// One more volume has waits from now on.
    pub(crate) fn add_volume(&mut self) {
        self.grow(self.least);
        self.places.add_volume(self.least);
    }

    /// A volume goes, of which nothing is pending: its part is the others'.
    pub(crate) fn remove_volume(&mut self, volume: usize) {
        self.places.remove_volume(volume);
    }

    /// A volume comes under the number of one that went.
    pub(crate) fn replace_volume(&mut self, volume: usize) {
        self.places.replace_volume(volume);
    }

    /// Makes sure that so many volumes in all can be added without an allocation.
    pub(crate) fn reserve_volumes(&mut self, volumes: usize) {
        self.entries.reserve_exact(volumes * self.least);
        self.places.reserve_volumes(volumes);
    }

    fn grow(&mut self, more: usize) {
        for _ in 0..more {
            let at = u32::try_from(self.entries.len()).expect("few waits");
            self.entries.push(Entry { wait: None, next: self.free });
            self.free = at;
        }
    }

    /// The most waits there can be.
    pub(crate) fn max(&self) -> usize {
        self.entries.len()
    }

    /// Whether a volume may have `count` more.
    pub(crate) fn has_room(&self, volume: usize, count: usize) -> bool {
        self.places.has_room(volume, count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.total() == 0
    }

    pub(crate) fn any_of(&self, volume: u16) -> bool {
        self.places.of(usize::from(volume)) > 0
    }

    /// Whether any write waits for the line.
    pub(crate) fn any_on(&self, volume: u16, line: u64) -> bool {
        if !self.any_of(volume) {
            return false;
        }
        let mut at = self.buckets[self.bucket(volume, line)].0;
        while at != NONE {
            let Entry { wait, next } = self.entries[at as usize];
            if wait.is_some_and(|wait| wait.volume == volume && wait.line == line) {
                return true;
            }
            at = next;
        }
        false
    }

    /// # Panics
    /// If there is no room.
    pub(crate) fn add(&mut self, request: RequestId, volume: u16, line: u64, generation: u64, until: Until) {
        let at = self.free;
        assert!(at != NONE, "more waits than were asked for");
        let entry = &mut self.entries[at as usize];
        self.free = entry.next;
        *entry = Entry { wait: Some(Wait { request, volume, line, generation, until }), next: NONE };
        let bucket = self.bucket(volume, line);
        match self.buckets[bucket] {
            (NONE, _) => self.buckets[bucket] = (at, at),
            (first, last) => {
                self.entries[last as usize].next = at;
                self.buckets[bucket] = (first, at);
            }
        }
        self.places.take(usize::from(volume), 1);
    }

    /// Takes out all waits that are satisfied: `generation` of the line, or a newer one, has come as far as `reached`.
    pub(crate) fn take_satisfied(
        &mut self,
        volume: u16,
        line: u64,
        (generation, reached): (u64, Until),
        settled: &mut Vec<RequestId>,
    ) {
        self.take(volume, line, settled, |wait| wait.generation <= generation && wait.until <= reached);
    }

    /// The same for all lines of `first..end`: a look at every wait there is.
    pub(crate) fn take_satisfied_in(
        &mut self,
        volume: u16,
        (first, end): (u64, u64),
        (generation, reached): (u64, Until),
        settled: &mut Vec<RequestId>,
    ) {
        if !self.any_of(volume) {
            return;
        }
        for at in 0..self.entries.len() {
            let within = |wait: &Wait| wait.volume == volume && (first..end).contains(&wait.line);
            if let Some(wait) = self.entries[at].wait.filter(within) {
                self.take_satisfied(volume, wait.line, (generation, reached), settled);
            }
        }
    }

    /// Takes out all waits of a line, whatever they wait for.
    pub(crate) fn take_line(&mut self, volume: u16, line: u64, settled: &mut Vec<RequestId>) {
        self.take(volume, line, settled, |_| true);
    }

    /// The line of any wait of a volume that is at `from` or behind it, with its place.
    pub(crate) fn next_of(&self, volume: u16, from: usize) -> Option<(usize, u64)> {
        let of_volume = |entry: &Entry| entry.wait.filter(|wait| wait.volume == volume).map(|wait| wait.line);
        (from..self.entries.len()).find_map(|at| of_volume(&self.entries[at]).map(|line| (at, line)))
    }

    fn take(&mut self, volume: u16, line: u64, settled: &mut Vec<RequestId>, wanted: impl Fn(&Wait) -> bool) {
        if !self.any_of(volume) {
            return;
        }
        let bucket = self.bucket(volume, line);
        let (mut before, mut at) = (NONE, self.buckets[bucket].0);
        while at != NONE {
            let Entry { wait, next } = self.entries[at as usize];
            match wait.filter(|wait| wait.volume == volume && wait.line == line && wanted(wait)) {
                None => before = at,
                Some(wait) => {
                    self.unlink(bucket, before, at, next);
                    self.places.give_back(usize::from(volume));
                    settled.push(wait.request);
                }
            }
            at = next;
        }
    }

    fn unlink(&mut self, bucket: usize, before: u32, at: u32, next: u32) {
        let ends = &mut self.buckets[bucket];
        match before {
            NONE => ends.0 = next,
            _ => self.entries[before as usize].next = next,
        }
        if next == NONE {
            ends.1 = before;
        }
        self.entries[at as usize] = Entry { wait: None, next: self.free };
        self.free = at;
    }

    #[allow(clippy::cast_possible_truncation, reason = "the bucket is taken from the low bits")]
    fn bucket(&self, volume: u16, line: u64) -> usize {
        let hash = crate::cache::hash(self.seed, crate::header::place(volume, line));
        hash as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The set behaves like a list that is looked through.
    #[test]
    fn the_set_is_a_list() {
        let steps = proptest::collection::vec((0u8..5, 0u16..2, 0u64..6, 0u64..10), 1..300);
        proptest!(|(steps in steps)| {
            let mut waits = Waits::new(24, 4, 7);
            (0..2).for_each(|_| waits.add_volume());
            let mut list: Vec<Wait> = Vec::new();
            let mut settled = Vec::new();
            for (number, (step, volume, line, generation)) in (0..).zip(steps) {
                let until = if generation % 2 == 0 { Until::Written } else { Until::Stable };
                let wait = Wait { request: RequestId(number), volume, line, generation, until };
                let past = |other: &Wait| other.generation <= generation && other.until <= until;
                let mut expected: Vec<u32> = Vec::new();
                let mut expect = |wanted: &dyn Fn(&Wait) -> bool| {
                    expected = list.iter().filter(|wait| wanted(wait)).map(|wait| wait.request.0).collect();
                    list.retain(|wait| !wanted(wait));
                };
                match step {
                    0 | 1 if waits.has_room(usize::from(volume), 1) => {
                        waits.add(wait.request, volume, line, generation, until);
                        list.push(wait);
                    }
                    2 => {
                        expect(&|other| other.volume == volume && other.line == line && past(other));
                        waits.take_satisfied(volume, line, (generation, until), &mut settled);
                    }
                    3 => {
                        let lines = (line, line + 3);
                        expect(&|other| other.volume == volume && (line..line + 3).contains(&other.line) && past(other));
                        waits.take_satisfied_in(volume, lines, (generation, until), &mut settled);
                    }
                    4 => {
                        expect(&|other| other.volume == volume && other.line == line);
                        waits.take_line(volume, line, &mut settled);
                    }
                    _ => {}
                }
                let mut taken: Vec<u32> = settled.drain(..).map(|request| request.0).collect();
                taken.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(taken, expected);
                prop_assert_eq!(waits.any_of(volume), list.iter().any(|wait| wait.volume == volume));
                let on_line = list.iter().any(|wait| wait.volume == volume && wait.line == line);
                prop_assert_eq!(waits.any_on(volume, line), on_line);
                prop_assert_eq!(waits.next_of(volume, 0).is_some(), waits.any_of(volume));
                prop_assert!(!waits.has_room(0, 33 - list.len()), "24 for all, and 4 for each");
            }
        });
    }
}
