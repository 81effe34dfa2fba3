//! What a peer can do wrong in shared memory.

use thiserror::Error;

use crate::index::IndexJumped;
use crate::request::Opcode;

/// A client broke the protocol. No honest client can; the session is closed, nobody else notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PeerFault {
    /// An index in shared memory is further than the ring allows, or went back.
    #[error("the {ring} ring's index is {found}, possible are {lowest} to {highest}")]
    IndexJumped {
        /// `submission` or `completion`.
        ring: &'static str,
        /// The lowest possible index.
        lowest: u32,
        /// The highest possible index.
        highest: u32,
        /// What the shared word held.
        found: u32,
    },
    /// More requests than the ring has completion entries, counting the completions not yet taken.
    #[error("more than {entries} requests in flight or with a completion not taken")]
    Overrun {
        /// Entries of each ring.
        entries: u32,
    },
    /// Not an operation of this protocol version.
    #[error("opcode {opcode} is unknown")]
    Opcode {
        /// As found.
        opcode: u8,
    },
    /// A flag that this operation does not know.
    #[error("flags {flags:#04x} are not known for a {opcode}")]
    Flags {
        /// The operation.
        opcode: Opcode,
        /// As found.
        flags: u8,
    },
    /// A field that must be zero for this operation is not.
    #[error("{field} of a {opcode} must be zero")]
    NotZero {
        /// The operation.
        opcode: Opcode,
        /// The descriptor's field.
        field: &'static str,
    },
    /// A tag outside the ring.
    #[error("tag {tag} of a ring of {entries} entries")]
    Tag {
        /// As found.
        tag: u32,
        /// Tags are below this.
        entries: u32,
    },
    /// A tag whose request has not been answered.
    #[error("tag {tag} is still in flight")]
    TagInUse {
        /// As found.
        tag: u32,
    },
    /// Sequence numbers must rise within a ring.
    #[error("sequence {sequence} after {last}")]
    Sequence {
        /// As found.
        sequence: u64,
        /// The one before it.
        last: u64,
    },
    /// A read or write of nothing, or of more than the session's limit.
    #[error("length {length} is not in 1..={length_max}")]
    Length {
        /// As found, bytes.
        length: u64,
        /// The session's limit, bytes.
        length_max: u32,
    },
    /// A payload that is not inside the session's payload area.
    #[error("payload of {length} bytes at {payload} in an area of {payload_bytes}")]
    Payload {
        /// As found, bytes from the start of the payload area.
        payload: u64,
        /// Bytes.
        length: u64,
        /// Size of the payload area.
        payload_bytes: u64,
    },
    /// A read or write that does not lie within one stripe of this ring's reactor.
    #[error("{length} bytes at {offset} are not in one stripe of reactor {reactor}")]
    Misrouted {
        /// Bytes from the start of the volume.
        offset: u64,
        /// Bytes.
        length: u64,
        /// The reactor of the ring it came through.
        reactor: u32,
    },
    /// The session's memory raised SIGBUS; what was copied from it since is not the client's data.
    #[error("the session's shared memory is gone (SIGBUS)")]
    MemoryLost,
}

impl PeerFault {
    pub(crate) fn jumped(ring: &'static str, jump: IndexJumped) -> Self {
        let IndexJumped { lowest, highest, found } = jump;
        Self::IndexJumped { ring, lowest, highest, found }
    }
}
