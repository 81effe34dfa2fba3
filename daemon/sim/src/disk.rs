//! A disk that does what disks do: one for each flush domain.

use crate::fault::{Fault, Trouble};
use crate::medium::{Medium, MediumSetup};
use crate::{Coverage, Random};
use holdfast_policy::errno;
use std::collections::BTreeMap;

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Read sectors.
    Read,
    /// Write these stamps.
    Write(Vec<u64>),
    /// Make sectors zeroes.
    Zero,
    /// Make sectors zeroes and give their space back.
    Discard,
    /// Make stable all that was completed.
    Flush,
}

/// An operation to submit.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The volume.
    pub volume: u16,
    /// First sector.
    pub from: u64,
    /// The sector after the last.
    pub to: u64,
    /// What to do.
    pub work: Work,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// As io_uring would say it: bytes or 0, or a negative errno.
    pub result: i32,
    /// What a read found.
    pub data: Vec<u64>,
}

/// How much trouble a volume's device has made so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Reads that failed or were short.
    pub reads: u64,
    /// Writes, zeroes and discards that failed or were short, other than for want of space.
    pub changes: u64,
    /// Operations that found no space.
    pub space: u64,
    /// Flushes that failed.
    pub flushes: u64,
    /// Operations that hung.
    pub hangs: u64,
    /// Resets.
    pub resets: u64,
}

impl Harm {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.reads + self.changes + self.space + self.flushes + self.hangs + self.resets
    }
}

#[derive(Debug)]
struct Flight {
    operation: Operation,
    trouble: Option<Trouble>,
    /// How many operations had completed when it was submitted: what a flush covers.
    mark: u64,
}

/// A disk with one or more volumes on it.
#[derive(Debug)]
pub struct Disk {
    /// Its volumes, by number.
    pub media: BTreeMap<u16, Medium>,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// What went wrong so far, by volume.
    pub harm: BTreeMap<u16, Harm>,
    hung: BTreeMap<u16, u64>,
    flights: BTreeMap<u64, Flight>,
    mark: u64,
    random: Random,
}

impl Disk {
    /// A healthy one.
    pub fn new(random: Random, volumes: impl Iterator<Item = (u16, MediumSetup)>) -> Disk {
        let media: BTreeMap<u16, Medium> =
            volumes.map(|(volume, setup)| (volume, Medium::new(setup))).collect();
        let harm = media.keys().map(|&volume| (volume, Harm::default())).collect();
        Disk {
            media,
            faults: Vec::new(),
            harm,
            hung: BTreeMap::new(),
            flights: BTreeMap::new(),
            mark: 1,
            random,
        }
    }

    /// Takes an operation, to be known as `key`, and says when it will end.
    pub fn submit(&mut self, now: u64, key: u64, operation: Operation, coverage: &mut Coverage) -> u64 {
        let Operation { volume, from, to, .. } = operation;
        let mut ends = now + self.latency_ns();
        let mut trouble = None;
        for at in 0..self.faults.len() {
            let fault = self.faults[at];
            if fault.concerns(now, volume, from, to, &operation.work) && self.random.chance(fault.odds) {
                coverage.fault(fault.name);
                trouble = Some(fault.trouble);
                if fault.trouble == Trouble::Hang {
                    ends = ends.max(fault.until);
                    for volume in self.each_of(&operation) {
                        self.harm.entry(volume).or_default().hangs += 1;
                        let until = self.hung.entry(volume).or_default();
                        *until = ends.max(*until);
                    }
                }
                break;
            }
        }
        let before = self.flights.insert(key, Flight { operation, trouble, mark: self.mark });
        assert!(before.is_none(), "operation {key} is in flight twice");
        ends
    }

    /// A write in flight takes what its slots hold now.
    pub fn overtake(&mut self, key: u64, stamps: Vec<u64>) {
        let flight = self.flights.get_mut(&key).expect("an operation in flight");
        assert!(matches!(flight.operation.work, Work::Write(_)), "only writes read slots");
        flight.operation.work = Work::Write(stamps);
    }

    /// Ends an operation: what it did is done now.
    pub fn finish(&mut self, key: u64, coverage: &mut Coverage) -> Finished {
        let Flight { operation, trouble, mark } = self.flights.remove(&key).expect("an operation in flight");
        self.mark += 1;
        match &operation.work {
            Work::Read => self.finish_read(&operation, trouble),
            Work::Write(stamps) => self.finish_write(&operation, stamps, trouble, coverage),
            Work::Zero | Work::Discard => self.finish_zero(&operation, trouble, coverage),
            Work::Flush => self.finish_flush(&operation, trouble, mark, coverage),
        }
    }

    /// When the last operation of a volume that hung ended or will end; 0 if none did.
    pub fn hung_until(&self, volume: u16) -> u64 {
        self.hung.get(&volume).copied().unwrap_or(0)
    }

    /// Loses the volatile cache without failing anything. Returns how many sectors reverted.
    pub fn reset(&mut self) -> u64 {
        let odds = self.random.pick(&[0, 300, 800]);
        let random = &mut self.random;
        self.harm.values_mut().for_each(|harm| harm.resets += 1);
        self.media.values_mut().map(|medium| medium.lose_cache(random, odds)).sum()
    }

    /// The host loses its power: what is in flight is done, or not, or in part, and what was not flushed may be gone.
    pub fn power_cut(&mut self, coverage: &mut Coverage) {
        for key in self.flights.keys().copied().collect::<Vec<_>>() {
            if self.random.chance(400) {
                self.finish(key, coverage);
                continue;
            }
            let Some(Flight { operation, .. }) = self.flights.remove(&key) else { continue };
            self.mark += 1;
            if let Work::Write(stamps) = &operation.work {
                self.put(operation.volume, operation.from, stamps, 0, true, coverage);
            }
        }
        self.hung.clear();
        self.reset();
    }

    /// Repairs everything: no fault is left and there is space. What hangs ends when it ends.
    pub fn heal(&mut self) {
        self.faults.clear();
        self.media.values_mut().for_each(|medium| medium.setup.chunks_max = u64::MAX);
    }

    fn latency_ns(&mut self) -> u64 {
        let most = self
            .random
            .pick(&[50_000, 100_000, 100_000, 200_000, 200_000, 1_000_000, 10_000_000, 60_000_000]);
        self.random.between(10_000, most)
    }

    fn finish_read(&mut self, operation: &Operation, trouble: Option<Trouble>) -> Finished {
        let Operation { volume, from, to, .. } = *operation;
        let (mut result, mut end) = (bytes(to - from), to);
        match trouble {
            Some(Trouble::Short) => {
                end = from + self.prefix(volume, to - from);
                result = bytes(end - from);
            }
            _ => result = self.refusal(trouble).unwrap_or(result),
        }
        if result != bytes(to - from) {
            self.harm(volume).reads += 1;
            end = if result < 0 { from } else { end };
        }
        let medium = &self.media[&volume];
        Finished { result, data: (from..end).map(|sector| medium.view.get(sector)).collect() }
    }

    fn finish_write(
        &mut self,
        operation: &Operation,
        stamps: &[u64],
        trouble: Option<Trouble>,
        coverage: &mut Coverage,
    ) -> Finished {
        let Operation { volume, from, to, .. } = *operation;
        let fits = self.media[&volume].fits(from, to);
        let fits = fits - fits % self.media[&volume].setup.block_sectors;
        let mut done = to - from;
        let mut refused = None;
        if trouble == Some(Trouble::Short) {
            done = self.prefix(volume, to - from);
            coverage.fault("short write");
        } else if let Some(errno) = self.refusal(trouble) {
            refused = Some(errno);
        } else if fits < done {
            self.harm(volume).space += 1;
            coverage.fault("thin pool full");
            if fits == 0 || self.random.chance(500) {
                refused = Some(-i32::from(errno::ENOSPC));
            }
            done = fits;
        }
        if trouble.is_some() && (refused.is_some() || done < to - from) {
            self.harm_change(volume, refused);
        }
        let torn = refused.is_some() && self.random.chance(500);
        self.put(volume, from, stamps, if refused.is_some() { 0 } else { done }, torn, coverage);
        Finished { result: refused.unwrap_or(bytes(done)), data: Vec::new() }
    }

    /// Writes the first `done` sectors and, if `torn`, any of the other blocks that need no new space.
    fn put(
        &mut self,
        volume: u16,
        from: u64,
        stamps: &[u64],
        done: u64,
        torn: bool,
        coverage: &mut Coverage,
    ) {
        let block = self.media[&volume].setup.block_sectors;
        let mut whole = false;
        for (sector, &stamp) in (from..).zip(stamps) {
            if sector % block == 0 || sector == from {
                whole = torn && self.random.chance(500) && self.media[&volume].is_allocated(sector);
            }
            if sector < from + done || whole {
                let mark = self.mark;
                self.media.get_mut(&volume).expect("a volume of this disk").write(mark, sector, stamp);
            }
            if whole {
                coverage.fault("torn write");
            }
        }
    }

    fn finish_zero(
        &mut self,
        operation: &Operation,
        trouble: Option<Trouble>,
        coverage: &mut Coverage,
    ) -> Finished {
        let Operation { volume, from, to, .. } = *operation;
        let discard = operation.work == Work::Discard;
        let setup = self.media[&volume].setup;
        if !(if discard { setup.discards } else { setup.zeroes }) {
            coverage.fault("zeroes not supported");
            return Finished { result: -i32::from(errno::EOPNOTSUPP), data: Vec::new() };
        }
        let mark = self.mark;
        let refused = if trouble == Some(Trouble::Short) {
            Some(-i32::from(errno::EIO))
        } else {
            self.refusal(trouble)
        };
        let mut end = to;
        if let Some(errno) = refused {
            self.harm_change(volume, Some(errno));
            end = if self.random.chance(500) { from } else { from + self.prefix(volume, to - from) };
        }
        let medium = self.media.get_mut(&volume).expect("a volume of this disk");
        medium.zero(mark, from, end);
        if discard {
            medium.deallocate(from, end);
        }
        Finished { result: refused.unwrap_or(0), data: Vec::new() }
    }

    fn finish_flush(
        &mut self,
        operation: &Operation,
        trouble: Option<Trouble>,
        mark: u64,
        coverage: &mut Coverage,
    ) -> Finished {
        let refused = match trouble {
            Some(Trouble::FlushLoses | Trouble::FlushPersists | Trouble::Short) => {
                Some(-i32::from(errno::EIO))
            }
            _ => self.refusal(trouble),
        };
        if refused.is_some() {
            let space =
                [errno::ENOSPC, errno::EDQUOT].map(|errno| Some(-i32::from(errno))).contains(&refused);
            for volume in self.each_of(operation) {
                self.harm(volume).flushes += 1;
                self.harm(volume).space += u64::from(space);
            }
        }
        let odds = self.random.pick(&[0, 500]);
        let mut reverted = 0;
        for medium in self.media.values_mut() {
            match (refused, trouble) {
                (Some(_), Some(Trouble::FlushLoses)) => reverted += medium.lose_cache(&mut self.random, odds),
                (Some(_), Some(Trouble::FlushPersists)) | (None, _) => medium.flush(mark),
                _ => {}
            }
        }
        if reverted > 0 {
            coverage.fault("flush failed and lost the cache");
        }
        Finished { result: refused.unwrap_or(0), data: Vec::new() }
    }

    /// The errno of a fault that refuses, negative.
    fn refusal(&mut self, trouble: Option<Trouble>) -> Option<i32> {
        match trouble {
            Some(Trouble::Refuse(errno)) => Some(-i32::from(errno)),
            Some(Trouble::Hang) => self.random.chance(400).then_some(-i32::from(errno::ETIMEDOUT)),
            _ => None,
        }
    }

    /// Some whole blocks, at least one and, where there are two, not all.
    fn prefix(&mut self, volume: u16, sectors: u64) -> u64 {
        let block = self.media[&volume].setup.block_sectors;
        let blocks = sectors / block;
        if blocks < 2 { sectors } else { self.random.between(1, blocks - 1) * block }
    }

    fn each_of(&self, operation: &Operation) -> Vec<u16> {
        let flush = operation.work == Work::Flush;
        if flush { self.media.keys().copied().collect() } else { vec![operation.volume] }
    }

    fn harm(&mut self, volume: u16) -> &mut Harm {
        self.harm.entry(volume).or_default()
    }

    fn harm_change(&mut self, volume: u16, refused: Option<i32>) {
        let space = [errno::ENOSPC, errno::EDQUOT].map(|errno| Some(-i32::from(errno))).contains(&refused);
        *(if space { &mut self.harm(volume).space } else { &mut self.harm(volume).changes }) += 1;
    }
}

fn bytes(sectors: u64) -> i32 {
    i32::try_from(sectors * 512).expect("an operation below 2 GiB")
}
