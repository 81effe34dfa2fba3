//! A volume as a picture, and how long things take.

use serde::{Deserialize, Serialize};

/// A volume cut into cells of equal size, each with the worst state of what lies in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtentMap {
    /// The volume's name.
    pub volume: String,
    /// Bytes of a cell; the last one may reach past the end.
    pub cell_bytes: u64,
    /// A letter for each cell: `.` clean or not cached, `d` dirty, `w` being written, `f` failed and held, `l` lost. What
    /// is written and not flushed counts as clean here: it is for a second at most.
    pub cells: String,
    /// What is lost is marked up to this byte; none if it is marked everywhere.
    pub lost_known_to: Option<u64>,
}

impl ExtentMap {
    /// Nothing to say.
    pub const CLEAN: u8 = b'.';
    /// Dirty.
    pub const DIRTY: u8 = b'd';
    /// Being written.
    pub const WRITING: u8 = b'w';
    /// Refused and held.
    pub const FAILED: u8 = b'f';
    /// Given up.
    pub const LOST: u8 = b'l';
}

/// How long one kind of operation took, since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// `read`, `write`, `flush`, `discard`, `write_zeroes`.
    pub operation: String,
    /// How many there were.
    pub count: u64,
    /// The sum of their times in nanoseconds.
    pub sum_ns: u64,
    /// Buckets that have any, in order: each with its index, whose upper bound is 2^(index/4) seconds, and its count.
    pub buckets: Vec<(i32, u64)>,
}

/// The latencies of a volume; an operation that never was is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeLatencies {
    /// The volume's name.
    pub volume: String,
    /// How long clients waited for their answers.
    pub requests: Vec<Latency>,
    /// How long the device took.
    pub device: Vec<Latency>,
}

/// The latencies of all volumes, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// By volume.
    pub volumes: Vec<VolumeLatencies>,
}
