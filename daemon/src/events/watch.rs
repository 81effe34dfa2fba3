//! What is news: the same fact is told once, until it has passed and come again.

use super::Kind;
use holdfast_engine::VolumeStats;

/// Share of the budget, in percent, from which it is news.
const BUDGET_PERCENT: u64 = 80;
/// Share below which it may become news again: a volume that hovers at the limit is told of once.
const BUDGET_AGAIN_PERCENT: u64 = 70;

/// Watches one volume. Looks at its counters now and then; those that only grow tell of what came and went between.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    refused: u64,
    given_up: u64,
    in_trouble: bool,
    has_lost: bool,
    is_full: bool,
}

impl Watch {
    /// What is new in a volume whose counters are these, in the order in which it happened.
    pub fn look(&mut self, stats: &VolumeStats) -> Vec<Kind> {
        let mut news = Vec::new();
        let refused = stats.device_writes_refused.saturating_add(stats.device_flushes_failed);
        let refuses = stats.failed > 0 || stats.gate_class != 0;
        if !self.in_trouble && (refuses || refused > self.refused) {
            news.push(Kind::FirstFailure);
        }
        if !self.has_lost && (stats.lost > 0 || stats.given_up > self.given_up) {
            news.push(Kind::Lost);
        }
        let in_trouble = refuses || stats.lost > 0;
        if !in_trouble && (self.in_trouble || !news.is_empty()) {
            news.push(Kind::Healed);
        }
        let used = stats.not_clean.saturating_mul(100);
        if !self.is_full && stats.budget > 0 && used >= stats.budget.saturating_mul(BUDGET_PERCENT) {
            self.is_full = true;
            news.push(Kind::Budget);
        } else if used < stats.budget.saturating_mul(BUDGET_AGAIN_PERCENT) {
            self.is_full = false;
        }
        (self.refused, self.given_up) = (refused, stats.given_up);
        (self.in_trouble, self.has_lost) = (in_trouble, stats.lost > 0);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> VolumeStats {
        VolumeStats { budget: 100, ..VolumeStats::default() }
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_once() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(&well()), []);
        let failed = VolumeStats { failed: 3, device_writes_refused: 1, gate_class: 2, ..well() };
        assert_eq!(watch.look(&failed), [Kind::FirstFailure]);
        let more = VolumeStats { failed: 9, device_writes_refused: 7, ..failed };
        assert_eq!(watch.look(&more), []);
        let healed = VolumeStats { device_writes_refused: 7, ..well() };
        assert_eq!(watch.look(&healed), [Kind::Healed]);
        assert_eq!(watch.look(&healed), []);
    }

    /// It came and went between two looks: the counters that only grow give it away.
    #[test]
    fn a_failure_nobody_saw_is_told_with_its_end() {
        let mut watch = Watch::default();
        watch.look(&well());
        let after = VolumeStats { device_flushes_failed: 1, ..well() };
        assert_eq!(watch.look(&after), [Kind::FirstFailure, Kind::Healed]);
    }

    #[test]
    fn a_loss_is_told_once_until_it_is_healed() {
        let mut watch = Watch::default();
        watch.look(&well());
        let lost = VolumeStats { lost: 2, given_up: 2, device_writes_refused: 1, ..well() };
        assert_eq!(watch.look(&lost), [Kind::FirstFailure, Kind::Lost]);
        assert_eq!(watch.look(&VolumeStats { lost: 3, given_up: 3, ..lost }), []);
        let acknowledged = VolumeStats { given_up: 3, device_writes_refused: 1, ..well() };
        assert_eq!(watch.look(&acknowledged), [Kind::Healed]);
        let again = VolumeStats { lost: 1, given_up: 4, ..acknowledged };
        assert_eq!(watch.look(&again), [Kind::Lost]);
    }

    /// What the last boot's memory took along is on record as lost when the daemon starts.
    #[test]
    fn a_loss_that_is_there_at_the_start_is_told() {
        assert_eq!(Watch::default().look(&VolumeStats { lost: 1, ..well() }), [Kind::Lost]);
    }

    #[test]
    fn a_budget_that_hovers_is_told_of_once() {
        let mut watch = Watch::default();
        let used = |not_clean| VolumeStats { not_clean, ..well() };
        assert_eq!(watch.look(&used(79)), []);
        assert_eq!(watch.look(&used(80)), [Kind::Budget]);
        for quiet in [75, 81, 70, 100] {
            assert_eq!(watch.look(&used(quiet)), [], "{quiet}");
        }
        assert_eq!(watch.look(&used(69)), []);
        assert_eq!(watch.look(&used(95)), [Kind::Budget]);
    }
}
