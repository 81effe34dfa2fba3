//! The one atomic type of the dirty index: the real one, or loom's when orderings are being checked.

#[cfg(loom)]
pub use loom::sync::atomic::AtomicU64;

#[cfg(not(loom))]
pub use core::sync::atomic::AtomicU64;

pub(crate) use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
