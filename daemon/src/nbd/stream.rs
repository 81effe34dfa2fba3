//! A peer's connection, whichever kind it is.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

macro_rules! either {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream {
            Stream::Unix($inner) => $body,
            Stream::Tcp($inner) => $body,
        }
    };
}

impl Stream {
    /// The same socket a second time.
    pub(super) fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Unix(socket) => Stream::Unix(socket.try_clone()?),
            Stream::Tcp(socket) => Stream::Tcp(socket.try_clone()?),
        })
    }

    /// How long one read or write may wait; `None`: as long as the peer likes.
    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, socket => {
            socket.set_read_timeout(timeout)?;
            socket.set_write_timeout(timeout)
        })
    }

    /// Ends both directions; whoever reads or writes returns.
    pub(super) fn shut(&self) {
        // A peer that left first has done so already.
        let _ = either!(self, socket => socket.shutdown(Shutdown::Both));
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => socket.read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        either!(self, socket => socket.flush())
    }
}

/// A stream with a deadline for all of what is read and written, so that a byte now and then keeps nobody.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    stream: &'a mut Stream,
    deadline: Instant,
}

impl Timed<'_> {
    pub(super) fn new(stream: &mut Stream, time: Duration) -> Timed<'_> {
        Timed { stream, deadline: Instant::now() + time }
    }

    fn arm(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_timeout(Some(left))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.arm()?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
