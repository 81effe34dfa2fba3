//! A volume or a file behind an NBD server on a Unix socket, as a target: simple replies, all requests on one connection.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::files::Buffers;
use crate::load::{LoadError, Operation, Target};
use crate::window::Window;

const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
/// The longest reply to an option that is read: names and words.
const OPTION_REPLY_MAX: u32 = 64 << 10;
const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
/// Bytes of a reply without its payload.
const HEAD: usize = 16;
/// Fruitless polls after which the core is offered to others: each is a system call.
const SPINS: u32 = 1 << 6;

/// A connection.
#[derive(Debug)]
pub struct Nbd {
    stream: UnixStream,
    buffers: Buffers,
    block: usize,
    /// Whether each tag is a read, whose reply has a payload.
    reads: Vec<bool>,
    /// What is not sent yet.
    out: Vec<u8>,
    /// What was received, and from where on it was not looked at.
    received: Vec<u8>,
    parsed: usize,
    fruitless: u32,
}

impl Nbd {
    /// Opens an export.
    ///
    /// # Errors
    /// If nobody listens, the server does not have the export, or does not speak the protocol.
    pub fn connect(socket: &Path, export: &str, depth: u32, block: u64) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        negotiate(&mut stream, export)
            .with_context(|| format!("export {export:?} at {}", socket.display()))?;
        stream.set_nonblocking(true)?;
        let block_bytes = usize::try_from(block)?;
        Ok(Self {
            stream,
            buffers: Buffers::new(depth, block)?,
            block: block_bytes,
            reads: vec![false; depth as usize],
            out: Vec::with_capacity(depth as usize * (block_bytes + 32)),
            received: Vec::with_capacity(2 * depth as usize * (block_bytes + HEAD)),
            parsed: 0,
            fruitless: 0,
        })
    }

    /// Makes what was written durable, as far as the server does; nothing may be in flight.
    ///
    /// # Errors
    /// If it refuses, or is gone.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        self.reads[0] = false;
        self.request(FLUSH, 0, 0, 0);
        let mut done = Vec::new();
        while done.is_empty() {
            self.poll(&mut done)?;
        }
        Ok(())
    }

    fn request(&mut self, kind: u16, tag: u32, offset: u64, length: u32) {
        self.out.extend(REQUEST_MAGIC.to_be_bytes());
        self.out.extend(u32::from(kind).to_be_bytes());
        self.out.extend(u64::from(tag).to_be_bytes());
        self.out.extend(offset.to_be_bytes());
        self.out.extend(length.to_be_bytes());
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether anything came.
    fn receive(&mut self) -> io::Result<bool> {
        self.received.drain(..self.parsed);
        self.parsed = 0;
        let before = self.received.len();
        self.received.resize(before.max(self.received.capacity()), 0);
        let result = self.stream.read(&mut self.received[before..]);
        self.received.truncate(before + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the NBD server is gone")),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next whole reply's tag.
    fn reply(&mut self) -> Result<Option<u32>, LoadError> {
        let rest = &self.received[self.parsed..];
        let Some((head, payload)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let tag = word(12);
        let known = word(0) == REPLY_MAGIC && word(8) == 0 && (tag as usize) < self.reads.len();
        if !known {
            return Err(io::Error::other("the NBD server's reply is none to a request of ours").into());
        }
        if word(4) != 0 {
            return Err(LoadError::Refused { errno: i32::try_from(word(4)).unwrap_or(i32::MAX) });
        }
        let wanted = if self.reads[tag as usize] { self.block } else { 0 };
        let Some(payload) = payload.get(..wanted) else { return Ok(None) };
        if wanted > 0 {
            self.buffers.bytes(tag).copy_from_slice(payload);
        }
        self.parsed += HEAD + wanted;
        Ok(Some(tag))
    }
}

impl Target for Nbd {
    fn window(&self, tag: u32) -> Window<'_> {
        self.buffers.window(tag)
    }

    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        let length = u32::try_from(self.block).expect("at most 1 MiB");
        self.reads[tag as usize] = operation == Operation::Read;
        match operation {
            Operation::Read => self.request(READ, tag, offset, length),
            Operation::Write => {
                self.request(WRITE, tag, offset, length);
                self.out.extend_from_slice(self.buffers.bytes(tag));
            }
        }
        Ok(())
    }

    fn publish(&mut self) {}

    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        self.send()?;
        if !self.receive()? {
            self.fruitless += 1;
            if self.fruitless == SPINS {
                self.fruitless = 0;
                std::thread::yield_now();
            }
            return Ok(());
        }
        self.fruitless = 0;
        while let Some(tag) = self.reply()? {
            done.push(tag);
        }
        Ok(())
    }
}

/// The fixed newstyle handshake, up to the data phase.
fn negotiate(stream: &mut UnixStream, export: &str) -> anyhow::Result<()> {
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting)?;
    ensure!(greeting.starts_with(b"NBDMAGICIHAVEOPT"), "no NBD server of today");
    // Both of the bits that there are: fixed newstyle, and no zeroes.
    let flags = u32::from(u16::from_be_bytes([greeting[16], greeting[17]]) & 3);
    ensure!(flags & 1 == 1, "an NBD server without options");
    stream.write_all(&flags.to_be_bytes())?;
    let name = u32::try_from(export.len())?;
    stream.write_all(&OPTION_MAGIC.to_be_bytes())?;
    stream.write_all(&OPTION_GO.to_be_bytes())?;
    stream.write_all(&(name + 6).to_be_bytes())?;
    stream.write_all(&name.to_be_bytes())?;
    stream.write_all(export.as_bytes())?;
    stream.write_all(&[0, 0])?;
    loop {
        let (mut magic, mut words) = ([0; 8], [[0; 4]; 3]);
        stream.read_exact(&mut magic)?;
        for word in &mut words {
            stream.read_exact(word)?;
        }
        let [_, kind, length] = words.map(u32::from_be_bytes);
        ensure!(u64::from_be_bytes(magic) == OPTION_REPLY_MAGIC, "a reply that is none");
        ensure!(length <= OPTION_REPLY_MAX, "a reply of {length} bytes to an option");
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        let words = String::from_utf8_lossy(&data);
        ensure!(kind >> 31 == 0, "the server refuses with {kind:#x}: {words}");
        if kind == REPLY_ACK {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> (Nbd, UnixStream) {
        let (stream, far) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let buffers = Buffers::new(2, 4096).unwrap();
        let (out, received) = (Vec::new(), Vec::with_capacity(2 * (4096 + HEAD)));
        let nbd = Nbd {
            stream,
            buffers,
            block: 4096,
            reads: vec![false; 2],
            out,
            received,
            parsed: 0,
            fruitless: 0,
        };
        (nbd, far)
    }

    fn reply(error: u32, tag: u64) -> Vec<u8> {
        [&REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &tag.to_be_bytes()].concat()
    }

    #[test]
    fn a_reply_that_comes_in_pieces_is_seen_once_and_as_a_whole() {
        let (mut nbd, mut far) = connected();
        nbd.submit(1, Operation::Read, 8192).unwrap();
        let bytes = [reply(0, 1), vec![3; 4096]].concat();
        let mut done = Vec::new();
        for piece in [&bytes[..7], &bytes[7..100], &bytes[100..4111], &bytes[4111..]] {
            assert!(done.is_empty());
            far.write_all(piece).unwrap();
            nbd.poll(&mut done).unwrap();
        }
        assert_eq!(done, [1]);
        assert_eq!(nbd.window(1).sum(), 0x0303_0303_0303_0303u64.wrapping_mul(512));
        let mut request = [0; 28];
        far.read_exact(&mut request).unwrap();
        assert_eq!(
            (&request[..8], &request[16..]),
            (&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x10, 0][..])
        );
    }

    #[test]
    fn refusals_and_replies_to_nothing_are_errors() {
        for (bytes, what) in
            [(reply(28, 0), "errno 28"), (reply(0, 2), "cannot be read"), (vec![0; 16], "cannot be read")]
        {
            let (mut nbd, mut far) = connected();
            far.write_all(&bytes).unwrap();
            let error = nbd.poll(&mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        let (mut nbd, far) = connected();
        drop(far);
        assert!(nbd.poll(&mut Vec::new()).is_err());
    }
}
