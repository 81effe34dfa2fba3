//! A client that has knocked and is not yet let in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketFlags, SocketType, UCred, socketpair};
use thiserror::Error;
use zerocopy::{FromZeros, IntoBytes};

use super::offer::{Hello, Offer, Refusal};
use super::{DaemonRing, Session};
use crate::layout::Layout;
use crate::memfd;
use crate::memory::SessionMemory;
use crate::socket::{receive, send_message};
use crate::wire::{self, HelloMessage, MAGIC, ReplyMessage, StepMessage, VERSION};

/// Time that a refusal may take to be sent: it fits into any socket's buffer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Why a client was not let in. Nobody else is concerned.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The connection failed, was closed, or was too slow.
    #[error("the handshake was not finished: {0}")]
    Connection(#[from] io::Error),
    /// Not our protocol, or a message that no honest client sends.
    #[error("the client broke the handshake: {0}")]
    Malformed(&'static str),
    /// Another version of the protocol; the client has been told.
    #[error("the client speaks protocol version {theirs}, this daemon {VERSION}")]
    Version {
        /// The client's version.
        theirs: u32,
    },
    /// No memory for the session, or the client has tampered with it; the client has been told of the former.
    #[error("the session's memory of {bytes} bytes: {source}")]
    Memory {
        /// Bytes of shared memory.
        bytes: u64,
        /// What the system reported.
        source: io::Error,
    },
}

/// A connection before its session. Its methods block up to their deadline: not for a reactor's thread.
#[derive(Debug)]
pub struct Pending {
    socket: OwnedFd,
    credentials: UCred,
}

impl Pending {
    /// A client at the other end of a socket, however it came there.
    ///
    /// # Errors
    /// If the kernel does not say who that is.
    pub fn of(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let credentials = socket_peercred(&stream)?;
        Ok(Self { socket: OwnedFd::from(stream), credentials })
    }

    /// User id of the process that connected, as the kernel says.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.credentials.uid.as_raw()
    }

    /// Group id of the process that connected.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.credentials.gid.as_raw()
    }

    /// Process id of the process that connected; it may have ended and the number been given away.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.credentials.pid.as_raw_nonzero().get()
    }

    /// What the client wants. A client of another version is told so.
    ///
    /// # Errors
    /// If the client is too slow, gone, or does not speak this protocol.
    pub fn read_hello(&mut self, time: Duration) -> Result<Hello, HandshakeError> {
        let deadline = Instant::now() + time;
        let mut message = HelloMessage::new_zeroed();
        // The beginning first: a hello of another version may be shorter than ours.
        receive(&self.socket, &mut message.as_mut_bytes()[..wire::HELLO_PREFIX_BYTES], deadline)?;
        if message.magic != MAGIC {
            return Err(HandshakeError::Malformed("it does not begin with the magic number"));
        }
        if message.version != VERSION {
            let theirs = message.version;
            let text =
                format!("protocol version {theirs} is not spoken here: use a client of version {VERSION}");
            self.send_refusal(rustix::io::Errno::PROTONOSUPPORT.raw_os_error(), &text)?;
            return Err(HandshakeError::Version { theirs });
        }
        receive(&self.socket, &mut message.as_mut_bytes()[wire::HELLO_PREFIX_BYTES..], deadline)?;
        let sized = message.message_bytes == wire::HELLO_BYTES;
        if !sized || message.flags != 0 || message.reserved != [0; 2] {
            return Err(HandshakeError::Malformed("a reserved field of its hello is not zero"));
        }
        let volume = wire::parse_volume(&message.volume)
            .ok_or(HandshakeError::Malformed("the volume's name is empty or no clean UTF-8"))?;
        Ok(Hello {
            volume: volume.to_owned(),
            queue_depth: message.queue_depth,
            payload_bytes: message.payload_bytes,
            capabilities: message.capabilities,
            resume_session: (message.resume_session != 0).then_some(message.resume_session),
        })
    }

    fn send_refusal(&self, errno: i32, text: &str) -> io::Result<()> {
        send_message(&self.socket, &ReplyMessage::refusal(errno, text), &[], Instant::now() + REFUSAL_TIME)
    }

    /// Sends the client away, with the reason.
    ///
    /// # Errors
    /// If the client is gone already.
    ///
    /// # Panics
    /// If `refusal.errno` is not positive.
    pub fn refuse(self, refusal: &Refusal) -> io::Result<()> {
        assert!(refusal.errno > 0, "a refusal needs an errno");
        self.send_refusal(refusal.errno, &refusal.text)
    }

    /// Creates the session's memory, gives it to the client, and waits until the client has mapped it.
    ///
    /// # Errors
    /// If there is no memory, or the client is too slow, gone, or does not keep to the handshake.
    ///
    /// # Panics
    /// If the offer is outside the limits that its fields name: the daemon's configuration has let it through.
    pub fn offer(self, offer: &Offer, time: Duration) -> Result<Session, HandshakeError> {
        let deadline = Instant::now() + time;
        let layout = offer.layout();
        let bytes = layout.total_bytes();
        let unmade = |source| HandshakeError::Memory { bytes, source };
        let Made { file, memory, rings, theirs } = match make(layout, offer) {
            Ok(made) => made,
            Err(source) => {
                let text = format!("no shared memory of {bytes} bytes, or no descriptors: {source}");
                self.send_refusal(rustix::io::Errno::NOMEM.raw_os_error(), &text)?;
                return Err(unmade(source));
            }
        };
        let mut descriptors = vec![file.as_fd()];
        descriptors.extend(theirs.iter().map(AsFd::as_fd));
        send_message(&self.socket, &offer.message(bytes), &descriptors, deadline)?;
        drop(theirs);
        self.expect_mapped(deadline)?;
        // Between the mapping and the seal the client may have punched holes: fill them again, where failing is easy.
        memfd::seal_writes(&file).and_then(|()| memory.populate()).map_err(unmade)?;
        send_message(&self.socket, &StepMessage::new(wire::STEP_READY), &[], deadline)?;
        Ok(Session { id: offer.session, rings, socket: self.socket, memory })
    }

    fn expect_mapped(&self, deadline: Instant) -> Result<(), HandshakeError> {
        let mut step = StepMessage::new(0);
        receive(&self.socket, step.as_mut_bytes(), deadline)?;
        if step.magic == MAGIC && step.step == wire::STEP_MAPPED {
            Ok(())
        } else {
            Err(HandshakeError::Malformed("it did not say that it has mapped the memory"))
        }
    }
}

/// What a session is made of.
struct Made {
    file: OwnedFd,
    memory: Arc<SessionMemory>,
    rings: Vec<DaemonRing>,
    /// The client's ends of the wake-up sockets.
    theirs: Vec<OwnedFd>,
}

fn make(layout: Layout, offer: &Offer) -> io::Result<Made> {
    let file = memfd::create(layout.total_bytes())?;
    let mut memory = SessionMemory::map_guarded(file.as_fd(), layout)?;
    memory.populate()?;
    memory.try_lock();
    let memory = Arc::new(memory);
    let (rings, theirs) = rings(&memory, offer)?;
    Ok(Made { file, memory, rings, theirs })
}

/// The rings, and the client's ends of their wake-up sockets.
fn rings(memory: &Arc<SessionMemory>, offer: &Offer) -> io::Result<(Vec<DaemonRing>, Vec<OwnedFd>)> {
    let mut pairs = (Vec::new(), Vec::new());
    for reactor in 0..offer.reactors {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        pairs.0.push(DaemonRing::new(memory, reactor, offer.limits(), ours));
        pairs.1.push(theirs);
    }
    Ok(pairs)
}
