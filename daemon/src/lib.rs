//! holdfastd as a library: see `ARCHITECTURE.md` beside this package for how the parts fit.
#![deny(unsafe_code)]

pub mod admin;
pub mod arena;
pub mod config;
pub mod device;
pub mod doctor;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod kernel;
pub mod latency;
pub mod ledger;
pub mod log;
pub mod nbd;
pub mod quickstart;
pub mod reactor;
pub mod salvage;
pub mod service;
pub mod start;
pub mod vhost;
