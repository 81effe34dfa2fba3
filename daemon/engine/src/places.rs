//! A table's places, and what part of them each volume may take.

use alloc::vec::Vec;

/// Counts the places of one table by volume, so that a volume which hangs cannot take those of its neighbours.
///
/// Half of the places belong to whoever comes; the other half is divided equally, and each volume's part of it is its own
/// even if it is not used. What the division leaves over is nobody's: if it were lent, a volume that goes could take back
/// from the others what they were lent, and one of them would not find its own part free. A volume that is alone in being
/// busy has more than half of the table, and one whose neighbours have taken all that they can still has its part.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    /// What each volume has for itself, at least.
    least: usize,
    /// What each volume has for itself, now that there are so many of them.
    own: usize,
    /// What belongs to whoever comes.
    shared: usize,
    taken: Vec<usize>,
    /// Which volumes there are: of one that went nothing is left but its number.
    here: Vec<bool>,
    volumes: usize,
    /// Places taken by all volumes.
    total: usize,
    /// Those that volumes took beyond their own.
    beyond: usize,
}

impl Places {
    /// `max` places, of which every volume has at least `least` for itself.
    pub(crate) fn new(max: usize, least: usize) -> Places {
        let (taken, here) = (Vec::new(), Vec::new());
        Places { max, least, own: 0, shared: 0, taken, here, volumes: 0, total: 0, beyond: 0 }
    }

    /// One more volume, with the next number: the parts of the others become smaller. `more` places come with it.
    pub(crate) fn add_volume(&mut self, more: usize) {
        self.max += more;
        self.taken.push(0);
        self.here.push(true);
        self.divide();
    }

    /// A volume goes: its part is the others'. The places that came with it stay.
    ///
    /// # Panics
    /// If it has taken any, or is gone already.
    pub(crate) fn remove_volume(&mut self, volume: usize) {
        assert_eq!(self.taken[volume], 0, "volume {volume} goes with places taken");
        assert!(core::mem::take(&mut self.here[volume]), "volume {volume} goes twice");
        self.divide();
    }

    /// A volume comes under the number of one that went.
    ///
    /// # Panics
    /// If there is one.
    pub(crate) fn replace_volume(&mut self, volume: usize) {
        assert!(!core::mem::replace(&mut self.here[volume], true), "volume {volume} comes twice");
        self.divide();
    }

    fn divide(&mut self) {
        self.volumes = self.here.iter().filter(|here| **here).count();
        self.own = (self.max / (2 * self.volumes.max(1))).max(self.least);
        self.shared = self.max.saturating_sub((self.max / 2).max(self.own * self.volumes));
        self.beyond = self.taken.iter().map(|taken| taken.saturating_sub(self.own)).sum();
    }

    /// How many volumes there are.
    #[inline]
    pub(crate) fn volumes(&self) -> usize {
        self.volumes
    }

    /// Makes sure that so many volumes in all can be added without an allocation.
    pub(crate) fn reserve_volumes(&mut self, volumes: usize) {
        self.taken.reserve_exact(volumes.saturating_sub(self.taken.len()));
        self.here.reserve_exact(volumes.saturating_sub(self.here.len()));
    }

    /// Places taken.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Places that a volume has taken.
    pub(crate) fn of(&self, volume: usize) -> usize {
        self.taken[volume]
    }

    /// Whether a volume, which must be one that is there, may take `count` more.
    #[inline]
    pub(crate) fn has_room(&self, volume: usize, count: usize) -> bool {
        // As good as always: what all have taken would fit into what belongs to whoever comes.
        if self.total + count <= self.shared {
            return true;
        }
        let taken = self.taken[volume];
        let more_beyond = (taken + count).saturating_sub(self.own.max(taken));
        let fits_beyond = more_beyond == 0 || self.beyond + more_beyond <= self.shared;
        fits_beyond && self.total + count <= self.max
    }

    /// # Panics
    /// If there are not as many places at all.
    #[inline]
    pub(crate) fn take(&mut self, volume: usize, count: usize) {
        let taken = &mut self.taken[volume];
        self.beyond += (*taken + count).saturating_sub(self.own.max(*taken));
        *taken += count;
        self.total += count;
        assert!(self.total <= self.max, "{count} places more than the {} there are", self.max);
    }

    #[inline]
    pub(crate) fn give_back(&mut self, volume: usize) {
        let taken = &mut self.taken[volume];
        self.beyond -= usize::from(*taken > self.own);
        *taken -= 1;
        self.total -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whatever the others took, and whoever went, each volume gets what is its own; and nobody gets what is another's.
    #[test]
    fn a_volume_finds_its_own_places_free() {
        let steps = proptest::collection::vec((0u8..5, 0usize..4, 1usize..5), 1..300);
        proptest!(|(max in 8usize..64, volumes in 1usize..5, steps in steps)| {
            let mut places = Places::new(max, 1);
            (0..volumes).for_each(|_| places.add_volume(0));
            let mut here = volumes;
            for (step, volume, count) in steps {
                let volume = volume % volumes;
                let taken = places.of(volume);
                if !places.here[volume] {
                    continue;
                }
                if step == 4 && taken == 0 && here > 1 {
                    places.remove_volume(volume);
                    here -= 1;
                }
                let own = (max / (2 * here)).max(1);
                if step < 2 {
                    let has_room = places.has_room(volume, count);
                    prop_assert!(has_room || taken + count > own, "{places:?} has no room for {count} of {volume}");
                    if has_room {
                        places.take(volume, count);
                    }
                } else if taken > 0 {
                    places.give_back(volume);
                }
                prop_assert_eq!(places.total(), places.taken.iter().sum::<usize>());
                let present = places.taken.iter().zip(&places.here).filter(|(_, here)| **here);
                let kept: usize = present.map(|(&taken, _)| own.max(taken)).sum();
                prop_assert!(kept <= max, "{places:?}");
            }
        });
    }

    #[test]
    fn a_busy_volume_may_take_most_of_a_table_that_nobody_else_uses() {
        let mut places = Places::new(64, 1);
        (0..4).for_each(|_| places.add_volume(0));
        let taken =
            (0..64).take_while(|_| places.has_room(2, 1).then(|| places.take(2, 1)).is_some()).count();
        assert_eq!(taken, 32 + 8, "half of the table and its own part");
    }

    /// Half of 14 divided by four leaves three over, by three only one: what was lent of the three would have to come back.
    #[test]
    fn a_part_is_free_although_the_division_leaves_something_over() {
        let mut places = Places::new(14, 1);
        (0..4).for_each(|_| places.add_volume(0));
        while places.has_room(0, 1) {
            places.take(0, 1);
        }
        places.remove_volume(3);
        for volume in [1, 2] {
            assert!(places.has_room(volume, 2), "two of seven for each of three: {places:?}");
            places.take(volume, 2);
        }
    }

    /// What a volume had for itself is the others' as soon as it has gone, and its own again when it is back.
    #[test]
    fn the_part_of_a_volume_that_went_is_the_others() {
        let mut places = Places::new(16, 1);
        (0..2).for_each(|_| places.add_volume(0));
        places.take(0, 12);
        assert!(!places.has_room(0, 1), "four are the other's");
        places.remove_volume(1);
        assert!(places.has_room(0, 4));
        places.take(0, 4);
        places.replace_volume(1);
        (0..4).for_each(|_| places.give_back(0));
        assert!(!places.has_room(0, 1) && places.has_room(1, 4), "{places:?}");
    }

    /// A volume that is new finds what the others have not taken; they give it its part as they end what they have.
    #[test]
    fn a_volume_that_comes_later_gets_its_part() {
        let mut places = Places::new(16, 1);
        places.add_volume(0);
        places.take(0, 16);
        places.add_volume(0);
        assert!(!places.has_room(1, 1), "the table is full");
        (0..4).for_each(|_| places.give_back(0));
        assert!(!places.has_room(0, 1), "what is free is the new one's");
        assert!(places.has_room(1, 4));
    }
}
