//! Arena, backings and disks on a real kernel: real files, real memory, real locks.
//!
//! What needs root, a loop device or nbdfuse is skipped where there is none, and says so on standard error.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

mod arena;
mod backing;
mod disk;
mod faults;
mod killed;
mod limits;
mod signals;
mod support;
mod thin;
