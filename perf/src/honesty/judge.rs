//! What Holdfast promises, asked of everybody alike: whether what was seen keeps it. The judge knows what was acknowledged
//! and what the disk would still have after a power cut, and nothing of who answers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answer::Answer;
use super::play::Step;
use super::stamp::{BLOCK, Found, Stamp};
use super::system::Listed;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Broken {
    /// Its number.
    pub(super) promise: &'static str,
    /// The row of the table where it was seen.
    pub(super) step: &'static str,
    /// What is wrong with that.
    pub(super) why: String,
}

/// One play's judge.
#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    newest: BTreeMap<u64, Stamp>,
    told: bool,
    pub(super) broken: Vec<Broken>,
}

impl Judge {
    /// A write that succeeded.
    pub(super) fn acknowledged(&mut self, stamp: Stamp) {
        self.newest.insert(stamp.block, stamp);
    }

    /// By block, what every read has to return, or fail.
    pub(super) fn newest(&self) -> &BTreeMap<u64, Stamp> {
        &self.newest
    }

    fn complain(&mut self, promise: &'static str, step: &'static str, why: String) {
        self.broken.push(Broken { promise, step, why });
    }

    /// C1, C2: success only if all is on stable media.
    pub(super) fn flushed(&mut self, step: &'static str, answer: &Answer, unstable: &[Stamp]) {
        self.told |= *answer != Answer::Success;
        if *answer == Answer::Success && !unstable.is_empty() {
            self.complain("C1", step, format!("success, and not on stable media: {}", letters(unstable)));
        }
    }

    /// C5: the newest acknowledged version, or an error.
    pub(super) fn read(&mut self, step: &'static str, blocks: &[u64], answer: &Answer) {
        let Answer::Contents(found) = answer else { return };
        for (block, &found) in blocks.iter().zip(found) {
            let Some(&newest) = self.newest.get(block) else { continue };
            if found != Found::Version(newest.letter) && !matches!(found, Found::Refused(_)) {
                self.complain("C5", step, format!("{found} in place of {}, without an error", newest.letter));
            }
        }
    }

    /// C9: what a flush has called not stable can be listed.
    pub(super) fn listed(&mut self, step: &'static str, unstable: &[Stamp], listed: &Listed) {
        let is_listed = |stamp: &Stamp| listed.covers(stamp.block * BLOCK as u64, BLOCK as u64);
        let missing: Vec<Stamp> = unstable.iter().filter(|stamp| !is_listed(stamp)).copied().collect();
        if self.told && !missing.is_empty() {
            self.complain("C9", step, format!("not on the disk, and in no list: {}", letters(&missing)));
        }
    }

    /// An operator has accepted the loss of what is not on stable media: nobody promises it any more.
    pub(super) fn accepted(&mut self, lost: &[Stamp]) {
        self.newest.retain(|_, newest| !lost.contains(newest));
    }

    /// C2: the loss is accepted, the disk is well, and a flush succeeds.
    pub(super) fn freed(&mut self, step: &'static str, answer: Option<&Answer>) {
        if let Some(answer) = answer.filter(|&answer| *answer != Answer::Success) {
            self.complain("C2", step, format!("{answer}, and the loss was accepted"));
        }
    }

    /// C3: once the cause is gone, a flush succeeds, unless something is lost and listed.
    pub(super) fn healed(&mut self, steps: &[Step], is_lost: bool) {
        let last = steps.iter().rev().find(|step| step.what.starts_with("flush"));
        if let Some(Step { what, seen }) = last
            && *seen != Answer::Success
            && !is_lost
        {
            self.complain("C3", what, format!("{seen}, and the disk is well, and nothing is lost"));
        }
    }
}

fn letters(stamps: &[Stamp]) -> String {
    stamps.iter().map(|stamp| stamp.letter.to_string()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: Stamp = Stamp { letter: 'B', block: 1, run: 1 };

    fn judge() -> Judge {
        let mut judge = Judge::default();
        judge.acknowledged(B);
        judge
    }

    fn promises(judge: &Judge) -> Vec<&'static str> {
        judge.broken.iter().map(|broken| broken.promise).collect()
    }

    #[test]
    fn a_flush_may_fail_but_not_lie() {
        let mut judge = judge();
        judge.flushed("flush", &Answer::Refused(5), &[B]);
        judge.flushed("flush", &Answer::Success, &[]);
        assert_eq!(judge.broken, []);
        judge.flushed("flush again", &Answer::Success, &[B]);
        assert_eq!(promises(&judge), ["C1"]);
    }

    #[test]
    fn a_read_is_the_newest_or_an_error() {
        let mut judge = judge();
        judge.read("read", &[1], &Answer::Contents(vec![Found::Refused(5)]));
        judge.read("read", &[1], &Answer::Contents(vec![Found::Version('B')]));
        judge.read("read", &[0], &Answer::Contents(vec![Found::Nothing]));
        assert_eq!(judge.broken, [], "block 0 was never acknowledged");
        for wrong in [Found::Version('A'), Found::Nothing, Found::Zeroes, Found::Garbage] {
            judge.read("read", &[1], &Answer::Contents(vec![wrong]));
        }
        assert_eq!(promises(&judge), ["C5"; 4]);
    }

    #[test]
    fn what_was_told_has_to_be_listed_as_a_whole() {
        let mut judge = judge();
        let listed = |ranges: &[(u64, u64)]| Listed { ranges: ranges.to_vec(), ..Listed::default() };
        judge.listed("listed", &[B], &listed(&[]));
        assert_eq!(judge.broken, [], "nobody was told yet");
        judge.flushed("flush", &Answer::Refused(5), &[B]);
        judge.listed("listed", &[B], &listed(&[(0, 8192)]));
        judge.listed("listed", &[], &listed(&[]));
        assert_eq!(judge.broken, []);
        judge.listed("listed", &[B], &listed(&[(0, 8191), (8192, 4096)]));
        assert_eq!(promises(&judge), ["C9"]);
    }

    #[test]
    fn an_accepted_loss_reads_as_anything_and_fails_no_flush() {
        let (mut judge, a) = (judge(), Answer::Contents(vec![Found::Version('A')]));
        judge.accepted(&[Stamp { letter: 'C', ..B }]);
        judge.read("read", &[1], &a);
        assert_eq!(promises(&judge), ["C5"], "something else was accepted");
        judge.accepted(&[B]);
        judge.read("read", &[1], &a);
        judge.freed("flush", Some(&Answer::Success));
        judge.freed("flush", None);
        assert_eq!(promises(&judge), ["C5"]);
        judge.freed("flush", Some(&Answer::Refused(5)));
        assert_eq!(promises(&judge), ["C5", "C2"]);
    }

    #[test]
    fn a_flush_that_fails_for_ever_needs_a_reason() {
        let steps = [Step { what: "flush after that", seen: Answer::Refused(5) }];
        let mut judge = judge();
        judge.healed(&steps, true);
        assert_eq!(judge.broken, []);
        judge.healed(&steps, false);
        assert_eq!(promises(&judge), ["C3"]);
    }
}
