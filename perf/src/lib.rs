//! The stopwatch of Holdfast: what this machine allows, and how much of it the daemon gives to a client.
//!
//! - [`floor`]: the bare limit: an ideal ring between two processes, and the two things it is made of, a cache line that
//!   goes to and fro and a copy of 4 KiB.
//! - [`load`]: one closed-loop generator, used for the floor and for a daemon alike, so that a ratio compares rings and
//!   not generators.
//! - [`bench`](mod@bench): a running daemon beside the floor, in alternating rounds.
//! - [`job`], [`testbed`], [`run`](mod@run): jobs in TOML, where they run, and how: [`client`] is their generator, [`places`] and
//!   [`arrivals`] its load, [`stamps`] its payloads, [`files`] and [`nbd_target`] what Holdfast is compared with,
//!   [`crew`] its processes, [`trouble`] what may happen beside it.
//! - [`suite`]: all of it, one after the other, and one page that says what was wanted and what was found.
//! - [`honesty`]: no figure, but what flushes say when a disk refuses, here and elsewhere.
//! - [`machine`], [`statistics`], [`report`], [`wanted`]: where a figure was taken, how it spreads, how it is
//!   printed, and whether it is what it should be.
//!
//! `README.md` beside this crate says how a number is believed.
#![deny(unsafe_code)]

mod affinity;
pub mod arrivals;
pub mod bench;
pub mod board;
pub mod cases;
pub mod chance;
pub mod chart;
pub mod client;
mod counters;
pub mod crew;
pub mod daemon_target;
pub mod door;
pub mod figures;
pub mod files;
pub mod floor;
pub mod honesty;
pub mod job;
pub mod load;
pub mod machine;
pub mod nbd_target;
pub mod offsets;
mod operator;
pub mod outcome;
pub mod own_daemon;
pub mod page;
mod peers;
pub mod places;
pub mod preflight;
pub mod report;
pub mod restart;
pub mod run;
pub mod stamps;
pub mod statistics;
pub mod suite;
pub mod table;
pub mod testbed;
pub mod trouble;
pub mod vhost_target;
pub mod wanted;
pub mod window;
pub mod zipf;
