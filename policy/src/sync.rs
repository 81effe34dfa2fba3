//! The one atomic type of the dirty index: the real one, loom's when orderings are being checked, or shuttle's when scenes
//! are run.

#[cfg(loom)]
pub use loom::sync::atomic::AtomicU64;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU64;

#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU64;

pub(crate) use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
