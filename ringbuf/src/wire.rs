//! The messages of the handshake, as they go over the Unix socket. PROTOCOL.md describes every field.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::{REASON_BYTES_MAX, VOLUME_NAME_BYTES_MAX};

/// `HOLDFAST` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HOLDFAST");

/// Changes with every change of the messages, the memory layout or the meaning of a field.
pub const VERSION: u32 = 2;

/// Client to daemon, first message. The first 16 bytes keep their place in every version.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HelloMessage {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this message.
    pub message_bytes: u32,
    /// UTF-8, filled up with zeroes.
    pub volume: [u8; VOLUME_NAME_BYTES_MAX],
    /// Requests that the client wants to have in flight at each reactor.
    pub queue_depth: u32,
    /// 0.
    pub flags: u32,
    /// Bytes of payload area that the client wants.
    pub payload_bytes: u64,
    /// What the client can do; none is defined.
    pub capabilities: u64,
    /// The session to take up again, 0 for a new one.
    pub resume_session: u64,
    /// 0.
    pub reserved: [u64; 2],
}

/// Daemon to client: a refusal, or an offer with the memory and the wake-up sockets as SCM_RIGHTS.
/// Everything up to `reason` keeps its place in every version, so that any client can read any refusal.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReplyMessage {
    /// [`MAGIC`].
    pub magic: u64,
    /// The daemon's [`VERSION`].
    pub version: u32,
    /// Bytes of this message.
    pub message_bytes: u32,
    /// 0 for an offer, else a positive errno: refused.
    pub status: i32,
    /// Bytes of `reason`.
    pub reason_bytes: u32,
    /// UTF-8: why it was refused, and what to do.
    pub reason: [u8; REASON_BYTES_MAX],
    /// The session's id.
    pub session: u64,
    /// Changes when the daemon's cache died with unflushed data.
    pub incarnation: u64,
    /// Bytes of the volume.
    pub volume_bytes: u64,
    /// Bytes of a stripe, a power of two.
    pub stripe_bytes: u64,
    /// Bytes of the payload area.
    pub payload_bytes: u64,
    /// Bytes of the shared memory.
    pub memory_bytes: u64,
    /// What the daemon can do; none is defined.
    pub capabilities: u64,
    /// Bytes that offsets and lengths must be multiples of, a power of two.
    pub block_bytes: u32,
    /// Bytes of a cache line: what is aligned to it is fastest.
    pub line_bytes: u32,
    /// Reactors, and rings.
    pub reactors: u32,
    /// Entries of each ring, and requests in flight at each reactor.
    pub ring_entries: u32,
    /// Bytes of the longest read or write.
    pub request_bytes_max: u32,
    /// [`FLAG_READ_ONLY`] or 0.
    pub flags: u32,
    /// The arena in which the cache is: records are good for another daemon that has the same.
    pub arena: u64,
    /// 0.
    pub reserved: [u64; 3],
}

/// The volume cannot be written to.
pub const FLAG_READ_ONLY: u32 = 1;

/// The client has mapped the memory (client to daemon); the session is live (daemon to client).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StepMessage {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`STEP_MAPPED`] or [`STEP_READY`].
    pub step: u64,
}

/// The client has mapped the memory.
pub const STEP_MAPPED: u64 = 1;
/// The session is live.
pub const STEP_READY: u64 = 2;

/// Bytes of a hello, and of the part that every version has.
pub(crate) const HELLO_BYTES: u32 = 128;
pub(crate) const HELLO_PREFIX_BYTES: usize = 16;
/// Bytes of a reply, and of the part that every version has.
pub(crate) const REPLY_BYTES: u32 = 392;
pub(crate) const REPLY_PREFIX_BYTES: usize = 24 + REASON_BYTES_MAX;

const _: () = assert!(size_of::<HelloMessage>() == HELLO_BYTES as usize);
const _: () = assert!(size_of::<ReplyMessage>() == REPLY_BYTES as usize);
const _: () = assert!(core::mem::offset_of!(HelloMessage, volume) == HELLO_PREFIX_BYTES);
const _: () = assert!(core::mem::offset_of!(ReplyMessage, session) == REPLY_PREFIX_BYTES);
const _: () = assert!(size_of::<StepMessage>() == 16);

impl ReplyMessage {
    /// A refusal; `reason` is cut at [`REASON_BYTES_MAX`] bytes, on a character's border.
    #[must_use]
    pub fn refusal(errno: i32, reason: &str) -> Self {
        let cut = (0..=reason.len().min(REASON_BYTES_MAX))
            .rev()
            .find(|&at| reason.is_char_boundary(at))
            .unwrap_or(0);
        let mut reply = Self::new_zeroed_reply();
        reply.status = errno;
        reply.reason_bytes = u32::try_from(cut).expect("at most REASON_BYTES_MAX");
        reply.reason[..cut].copy_from_slice(&reason.as_bytes()[..cut]);
        reply
    }

    /// A reply with nothing but magic, version and size.
    #[must_use]
    pub fn new_zeroed_reply() -> Self {
        let mut reply: Self = zerocopy::FromZeros::new_zeroed();
        reply.magic = MAGIC;
        reply.version = VERSION;
        reply.message_bytes = REPLY_BYTES;
        reply
    }

    /// The text of a refusal; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn reason(&self) -> String {
        let length = (self.reason_bytes as usize).min(REASON_BYTES_MAX);
        String::from_utf8_lossy(&self.reason[..length]).into_owned()
    }
}

impl StepMessage {
    /// A step of the handshake.
    #[must_use]
    pub fn new(step: u64) -> Self {
        Self { magic: MAGIC, step }
    }
}

/// The name in a hello, if it is UTF-8, not empty, and followed by zeroes only.
pub(crate) fn parse_volume(bytes: &[u8; VOLUME_NAME_BYTES_MAX]) -> Option<&str> {
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(VOLUME_NAME_BYTES_MAX);
    let rest_is_zero = bytes[length..].iter().all(|&byte| byte == 0);
    let name = core::str::from_utf8(&bytes[..length]).ok()?;
    (rest_is_zero && !name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// A name as a hello carries it; `None` if it is empty or too long.
pub(crate) fn volume_bytes(name: &str) -> Option<[u8; VOLUME_NAME_BYTES_MAX]> {
    let mut bytes = [0; VOLUME_NAME_BYTES_MAX];
    bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    parse_volume(&bytes).is_some_and(|parsed| parsed == name).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_wire_or_are_refused() {
        for name in ["vm1", "ü", &"x".repeat(64)] {
            let bytes = volume_bytes(name).expect("a good name");
            assert_eq!(parse_volume(&bytes), Some(name));
        }
        for name in ["", "a\0b", "line\nbreak", &"x".repeat(65)] {
            assert_eq!(volume_bytes(name), None, "{name:?}");
        }
        let mut hidden = volume_bytes("vm1").expect("a good name");
        hidden[10] = b'x';
        assert_eq!(parse_volume(&hidden), None, "bytes after the end");
        hidden[0] = 0xff;
        assert_eq!(parse_volume(&hidden), None, "not UTF-8");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reply = ReplyMessage::refusal(13, &"é".repeat(200));
        assert_eq!(reply.reason(), "é".repeat(128));
        let odd = ReplyMessage::refusal(13, &format!("x{}", "é".repeat(200)));
        assert_eq!(odd.reason().len(), 255);
        assert_eq!(odd.status, 13);
    }
}
