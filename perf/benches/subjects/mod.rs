//! What the benchmarks measure, ready to be measured: `count.rs` counts instructions of them, `time.rs` takes their time.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the numbers here are small")]
#![allow(clippy::cast_sign_loss, reason = "as above")]

pub(crate) mod engine;
pub(crate) mod index;
pub(crate) mod rings;

/// Requests, or lines, of a measurement: figures are divided by it.
pub(crate) const REQUESTS: usize = 2048;
