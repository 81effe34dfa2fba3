//! Volumes for virtual machines: vhost-user-blk, whose virtqueues lie in memory that the guest, its front end (QEMU) and
//! this daemon share.
//!
//! ```text
//! front end -> listen -> device (what was negotiated) -> seats, one for each reactor
//! guest <-> queue (polled by the reactor that owns it) <-> seat <-> engine; letters to the seats of other stripes
//! ```
//! Only negotiation has a thread of its own: requests are taken from the guest's memory by the reactors, and data is copied
//! between it and slots, once.
//!
//! Rejected: `vhost-user-backend`, which has threads of its own on the data path and knows no in-flight region; and a thread
//! that is a client of the rings, as NBD has, because a guest's queue is as good to poll as a ring.

mod beginning;
mod chain;
mod config_space;
mod device;
mod fault;
mod flight;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod guest;
mod inflight;
mod listen;
mod messages;
mod office;
mod queue;
mod request;
mod seat;

pub use device::Disk;
pub use fault::VhostFault;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzz::fuzz;
pub use listen::{FindDisk, Frontend, VhostError};
pub use office::{MakeSeats, Office, Peer, Ticket};
pub use seat::{Found, Letter, VhostSeat};
