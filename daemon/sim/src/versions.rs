//! The values that one sector may have.
//!
//! A version is *superseded* for whoever began at `since` if another one took effect before `since` and was submitted
//! after this one was answered or seen; what overlaps in time may end up in either order.

const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Version {
    stamp: u64,
    submitted: u64,
    /// When it was answered, however: it cannot happen any more.
    answered: u64,
    acknowledged: u64,
    /// When it was acknowledged or seen by a read, whichever came first.
    effective: u64,
    /// When a read showed that another version came after it.
    dead: u64,
}

impl Version {
    const ZEROES: Version =
        Version { stamp: 0, submitted: 0, answered: 0, acknowledged: 0, effective: 0, dead: NEVER };

    const fn new(stamp: u64, submitted: u64) -> Version {
        Version { stamp, submitted, answered: NEVER, acknowledged: NEVER, effective: NEVER, dead: NEVER }
    }
}

/// All versions of a sector that somebody may still see.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    all: Vec<Version>,
    /// When an operator last accepted a loss.
    accepted: u64,
    /// When a flush that began after that succeeded: what was seen before says nothing about the order since.
    forgotten: u64,
}

impl Versions {
    /// A sector that was zeroes, and that the unanswered requests of these numbers want to be zeroes.
    pub(crate) fn new(zeroing: impl Iterator<Item = u64>) -> Versions {
        let all = std::iter::once(Version::ZEROES).chain(zeroing.map(|id| Version::new(0, id))).collect();
        Versions { all, accepted: 0, forgotten: 0 }
    }

    /// The host came back, and this is what the device has: everything else is history.
    pub(crate) fn after_power_cut(stable: u64) -> Versions {
        Versions { all: vec![Version { stamp: stable, ..Version::ZEROES }], accepted: 0, forgotten: 0 }
    }

    /// Request `id` wants it to be `stamp`. Nobody who waits began before `oldest`.
    pub(crate) fn submitted(&mut self, stamp: u64, id: u64, oldest: u64) {
        // Now and then only: whoever waits long keeps all of them.
        if self.all.len() > 3 && self.all.len().is_power_of_two() {
            let all = self.clone();
            self.all.retain(|old| !all.superseded(old, oldest, |new| new.acknowledged));
        }
        self.all.push(Version::new(stamp, id));
    }

    /// Request `id` was answered.
    pub(crate) fn answered(&mut self, id: u64, now: u64, acknowledged: bool) {
        for version in self.all.iter_mut().filter(|version| version.submitted == id) {
            version.answered = now;
            if acknowledged {
                version.acknowledged = now;
                version.effective = version.effective.min(now);
            }
        }
    }

    /// Request `id` never was: whoever sees it sees what cannot be.
    pub(crate) fn withdrawn(&mut self, id: u64) {
        self.all.retain(|version| version.submitted != id);
    }

    fn superseded(&self, old: &Version, since: u64, effect: impl Fn(&Version) -> u64) -> bool {
        // Once seen it has happened, though it may not be answered: it must not happen again.
        let happened = old.answered.min(old.effective);
        self.all.iter().any(|new| effect(new) < since && happened < new.submitted)
    }

    /// Whether a read that began at `since` and ended `now` may have seen `stamp`; if the sector's loss was recorded at
    /// `lost`, only what was not answered by then. What was seen is in effect from now on.
    pub(crate) fn seen(&mut self, stamp: u64, since: u64, lost: Option<u64>, now: u64) -> bool {
        let fine = |old: &Version| {
            let newer = lost.is_none_or(|recorded| old.answered > recorded);
            old.stamp == stamp
                && old.dead >= since
                && newer
                && !self.superseded(old, since, |new| new.effective)
        };
        let Some(seen) = self.all.iter().position(fine) else { return false };
        // Zeroes look all alike, and those of a failed request may go away again with the device's cache, as
        // what is there of an accepted loss; what was asked for since is no part of that, and stays. A read that
        // began before may have seen what was given up meanwhile.
        let left_over = self.all[seen].submitted <= self.accepted && since < self.forgotten;
        if stamp != 0 && since >= self.accepted && !left_over {
            for (at, version) in self.all.iter_mut().enumerate() {
                if at == seen {
                    version.effective = version.effective.min(now);
                } else if version.answered < since {
                    version.dead = version.dead.min(now);
                }
            }
        }
        true
    }

    /// Whether `stable` is as new as everything that was acknowledged before `since`.
    pub(crate) fn covered(&self, stable: u64, since: u64) -> bool {
        let fine =
            |old: &Version| old.stamp == stable && !self.superseded(old, since, |new| new.acknowledged);
        self.all.iter().any(fine)
    }

    /// Flush `id` succeeded and was answered `now`: what the device shows from now on, it keeps.
    pub(crate) fn flushed(&mut self, id: u64, now: u64) {
        if self.forgotten == NEVER && id > self.accepted {
            self.forgotten = now;
        }
    }

    /// Whether `stable` is newer than the loss recorded at `recorded`: what was lost had been answered by then. A stamp names
    /// its request, also that of a version which nobody may see any more.
    pub(crate) fn is_newer(&self, stable: u64, recorded: u64) -> bool {
        let answered_later = |version: &Version| version.stamp == stable && version.answered > recorded;
        stable >> 32 > recorded || self.all.iter().any(answered_later)
    }

    /// Whether `stable` is not older than what request `id` asked for.
    pub(crate) fn reached(&self, stable: u64, id: u64) -> bool {
        self.all.iter().any(|version| version.stamp == stable && version.answered >= id)
    }

    /// An operator accepts, `now`, the loss recorded at `recorded`: nobody knows which of the versions before it the device
    /// has, and until a flush it may have another one after it showed one: what was refused is in its cache in parts, and a
    /// failed flush takes some of that back.
    pub(crate) fn forget_order(&mut self, recorded: u64, now: u64, on_device: [u64; 2]) {
        (self.accepted, self.forgotten) = (now, NEVER);
        for old in self.all.iter_mut().filter(|old| old.submitted < recorded) {
            // One that was answered after the record may have taken effect after it, too.
            *old = Version { answered: old.answered, ..Version::new(old.stamp, old.submitted) };
        }
        self.all.extend(on_device.map(|stamp| Version { answered: recorded, ..Version::new(stamp, 0) }));
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;

    fn written(stamps: &[(u64, u64, Option<u64>)]) -> Versions {
        let mut versions = Versions::new(std::iter::empty());
        for &(stamp, submitted, answered) in stamps {
            versions.submitted(stamp, submitted, 0);
            if let Some(answered) = answered {
                versions.answered(submitted, answered, true);
            }
        }
        versions
    }

    #[test]
    fn a_read_never_goes_back() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(4)), (9, 5, None)]);
        assert!(!versions.seen(7, 10, None, 11), "overwritten before the read began");
        assert!(
            versions.clone().seen(7, 3, None, 11),
            "the read began before the overwrite was acknowledged"
        );
        assert!(versions.seen(8, 10, None, 11));
        assert!(versions.seen(9, 12, None, 13), "not answered, but it may be there");
        assert!(!versions.seen(8, 14, None, 15), "once seen, the newer one stays");
    }

    #[test]
    fn a_flush_covers_what_was_acknowledged_before_it() {
        let versions = written(&[(7, 1, Some(2)), (8, 3, Some(6))]);
        assert!(versions.covered(7, 5), "8 was not acknowledged when the flush began");
        assert!(!versions.covered(7, 7) && versions.covered(8, 7) && !versions.covered(0, 5));
    }

    #[test]
    fn writes_that_overlap_may_end_in_either_order() {
        let versions = written(&[(7, 1, Some(4)), (8, 2, Some(3))]);
        assert!(versions.covered(7, 9) && versions.covered(8, 9) && !versions.covered(0, 9));
    }

    #[test]
    fn lost_data_is_not_read_though_the_device_may_have_it() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 20, Some(21))]);
        assert!(!versions.clone().seen(7, 9, Some(8), 10));
        assert!(versions.seen(8, 30, Some(8), 31));
        assert!(!versions.seen(7, 40, None, 41));
    }

    #[test]
    fn a_loss_ends_by_stable_data_newer_than_itself() {
        let versions = written(&[(7, 1, Some(2)), (8, 5, Some(6)), (9, 7, Some(8))]);
        assert!(!versions.is_newer(7, 4) && !versions.is_newer(0, 4));
        assert!(versions.is_newer(8, 4), "that the newest is not stable does not undo it");
        assert!(versions.is_newer(9, 4) && !versions.is_newer(9, 8));
    }

    #[test]
    fn an_acknowledged_loss_reads_as_whatever_the_device_has() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(4))]);
        versions.forget_order(5, 6, [7, 7]);
        assert!(versions.clone().seen(7, 9, None, 10) && versions.covered(7, 9));
        versions.submitted(9, 11, 11);
        versions.answered(11, 12, true);
        assert!(!versions.covered(7, 13) && versions.covered(9, 13));
    }

    #[test]
    fn a_write_that_stalled_over_a_loss_may_be_the_newest() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(12)), (9, 6, Some(8))]);
        versions.forget_order(5, 13, [7, 7]);
        versions.flushed(14, 14);
        assert!(versions.clone().seen(8, 14, None, 15), "8 was taken in after 9, at 12");
        assert!(versions.seen(9, 14, None, 15) && !versions.seen(7, 16, None, 17));
    }

    #[test]
    fn what_was_seen_before_a_loss_was_accepted_says_nothing_about_the_order_since() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(4))]);
        versions.forget_order(5, 10, [7, 7]);
        assert!(versions.seen(8, 9, None, 11), "it began before, and had its copy before");
        assert!(versions.seen(7, 12, None, 13), "which is not what the device has");
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(4))]);
        versions.forget_order(5, 10, [7, 7]);
        versions.flushed(11, 12);
        assert!(versions.seen(8, 13, None, 14) && !versions.seen(7, 15, None, 16));
    }

    /// C5: only what the loss left may change. A newer write that a read has shown stays, flush or none.
    #[test]
    fn what_was_written_since_a_loss_was_accepted_never_goes_back() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(4))]);
        versions.forget_order(5, 10, [8, 7]);
        versions.submitted(9, 11, 0);
        assert!(versions.seen(9, 12, None, 13), "not answered, but it may be there");
        assert!(!versions.seen(8, 14, None, 15) && !versions.seen(7, 14, None, 15));
    }

    /// Seed 281: a read saw a part of a refused write in the device's cache, a flush failed and took that back.
    #[test]
    fn what_an_accepted_loss_left_may_change_until_a_flush() {
        let mut versions = written(&[(7, 1, Some(2)), (8, 3, Some(4))]);
        versions.forget_order(5, 10, [8, 7]);
        assert!(versions.seen(8, 11, None, 12));
        versions.flushed(9, 13);
        assert!(versions.seen(7, 14, None, 15), "that flush began before the loss was accepted");
        versions.flushed(14, 16);
        assert!(versions.seen(7, 17, None, 18) && !versions.seen(8, 19, None, 20));
    }
}
