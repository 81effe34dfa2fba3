//! Requests, cut into lines.

use crate::{Request, sector_mask};
use holdfast_mutants::mutant;

/// The part of a request that lies in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// First byte in the line.
    pub(crate) at: u32,
    /// Bytes.
    pub(crate) length: u32,
    /// Where they are in the client's payload.
    pub(crate) buffer: u64,
    /// Their sectors.
    pub(crate) mask: u32,
}

impl Part {
    /// The part of `request` that lies in its first line.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "positions in a line are below 16 KiB")]
    pub(crate) fn first(request: &Request, line_bytes: u64) -> Part {
        let at = request.offset & line_bytes.wrapping_sub(1);
        // Below `line_bytes`, which it is taken from.
        let length = request.length.min(line_bytes.wrapping_sub(at));
        Part::new(at as u32, length as u32, request.buffer)
    }

    /// The part of `request` that lies in the line behind this one, which is not its last.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "positions in a line are below 16 KiB")]
    pub(crate) fn following(self, request: &Request, line_bytes: u64) -> Part {
        let buffer = self.buffer + u64::from(self.length);
        let left = request.length - (buffer - request.buffer);
        Part::new(0, left.min(line_bytes) as u32, buffer)
    }

    #[inline]
    fn new(at: u32, length: u32, buffer: u64) -> Part {
        let mut sectors = length / 512;
        if mutant!(MaskIsShort) {
            sectors = sectors.max(2) - 1;
        }
        Part { at, length, buffer, mask: sector_mask(at / 512, sectors) }
    }

    /// The part of `request`, which begins in line `first`, that lies in `line`.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "positions in a line are below 16 KiB")]
    pub(crate) fn of(request: &Request, line_bytes: u64, first: u64, line: u64) -> Part {
        let base = (line - first) * line_bytes;
        let skew = request.offset & (line_bytes - 1);
        let begin = base.max(skew);
        let end = (base + line_bytes).min(skew + request.length);
        Part::new((begin - base) as u32, (end - begin) as u32, request.buffer + (begin - skew))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Operation, fixture};
    use proptest::prelude::*;

    /// Cut one after the other or each by itself: the same parts, which together are the request.
    #[test]
    fn parts_make_up_the_request() {
        proptest!(|(offset in 0u64..64, length in 1u64..256, shift in 12u32..15)| {
            let request = fixture::request(0, Operation::Read, offset * 512, length * 512);
            let line_bytes = 1u64 << shift;
            let first = request.offset / line_bytes;
            let last = (request.offset + request.length - 1) / line_bytes;
            let (mut part, mut bytes) = (Part::first(&request, line_bytes), 0);
            for line in first..=last {
                if line > first {
                    part = part.following(&request, line_bytes);
                }
                let (at, buffer) = (u64::from(part.at), part.buffer - request.buffer);
                prop_assert_eq!(line * line_bytes + at, request.offset + bytes);
                prop_assert_eq!(buffer, bytes);
                prop_assert!(part.length > 0 && at + u64::from(part.length) <= line_bytes);
                prop_assert_eq!(part.mask, sector_mask(part.at / 512, part.length / 512));
                prop_assert_eq!(part, Part::of(&request, line_bytes, first, line));
                bytes += u64::from(part.length);
            }
            prop_assert_eq!(bytes, request.length);
        });
    }
}
