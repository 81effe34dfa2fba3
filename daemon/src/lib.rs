//! The daemon.
#![deny(unsafe_code)]

pub mod config;
