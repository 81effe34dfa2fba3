//! One place that turns runs of sectors into a device operation.

use crate::{Actions, Io, IoKind, OpId, Segment, SlotId, VolumeId};

/// Pushes an operation that transfers `pieces`, each a slot with a first sector and a number of sectors, which lie next
/// to each other on the device from byte `offset` on. Returns its bytes.
pub(crate) fn push(
    op: OpId,
    volume: u16,
    kind: IoKind,
    offset: u64,
    pieces: impl Iterator<Item = (SlotId, u32, u32)>,
    out: &mut Actions,
) -> u64 {
    let first = out.segments.len();
    let mut length = 0;
    for (slot, sector, sectors) in pieces {
        out.segments.push(Segment { slot, at: sector * 512, length: sectors * 512 });
        length += u64::from(sectors) * 512;
    }
    let segments = out.segments.len() - first;
    out.ios.push(Io {
        op,
        volume: VolumeId(volume),
        kind,
        offset,
        length,
        first_segment: u32::try_from(first).expect("few segments"),
        segments: u32::try_from(segments).expect("few segments"),
    });
    length
}
