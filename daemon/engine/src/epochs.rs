//! Which flush waits for what.
//!
//! Time is cut into epochs by flushes. Data that is not stable belongs to the epoch of its oldest such write: a flush
//! of epoch `e` waits for all of epochs up to `e` and for nothing newer, however often lines are overwritten. Only the
//! epochs of flushes that wait have a bucket; what is older than the oldest of them counts with it.

use alloc::collections::VecDeque;

/// What stage a write that is not stable has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not yet written back.
    Waiting = 0,
    /// On its way to the device.
    Writing = 1,
    /// Accepted by the device.
    Written = 2,
    /// Refused and held.
    Failed = 3,
}

/// Writes of one epoch by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket([u64; 4]);

impl Bucket {
    pub(crate) fn at(&self, stage: Stage) -> u64 {
        self.0[stage as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

/// The buckets of the epochs that matter.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The epoch of `buckets[0]`, which stands for all before it, too.
    base: u32,
    buckets: VecDeque<Bucket>,
    buckets_max: usize,
}

impl Epochs {
    pub(crate) fn new(buckets_max: usize) -> Epochs {
        let mut buckets = VecDeque::with_capacity(buckets_max);
        buckets.push_back(Bucket::default());
        Epochs { base: 0, buckets, buckets_max }
    }

    #[cfg(test)]
    pub(crate) fn starting_at(base: u32, buckets_max: usize) -> Epochs {
        Epochs { base, ..Epochs::new(buckets_max) }
    }

    /// Counts from 0 again; returns what is to be taken off every epoch.
    pub(crate) fn rebase(&mut self) -> u32 {
        core::mem::take(&mut self.base)
    }

    /// The epoch that a write accepted now belongs to.
    pub(crate) fn current(&self) -> u32 {
        self.base + u32::try_from(self.buckets.len() - 1).expect("few buckets")
    }

    /// The epoch of the oldest flush that waits, or the current one.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }

    fn bucket(&mut self, epoch: u32) -> &mut Bucket {
        let index = epoch.saturating_sub(self.base) as usize;
        &mut self.buckets[index]
    }

    pub(crate) fn add(&mut self, epoch: u32, stage: Stage) {
        self.bucket(epoch).0[stage as usize] += 1;
    }

    pub(crate) fn remove(&mut self, epoch: u32, stage: Stage) {
        self.bucket(epoch).0[stage as usize] -= 1;
    }

    pub(crate) fn moved(&mut self, epoch: u32, from: Stage, to: Stage) {
        self.remove(epoch, from);
        self.add(epoch, to);
    }

    /// A flush arrives: it waits for the epoch returned, and newer writes begin another, unless so many flushes wait
    /// that it joins them (it then waits for more than it must, never for less).
    pub(crate) fn cut(&mut self) -> u32 {
        let epoch = self.current();
        if self.buckets.len() < self.buckets_max {
            self.buckets.push_back(Bucket::default());
        }
        epoch
    }

    /// All that a flush of the oldest waiting epoch waits for.
    pub(crate) fn oldest(&self) -> Bucket {
        self.buckets[0]
    }

    /// All that is not stable.
    pub(crate) fn total(&self) -> Bucket {
        let mut sum = Bucket::default();
        for bucket in &self.buckets {
            for (total, count) in sum.0.iter_mut().zip(bucket.0) {
                *total += count;
            }
        }
        sum
    }

    /// The oldest waiting flush is now one of `epoch`, or there is none and `epoch` is the current one: older epochs
    /// count with it.
    pub(crate) fn advance(&mut self, epoch: u32) {
        while self.base < epoch {
            let old = self.buckets.pop_front().expect("the current epoch has a bucket");
            self.base += 1;
            for (total, count) in self.buckets[0].0.iter_mut().zip(old.0) {
                *total += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Adds, cuts and advances in any order give what a list of all writes with their epochs gives.
    #[test]
    fn buckets_count_like_a_list() {
        let steps = proptest::collection::vec((0u8..4, any::<u32>()), 1..200);
        proptest!(|(steps in steps)| {
            let mut epochs = Epochs::new(6);
            let mut list: Vec<(u32, usize)> = Vec::new();
            let stages = [Stage::Waiting, Stage::Writing, Stage::Written, Stage::Failed];
            for (step, number) in steps {
                let pick = number as usize;
                match step {
                    0 => {
                        epochs.add(epochs.current(), stages[pick % 4]);
                        list.push((epochs.current(), pick % 4));
                    }
                    1 if !list.is_empty() => {
                        let at = pick % list.len();
                        let (epoch, stage) = list[at];
                        list[at].1 = (stage + 1) % 4;
                        epochs.moved(epoch, stages[stage], stages[(stage + 1) % 4]);
                    }
                    2 => prop_assert!(epochs.cut() <= epochs.current()),
                    _ => epochs.advance(epochs.base() + number % (epochs.current() - epochs.base() + 1)),
                }
                for (stage, &name) in stages.iter().enumerate() {
                    let of = |wanted: &dyn Fn(u32) -> bool| {
                        list.iter().filter(|&&(epoch, other)| wanted(epoch) && other == stage).count() as u64
                    };
                    prop_assert_eq!(epochs.oldest().at(name), of(&|epoch| epoch <= epochs.base()));
                    prop_assert_eq!(epochs.total().at(name), of(&|_| true));
                }
            }
        });
    }
}
