//! What payloads hold, so that a read can be checked: a stamp for each 4 KiB, and with `verify` a version of it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::load::LoadError;
use crate::offsets::BLOCK_BYTES;
use crate::window::{Window, stamp};

const BUSY: u32 = 1 << 31;

/// Which version every 4 KiB of a set has, and whether a request for it is in flight.
///
/// Each word has one writer at a time: the client whose part of the set it is. Rounds are separated by the end of their
/// processes, so no ordering is needed.
#[derive(Debug, Clone, Copy)]
pub struct Versions<'set>(&'set [AtomicU32]);

impl<'set> Versions<'set> {
    /// A word for every 4 KiB of the set.
    #[must_use]
    pub fn of(words: &'set [AtomicU32]) -> Self {
        Self(words)
    }

    /// Whether no request for any of the bytes is in flight; from now on one is.
    pub(crate) fn claim(&self, offset: u64, bytes: u64) -> bool {
        let units = self.units(offset, bytes);
        let free = units.iter().all(|unit| unit.load(Relaxed) & BUSY == 0);
        if free {
            units.iter().for_each(|unit| unit.store(unit.load(Relaxed) | BUSY, Relaxed));
        }
        free
    }

    fn units(&self, offset: u64, bytes: u64) -> &'set [AtomicU32] {
        let unit = |at: u64| usize::try_from(at).expect("an index");
        &self.0[unit(offset / BLOCK_BYTES)..unit((offset + bytes).div_ceil(BLOCK_BYTES))]
    }
}

/// What a client writes and expects.
#[derive(Debug, Clone, Copy)]
pub struct Stamps<'set> {
    /// Of the job: other seeds have other stamps.
    pub seed: u64,
    /// With them, an overwrite that was lost is seen; without, only data in the wrong place or never written.
    pub versions: Option<Versions<'set>>,
}

impl Stamps<'_> {
    /// Whether a request may go there: with versions, not while another one is in flight, as two that overlap may be
    /// carried out in either order. It is then this request's until `release`.
    #[inline]
    #[must_use]
    pub fn claim(&self, offset: u64, bytes: u64) -> bool {
        self.versions.is_none_or(|versions| versions.claim(offset, bytes))
    }

    /// Ends what `claim` began.
    #[inline]
    pub fn release(&self, offset: u64, bytes: u64) {
        let units = self.versions.map_or(&[][..], |versions| versions.units(offset, bytes));
        units.iter().for_each(|unit| unit.store(unit.load(Relaxed) & !BUSY, Relaxed));
    }

    /// Fills every byte of a window with the next version of what lies at the offset.
    #[inline]
    pub fn fill(&self, window: Window<'_>, offset: u64) {
        for (unit, at) in window.units().zip((offset..).step_by(4096)) {
            if let Some(versions) = self.versions {
                let word = &versions.units(at, 1)[0];
                let next = (word.load(Relaxed) & !BUSY).wrapping_add(1) & !BUSY;
                word.store(word.load(Relaxed) & BUSY | next, Relaxed);
            }
            unit.fill(self.expected(at));
        }
    }

    /// Reads every byte of a window.
    ///
    /// # Errors
    /// `WrongData` if it is not the newest version of what lies at the offset.
    #[inline]
    pub fn check(&self, window: Window<'_>, offset: u64) -> Result<(), LoadError> {
        for (unit, at) in window.units().zip((offset..).step_by(4096)) {
            let expected = self.expected(at).wrapping_mul(unit.bytes() as u64 / 8);
            let found = unit.sum();
            if found != expected {
                return Err(LoadError::WrongData { offset: at, expected, found });
            }
        }
        Ok(())
    }

    fn expected(&self, at: u64) -> u64 {
        let version = self.versions.map_or(0, |versions| versions.units(at, 1)[0].load(Relaxed) & !BUSY);
        // Blocks are counted in the lower bits, versions in the upper ones.
        stamp(at, self.seed.wrapping_add(u64::from(version) << 32))
    }
}
