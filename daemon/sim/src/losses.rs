//! Which sectors of a volume are lost, by the ledger's words.

use crate::Ranges;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Loss {
    generation: u64,
    recorded: u64,
    /// When the record was durable.
    since: u64,
    /// The daemon died before it acted: it may still hold what is on record as lost.
    doubtful: bool,
}

/// What was taken off by a note that is not durable: the note's range, and the losses.
type Removed = ((u64, u64), Vec<(u64, Loss)>);

/// The losses of one volume.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    sectors: BTreeMap<u64, Vec<Loss>>,
    /// Losses whose end is not yet durable: from, to, since when they were in force.
    healing: Vec<(u64, u64, u64)>,
    /// Losses that ended while requests waited: from, to, when.
    ended: Vec<(u64, u64, u64)>,
    /// What would come back if the daemon died.
    removed: Vec<Removed>,
}

impl Losses {
    /// The ledger is told of a loss.
    pub(crate) fn record(&mut self, (from, to): (u64, u64), generation: u64, now: u64) {
        let loss = Loss { generation, recorded: now, since: u64::MAX, doubtful: false };
        (from..to).for_each(|sector| self.sectors.entry(sector).or_default().push(loss));
    }

    /// The ledger holds the loss: it is in force.
    pub(crate) fn enforce(&mut self, range: (u64, u64), generation: u64, now: u64) {
        let ours = |loss: &&mut Loss| loss.generation == generation;
        let sectors = self.sectors.range_mut(range.0..range.1);
        sectors.flat_map(|(_, losses)| losses).filter(ours).for_each(|loss| loss.since = loss.since.min(now));
    }

    /// The daemon died before the ledger held the loss: it was never on record.
    pub(crate) fn unrecord(&mut self, range: (u64, u64), generation: u64) {
        let sectors = self.sectors.range_mut(range.0..range.1);
        sectors.for_each(|(_, losses)| losses.retain(|loss| loss.generation != generation));
        self.sectors.retain(|_, losses| !losses.is_empty());
    }

    /// The loss did not happen.
    pub(crate) fn rescind(&mut self, range: (u64, u64), generation: u64) {
        let mut removed = Vec::new();
        for (&sector, losses) in self.sectors.range_mut(range.0..range.1) {
            let gone = losses.iter().filter(|loss| loss.generation == generation);
            removed.extend(gone.map(|loss| (sector, Loss { doubtful: true, ..*loss })));
            losses.retain(|loss| loss.generation != generation);
        }
        self.removed.push((range, removed));
        self.sectors.retain(|_, losses| !losses.is_empty());
    }

    /// The ledger is told that a range is lost no more. Returns its lost sectors with when the last was recorded, and the last
    /// that is certain. Nobody who
    /// waits began before `oldest`.
    pub(crate) fn heal(&mut self, (from, to): (u64, u64), now: u64, oldest: u64) -> Vec<(u64, u64, u64)> {
        self.ended.retain(|&(_, _, when)| when > oldest);
        self.ended.push((from, to, now));
        let (mut healed, mut since) = (Vec::new(), u64::MAX);
        for (&sector, losses) in self.sectors.range(from..to) {
            since = losses.iter().map(|loss| loss.since).fold(since, u64::min);
            // What may still be held heals its own loss: the daemon died over it.
            let certain = losses.iter().filter(|loss| !loss.doubtful);
            let certain = certain.map(|loss| loss.recorded).fold(0, u64::max);
            healed.push((sector, losses.iter().map(|loss| loss.recorded).fold(0, u64::max), certain));
        }
        let mut removed = Vec::new();
        for (sector, _, _) in &healed {
            let losses = self.sectors.remove(sector).unwrap_or_default();
            removed.extend(losses.into_iter().map(|loss| (*sector, loss)));
        }
        self.removed.push(((from, to), removed));
        self.healing.push((from, to, since));
        healed
    }

    /// The ledger holds the end of losses of a range, of whatever kind.
    pub(crate) fn removal_durable(&mut self, range: (u64, u64)) {
        if let Some(at) = self.removed.iter().position(|(other, _)| *other == range) {
            self.removed.remove(at);
        }
    }

    /// The daemon died before the ledger held the end of losses: they are on record still.
    pub(crate) fn come_back(&mut self, range: (u64, u64)) {
        let Some(at) = self.removed.iter().rposition(|(other, _)| *other == range) else { return };
        for (sector, loss) in self.removed.remove(at).1 {
            if loss.since != u64::MAX {
                self.sectors.entry(sector).or_default().push(loss);
            }
        }
        self.healed(range);
    }

    /// The daemon died before it acted on a loss.
    pub(crate) fn doubt(&mut self, range: (u64, u64), generation: u64) {
        let losses = self.sectors.range_mut(range.0..range.1).flat_map(|(_, losses)| losses);
        losses.filter(|loss| loss.generation == generation).for_each(|loss| loss.doubtful = true);
    }

    /// No memory is left that could hold what is on record as lost.
    pub(crate) fn believe(&mut self) {
        self.sectors.values_mut().flatten().for_each(|loss| loss.doubtful = false);
    }

    /// The ledger holds the end of a loss.
    pub(crate) fn healed(&mut self, range: (u64, u64)) {
        if let Some(at) = self.healing.iter().position(|&(from, to, _)| (from, to) == range) {
            self.healing.remove(at);
        }
    }

    /// Whether any sector is on record as lost, or was a moment ago. A record that is not durable does not count: nothing
    /// is given up before it is (M8).
    pub(crate) fn touch(&self, from: u64, to: u64) -> bool {
        let durable = |losses: &Vec<Loss>| losses.iter().any(|loss| loss.since != u64::MAX);
        self.sectors.range(from..to).any(|(_, losses)| durable(losses))
            || self.healing.iter().any(|&(a, b, _)| a < to && from < b)
    }

    /// Whether any sector was lost at some moment since `since`.
    pub(crate) fn touched(&self, from: u64, to: u64, since: u64) -> bool {
        self.touch(from, to) || self.ended.iter().any(|&(a, b, when)| a < to && from < b && when > since)
    }

    /// If the sector's loss was in force at `when`: when the last such loss was recorded.
    pub(crate) fn in_force(&self, sector: u64, when: u64) -> Option<u64> {
        let losses = self.sectors.get(&sector)?.iter().filter(|loss| loss.since < when && !loss.doubtful);
        losses.map(|loss| loss.recorded).max()
    }

    /// `oldest`, or when the first of the sector's losses was recorded, if that is earlier: any version after it may end
    /// the loss.
    pub(crate) fn oldest(&self, sector: u64, oldest: u64) -> u64 {
        let recorded = self.sectors.get(&sector).into_iter().flatten().map(|loss| loss.recorded);
        recorded.fold(oldest, u64::min)
    }

    /// A sector of `own` whose loss was in force at `when`, if there is one.
    pub(crate) fn any_in_force(&self, own: impl Fn(u64) -> bool, when: u64) -> Option<u64> {
        let in_force = |losses: &[Loss]| losses.iter().any(|loss| loss.since < when);
        let lost = self.sectors.iter().find(|(sector, losses)| own(**sector) && in_force(losses));
        lost.map(|(&sector, _)| sector)
    }

    /// Whether the end of a loss that was in force at `when` is not yet durable.
    pub(crate) fn is_healing(&self, when: u64) -> bool {
        self.healing.iter().any(|&(_, _, since)| since < when)
    }

    /// The lost sectors.
    pub(crate) fn ranges(&self) -> Ranges {
        let mut ranges = Ranges::default();
        self.sectors.keys().for_each(|&sector| ranges.insert(sector, sector + 1));
        ranges
    }

    /// Whether nothing is lost and no loss is just ending.
    pub(crate) fn is_empty(&self) -> bool {
        self.sectors.is_empty() && self.healing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss ends, its sectors are lost again, and the daemon dies before the ledger holds either: the first stands (seed
    /// 16727).
    #[test]
    fn what_the_ledger_never_held_takes_nothing_along() {
        let (mut losses, range) = (Losses::default(), (8, 16));
        losses.record(range, 1, 10);
        losses.enforce(range, 1, 11);
        losses.heal(range, 20, 0);
        losses.record(range, 2, 30);
        losses.unrecord(range, 2);
        assert!(losses.ranges().is_empty());
        losses.come_back(range);
        assert!(losses.touch(8, 16) && losses.in_force(8, 12).is_some());
        assert_eq!(losses.ranges().iter().collect::<Vec<_>>(), [range]);
    }
}
