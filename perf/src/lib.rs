//! The stopwatch of Holdfast: what this machine allows, and how much of it the daemon gives to a client.
//!
//! - [`floor`]: the bare limit: an ideal ring between two processes, and the two things it is made of, a cache line that
//!   goes to and fro and a copy of 4 KiB.
//! - [`load`]: one closed-loop generator, used for the floor and for a daemon alike, so that a ratio compares rings and
//!   not generators.
//! - [`bench`](mod@bench): a running daemon beside the floor, in alternating rounds.
//! - [`machine`], [`statistics`], [`report`]: where a figure was taken, how it spreads, how it is printed.
//!
//! `README.md` beside this crate says how a number is believed.
#![deny(unsafe_code)]

pub mod bench;
pub mod cases;
pub mod daemon_target;
pub mod floor;
pub mod load;
pub mod machine;
pub mod offsets;
pub mod report;
pub mod statistics;
pub mod window;
