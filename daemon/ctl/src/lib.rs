//! holdfastctl: what an operator types, and the types it speaks with the daemon.
#![forbid(unsafe_code)]

pub mod api;
pub mod size;
