//! The admin server and holdfastctl together: a real socket, real requests, and a daemon behind it that is made up.
#![allow(clippy::cast_possible_truncation)]

mod browser;
mod change;
mod chromium;
mod fake;
mod health;
mod limits;
mod look;
mod metrics;
mod monitoring;
#[path = "../../../ringbuf/tests/needs/mod.rs"]
mod needs;
mod page;
mod paging;
mod permission;
mod port;
mod refusals;
mod status;
mod tune;
mod volumes;
mod world;
