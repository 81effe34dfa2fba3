//! Volumes for NBD clients: QEMU, nbdkit, libnbd's tools, the kernel's `nbd` on another host.
//!
//! ```text
//! peer -> listen (who may) -> negotiate (which volume, which form) -> connection: reader -> rings -> writer -> peer
//! ```
//! Each connection is a client of the rings like any other, in the daemon's own process: a session of its own, so that
//! nothing here can do what a client cannot. It has two threads, off the reactors' cores, and a peer that is slow or
//! silent keeps those two, one of `connections_max` places, and nothing else.
//!
//! Rejected: requests straight into the reactors' mailboxes. It would save the wake-up of a thread, which beside a socket
//! is little, and make a second door with its own limits, copies and ways to be attacked.

mod blocks;
mod connection;
mod flights;
mod glance;
mod listen;
mod negotiate;
mod protocol;
mod stream;

pub use blocks::BackingNow;
pub use listen::{Catalogue, Frontend, NbdError, Volume};

/// A client's first words and then a request: a byte that says whether its headers are extended, and the bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((&extended, rest)) = data.split_first() else { return };
    let extended = extended % 2 == 1;
    negotiate::fuzz(rest);
    let header = protocol::Request::header_bytes(extended);
    for bytes in rest.chunks_exact(header) {
        if let Some(request) = protocol::Request::parse(bytes, extended) {
            let payload = request.payload_bytes(extended);
            assert!(payload == 0 || payload == request.length);
        }
    }
}
