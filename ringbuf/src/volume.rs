//! What both ends say about a volume and its failures.

use core::fmt;

/// A volume as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Size in bytes, a multiple of `block_bytes`.
    pub bytes: u64,
    /// Offsets and lengths are multiples of this many bytes: a power of two in `512..=65536`.
    pub block_bytes: u32,
    /// Bytes of a cache line, a power of two: what is aligned to it needs no merging.
    pub line_bytes: u32,
    /// Bytes of a stripe, a power of two and a multiple of `line_bytes`.
    pub stripe_bytes: u64,
    /// Writes are refused with EROFS.
    pub read_only: bool,
}

impl VolumeInfo {
    /// What is wrong with these numbers, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let rules = [
            (self.block_bytes.is_power_of_two() && (512..=65536).contains(&self.block_bytes), "block size"),
            (self.line_bytes.is_power_of_two() && self.line_bytes >= self.block_bytes, "line size"),
            (
                self.stripe_bytes.is_power_of_two() && self.stripe_bytes >= u64::from(self.line_bytes),
                "stripe size",
            ),
            (self.bytes > 0 && self.bytes.is_multiple_of(u64::from(self.block_bytes.max(1))), "volume size"),
        ];
        rules.iter().find(|(holds, _)| !holds).map(|(_, what)| *what)
    }
}

/// The name of a set of failures: the same set has the same id. `holdfastctl explain` turns it into ranges, errno,
/// attempts and times. Written as 16 hexadecimal digits, as that command takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureId(pub u64);

impl fmt::Display for FailureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
