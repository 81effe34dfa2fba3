//! From bytes of a volume to the local lines of this reactor, and back.

use crate::ByteRange;
use crate::losses::Loss;
use crate::volume::Volume;

impl Volume<'_> {
    /// The local line of a byte that this reactor owns: [`crate::Geometry::local_line`] without its divisions.
    #[inline]
    pub(crate) fn line_of(&self, offset: u64) -> u64 {
        if self.setup.geometry.reactors == 1 {
            return offset >> self.line_shift;
        }
        let stripe = offset >> self.stripe_shift;
        let within = offset & (self.setup.geometry.stripe_bytes - 1);
        let local_stripe = stripe / u64::from(self.setup.geometry.reactors);
        (local_stripe << (self.stripe_shift - self.line_shift)) + (within >> self.line_shift)
    }

    /// Whether a range is one or more whole blocks of the volume.
    #[inline(always)]
    pub(crate) fn holds(&self, offset: u64, length: u64) -> bool {
        let geometry = &self.setup.geometry;
        let within = length <= geometry.volume_bytes && offset <= geometry.volume_bytes - length;
        within && length != 0 && (offset | length) & self.block_mask == 0
    }

    /// The local lines that a read or write touches, as `first..end`; `None` if it is not whole blocks of the volume
    /// within one stripe of this reactor.
    #[inline(always)]
    pub(crate) fn lines_of(&self, offset: u64, length: u64) -> Option<(u64, u64)> {
        if !self.holds(offset, length) {
            return None;
        }
        // Nothing wraps: the range lies within the volume, a volume has fewer than 2^48 lines, and the shifts are those of
        // the checked geometry.
        let last = offset.wrapping_add(length).wrapping_sub(1);
        let end = last.wrapping_shr(self.line_shift).wrapping_add(1);
        let first = offset.wrapping_shr(self.line_shift);
        if self.setup.geometry.reactors == 1 {
            return Some((first, end));
        }
        let (stripe, reactors) = (offset >> self.stripe_shift, u64::from(self.setup.geometry.reactors));
        let (local, owner) = (stripe / reactors, stripe % reactors);
        if owner != u64::from(self.setup.geometry.reactor) || last >> self.stripe_shift != stripe {
            return None;
        }
        // The lines of the stripes between this one and the one before it of this reactor are others'.
        let foreign = stripe.wrapping_sub(local) << (self.stripe_shift - self.line_shift);
        Some((first.wrapping_sub(foreign), end.wrapping_sub(foreign)))
    }

    /// Whether this reactor owns the stripe of a byte.
    #[inline]
    pub(crate) fn owns(&self, offset: u64) -> bool {
        let geometry = &self.setup.geometry;
        geometry.reactors == 1
            || (offset >> self.stripe_shift) % u64::from(geometry.reactors) == u64::from(geometry.reactor)
    }

    /// The local lines that lie wholly or partly in a range, as `first..end`.
    pub(crate) fn lines_in(&self, range: ByteRange) -> (u64, u64) {
        let geometry = self.geometry();
        let line_bytes = u64::from(geometry.line_bytes);
        let from = range.offset.min(geometry.volume_bytes);
        let to = range.end().min(geometry.volume_bytes);
        if from >= to {
            return (0, 0);
        }
        let end = to.div_ceil(line_bytes) * line_bytes;
        let end = if end >= geometry.volume_bytes {
            geometry.local_lines()
        } else {
            geometry.first_line_at_or_after(end)
        };
        (geometry.first_line_at_or_after(from / line_bytes * line_bytes), end)
    }

    /// The sectors of a line that lie wholly or partly in a range.
    pub(crate) fn mask_within(&self, line: u64, range: ByteRange) -> u32 {
        let base = self.geometry().offset_of(line);
        let from = range.offset.max(base) - base;
        let to = range.end().min(base + self.line_bytes()).saturating_sub(base);
        let sector = |byte: u64| u32::try_from(byte).expect("a line is short");
        match from < to {
            true => crate::sector_mask(sector(from / 512), sector(to.div_ceil(512) - from / 512)),
            false => 0,
        }
    }

    /// How many lines from `line` on, of a run of losses that ends at `end`, are lost whole and lie next to each other; else 1.
    pub(crate) fn lost_whole(&self, line: u64, end: u64, loss: &Loss) -> u64 {
        let geometry = self.geometry();
        if loss.mask == geometry.full_mask() { (end - line).min(geometry.contiguous_from(line)) } else { 1 }
    }

    /// The bytes of some sectors of a line.
    pub(crate) fn sectors(&self, line: u64, first: u32, count: u32) -> ByteRange {
        ByteRange {
            offset: self.geometry().offset_of(line) + u64::from(first) * 512,
            length: u64::from(count) * 512,
        }
    }

    /// The bytes of `count` lines that lie next to each other.
    pub(crate) fn lines(&self, first: u64, count: u64) -> ByteRange {
        let geometry = self.geometry();
        let offset = geometry.offset_of(first);
        let length = count * u64::from(geometry.line_bytes);
        ByteRange { offset, length: length.min(geometry.volume_bytes - offset) }
    }

    #[inline]
    pub(crate) fn line_bytes(&self) -> u64 {
        u64::from(self.setup.geometry.line_bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::volume::Volume;
    use crate::{Geometry, Share, fixture};
    use proptest::prelude::*;

    /// The lines of a request are those of its first and last byte, if this reactor owns both and they are neighbours
    /// there; everything else is refused, whatever a client sends.
    #[test]
    fn lines_of_a_request_are_those_of_its_bytes() {
        let number = prop_oneof![0u64..24, 2040u64..2064, 4090u64..4100, any::<u64>()];
        let shapes = (
            1u32..4,
            0u32..3,
            prop_oneof![Just(512u32), Just(4096)],
            prop_oneof![Just(4096u32), Just(16384)],
        );
        proptest!(|(shape in shapes, blocks in 1u64..8200, offset in number.clone(), length in number, odd in 0u64..8)| {
            let (reactors, reactor, block_bytes, line_bytes) = shape;
            let geometry = Geometry {
                volume_bytes: blocks * u64::from(block_bytes),
                block_bytes,
                line_bytes,
                stripe_bytes: 1 << 20,
                reactors,
                reactor: reactor % reactors,
            };
            let index = fixture::index(geometry);
            let share = Share::new(reactors);
            let volume = Volume::new(fixture::setup(0, geometry, &index, &share), 1);
            let odd = if odd == 0 { 100 } else { 0 };
            let (offset, length) = (offset.wrapping_mul(512).wrapping_add(odd), length.wrapping_mul(512));
            let block = u64::from(block_bytes);
            let end = u128::from(offset) + u128::from(length);
            let whole = length > 0 && end <= u128::from(geometry.volume_bytes)
                && offset % block == 0 && length % block == 0;
            prop_assert_eq!(volume.holds(offset, length), whole);
            let own = |byte: u64| geometry.owner(byte) == u64::from(geometry.reactor);
            let stripe = |byte: u64| byte / geometry.stripe_bytes;
            let expected = if whole && own(offset) && (reactors == 1 || stripe(offset) == stripe(offset + length - 1)) {
                Some((geometry.local_line(offset), geometry.local_line(offset + length - 1) + 1))
            } else {
                None
            };
            prop_assert_eq!(volume.lines_of(offset, length), expected);
        });
    }
}
