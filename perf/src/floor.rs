//! The bare limit: what two processes on this machine can do with a ring, a copy, and nothing else.
//!
//! This process is the client, the same program run again is the other side, and they share one piece of memory. The
//! other side checks nothing, knows no lines and keeps no promise: what a daemon needs beyond this is its own cost.

mod bare;
mod memory;
mod process;
pub mod ring;
mod serve;

pub use bare::{copy_ns, ping_pong_ns};
pub use memory::{Pages, Shared, Span};
pub use process::Floor;
pub use serve::{Phase, serve};
