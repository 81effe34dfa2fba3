//! What a job's ratios should be, and whether they are.

use serde::{Deserialize, Serialize};

use crate::outcome::{Contender, ContenderOutcome, Ratio};
use crate::statistics::Repeats;

/// What Holdfast's rings should be beside another contender. It is judged where that one is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The other one.
    pub over: Contender,
    /// Requests a second over the other's: at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Median time over the other's: at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 99th percentile over the other's: at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Microseconds that the median time is longer than the other's: at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_more_us: Option<f64>,
}

/// Whether one of these figures is what it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is wanted, in words.
    pub wanted: String,
    /// What was measured.
    pub found: Repeats,
    /// Whether the median is what is wanted.
    pub reached: bool,
}

impl Wanted {
    /// Why this cannot be wanted, if it cannot.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let figures = [self.rate, self.p50, self.p99, self.p50_more_us];
        let over = self.over.name();
        if self.over == Contender::Holdfast {
            return Some("wanted: nothing is wanted over holdfast itself; name another contender".into());
        }
        match figures.iter().flatten().find(|figure| !(figure.is_finite() && **figure > 0.0)) {
            Some(figure) => Some(format!("wanted over {over}: {figure} is not above 0")),
            None if figures.iter().all(Option::is_none) => {
                Some(format!("wanted over {over}: say what, as rate, p50, p99 or p50_more_us"))
            }
            None => None,
        }
    }

    /// Each of these figures in words, in the order of the verdicts.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let over = self.over.name();
        let rate = self.rate.map(|least| format!("rate over {over} at least {least}"));
        let p50 = self.p50.map(|most| format!("p50 over {over} at most {most}"));
        let p99 = self.p99.map(|most| format!("p99 over {over} at most {most}"));
        let more = self.p50_more_us.map(|most| format!("p50 at most {most} us over {over}'s"));
        [rate, p50, p99, more].into_iter().flatten().collect()
    }

    /// What became of it, if the other one was measured.
    pub(crate) fn judge(&self, ratios: &[Ratio], contenders: &[ContenderOutcome]) -> Vec<Verdict> {
        let is_it = |ratio: &&Ratio| ratio.of == Contender::Holdfast && ratio.to == self.over;
        let of = |who| contenders.iter().find(|one| one.contender == who);
        let (Some(ratio), Some(ours), Some(others)) =
            (ratios.iter().find(is_it), of(Contender::Holdfast), of(self.over))
        else {
            return Vec::new();
        };
        let more_us = || {
            let pairs = ours.p50_ns.repeats.iter().zip(&others.p50_ns.repeats);
            Repeats::new(pairs.map(|(ours, theirs)| (ours - theirs) / 1000.0).collect())
        };
        let at_least = |found: Repeats, least: f64| (found.median >= least, found);
        let at_most = |found: Repeats, most: f64| (found.median <= most, found);
        let judged = [
            self.rate.map(|least| at_least(ratio.rate.clone(), least)),
            self.p50.map(|most| at_most(ratio.p50.clone(), most)),
            self.p99.map(|most| at_most(ratio.p99.clone(), most)),
            self.p50_more_us.map(|most| at_most(more_us(), most)),
        ];
        let judged = self.words().into_iter().zip(judged.into_iter().flatten());
        judged.map(|(wanted, (reached, found))| Verdict { wanted, found, reached }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(contender: Contender, figures: [f64; 3]) -> ContenderOutcome {
        let [rate_per_s, p50_ns, p99_ns] = figures.map(|figure| Repeats::new(vec![figure]));
        ContenderOutcome { contender, rate_per_s, p50_ns, p99_ns, rounds: Vec::new() }
    }

    const NOTHING: Wanted =
        Wanted { over: Contender::Floor, rate: None, p50: None, p99: None, p50_more_us: None };

    #[test]
    fn a_figure_is_judged_by_its_median_and_in_its_own_direction() {
        let ours = contender(Contender::Holdfast, [80.0, 3_000.0, 9_000.0]);
        let floor = contender(Contender::Floor, [100.0, 2_000.0, 3_000.0]);
        let ratio = Ratio {
            of: Contender::Holdfast,
            to: Contender::Floor,
            rate: ours.rate_per_s.ratio_to(&floor.rate_per_s),
            p50: ours.p50_ns.ratio_to(&floor.p50_ns),
            p99: ours.p99_ns.ratio_to(&floor.p99_ns),
        };
        let judge = |wanted: Wanted| {
            let verdicts = wanted.judge(std::slice::from_ref(&ratio), &[ours.clone(), floor.clone()]);
            verdicts.iter().map(|verdict| verdict.reached).collect::<Vec<_>>()
        };
        for (least, reached) in [(0.75, true), (0.8, true), (0.85, false)] {
            assert_eq!(judge(Wanted { rate: Some(least), ..NOTHING }), [reached], "rate {least}");
        }
        for (most, reached) in [(1.6, true), (1.5, true), (1.4, false)] {
            assert_eq!(judge(Wanted { p50: Some(most), ..NOTHING }), [reached], "p50 {most}");
        }
        assert_eq!(judge(Wanted { p99: Some(2.0), p50_more_us: Some(1.0), ..NOTHING }), [false, true]);
        assert_eq!(judge(Wanted { p50_more_us: Some(0.9), ..NOTHING }), [false]);
        let elsewhere = Wanted { over: Contender::PageCache, rate: Some(5.0), ..NOTHING };
        assert!(judge(elsewhere).is_empty(), "what was not measured is not judged");
    }
}
