//! The handshake: options, until the client has chosen an export, left, or talked too long.

use super::blocks::Context;
use super::protocol::{
    HANDSHAKE_FIXED_NEWSTYLE, HANDSHAKE_NO_ZEROES, INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC,
    PAYLOAD_BYTES_MAX, ReplyForm, can, info, option, reply, u16_at, u32_at, u64_at,
};
use std::io::{self, Read, Write};

/// The longest option data that is read: an export's name (4096 bytes by the specification) and some queries.
const OPTION_BYTES_MAX: u32 = 16 << 10;
/// Options that one client may send: a server that answers for ever is somebody's tool.
const OPTIONS_MAX: usize = 64;
/// The longest name that an export, or a metadata context's query, may have.
const STRING_BYTES_MAX: usize = 4096;

/// A volume, as a client of the network sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Offsets and lengths are multiples of this.
    pub(super) block_bytes: u32,
    /// What is best, a cache line.
    pub(super) line_bytes: u32,
    pub(super) read_only: bool,
}

impl Export {
    /// Flushes cover what every session was acknowledged (C1), and reads see it at once, so that a client may use several
    /// connections as if they were one.
    fn flags(&self, form: ReplyForm) -> u16 {
        let mut flags = can::HAS_FLAGS | can::FLUSH | can::MULTI_CONN;
        flags |= if self.read_only { can::READ_ONLY } else { can::FUA | can::TRIM | can::WRITE_ZEROES };
        flags | if form == ReplyForm::Simple { 0 } else { can::DONT_FRAGMENT }
    }
}

/// What client and server agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// The place of the export in the list.
    pub(super) export: usize,
    pub(super) form: ReplyForm,
    /// The contexts of `NBD_CMD_BLOCK_STATUS`, if the client asked for them on this export.
    pub(super) contexts: Vec<Context>,
}

/// Why there was no agreement.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAgreement {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client left by itself.
    #[error("the client left")]
    Left,
    /// It said what no client says.
    #[error("{0}")]
    Protocol(&'static str),
}

/// Agrees with the client at `stream` about one of `exports`.
pub(super) fn negotiate(
    stream: &mut (impl Read + Write),
    exports: &[Export],
) -> Result<Agreement, NoAgreement> {
    let mut hello = Vec::with_capacity(18);
    hello.extend(INIT_MAGIC.to_be_bytes());
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend((HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES).to_be_bytes());
    stream.write_all(&hello)?;
    let mut flags = [0; 4];
    stream.read_exact(&mut flags)?;
    let flags = u32::from_be_bytes(flags);
    let known = u32::from(HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES);
    if flags & !known != 0 {
        return Err(NoAgreement::Protocol("handshake flags that do not exist"));
    }
    let no_zeroes = flags & u32::from(HANDSHAKE_NO_ZEROES) != 0;
    Talk { stream, exports, form: ReplyForm::Simple, contexts: None, no_zeroes }.run()
}

/// A handshake under way.
struct Talk<'a, S> {
    stream: &'a mut S,
    exports: &'a [Export],
    form: ReplyForm,
    /// The contexts chosen last, and for which export.
    contexts: Option<(usize, Vec<Context>)>,
    no_zeroes: bool,
}

impl<S: Read + Write> Talk<'_, S> {
    fn run(mut self) -> Result<Agreement, NoAgreement> {
        for _ in 0..OPTIONS_MAX {
            let (number, data) = self.read_option()?;
            let Some(data) = data else {
                self.refuse(number, reply::ERR_TOO_BIG, "more data than any option has")?;
                continue;
            };
            if let Some(export) = self.answer(number, &data)? {
                let chosen = self.contexts.take().filter(|(of, _)| *of == export);
                let contexts = chosen.map(|(_, contexts)| contexts).unwrap_or_default();
                return Ok(Agreement { export, form: self.form, contexts });
            }
        }
        Err(NoAgreement::Protocol("options without end"))
    }

    /// The next option, with its data if that is not too long.
    fn read_option(&mut self) -> Result<(u32, Option<Vec<u8>>), NoAgreement> {
        let mut header = [0; 16];
        self.stream.read_exact(&mut header)?;
        if u64_at(&header, 0) != OPTION_MAGIC {
            return Err(NoAgreement::Protocol("an option without its magic"));
        }
        let (number, length) = (u32_at(&header, 8), u32_at(&header, 12));
        if length > OPTION_BYTES_MAX {
            let skipped = io::copy(&mut (&mut *self.stream).take(length.into()), &mut io::sink())?;
            let whole = skipped == u64::from(length);
            return if whole { Ok((number, None)) } else { Err(NoAgreement::Left) };
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data)?;
        Ok((number, Some(data)))
    }

    /// Answers one option; the export, if that ends the handshake.
    fn answer(&mut self, number: u32, data: &[u8]) -> Result<Option<usize>, NoAgreement> {
        match number {
            option::EXPORT_NAME => return self.export_name(data).map(Some),
            option::ABORT => {
                // The client need not wait for it.
                let _ = self.reply(number, reply::ACK, &[]);
                return Err(NoAgreement::Left);
            }
            option::LIST => self.list(data)?,
            option::INFO | option::GO => return self.info(number, data),
            option::STRUCTURED_REPLY => self.choose_form(number, data, ReplyForm::Structured)?,
            option::EXTENDED_HEADERS => self.choose_form(number, data, ReplyForm::Extended)?,
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(number, data)?,
            _ => self.refuse(number, reply::ERR_UNSUP, "this server does not know that option")?,
        }
        Ok(None)
    }

    /// The oldest way to choose: no error can be answered, the connection just ends.
    fn export_name(&mut self, data: &[u8]) -> Result<usize, NoAgreement> {
        let found = self.find(data).ok_or(NoAgreement::Protocol("there is no export of that name"))?;
        let export = &self.exports[found];
        let mut out = export.bytes.to_be_bytes().to_vec();
        out.extend(export.flags(self.form).to_be_bytes());
        if !self.no_zeroes {
            out.extend([0; 124]);
        }
        self.stream.write_all(&out)?;
        Ok(found)
    }

    /// The export of a name. An empty name means the default, which is the first.
    fn find(&self, name: &[u8]) -> Option<usize> {
        if name.is_empty() {
            return (!self.exports.is_empty()).then_some(0);
        }
        self.exports.iter().position(|export| export.name.as_bytes() == name)
    }

    fn list(&mut self, data: &[u8]) -> Result<(), NoAgreement> {
        if !data.is_empty() {
            return self.refuse(option::LIST, reply::ERR_INVALID, "a list is asked for without data");
        }
        let exports = self.exports;
        for export in exports {
            let mut entry = length_of(&export.name).to_be_bytes().to_vec();
            entry.extend(export.name.as_bytes());
            self.reply(option::LIST, reply::SERVER, &entry)?;
        }
        self.reply(option::LIST, reply::ACK, &[])
    }

    fn info(&mut self, number: u32, data: &[u8]) -> Result<Option<usize>, NoAgreement> {
        let Some((name, rest)) = take_string(data) else {
            self.refuse(number, reply::ERR_INVALID, "the name is longer than the option")?;
            return Ok(None);
        };
        let whole = rest.len() >= 2 && rest.len() == 2 + 2 * usize::from(u16_at(rest, 0));
        if !whole {
            self.refuse(number, reply::ERR_INVALID, "the list of requests has another length")?;
            return Ok(None);
        }
        let Some(found) = self.find(name) else {
            self.refuse(number, reply::ERR_UNKNOWN, "there is no volume of that name here")?;
            return Ok(None);
        };
        let exports = self.exports;
        let export = &exports[found];
        let mut size = info::EXPORT.to_be_bytes().to_vec();
        size.extend(export.bytes.to_be_bytes());
        size.extend(export.flags(self.form).to_be_bytes());
        self.reply(number, reply::INFO, &size)?;
        for wanted in rest[2..].chunks_exact(2) {
            self.tell(number, u16_at(wanted, 0), export)?;
        }
        // Always: a client that does not ask for it may be told, and one that is told can keep to it.
        self.tell_block_size(number, export)?;
        self.reply(number, reply::ACK, &[])?;
        Ok((number == option::GO).then_some(found))
    }

    fn tell(&mut self, number: u32, wanted: u16, export: &Export) -> Result<(), NoAgreement> {
        let text = match wanted {
            info::NAME => export.name.clone(),
            info::DESCRIPTION => format!("Holdfast volume {}", export.name),
            _ => return Ok(()),
        };
        let mut data = wanted.to_be_bytes().to_vec();
        data.extend(text.as_bytes());
        self.reply(number, reply::INFO, &data)
    }

    fn tell_block_size(&mut self, number: u32, export: &Export) -> Result<(), NoAgreement> {
        let mut data = info::BLOCK_SIZE.to_be_bytes().to_vec();
        for bytes in [export.block_bytes, export.line_bytes, PAYLOAD_BYTES_MAX] {
            data.extend(bytes.to_be_bytes());
        }
        self.reply(number, reply::INFO, &data)
    }

    fn choose_form(&mut self, number: u32, data: &[u8], form: ReplyForm) -> Result<(), NoAgreement> {
        if !data.is_empty() {
            return self.refuse(number, reply::ERR_INVALID, "that option has no data");
        }
        if self.form == ReplyForm::Extended && form == ReplyForm::Structured {
            return self.refuse(number, reply::ERR_INVALID, "extended headers were agreed on already");
        }
        self.form = form;
        self.reply(number, reply::ACK, &[])
    }

    fn meta_context(&mut self, number: u32, data: &[u8]) -> Result<(), NoAgreement> {
        if number == option::SET_META_CONTEXT {
            self.contexts = None;
        }
        if self.form == ReplyForm::Simple {
            return self.refuse(number, reply::ERR_INVALID, "ask for structured replies first");
        }
        let Some((name, queries)) = parse_queries(data) else {
            return self.refuse(number, reply::ERR_INVALID, "queries that do not fill their option");
        };
        let Some(export) = self.find(name) else {
            return self.refuse(number, reply::ERR_UNKNOWN, "there is no volume of that name here");
        };
        let listing = number == option::LIST_META_CONTEXT;
        let is_wanted = |context: &Context| {
            (listing && queries.is_empty()) || queries.iter().any(|query| context.matches(query, listing))
        };
        let chosen: Vec<Context> = Context::ALL.into_iter().filter(is_wanted).collect();
        for context in &chosen {
            let id = if listing { 0 } else { context.id() };
            let mut entry = id.to_be_bytes().to_vec();
            entry.extend(context.name().as_bytes());
            self.reply(number, reply::META_CONTEXT, &entry)?;
        }
        if !listing {
            self.contexts = Some((export, chosen));
        }
        self.reply(number, reply::ACK, &[])
    }

    fn refuse(&mut self, number: u32, error: u32, words: &str) -> Result<(), NoAgreement> {
        self.reply(number, error, words.as_bytes())
    }

    fn reply(&mut self, number: u32, kind: u32, data: &[u8]) -> Result<(), NoAgreement> {
        let mut out = Vec::with_capacity(20 + data.len());
        out.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        out.extend(number.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(u32::try_from(data.len()).expect("a short answer").to_be_bytes());
        out.extend(data);
        Ok(self.stream.write_all(&out)?)
    }
}

/// Tells a client that the daemon is stopping, whatever it asks for.
pub(super) fn turn_away(stream: &mut (impl Read + Write)) -> Result<(), NoAgreement> {
    let mut talk = Talk { stream, exports: &[], form: ReplyForm::Simple, contexts: None, no_zeroes: true };
    let mut hello = INIT_MAGIC.to_be_bytes().to_vec();
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend(HANDSHAKE_FIXED_NEWSTYLE.to_be_bytes());
    talk.stream.write_all(&hello)?;
    let mut flags = [0; 4];
    talk.stream.read_exact(&mut flags)?;
    let (number, _) = talk.read_option()?;
    talk.refuse(number, reply::ERR_SHUTDOWN, "no connection is free; close one, or raise connections_max")
}

/// Whatever a client says: an agreement about an export that there is, or none.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    struct Peer<'a>(&'a [u8]);
    impl Read for Peer<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Peer<'_> {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let export = |name: &str, read_only| {
        let name = name.to_owned();
        Export { name, bytes: 1 << 30, block_bytes: 512, line_bytes: 4096, read_only }
    };
    let exports = [export("vm1", false), export("vm2", true)];
    if let Ok(agreement) = negotiate(&mut Peer(data), &exports) {
        assert!(agreement.export < exports.len());
    }
}

fn length_of(text: &str) -> u32 {
    u32::try_from(text.len()).expect("names are short")
}

/// A string with its length before it, and what follows; `None` if it is longer than the data, or than any may be.
fn take_string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let length =
        usize::try_from(u32_at(data.get(..4)?, 0)).ok().filter(|&length| length <= STRING_BYTES_MAX)?;
    data[4..].split_at_checked(length)
}

/// An export's name and the queries for its contexts; `None` if that is not exactly what `data` is.
fn parse_queries(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (name, rest) = take_string(data)?;
    let count = u32_at(rest.get(..4)?, 0);
    let mut rest = &rest[4..];
    let mut queries = Vec::new();
    for _ in 0..count {
        // Bounded by the data: each query has at least its length's four bytes.
        let (query, after) = take_string(rest)?;
        queries.push(query);
        rest = after;
    }
    rest.is_empty().then_some((name, queries))
}

#[cfg(test)]
#[path = "negotiate_tests.rs"]
mod tests;
