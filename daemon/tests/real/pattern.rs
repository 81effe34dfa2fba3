//! Data that tells where it belongs, who wrote it and when; and how to look at a backing without the daemon.

use holdfast_ringbuf::client::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// `length` bytes for `offset`, different for each place and each `version`. Version 0 is zeroes.
pub(crate) fn pattern(version: u64, offset: u64, length: u64) -> Vec<u8> {
    let word = |at: u64| {
        let mixed = (at ^ version.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if version == 0 { 0 } else { mixed ^ (mixed >> 29) ^ version }
    };
    (offset / 8..(offset + length) / 8).flat_map(|at| word(at).to_le_bytes()).collect()
}

/// What the backing has, through the page cache: for after the daemon's end.
pub(crate) fn on_backing(path: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(length).expect("small")];
    let file = File::open(path).expect("the backing");
    file.read_exact_at(&mut data, offset).expect("readable");
    data
}

/// Panics unless the backing has `version` there.
pub(crate) fn check_backing(path: &Path, version: u64, offset: u64, length: u64) {
    let found = on_backing(path, offset, length);
    check_same(&found, &pattern(version, offset, length), &format!("on the backing at {offset}"));
}

/// Panics with the first place that differs.
pub(crate) fn check_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len());
    if let Some(at) = found.iter().zip(expected).position(|(one, other)| one != other) {
        let end = (at + 16).min(found.len());
        panic!("{what}: differs from byte {at} on: {:x?}, not {:x?}", &found[at..end], &expected[at..end]);
    }
}

/// The errno of what must have failed, and the name of the failure.
pub(crate) fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> (i32, Option<u64>) {
    let error = result.expect_err("this must fail");
    (error.errno(), error.failure_id().map(|id| id.0))
}

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

/// Numbers that look random and are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
