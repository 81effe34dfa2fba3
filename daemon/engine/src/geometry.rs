//! Where a line lives: volumes are striped over reactors, and each reactor numbers its own lines densely.

/// Bytes of a sector, the unit of the masks in a header and of all positions in a line.
pub const SECTOR_BYTES: u64 = 512;

/// The shape of one volume as one reactor sees it.
///
/// A volume is cut into stripes of `stripe_bytes`; stripe `n` belongs to reactor `n % reactors`. A reactor numbers
/// the lines of its own stripes from 0 without gaps: those are its *local* lines, the only ones that appear inside
/// the engine. Positions that cross the seam are byte offsets in the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the volume in bytes, a multiple of `block_bytes`.
    pub volume_bytes: u64,
    /// The smallest unit the device reads and writes whole: 512 to `line_bytes`, a power of two.
    pub block_bytes: u32,
    /// Bytes of a line: a power of two, 4 KiB to 16 KiB.
    pub line_bytes: u32,
    /// Bytes of a stripe: a power of two, 1 MiB or more.
    pub stripe_bytes: u64,
    /// How many reactors share the volume, at least 1.
    pub reactors: u32,
    /// Which of them this one is.
    pub reactor: u32,
}

impl Geometry {
    /// Lines in a stripe.
    pub const fn stripe_lines(&self) -> u64 {
        self.stripe_bytes / self.line_bytes as u64
    }

    /// Sectors in a line, 8 to 32.
    pub const fn line_sectors(&self) -> u32 {
        self.line_bytes / 512
    }

    /// The mask that has a bit for each sector of a line.
    pub const fn full_mask(&self) -> u32 {
        if self.line_sectors() == 32 { u32::MAX } else { (1 << self.line_sectors()) - 1 }
    }

    /// How many local lines this reactor has.
    pub const fn local_lines(&self) -> u64 {
        let lines = self.volume_bytes.div_ceil(self.line_bytes as u64);
        let stripe_lines = self.stripe_lines();
        let stripes = lines / stripe_lines;
        let rest = lines % stripe_lines;
        let reactors = self.reactors as u64;
        let reactor = self.reactor as u64;
        let whole = stripes / reactors + if stripes % reactors > reactor { 1 } else { 0 };
        let partial = if stripes % reactors == reactor { rest } else { 0 };
        whole * stripe_lines + partial
    }

    /// The reactor that owns the byte at `offset`.
    pub const fn owner(&self, offset: u64) -> u64 {
        (offset / self.stripe_bytes) % self.reactors as u64
    }

    /// The local line that holds the byte at `offset`, which this reactor must own.
    pub const fn local_line(&self, offset: u64) -> u64 {
        let stripe = offset / self.stripe_bytes;
        let within = (offset % self.stripe_bytes) / self.line_bytes as u64;
        (stripe / self.reactors as u64) * self.stripe_lines() + within
    }

    /// The volume's byte offset at which local line `line` begins.
    pub const fn offset_of(&self, line: u64) -> u64 {
        let stripe_lines = self.stripe_lines();
        let stripe = (line / stripe_lines) * self.reactors as u64 + self.reactor as u64;
        stripe * self.stripe_bytes + (line % stripe_lines) * self.line_bytes as u64
    }

    /// How many lines from `line` on lie next to each other on the device: up to the end of its stripe, or
    /// to the end of the volume if one reactor has it all.
    pub const fn contiguous_from(&self, line: u64) -> u64 {
        if self.reactors == 1 {
            return self.local_lines() - line;
        }
        let in_stripe = self.stripe_lines() - line % self.stripe_lines();
        let in_volume = self.local_lines() - line;
        if in_stripe < in_volume { in_stripe } else { in_volume }
    }

    /// The mask of the sectors of `line` that exist: all but in the last line of a volume that ends inside it.
    pub const fn existing_mask(&self, line: u64) -> u32 {
        let offset = self.offset_of(line);
        let left = self.volume_bytes - offset;
        if left >= self.line_bytes as u64 { self.full_mask() } else { (1 << (left / SECTOR_BYTES)) - 1 }
    }

    /// The first local line of the stripes at or after byte `offset`, whoever owns that byte.
    pub const fn first_line_at_or_after(&self, offset: u64) -> u64 {
        let stripe = offset / self.stripe_bytes;
        let reactors = self.reactors as u64;
        let reactor = self.reactor as u64;
        if stripe % reactors == reactor {
            let within = (offset % self.stripe_bytes).div_ceil(self.line_bytes as u64);
            return (stripe / reactors) * self.stripe_lines() + within;
        }
        let before = stripe / reactors + if stripe % reactors > reactor { 1 } else { 0 };
        before * self.stripe_lines()
    }
}

/// The mask of `count` sectors beginning with sector `first`. Both are at most 32; what lies behind sector 31 is cut off.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "what lies behind sector 31 is cut off")]
pub const fn sector_mask(first: u32, count: u32) -> u32 {
    debug_assert!(first <= 32 && count <= 32);
    // In 64 bits no shift by 32 or less loses or wraps anything.
    1u64.wrapping_shl(count).wrapping_sub(1).wrapping_shl(first) as u32
}
