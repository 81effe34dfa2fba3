//! The numbers and forms of the NBD protocol, as far as this server speaks it.
//!
//! Source: `doc/proto.md` of the NetworkBlockDevice/nbd project. All numbers are big-endian.

/// The first eight bytes of a server: "NBDMAGIC".
pub(super) const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// What follows in the newstyle, and begins each of a client's options: "IHAVEOPT".
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Begins the answer to an option.
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// The longest payload of a request or a reply: what the protocol calls portable. A peer that sends more has its
/// connection closed, because nobody knows whether it would ever end.
pub(super) const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

/// Handshake flags: fixed newstyle, and no padding after `NBD_OPT_EXPORT_NAME` for clients that say the same.
pub(super) const HANDSHAKE_FIXED_NEWSTYLE: u16 = 1;
pub(super) const HANDSHAKE_NO_ZEROES: u16 = 2;

/// Options of a client.
pub(super) mod option {
    pub(in crate::nbd) const EXPORT_NAME: u32 = 1;
    pub(in crate::nbd) const ABORT: u32 = 2;
    pub(in crate::nbd) const LIST: u32 = 3;
    pub(in crate::nbd) const INFO: u32 = 6;
    pub(in crate::nbd) const GO: u32 = 7;
    pub(in crate::nbd) const STRUCTURED_REPLY: u32 = 8;
    pub(in crate::nbd) const LIST_META_CONTEXT: u32 = 9;
    pub(in crate::nbd) const SET_META_CONTEXT: u32 = 10;
    pub(in crate::nbd) const EXTENDED_HEADERS: u32 = 11;
}

/// Answers to options; those with the highest bit are errors and may carry words.
pub(super) mod reply {
    pub(in crate::nbd) const ACK: u32 = 1;
    pub(in crate::nbd) const SERVER: u32 = 2;
    pub(in crate::nbd) const INFO: u32 = 3;
    pub(in crate::nbd) const META_CONTEXT: u32 = 4;
    pub(in crate::nbd) const ERR_UNSUP: u32 = 1 << 31 | 1;
    pub(in crate::nbd) const ERR_INVALID: u32 = 1 << 31 | 3;
    pub(in crate::nbd) const ERR_UNKNOWN: u32 = 1 << 31 | 6;
    pub(in crate::nbd) const ERR_SHUTDOWN: u32 = 1 << 31 | 7;
    pub(in crate::nbd) const ERR_TOO_BIG: u32 = 1 << 31 | 9;
}

/// What `NBD_OPT_INFO` and `NBD_OPT_GO` can tell.
pub(super) mod info {
    pub(in crate::nbd) const EXPORT: u16 = 0;
    pub(in crate::nbd) const NAME: u16 = 1;
    pub(in crate::nbd) const DESCRIPTION: u16 = 2;
    pub(in crate::nbd) const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what an export can do.
pub(super) mod can {
    pub(in crate::nbd) const HAS_FLAGS: u16 = 1;
    pub(in crate::nbd) const READ_ONLY: u16 = 1 << 1;
    pub(in crate::nbd) const FLUSH: u16 = 1 << 2;
    pub(in crate::nbd) const FUA: u16 = 1 << 3;
    pub(in crate::nbd) const TRIM: u16 = 1 << 5;
    pub(in crate::nbd) const WRITE_ZEROES: u16 = 1 << 6;
    pub(in crate::nbd) const DONT_FRAGMENT: u16 = 1 << 7;
    pub(in crate::nbd) const MULTI_CONN: u16 = 1 << 8;
}

/// The errors that exist on the wire, which are not the host's numbers.
pub(super) mod error {
    pub(in crate::nbd) const EPERM: u32 = 1;
    pub(in crate::nbd) const EIO: u32 = 5;
    pub(in crate::nbd) const ENOMEM: u32 = 12;
    pub(in crate::nbd) const EINVAL: u32 = 22;
    pub(in crate::nbd) const ENOSPC: u32 = 28;
    pub(in crate::nbd) const EOVERFLOW: u32 = 75;
    pub(in crate::nbd) const ENOTSUP: u32 = 95;
}

/// Flags of a request.
pub(super) mod flag {
    pub(in crate::nbd) const FUA: u16 = 1;
    pub(in crate::nbd) const NO_HOLE: u16 = 1 << 1;
    pub(in crate::nbd) const DONT_FRAGMENT: u16 = 1 << 2;
    pub(in crate::nbd) const REQUEST_ONE: u16 = 1 << 3;
    pub(in crate::nbd) const PAYLOAD_LENGTH: u16 = 1 << 5;
}

/// Kinds of chunks of structured and extended replies.
pub(super) mod chunk {
    pub(in crate::nbd) const NONE: u16 = 0;
    pub(in crate::nbd) const OFFSET_DATA: u16 = 1;
    pub(in crate::nbd) const BLOCK_STATUS: u16 = 5;
    pub(in crate::nbd) const BLOCK_STATUS_EXTENDED: u16 = 6;
    pub(in crate::nbd) const ERROR: u16 = 1 << 15 | 1;
    /// The flag of a reply's last chunk.
    pub(in crate::nbd) const DONE: u16 = 1;
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    WriteZeroes,
    BlockStatus,
    /// A number that this server does not know, or did not offer.
    Unknown(u16),
}

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) kind: Kind,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Request {
    /// Bytes of a header.
    pub(super) const fn header_bytes(extended: bool) -> usize {
        if extended { 32 } else { 28 }
    }

    /// Reads a header; `None` if the magic is wrong: then nobody knows where the next one begins.
    ///
    /// # Panics
    /// If `bytes` are not as many as [`Request::header_bytes`] says.
    pub(super) fn parse(bytes: &[u8], extended: bool) -> Option<Request> {
        assert_eq!(bytes.len(), Request::header_bytes(extended), "a whole header");
        let magic = if extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
        if u32_at(bytes, 0) != magic {
            return None;
        }
        let kind = match u16_at(bytes, 6) {
            0 => Kind::Read,
            1 => Kind::Write,
            2 => Kind::Disconnect,
            3 => Kind::Flush,
            4 => Kind::Trim,
            6 => Kind::WriteZeroes,
            7 => Kind::BlockStatus,
            other => Kind::Unknown(other),
        };
        let length = if extended { u64_at(bytes, 24) } else { u32_at(bytes, 24).into() };
        let (flags, cookie, offset) = (u16_at(bytes, 4), u64_at(bytes, 8), u64_at(bytes, 16));
        Some(Request { flags, kind, cookie, offset, length })
    }

    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of payload that follow the header. With extended headers a write must say so by a flag; QEMU (10.0) sends
    /// its payload without, and no write means anything else.
    pub(super) fn payload_bytes(&self, extended: bool) -> u64 {
        let follows = self.kind == Kind::Write || (extended && self.has(flag::PAYLOAD_LENGTH));
        if follows { self.length } else { 0 }
    }
}

/// The form of replies that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyForm {
    Simple,
    Structured,
    Extended,
}

impl ReplyForm {
    /// Begins a simple reply; a read's data follows if there is no error.
    pub(super) fn put_simple(out: &mut Vec<u8>, cookie: u64, error: u32) {
        out.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
        out.extend(error.to_be_bytes());
        out.extend(cookie.to_be_bytes());
    }

    /// Begins a chunk of a structured or extended reply; `length` bytes follow.
    ///
    /// # Panics
    /// In a form that has no chunks, or if a structured chunk would not fit its length field.
    pub(super) fn put_chunk(
        self,
        out: &mut Vec<u8>,
        request: &Request,
        (kind, flags): (u16, u16),
        length: usize,
    ) {
        assert!(self != ReplyForm::Simple, "simple replies have no chunks");
        let magic = if self == ReplyForm::Extended { EXTENDED_REPLY_MAGIC } else { STRUCTURED_REPLY_MAGIC };
        out.extend(magic.to_be_bytes());
        out.extend(flags.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(request.cookie.to_be_bytes());
        if self == ReplyForm::Extended {
            out.extend(request.offset.to_be_bytes());
            out.extend((length as u64).to_be_bytes());
        } else {
            out.extend(u32::try_from(length).expect("a chunk is bounded").to_be_bytes());
        }
    }

    /// A whole reply without data: done, or an error, with words for people where the form has room for them.
    pub(super) fn put_outcome(self, out: &mut Vec<u8>, request: &Request, outcome: Result<(), &Refusal>) {
        match (self, outcome) {
            (ReplyForm::Simple, outcome) => {
                let error = outcome.err().map_or(0, |refusal| refusal.error);
                ReplyForm::put_simple(out, request.cookie, error);
            }
            (_, Ok(())) => self.put_chunk(out, request, (chunk::NONE, chunk::DONE), 0),
            (_, Err(refusal)) => {
                // The specification's limit for strings is 4096 bytes.
                let words = &refusal.words.as_bytes()[..refusal.words.len().min(4096)];
                self.put_chunk(out, request, (chunk::ERROR, chunk::DONE), 6 + words.len());
                out.extend(refusal.error.to_be_bytes());
                out.extend(u16::try_from(words.len()).expect("at most 4096").to_be_bytes());
                out.extend(words);
            }
        }
    }
}

/// Why a request fails: the wire's error, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: u32,
    pub(super) words: String,
}

impl Refusal {
    pub(super) fn new(error: u32, words: impl Into<String>) -> Refusal {
        Refusal { error, words: words.into() }
    }

    /// The wire's error for the host's. The wire has few: what it does not know is EIO, as a disk's errors are.
    pub(super) fn of_errno(errno: i32, words: impl Into<String>) -> Refusal {
        use holdfast_policy::errno as host;
        let error = match u16::try_from(errno).unwrap_or(0) {
            host::EPERM | host::EACCES | host::EROFS => error::EPERM,
            host::ENOSPC | host::EDQUOT => error::ENOSPC,
            host::ENOMEM => error::ENOMEM,
            host::EINVAL => error::EINVAL,
            host::EOPNOTSUPP => error::ENOTSUP,
            _ => error::EIO,
        };
        Refusal::new(error, words)
    }
}

/// # Panics
/// These three, if the bytes are not there.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
