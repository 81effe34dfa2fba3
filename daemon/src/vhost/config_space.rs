//! The device's configuration space and the features that go with it.

use super::chain::SEGMENTS_MAX;
use super::request::Cut;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Bytes of it, with room for what later versions of virtio add, which is zeroes here.
pub(super) const CONFIG_BYTES: usize = 256;
/// Where the byte is by which a guest turns the write cache off.
pub(super) const WCE_AT: u32 = 32;
/// The longest discard or write-zeroes.
const ZEROES_BYTES_MAX: u64 = 1 << 30;
const SECTOR: u64 = 512;

/// The segments of the data of a request: two descriptors are for header and status.
#[allow(clippy::cast_possible_truncation, reason = "a constant of 126")]
const SEG_MAX: u32 = SEGMENTS_MAX as u32 - 2;

pub(super) const fn bit(feature: u32) -> u64 {
    1 << feature
}

/// What the device offers.
pub(super) fn features(read_only: bool) -> u64 {
    let offered = [
        VIRTIO_F_VERSION_1,
        VIRTIO_RING_F_EVENT_IDX,
        VIRTIO_RING_F_INDIRECT_DESC,
        VIRTIO_BLK_F_SIZE_MAX,
        VIRTIO_BLK_F_SEG_MAX,
        VIRTIO_BLK_F_BLK_SIZE,
        VIRTIO_BLK_F_TOPOLOGY,
        VIRTIO_BLK_F_FLUSH,
        VIRTIO_BLK_F_CONFIG_WCE,
        VIRTIO_BLK_F_MQ,
    ];
    let changing = if read_only {
        [VIRTIO_BLK_F_RO, VIRTIO_BLK_F_RO]
    } else {
        [VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]
    };
    offered.into_iter().chain(changing).fold(0, |all, feature| all | bit(feature))
}

/// What a guest is told of its disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) bytes: u64,
    pub(super) block_bytes: u32,
    pub(super) line_bytes: u32,
    pub(super) queues: u16,
    pub(super) write_cache: bool,
    pub(super) cut: Cut,
}

/// The configuration space, as virtio 1.2 has it in 5.2.4: little-endian.
pub(super) fn bytes(shape: &Shape) -> [u8; CONFIG_BYTES] {
    let mut space = [0; CONFIG_BYTES];
    let mut put = |at: usize, value: u64, length: usize| {
        space[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
    };
    let lines = u64::from(shape.line_bytes / shape.block_bytes);
    let zeroes = ZEROES_BYTES_MAX / SECTOR;
    put(0, shape.bytes / SECTOR, 8);
    put(8, size_max(shape.cut), 4);
    put(12, u64::from(SEG_MAX), 4);
    put(20, u64::from(shape.block_bytes), 4);
    put(24, u64::from(lines.trailing_zeros()), 1);
    put(26, lines, 2);
    put(28, shape.cut.part_bytes / u64::from(shape.block_bytes), 4);
    put(32, u64::from(shape.write_cache), 1);
    put(34, u64::from(shape.queues), 2);
    put(36, zeroes, 4);
    put(40, 1, 4);
    put(44, u64::from(shape.line_bytes) / SECTOR, 4);
    put(48, zeroes, 4);
    put(52, 1, 4);
    put(56, 1, 1);
    space
}

/// So long that all segments together are no request that would be refused.
fn size_max(cut: Cut) -> u64 {
    let each = cut.length_max() / u64::from(SEG_MAX);
    (each / 4096 * 4096).max(4096)
}

/// How requests are cut for an arena and limits like these: at powers of two, so that the parts of a request can be counted
/// beforehand.
pub(super) fn cut(stripe_bytes: u64, reactors: u32, request_bytes_max: u64) -> Cut {
    let power = request_bytes_max.next_power_of_two();
    let part_bytes = if power == request_bytes_max { power } else { power / 2 };
    Cut { stripe_bytes, reactors, part_bytes: part_bytes.min(stripe_bytes) }
}

#[cfg(test)]
mod tests {
    use super::super::request::{PARTS_MAX, Part};
    use super::*;
    use holdfast_engine::Operation;
    use proptest::prelude::*;

    #[test]
    fn the_longest_request_of_a_guest_is_never_refused() {
        for request in [64 << 10, 128 << 10, 192 << 10, 1 << 20] {
            let cut = cut(1 << 20, 2, request);
            assert!(size_max(cut) * u64::from(SEG_MAX) <= cut.length_max(), "{request}");
            assert!(cut.part_bytes <= request);
        }
    }

    /// Together they are the request, each in one stripe of its reactor, and there are never too many.
    #[test]
    fn parts_make_up_a_transfer() {
        proptest!(|(offset in 0u64..1 << 24, length in 1u64..1 << 24, reactors in 1u32..4, request in 1u64..17)| {
            let cut = cut(1 << 20, reactors, request << 16);
            let parts = cut.parts(Operation::Read, offset, length);
            prop_assert_eq!(parts.is_some(), length <= cut.length_max());
            let Some(parts) = parts else { return Ok(()) };
            let (mut at, mut count) = (0, 0);
            for Part { reactor, offset: start, length, at: begin } in parts {
                prop_assert_eq!((start, begin), (offset + at, at));
                prop_assert!(length > 0 && length <= cut.part_bytes);
                prop_assert_eq!(start >> 20, (start + length - 1) >> 20);
                prop_assert_eq!(u64::from(reactor), (start >> 20) % u64::from(reactors));
                at += length;
                count += 1;
            }
            prop_assert_eq!(at, length);
            prop_assert!(count <= PARTS_MAX);
        });
    }

    #[test]
    fn a_flush_goes_to_every_reactor() {
        let parts: Vec<Part> =
            cut(1 << 20, 3, 1 << 20).parts(Operation::Flush, 0, 0).expect("parts").collect();
        assert_eq!(parts.iter().map(|part| part.reactor).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
