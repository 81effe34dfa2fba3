//! What the tests inside this crate build engines from.

use crate::*;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use holdfast_policy::{ClassSet, DirtyIndex, HoldForever, Policy, Retry, Rule, Rules};

/// A volume of `lines` lines of 4 KiB on one reactor.
pub(crate) fn geometry(lines: u64) -> Geometry {
    Geometry {
        volume_bytes: lines * 4096,
        block_bytes: 512,
        line_bytes: 4096,
        stripe_bytes: 1 << 20,
        reactors: 1,
        reactor: 0,
    }
}

/// Free slots.
pub(crate) fn headers(count: usize) -> Vec<Header> {
    (0..count).map(|_| Header::default()).collect()
}

/// Storage for the dirty index of a volume.
pub(crate) fn index(geometry: Geometry) -> Vec<AtomicU64> {
    (0..DirtyIndex::words_needed(geometry.local_lines())).map(|_| AtomicU64::new(0)).collect()
}

/// A write-back volume that holds what its device refuses for ever.
pub(crate) fn setup<'a>(
    id: u16,
    geometry: Geometry,
    index: &'a [AtomicU64],
    share: &'a Share,
) -> VolumeSetup<'a> {
    let policy = Policy::HoldForever(HoldForever::default());
    let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
    VolumeSetup {
        id: VolumeId(id),
        geometry,
        domain: DomainId(id),
        domain_owner: 0,
        mode: Mode::WriteBack,
        budget_slots: 64,
        room_slots: 64,
        share,
        rules: Rules::new(&[rule]).expect("one rule for every class"),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 1,
        io_timeout_ms: 1_000,
        write_back_from: 1000,
        write_back_after_ms: 1_000,
        index_lines: geometry.local_lines(),
        index,
    }
}

/// A request of the first session.
pub(crate) fn request(volume: u16, operation: Operation, offset: u64, length: u64) -> Request {
    let (session, volume) = (SessionId(1), VolumeId(volume));
    Request {
        session,
        tag: 1,
        sequence: 1,
        volume,
        operation,
        offset,
        length,
        buffer: 0,
        timeout_ms: 0,
        replay: 0,
    }
}
