//! A reactor: one thread that owns its shard of the cache and polls for work.

mod clock;
mod copy;
mod idle;
mod link;
mod post;
mod sessions;
mod stopwatch;
mod turn;
mod wire;

pub use clock::Clock;
pub use link::{Board, Entry, Link, Mail, Plug, ReactorStats, SEATS_MAX, Seat, Word, place_of};
pub use post::Post;
#[cfg(test)]
pub(crate) use sessions::tests::connect;
pub use stopwatch::{Begun, Measured};
pub use turn::{Outlets, Reactor};
