//! The daemon.
#![deny(unsafe_code)]

pub mod arena;
pub mod device;
pub mod kernel;
