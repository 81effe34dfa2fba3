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
// Under loom and shuttle (`--cfg loom`, `--cfg shuttle`, tests only) nothing but the rings' core is built: their atomics
// cannot lie in shared memory.

mod doorbell;
mod index;
mod record;
mod sync;

#[cfg(all(loom, test))]
mod loom_model;
#[cfg(all(test, not(any(loom, shuttle))))]
mod real_threads;
#[cfg(all(shuttle, test))]
mod shuttle_scenes;

#[cfg(not(any(loom, shuttle)))]
pub mod client;
#[cfg(not(any(loom, shuttle)))]
pub mod daemon_side;
#[cfg(not(any(loom, shuttle)))]
mod fault;
#[cfg(not(any(loom, shuttle)))]
pub mod fault_guard;
#[cfg(not(any(loom, shuttle)))]
mod layout;
#[cfg(not(any(loom, shuttle)))]
pub mod limits;
#[cfg(not(any(loom, shuttle)))]
mod memfd;
#[cfg(not(any(loom, shuttle)))]
mod memory;
#[cfg(not(any(loom, shuttle)))]
pub mod request;
#[cfg(not(any(loom, shuttle)))]
mod socket;
#[cfg(not(any(loom, shuttle)))]
mod stripes;
#[cfg(not(any(loom, shuttle)))]
pub mod wire;

#[cfg(not(any(loom, shuttle)))]
pub use fault::PeerFault;
#[cfg(not(any(loom, shuttle)))]
pub use memory::SessionMemory;
#[cfg(not(any(loom, shuttle)))]
pub use stripes::{Part, Stripes};

#[cfg(not(any(loom, shuttle)))]
mod volume;
#[cfg(not(any(loom, shuttle)))]
pub use volume::{FailureId, VolumeInfo};
