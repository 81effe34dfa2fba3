//! What a client asks for, and what it is given.

use crate::layout::Layout;
use crate::limits::{REACTORS_MAX, REQUEST_BYTES_MAX};
use crate::request::SessionLimits;
use crate::stripes::Stripes;
use crate::volume::VolumeInfo;
use crate::wire::{FLAG_READ_ONLY, ReplyMessage};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The volume's name: 1..=64 bytes, without control characters.
    pub volume: String,
    /// Requests it wants to have in flight at each reactor; any number, a wish.
    pub queue_depth: u32,
    /// Bytes of payload area; any number, a wish.
    pub payload_bytes: u64,
    /// Capability bits; none is defined.
    pub capabilities: u64,
    /// The session it wants to take up again, if any.
    pub resume_session: Option<u64>,
}

/// Why a client is not let in, as it will read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A positive errno: ENOENT for an unknown volume, EACCES, EBUSY ...
    pub errno: i32,
    /// For people: what is wrong and what would do; cut at 256 bytes.
    pub text: String,
}

/// What the daemon gives to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The session's id, unique in the daemon's life and not 0.
    pub session: u64,
    /// Changes when the daemon's cache died with unflushed data.
    pub incarnation: u64,
    /// The arena: for a daemon that takes it over, what clients were told of their writes holds.
    pub arena: u64,
    /// The volume.
    pub volume: VolumeInfo,
    /// Rings, `1..=64`.
    pub reactors: u32,
    /// Entries of each ring: a power of two in `2..=4096`.
    pub ring_entries: u32,
    /// Bytes of the payload area: a positive multiple of 4096, at most 1 GiB. It is allocated at once.
    pub payload_bytes: u64,
    /// Longest read or write in bytes: at least 4096, at most 1 MiB, at most `payload_bytes`.
    pub request_bytes_max: u32,
}

impl Offer {
    /// The offer that meets a client's wishes as far as the daemon's ceilings allow: the depth rounded up to a power
    /// of two, the payload to whole pages.
    ///
    /// # Panics
    /// If `entries_max` is no power of two in `2..=4096` or `payload_bytes_max` not within `4096..=1 GiB`.
    #[must_use]
    pub fn sized_for(hello: &Hello, entries_max: u32, payload_bytes_max: u64) -> (u32, u64) {
        let entries = hello.queue_depth.clamp(2, entries_max).next_power_of_two();
        let payload = hello.payload_bytes.clamp(4096, payload_bytes_max) & !4095;
        assert!(Layout::new(1, entries, payload).is_some(), "ceilings {entries_max}, {payload_bytes_max}");
        (entries, payload)
    }

    pub(super) fn layout(&self) -> Layout {
        assert!((1..=REACTORS_MAX).contains(&self.reactors), "{} reactors", self.reactors);
        assert_eq!(self.volume.problem(), None, "volume {:?}", self.volume);
        let request_fits = (4096..=REQUEST_BYTES_MAX).contains(&self.request_bytes_max)
            && u64::from(self.request_bytes_max) <= self.payload_bytes;
        assert!(request_fits && self.session != 0, "offer {self:?}");
        Layout::new(self.reactors, self.ring_entries, self.payload_bytes)
            .expect("an offer within the protocol's limits")
    }

    pub(super) fn limits(&self) -> SessionLimits {
        SessionLimits {
            entries: self.ring_entries,
            payload_bytes: self.payload_bytes,
            request_bytes_max: self.request_bytes_max,
            stripes: Stripes::new(self.volume.stripe_bytes, self.reactors),
        }
    }

    pub(super) fn message(&self, memory_bytes: u64) -> ReplyMessage {
        ReplyMessage {
            session: self.session,
            incarnation: self.incarnation,
            arena: self.arena,
            volume_bytes: self.volume.bytes,
            stripe_bytes: self.volume.stripe_bytes,
            payload_bytes: self.payload_bytes,
            memory_bytes,
            block_bytes: self.volume.block_bytes,
            line_bytes: self.volume.line_bytes,
            reactors: self.reactors,
            ring_entries: self.ring_entries,
            request_bytes_max: self.request_bytes_max,
            flags: if self.volume.read_only { FLAG_READ_ONLY } else { 0 },
            ..ReplyMessage::new_zeroed_reply()
        }
    }
}
