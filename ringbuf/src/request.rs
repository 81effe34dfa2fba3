//! Descriptors and completions as they lie in shared memory, and the typed request that a checked copy becomes.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::fault::PeerFault;
use crate::stripes::Stripes;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Copy from the volume to the payload.
    Read = 1,
    /// Copy from the payload to the volume.
    Write = 2,
    /// Make durable what was acknowledged before.
    Flush = 3,
    /// Say that a range's content is no longer needed; it reads as zeroes afterwards.
    Discard = 4,
    /// Make a range read as zeroes.
    WriteZeroes = 5,
}

impl Opcode {
    fn parse(opcode: u8) -> Result<Self, PeerFault> {
        Ok(match opcode {
            1 => Self::Read,
            2 => Self::Write,
            3 => Self::Flush,
            4 => Self::Discard,
            5 => Self::WriteZeroes,
            _ => return Err(PeerFault::Opcode { opcode }),
        })
    }

    /// Flags that this operation knows.
    fn flags(self) -> u8 {
        match self {
            Self::Write | Self::WriteZeroes => FLAG_FUA,
            Self::Read | Self::Flush | Self::Discard => 0,
        }
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write-zeroes",
        })
    }
}

/// Force unit access: answered only when the data is on stable media.
pub const FLAG_FUA: u8 = 1;

/// One entry of a submission ring, native byte order. PROTOCOL.md describes every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Descriptor {
    /// An [`Opcode`].
    pub opcode: u8,
    /// [`FLAG_FUA`] or 0.
    pub flags: u8,
    /// Must be 0.
    pub reserved_0: u16,
    /// The client's name of the request, below the ring's entries, free when its completion was taken.
    pub tag: u32,
    /// Rises with every descriptor of a ring.
    pub sequence: u64,
    /// Bytes from the start of the volume.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Bytes from the start of the session's payload area.
    pub payload: u64,
    /// Milliseconds after which the client would rather have ETIMEDOUT; 0 for never.
    pub timeout_ms: u32,
    /// Must be 0.
    pub reserved_1: u32,
    /// For a write that a daemon which died had taken in: what it said in the tag's record; else 0.
    pub replay: u64,
    /// Must be 0.
    pub reserved_2: [u32; 2],
}

/// One entry of a completion ring, native byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Completion {
    /// The descriptor's tag.
    pub tag: u32,
    /// 0, or a positive errno.
    pub status: i32,
    /// The descriptor's sequence.
    pub sequence: u64,
    /// With a failed flush the id that `holdfastctl explain` takes, else 0.
    pub failure_id: u64,
    /// 0.
    pub reserved: u64,
}

pub(crate) const DESCRIPTOR_BYTES: usize = 64;
pub(crate) const COMPLETION_BYTES: usize = 32;
const _: () = assert!(size_of::<Descriptor>() == DESCRIPTOR_BYTES);
const _: () = assert!(size_of::<Completion>() == COMPLETION_BYTES);

/// A descriptor that was copied out of shared memory and found in order.
///
/// What it asks may still be nonsense to the volume (beyond its end, unaligned): that is answered with EINVAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The operation.
    pub opcode: Opcode,
    /// Whether the answer must wait for stable media; only with a write or write-zeroes.
    pub fua: bool,
    /// Below the ring's entries, and of no other request that this ring has in flight.
    pub tag: u32,
    /// Larger than that of every earlier request of this ring.
    pub sequence: u64,
    /// Bytes from the start of the volume; for a read or write within one stripe of the ring's reactor.
    pub offset: u64,
    /// Bytes; for a read or write in `1..=` the session's request limit; any for discard and write-zeroes.
    pub length: u64,
    /// For a read or write: `payload + length` lies within the payload area. Else 0.
    pub payload: u64,
    /// Milliseconds after which to answer ETIMEDOUT if the request can still be withdrawn; 0 for never.
    pub timeout_ms: u32,
    /// For a write: the generation under which an earlier life of the daemon took it in, as its client says; else 0.
    pub replay: u64,
}

/// What a session's descriptors are checked against.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Entries of each ring, and tags.
    pub entries: u32,
    /// Bytes of the payload area.
    pub payload_bytes: u64,
    /// Bytes of the longest read or write.
    pub request_bytes_max: u32,
    /// Who owns what.
    pub stripes: Stripes,
}

impl Request {
    /// Checks a private copy of a descriptor that came through the ring of `reactor`.
    ///
    /// # Errors
    /// Whatever an honest client could not have written.
    #[inline]
    pub fn parse(raw: &Descriptor, reactor: u32, limits: &SessionLimits) -> Result<Self, PeerFault> {
        let opcode = Opcode::parse(raw.opcode)?;
        if raw.flags & !opcode.flags() != 0 {
            return Err(PeerFault::Flags { opcode, flags: raw.flags });
        }
        if raw.tag >= limits.entries {
            return Err(PeerFault::Tag { tag: raw.tag, entries: limits.entries });
        }
        zero(
            opcode,
            "reserved",
            u64::from(raw.reserved_0) | u64::from(raw.reserved_1 | raw.reserved_2[0] | raw.reserved_2[1]),
        )?;
        if opcode != Opcode::Write {
            zero(opcode, "replay", raw.replay)?;
        }
        match opcode {
            Opcode::Read | Opcode::Write => check_transfer(raw, reactor, limits)?,
            Opcode::Discard | Opcode::WriteZeroes => zero(opcode, "payload", raw.payload)?,
            Opcode::Flush => {
                zero(opcode, "payload", raw.payload)?;
                zero(opcode, "offset", raw.offset)?;
                zero(opcode, "length", raw.length)?;
            }
        }
        Ok(Self {
            opcode,
            fua: raw.flags & FLAG_FUA != 0,
            tag: raw.tag,
            sequence: raw.sequence,
            offset: raw.offset,
            length: raw.length,
            payload: raw.payload,
            timeout_ms: raw.timeout_ms,
            replay: raw.replay,
        })
    }
}

#[inline(always)]
fn zero(opcode: Opcode, field: &'static str, value: u64) -> Result<(), PeerFault> {
    if value == 0 { Ok(()) } else { Err(PeerFault::NotZero { opcode, field }) }
}

#[inline(always)]
fn check_transfer(raw: &Descriptor, reactor: u32, limits: &SessionLimits) -> Result<(), PeerFault> {
    let (length, payload, payload_bytes) = (raw.length, raw.payload, limits.payload_bytes);
    if length == 0 || length > u64::from(limits.request_bytes_max) {
        return Err(PeerFault::Length { length, length_max: limits.request_bytes_max });
    }
    // In this order nothing can overflow: payload and length are each compared before they are subtracted.
    if payload > payload_bytes || length > payload_bytes - payload {
        return Err(PeerFault::Payload { payload, length, payload_bytes });
    }
    if !limits.stripes.owns(reactor, raw.offset, length) {
        return Err(PeerFault::Misrouted { offset: raw.offset, length, reactor });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn limits() -> SessionLimits {
        let stripes = Stripes::new(MIB, 3);
        SessionLimits { entries: 8, payload_bytes: 65536, request_bytes_max: 16384, stripes }
    }

    fn write() -> Descriptor {
        Descriptor {
            opcode: 2,
            flags: 0,
            reserved_0: 0,
            tag: 7,
            sequence: 1,
            offset: MIB,
            length: 4096,
            payload: 65536 - 4096,
            timeout_ms: 0,
            reserved_1: 0,
            replay: 0,
            reserved_2: [0; 2],
        }
    }

    fn parse(raw: Descriptor) -> Result<Request, PeerFault> {
        Request::parse(&raw, 1, &limits())
    }

    #[test]
    fn an_honest_write_passes_with_all_its_fields() {
        let request =
            parse(Descriptor { flags: FLAG_FUA, timeout_ms: 9, replay: 3, ..write() }).expect("honest");
        let expected = Request {
            opcode: Opcode::Write,
            fua: true,
            tag: 7,
            sequence: 1,
            offset: MIB,
            length: 4096,
            payload: 61440,
            timeout_ms: 9,
            replay: 3,
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn each_field_has_its_own_refusal() {
        use Opcode::{Discard, Flush, Read, Write};
        let flush = Descriptor { opcode: 3, offset: 0, length: 0, payload: 0, ..write() };
        let discard = Descriptor { opcode: 4, payload: 0, length: u64::MAX, offset: u64::MAX, ..write() };
        assert!(parse(flush).is_ok() && parse(discard).is_ok());
        let cases = [
            (Descriptor { opcode: 0, ..write() }, PeerFault::Opcode { opcode: 0 }),
            (Descriptor { opcode: 6, ..write() }, PeerFault::Opcode { opcode: 6 }),
            (Descriptor { flags: 2, ..write() }, PeerFault::Flags { opcode: Write, flags: 2 }),
            (Descriptor { opcode: 1, flags: 1, ..write() }, PeerFault::Flags { opcode: Read, flags: 1 }),
            (Descriptor { tag: 8, ..write() }, PeerFault::Tag { tag: 8, entries: 8 }),
            (
                Descriptor { reserved_0: 1, ..write() },
                PeerFault::NotZero { opcode: Write, field: "reserved" },
            ),
            (
                Descriptor { reserved_2: [0, 1], ..write() },
                PeerFault::NotZero { opcode: Write, field: "reserved" },
            ),
            (
                Descriptor { opcode: 1, replay: 1, ..write() },
                PeerFault::NotZero { opcode: Read, field: "replay" },
            ),
            (Descriptor { length: 0, ..write() }, PeerFault::Length { length: 0, length_max: 16384 }),
            (Descriptor { length: 16385, ..write() }, PeerFault::Length { length: 16385, length_max: 16384 }),
            (
                Descriptor { payload: 65536 - 4095, ..write() },
                PeerFault::Payload { payload: 61441, length: 4096, payload_bytes: 65536 },
            ),
            (
                Descriptor { payload: u64::MAX, ..write() },
                PeerFault::Payload { payload: u64::MAX, length: 4096, payload_bytes: 65536 },
            ),
            (
                Descriptor { offset: 0, ..write() },
                PeerFault::Misrouted { offset: 0, length: 4096, reactor: 1 },
            ),
            (
                Descriptor { offset: 2 * MIB - 4095, ..write() },
                PeerFault::Misrouted { offset: 2 * MIB - 4095, length: 4096, reactor: 1 },
            ),
            (Descriptor { payload: 1, ..flush }, PeerFault::NotZero { opcode: Flush, field: "payload" }),
            (Descriptor { offset: 1, ..flush }, PeerFault::NotZero { opcode: Flush, field: "offset" }),
            (Descriptor { length: 1, ..flush }, PeerFault::NotZero { opcode: Flush, field: "length" }),
            (Descriptor { payload: 1, ..discard }, PeerFault::NotZero { opcode: Discard, field: "payload" }),
        ];
        for (raw, fault) in cases {
            assert_eq!(parse(raw), Err(fault), "{raw:?}");
        }
    }

    proptest! {
        /// Whatever 64 bytes a client leaves: what passes can be carried out without leaving its payload area.
        #[test]
        fn garbage_is_refused_or_harmless(bytes in any::<[u8; 64]>(), opcode in 0u8..8, length in 0u64..20000) {
            let mut raw: Descriptor = zerocopy::transmute!(bytes);
            raw = Descriptor { opcode, flags: raw.flags & 3, tag: raw.tag % 16, length, ..raw };
            raw.reserved_0 = 0;
            (raw.reserved_1, raw.reserved_2) = (0, [0; 2]);
            raw.payload %= 2 * 65536;
            if let Ok(request) = parse(raw) {
                prop_assert!(request.tag < 8);
                if matches!(request.opcode, Opcode::Read | Opcode::Write) {
                    prop_assert!(request.payload + request.length <= 65536);
                    prop_assert_eq!(limits().stripes.reactor_of(request.offset), 1);
                    prop_assert!(request.length > 0 && request.length <= 16384);
                } else {
                    prop_assert_eq!(request.payload, 0);
                }
            }
        }
    }
}
