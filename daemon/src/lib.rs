//! The daemon.
#![deny(unsafe_code)]

pub mod config;
pub mod ledger;
pub mod arena;
pub mod device;
pub mod kernel;
pub mod quickstart;
pub mod admin;
pub mod reactor;
pub mod start;
