//! The daemon's end: the door that clients knock on, the handshake, the rings.
//!
//! How to drive it: the control thread polls the [`Door`] and gives each [`Pending`] to a short-lived thread of which
//! it keeps a bounded number. There `read_hello`, decide, then `refuse` or `offer`. The [`Session`]'s socket is watched
//! for a hang-up; each [`DaemonRing`] is sent to its reactor, which calls nothing here that blocks or allocates:
//!
//! ```text
//! each turn:    while let Some(request) = ring.pop()? { ... }      an Err ends the session
//!               ring.push_completion(...)                          any number
//!               ring.flush_publish()                               once
//! before sleep: if every ring.prepare_sleep()? { poll wake_fd of all rings; ring.awake(); ring.drain_wake() }
//! ```

mod door;
#[cfg(test)]
mod lost_memory;
mod offer;
mod pending;
mod ring;
mod session;

pub use door::Door;
pub use offer::{Hello, Offer, Refusal};
pub use pending::{HandshakeError, Pending};
pub use ring::{DaemonRing, WakeState};
pub use session::Session;
