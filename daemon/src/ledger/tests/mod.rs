//! The ledger against models, failing disks and damaged files.
#![allow(clippy::cast_possible_truncation)]

mod damage;
mod fake;
mod faults;
mod identity;
mod model;
mod places;
mod ranges;
mod registry;
mod restart;

use super::record::Now;
use holdfast_engine::{ByteRange, Extent, Instant, LedgerEntry, ListState, Token, VolumeId};

const ENOSPC: u16 = 28;
const EIO: u16 = 5;
const SPACE: u8 = 2;
const MEDIUM: u8 = 3;

/// The volume of most tests.
const VM1: VolumeId = VolumeId(1);

/// A moment, so many milliseconds after the engine's epoch, on a day in 2026.
fn at(ms: u64) -> Now {
    Now { instant: Instant(ms * 1_000_000), wall_ms: 1_780_000_000_000 + ms }
}

fn bytes(offset: u64, length: u64) -> ByteRange {
    ByteRange { offset, length }
}

fn extent(range: ByteRange, class: u8, errno: u16) -> Extent {
    let (first, last) = (Instant(1_000_000), Instant(2_000_000));
    Extent { range, state: ListState::Failed, class, errno, attempts: 3, first, last }
}

fn not_stable(volume: VolumeId, range: ByteRange, class: u8, errno: u16) -> LedgerEntry {
    LedgerEntry::NotStable { volume, extent: extent(range, class, errno) }
}

fn lost(volume: VolumeId, range: ByteRange, generation: u64) -> LedgerEntry {
    let extent = Extent { state: ListState::Lost, ..extent(range, MEDIUM, EIO) };
    LedgerEntry::Lost { volume, extent, generation }
}

fn healed(volume: VolumeId, range: ByteRange) -> LedgerEntry {
    LedgerEntry::Healed { volume, range }
}

fn loss_healed(volume: VolumeId, range: ByteRange, acknowledged: bool) -> LedgerEntry {
    LedgerEntry::LossHealed { volume, range, acknowledged }
}

fn rescinded(volume: VolumeId, range: ByteRange, generation: u64) -> LedgerEntry {
    LedgerEntry::Rescinded { volume, range, generation }
}

fn report(volume: VolumeId, token: u64) -> LedgerEntry {
    LedgerEntry::Report { volume, token: Token(token) }
}
