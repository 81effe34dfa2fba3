//! What a guest or its front end can break for itself.

/// A guest has broken the rules of its queues, or its memory is gone: its device stops until the front end sets it up
/// anew. Nothing else is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VhostFault {
    /// A page that is part of its memory is not there.
    #[error("a page of the guest's memory is gone")]
    MemoryLost,
    /// An address that is not in its memory.
    #[error("an address outside of the guest's memory")]
    Address,
    /// An index of a ring that cannot be.
    #[error("queue {queue}: the available ring's index is more than a ring ahead")]
    Index {
        /// Which queue.
        queue: u8,
    },
    /// A request whose name is in use.
    #[error("queue {queue}: descriptor {head} is offered while it is in flight")]
    HeadInUse {
        /// Which queue.
        queue: u8,
        /// Which descriptor.
        head: u16,
    },
    /// A chain that cannot be followed.
    #[error("queue {queue}: the chain at descriptor {head} {why}")]
    Chain {
        /// Which queue.
        queue: u8,
        /// Which descriptor.
        head: u16,
        /// What is wrong with it.
        why: &'static str,
    },
}
