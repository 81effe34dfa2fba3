//! The door of Holdfast: shared memory between a client and the daemon.
//!
//! A session is one connection over a Unix socket and one piece of shared memory that holds a submission ring and a
//! completion ring for each of the daemon's reactors, and a payload area. `PROTOCOL.md` beside this crate is the whole
//! story: byte layouts, the life of a session, memory orderings, threats.
//!
//! - [`client`]: [`Client`](client::Client), thread-safe and blocking, and [`Queue`](client::Queue), one owner, depth.
//! - [`daemon_side`]: the listening socket, the handshake, and the daemon's end of the rings.
//! - [`fault_guard`]: how the daemon survives SIGBUS in a peer's memory.
#![deny(unsafe_code)]
// Under loom (`--cfg loom`, tests only) nothing but the rings' core is built: loom's atomics cannot lie in shared
// memory.

mod doorbell;
mod index;
mod sync;

#[cfg(all(loom, test))]
mod loom_model;

#[cfg(not(loom))]
pub mod client;
#[cfg(not(loom))]
pub mod daemon_side;
#[cfg(not(loom))]
mod fault;
#[cfg(not(loom))]
pub mod fault_guard;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
pub mod limits;
#[cfg(not(loom))]
mod memfd;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
pub mod request;
#[cfg(not(loom))]
mod socket;
#[cfg(not(loom))]
mod stripes;
#[cfg(not(loom))]
pub mod wire;

#[cfg(not(loom))]
pub use fault::PeerFault;
#[cfg(not(loom))]
pub use memory::SessionMemory;
#[cfg(not(loom))]
pub use stripes::{Part, Stripes};

#[cfg(not(loom))]
mod volume;
#[cfg(not(loom))]
pub use volume::{FailureId, VolumeInfo};
