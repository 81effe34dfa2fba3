//! The numbers that bound every session, whatever a daemon's configuration says. They are part of the protocol.

/// Reactors of one daemon, so rings of one session. One bit each in the client's join mask, and one descriptor each
/// in an SCM_RIGHTS message, of which the kernel carries at most 253.
pub const REACTORS_MAX: u32 = 64;

/// Entries of one ring: so much may be in flight in one session at one reactor.
pub const RING_ENTRIES_MAX: u32 = 4096;

/// Bytes of a session's payload area.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 30;

/// Bytes that one read or write request may move.
pub const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Bytes of a volume's name in UTF-8.
pub const VOLUME_NAME_BYTES_MAX: usize = 64;

/// Bytes of the text of a refusal in UTF-8; a longer one is cut.
pub const REASON_BYTES_MAX: usize = 256;
