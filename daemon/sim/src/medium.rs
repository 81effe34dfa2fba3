//! The medium behind one volume: what is stable, what is only in the device's volatile cache, and what fits.

use crate::{Random, Sectors};
use std::collections::{BTreeMap, BTreeSet};

/// What a device can do and how much of it there is.
#[derive(Clone, Copy, Debug)]
pub struct MediumSetup {
    /// Sectors of the volume.
    pub sectors: u64,
    /// Sectors of a logical block, which is written whole or not.
    pub block_sectors: u64,
    /// Whether it knows the operation that writes zeroes.
    pub zeroes: bool,
    /// Whether it discards with zeroes after.
    pub discards: bool,
    /// Chunks of [`CHUNK`] sectors that can be allocated; `u64::MAX` if there is no limit.
    pub chunks_max: u64,
}

/// Sectors of a unit of allocation.
pub const CHUNK: u64 = 8;

/// Content and volatile cache of one volume.
#[derive(Debug)]
pub struct Medium {
    /// What it is.
    pub setup: MediumSetup,
    /// What a power cut leaves.
    pub stable: Sectors,
    /// What a read returns.
    pub view: Sectors,
    /// For each sector with writes since the last flush, those writes in order: when, what.
    unflushed: BTreeMap<u64, Vec<(u64, u64)>>,
    allocated: BTreeSet<u64>,
}

impl Medium {
    /// An empty one, all zeroes and nothing allocated.
    pub fn new(setup: MediumSetup) -> Medium {
        let (stable, view) = Default::default();
        Medium { setup, stable, view, unflushed: BTreeMap::new(), allocated: BTreeSet::new() }
    }

    /// Puts a sector into the volatile cache; `mark` is the moment.
    pub fn write(&mut self, mark: u64, sector: u64, stamp: u64) {
        self.view.set(sector, stamp);
        self.unflushed.entry(sector).or_default().push((mark, stamp));
        if stamp != 0 {
            self.allocated.insert(sector / CHUNK);
        }
    }

    /// Somebody else had the device, and left this on it, stable.
    pub fn replace(&mut self, sector: u64, stamp: u64) {
        self.unflushed.remove(&sector);
        self.view.set(sector, stamp);
        self.stable.set(sector, stamp);
        self.allocated.insert(sector / CHUNK);
    }

    /// Makes `from .. to` zeroes, in the volatile cache.
    pub fn zero(&mut self, mark: u64, from: u64, to: u64) {
        let mut there: BTreeSet<u64> = self.view.written(from, to).map(|(sector, _)| sector).collect();
        there.extend(self.stable.written(from, to).map(|(sector, _)| sector));
        there.extend(self.unflushed.range(from..to).map(|(&sector, _)| sector));
        there.into_iter().for_each(|sector| self.write(mark, sector, 0));
    }

    /// Gives the chunks that lie wholly in `from .. to` back.
    pub fn deallocate(&mut self, from: u64, to: u64) {
        let chunks = from.div_ceil(CHUNK)..to / CHUNK;
        if !chunks.is_empty() {
            self.allocated.retain(|chunk| !chunks.contains(chunk));
        }
    }

    /// How many sectors of `from .. to`, from the first on, can be written without exceeding the limit of chunks.
    pub fn fits(&self, from: u64, to: u64) -> u64 {
        let mut left = self.setup.chunks_max.saturating_sub(self.allocated.len() as u64);
        for chunk in from / CHUNK..to.div_ceil(CHUNK) {
            if self.allocated.contains(&chunk) {
                continue;
            }
            if left == 0 {
                return (chunk * CHUNK).saturating_sub(from);
            }
            left -= 1;
        }
        to - from
    }

    /// Whether the sector could be written without allocating.
    pub fn is_allocated(&self, sector: u64) -> bool {
        self.allocated.contains(&(sector / CHUNK))
    }

    /// How many chunks are in use.
    pub fn chunks(&self) -> u64 {
        self.allocated.len() as u64
    }

    /// Makes stable what was written up to `mark`.
    pub fn flush(&mut self, mark: u64) {
        let stable = &mut self.stable;
        self.unflushed.retain(|&sector, writes| {
            let down = writes.partition_point(|&(when, _)| when <= mark);
            if down > 0 {
                stable.set(sector, writes[down - 1].1);
                writes.drain(..down);
            }
            !writes.is_empty()
        });
    }

    /// Loses the volatile cache: of each block's writes some first ones are down, `odds` parts of 1000 of the blocks
    /// have all of them; the others never were.
    pub fn lose_cache(&mut self, random: &mut Random, odds: u64) -> u64 {
        let mut lost = 0;
        let (mut block, mut until) = (u64::MAX, 0);
        for (sector, writes) in std::mem::take(&mut self.unflushed) {
            if sector / self.setup.block_sectors != block {
                block = sector / self.setup.block_sectors;
                let any = writes[usize::try_from(random.below(writes.len() as u64)).unwrap_or(0)].0;
                until = if random.chance(odds) { u64::MAX } else { any - u64::from(random.chance(700)) };
            }
            if let Some(&(_, stamp)) = writes.iter().rev().find(|&&(when, _)| when <= until) {
                self.stable.set(sector, stamp);
            }
            let stable = self.stable.get(sector);
            lost += u64::from(self.view.get(sector) != stable);
            self.view.set(sector, stable);
        }
        lost
    }
}
