//! Arena, backings and disks on a real kernel: real files, real memory, real locks.
//!
//! What needs root, a loop device or nbdfuse is skipped loudly where there is none, and fails where
//! `HOLDFAST_REQUIRE_REAL=1` says that it must be there.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

mod arena;
mod backing;
mod disk;
mod faults;
mod killed;
mod limits;
#[path = "../../../ringbuf/tests/needs/mod.rs"]
mod needs;
mod signals;
mod support;
mod thin;
