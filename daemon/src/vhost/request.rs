//! From a chain to what it asks for, and from that to the parts of each reactor.

use super::chain::{Chain, bytes_of, drop_last, take_front};
use crate::latency::Kind;
use holdfast_engine::Operation;
use virtio_bindings::virtio_blk as blk;
use vm_memory::GuestMemoryMmap;

/// Parts of one read or write: each has a place for its record in the in-flight region.
pub(super) const PARTS_MAX: u64 = 16;
const HEADER_BYTES: usize = 16;
const RANGE_BYTES: usize = 16;
const SECTOR: u64 = 512;

/// What a request's status byte says.
pub(super) mod status {
    #![allow(clippy::cast_possible_truncation, reason = "constants below 3")]
    use virtio_bindings::virtio_blk as blk;

    pub(crate) const OK: u8 = blk::VIRTIO_BLK_S_OK as u8;
    pub(crate) const IOERR: u8 = blk::VIRTIO_BLK_S_IOERR as u8;
    pub(crate) const UNSUPPORTED: u8 = blk::VIRTIO_BLK_S_UNSUPP as u8;
}

/// What a guest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Something for the reactors.
    Do {
        operation: Operation,
        /// Byte of the volume.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// The device's name.
    Identify,
    /// Answered at once, with this status.
    Answer(u8),
}

/// What the device is, as far as requests are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) read_only: bool,
    /// Writes are answered when they are on stable media.
    pub(super) durable: bool,
}

/// Reads the header of a chain and checks it against what else is in it. The chain is left with the data alone.
pub(super) fn parse(map: &GuestMemoryMmap, chain: &mut Chain, terms: Terms) -> Ask {
    let mut header = [0; HEADER_BYTES];
    if chain.refused || !take_front(map, &mut chain.readable, &mut header) {
        return Ask::Answer(status::IOERR);
    }
    drop_last(&mut chain.writable);
    let kind = u32::from_le_bytes(header[..4].try_into().expect("four bytes"));
    let sector = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
    let changes =
        matches!(kind, blk::VIRTIO_BLK_T_OUT | blk::VIRTIO_BLK_T_DISCARD | blk::VIRTIO_BLK_T_WRITE_ZEROES);
    if changes && terms.read_only {
        return Ask::Answer(status::IOERR);
    }
    let fua = terms.durable;
    match kind {
        blk::VIRTIO_BLK_T_IN => transfer(Operation::Read, sector, bytes_of(&chain.writable)),
        blk::VIRTIO_BLK_T_OUT => transfer(Operation::Write { fua }, sector, bytes_of(&chain.readable)),
        blk::VIRTIO_BLK_T_FLUSH => Ask::Do { operation: Operation::Flush, offset: 0, length: 0 },
        blk::VIRTIO_BLK_T_GET_ID => Ask::Identify,
        blk::VIRTIO_BLK_T_DISCARD | blk::VIRTIO_BLK_T_WRITE_ZEROES => {
            let operation = match kind {
                blk::VIRTIO_BLK_T_DISCARD => Operation::Discard,
                _ => Operation::WriteZeroes { fua },
            };
            range(map, chain, operation)
        }
        _ => Ask::Answer(status::UNSUPPORTED),
    }
}

fn transfer(operation: Operation, sector: u64, length: u64) -> Ask {
    match sector.checked_mul(SECTOR) {
        Some(_) if length == 0 => Ask::Answer(status::OK),
        Some(offset) => Ask::Do { operation, offset, length },
        None => Ask::Answer(status::IOERR),
    }
}

/// The one range of a discard or write-zeroes: the device says that it takes no more at a time.
fn range(map: &GuestMemoryMmap, chain: &mut Chain, operation: Operation) -> Ask {
    let mut range = [0; RANGE_BYTES];
    let one = bytes_of(&chain.readable) == RANGE_BYTES as u64;
    if !one || !take_front(map, &mut chain.readable, &mut range) {
        return Ask::Answer(status::IOERR);
    }
    let sector = u64::from_le_bytes(range[..8].try_into().expect("eight bytes"));
    let sectors = u32::from_le_bytes(range[8..12].try_into().expect("four bytes"));
    let flags = u32::from_le_bytes(range[12..].try_into().expect("four bytes"));
    let known = match operation {
        Operation::Discard => 0,
        _ => blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
    };
    if flags & !known != 0 {
        return Ask::Answer(status::UNSUPPORTED);
    }
    transfer(operation, sector, u64::from(sectors) * SECTOR)
}

/// How the clients' histograms call it.
pub(super) fn kind_of(operation: Operation) -> Kind {
    match operation {
        Operation::Read => Kind::Read,
        Operation::Write { .. } => Kind::Write,
        Operation::Flush => Kind::Flush,
        Operation::Discard => Kind::Discard,
        Operation::WriteZeroes { .. } => Kind::WriteZeroes,
    }
}

/// How requests are cut for the reactors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) stripe_bytes: u64,
    pub(super) reactors: u32,
    /// No part of a read or write is longer.
    pub(super) part_bytes: u64,
}

/// A part of a request, for one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) reactor: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Where it begins in the request's data.
    pub(super) at: u64,
}

impl Cut {
    /// The longest read or write that never has more than [`PARTS_MAX`] parts: a stripe begins at most once more.
    pub(super) fn length_max(&self) -> u64 {
        (PARTS_MAX - 2) * self.part_bytes
    }

    /// The parts of a request; `None` if there would be too many, or it ends beyond all numbers.
    pub(super) fn parts(
        self,
        operation: Operation,
        offset: u64,
        length: u64,
    ) -> Option<impl Iterator<Item = Part>> {
        let whole = !matches!(operation, Operation::Read | Operation::Write { .. });
        offset.checked_add(length)?;
        if !whole && length > self.length_max() {
            return None;
        }
        // A discard or flush goes to every reactor, which takes what is its own.
        let everywhere = (0..if whole { self.reactors } else { 0 }).map(move |reactor| Part {
            reactor,
            offset,
            length,
            at: 0,
        });
        let mut done = if whole { length } else { 0 };
        let pieces = std::iter::from_fn(move || {
            let left = length - done;
            if left == 0 || whole {
                return None;
            }
            let start = offset + done;
            let in_stripe = self.stripe_bytes - start % self.stripe_bytes;
            let part = left.min(in_stripe).min(self.part_bytes);
            let reactor = (start / self.stripe_bytes) % u64::from(self.reactors);
            let reactor = u32::try_from(reactor).expect("below the number of reactors");
            let piece = Part { reactor, offset: start, length: part, at: done };
            done += part;
            Some(piece)
        });
        Some(everywhere.chain(pieces))
    }
}
