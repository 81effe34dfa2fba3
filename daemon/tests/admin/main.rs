//! The admin server and holdfastctl together: a real socket, real requests, and a daemon behind it that is made up.
#![allow(clippy::cast_possible_truncation)]

mod change;
mod fake;
mod health;
mod limits;
mod look;
mod paging;
mod permission;
mod refusals;
mod status;
mod tune;
mod world;
