//! The content of a volume: one stamp a sector, most of them zero.

use std::collections::BTreeMap;

const PAGE: u64 = 64;

/// Stamps of sectors that are not zero, in pages, so that a volume of any size takes memory only where it was written.
#[derive(Clone, Debug, Default)]
pub struct Sectors(BTreeMap<u64, Box<[u64; 64]>>);

impl Sectors {
    /// The stamp of `sector`; 0 stands for zeroes.
    pub fn get(&self, sector: u64) -> u64 {
        self.0.get(&(sector / PAGE)).map_or(0, |page| page[place(sector)])
    }

    /// Writes a stamp.
    pub fn set(&mut self, sector: u64, stamp: u64) {
        if stamp != 0 || self.0.contains_key(&(sector / PAGE)) {
            self.0.entry(sector / PAGE).or_insert_with(|| Box::new([0; 64]))[place(sector)] = stamp;
        }
    }

    /// The sectors in `from .. to` that are not zero, in order.
    pub fn written(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let pages = self.0.range(from / PAGE..to.div_ceil(PAGE));
        pages
            .flat_map(|(page, stamps)| {
                stamps.iter().enumerate().map(move |(at, &stamp)| (page * PAGE + at as u64, stamp))
            })
            .filter(move |&(sector, stamp)| stamp != 0 && sector >= from && sector < to)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "below 64")]
const fn place(sector: u64) -> usize {
    (sector % PAGE) as usize
}
