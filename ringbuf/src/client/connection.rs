//! The client's half of the handshake, and what both kinds of client share: the mapped session, and waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, send, shutdown,
    socket_with,
};
use rustix::thread::futex;
use zerocopy::{FromZeros, IntoBytes};

use super::options::Windows;
use super::submit::Ask;
use super::{ConnectError, Error, Options};
use crate::doorbell;
use crate::layout::Layout;
use crate::memfd;
use crate::memory::{RingMemory, SessionMemory};
use crate::request::Opcode;
use crate::socket::{self, receive, receive_with_descriptors, send_message};
use crate::stripes::Stripes;
use crate::sync::Ordering;
use crate::volume::VolumeInfo;
use crate::wire::{self, FLAG_READ_ONLY, HelloMessage, MAGIC, ReplyMessage, StepMessage, VERSION};

/// How long a sleep lasts before the socket is asked whether the daemon is still there.
const SLEEP: futex::Timespec = futex::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Times the processor is offered to others between spinning and sleeping: a wake-up costs more than these.
const YIELDS: u32 = 16;

/// A live session, without the private halves of its indices.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// One a reactor: a byte sent here wakes it.
    wakes: Vec<OwnedFd>,
    pub(super) rings: Vec<RingMemory>,
    pub(super) volume: VolumeInfo,
    pub(super) stripes: Stripes,
    pub(super) entries: u32,
    pub(super) windows: Windows,
    pub(super) session: u64,
    pub(super) incarnation: u64,
    pub(super) arena: u64,
    spins: u32,
}

impl Connection {
    pub(super) fn open(path: &Path, volume: &str, options: &Options) -> Result<Self, ConnectError> {
        let name =
            wire::volume_bytes(volume).ok_or_else(|| ConnectError::Name { name: volume.to_owned() })?;
        let deadline = Instant::now() + options.connect_timeout;
        let socket = connect_to(path, deadline)
            .map_err(|source| ConnectError::Socket { path: path.to_owned(), source })?;
        let hello = hello(name, options.wished());
        let sent = send_message(&socket, &hello, &[], deadline);
        // A daemon that has no seat says so and hangs up without a look at the hello: its words are still there.
        let (reply, descriptors) = match (receive_reply(&socket, deadline), sent) {
            (Err(ConnectError::Handshake(_)), Err(unsent)) => return Err(ConnectError::Handshake(unsent)),
            (received, _) => received?,
        };
        let connection = Self::accept_offer(socket, &reply, descriptors, options)?;
        connection.settle(deadline)?;
        Ok(connection)
    }

    fn accept_offer(
        socket: OwnedFd,
        reply: &ReplyMessage,
        mut descriptors: Vec<OwnedFd>,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        let (layout, volume) = check_reply(reply)?;
        let stripes = Stripes::new(volume.stripe_bytes, layout.reactors());
        if descriptors.len() != 1 + layout.reactors() as usize {
            return Err(ConnectError::Malformed(
                "a descriptor for the memory and one for each reactor were expected",
            ));
        }
        let wakes = descriptors.split_off(1);
        let piece_max = u64::from(reply.request_bytes_max).min(stripes.run_from(0));
        let windows = options.wished().within(layout.entries(), layout.payload_bytes(), piece_max);
        let windows = windows
            .filter(|windows| windows.bytes >= volume.block_bytes)
            .ok_or(ConnectError::Malformed("the payload area has no room for one block"))?;
        memfd::check(descriptors[0].as_fd(), layout.total_bytes()).map_err(ConnectError::Memory)?;
        let memory = SessionMemory::map(descriptors[0].as_fd(), layout).map_err(ConnectError::Memory)?;
        let memory = Arc::new(memory);
        Ok(Self {
            socket,
            wakes,
            rings: (0..layout.reactors()).map(|reactor| RingMemory::new(&memory, reactor)).collect(),
            volume,
            stripes,
            entries: layout.entries(),
            windows,
            session: reply.session,
            incarnation: reply.incarnation,
            arena: reply.arena,
            spins: options.spins,
        })
    }

    /// Says that the memory is mapped, and waits until the daemon has sealed it.
    fn settle(&self, deadline: Instant) -> Result<(), ConnectError> {
        let mapped = StepMessage::new(wire::STEP_MAPPED);
        send_message(&self.socket, &mapped, &[], deadline).map_err(ConnectError::Handshake)?;
        let mut ready = StepMessage::new(0);
        receive(&self.socket, ready.as_mut_bytes(), deadline).map_err(ConnectError::Handshake)?;
        if ready.magic == MAGIC && ready.step == wire::STEP_READY {
            Ok(())
        } else {
            Err(ConnectError::Malformed("it did not say that the session is live"))
        }
    }

    /// Wakes the reactor if it sleeps, after a publication to its submission ring.
    pub(super) fn wake(&self, reactor: usize) {
        if doorbell::ring(self.rings[reactor].daemon_sleeping()) {
            // A full socket holds wake-ups enough; a closed one is noticed by whoever waits.
            let _ = send(&self.wakes[reactor], &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Whether a completion waits that has not been taken.
    fn ready(&self) -> bool {
        let waits = |ring: &RingMemory| {
            ring.cq_tail().load(Ordering::Acquire) != ring.cq_head().load(Ordering::Relaxed)
        };
        self.rings.iter().any(waits)
    }

    /// Waits until a completion is there: looks, yields, then sleeps.
    pub(super) fn wait(&self) -> Result<(), Error> {
        for turn in 0..self.spins.saturating_add(YIELDS) {
            if self.ready() {
                return Ok(());
            }
            if turn < self.spins { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        while !self.sleep()? {}
        Ok(())
    }

    /// One sleep of at most `SLEEP`; whether a completion is there.
    fn sleep(&self) -> Result<bool, Error> {
        let (word, flag) = (self.rings[0].client_wake(), self.rings[0].client_sleeping());
        // Before the arming: a reactor that saw an older arming changes the word after this, and the wait does not start.
        let generation = word.load(Ordering::Acquire);
        doorbell::arm(flag);
        if !self.ready() {
            if self.gone() {
                return if self.ready() { Ok(true) } else { Err(Error::Disconnected) };
            }
            // Woken, timed out, interrupted or too late: the loop looks again in every case.
            let _ = futex::wait(word, futex::Flags::empty(), generation, Some(&SLEEP));
        }
        doorbell::disarm(flag);
        Ok(self.ready())
    }

    pub(super) fn check_range(&self, ask: Ask) -> Result<(), Error> {
        let Ask { offset, length, .. } = ask;
        let VolumeInfo { bytes: volume_bytes, block_bytes, .. } = self.volume;
        if ask.opcode == Opcode::Flush {
            return Ok(());
        }
        if length == 0 {
            return Err(Error::Length { length, length_max: volume_bytes });
        }
        if offset > volume_bytes || length > volume_bytes - offset {
            return Err(Error::OutOfRange { offset, length, volume_bytes });
        }
        if (offset | length) & (u64::from(block_bytes) - 1) != 0 {
            return Err(Error::Unaligned { offset, length, block_bytes });
        }
        Ok(())
    }

    pub(super) fn window_start(&self, tag: u32) -> u64 {
        assert!(tag < self.windows.depth, "tag {tag} of {}", self.windows.depth);
        u64::from(tag) * self.windows.stride
    }

    /// Copies into the beginning of a window that the caller owns.
    pub(super) fn fill(&self, tag: u32, data: &[u8]) {
        self.rings[0]
            .copy_to_payload(self.window_start(tag), data)
            .expect("a client's memory is not guarded");
    }

    /// Copies from the beginning of a window that the caller owns.
    pub(super) fn take(&self, tag: u32, data: &mut [u8]) {
        self.rings[0]
            .copy_from_payload(self.window_start(tag), data)
            .expect("a client's memory is not guarded");
    }

    /// Takes over what is in all windows of another session, which are alike.
    pub(super) fn take_windows(&self, other: &Connection) {
        let mut bounce = vec![0; self.windows.bytes as usize];
        for tag in 0..self.windows.depth {
            other.take(tag, &mut bounce);
            self.fill(tag, &bounce);
        }
    }

    /// The address of a window.
    pub(super) fn window(&self, tag: u32) -> NonNull<u8> {
        self.rings[0].payload(self.window_start(tag), self.windows.bytes as usize)
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the daemon has closed the connection. A system call.
    pub(super) fn gone(&self) -> bool {
        socket::hung_up(&self.socket)
    }

    /// Ends the session for all who share it.
    pub(super) fn shut(&self) {
        // Fails only if it is shut already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

fn hello(volume: [u8; crate::limits::VOLUME_NAME_BYTES_MAX], windows: Windows) -> HelloMessage {
    HelloMessage {
        magic: MAGIC,
        version: VERSION,
        message_bytes: wire::HELLO_BYTES,
        volume,
        queue_depth: windows.depth,
        flags: 0,
        payload_bytes: windows.total_bytes(),
        capabilities: 0,
        resume_session: 0,
        reserved: [0; 2],
    }
}

/// Connects without ever waiting longer than until the deadline: a daemon that is stopped lets its queue of
/// connections fill up, and a blocking `connect` would wait for it for ever.
fn connect_to(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The reply in two steps: what says whether there is an offer at all is the same in every version, the rest is not.
fn receive_reply(socket: &OwnedFd, deadline: Instant) -> Result<(ReplyMessage, Vec<OwnedFd>), ConnectError> {
    let mut reply = ReplyMessage::new_zeroed();
    let prefix = &mut reply.as_mut_bytes()[..wire::REPLY_PREFIX_BYTES];
    let descriptors = receive_with_descriptors(socket, prefix, deadline).map_err(ConnectError::Handshake)?;
    if reply.magic != MAGIC {
        return Err(ConnectError::Malformed("it does not begin with the magic number"));
    }
    if reply.status != 0 {
        return Err(ConnectError::Refused { errno: reply.status, reason: reply.reason() });
    }
    if reply.version != VERSION {
        return Err(ConnectError::Version { theirs: reply.version });
    }
    let rest = &mut reply.as_mut_bytes()[wire::REPLY_PREFIX_BYTES..];
    receive(socket, rest, deadline).map_err(ConnectError::Handshake)?;
    Ok((reply, descriptors))
}

fn check_reply(reply: &ReplyMessage) -> Result<(Layout, VolumeInfo), ConnectError> {
    let volume = VolumeInfo {
        bytes: reply.volume_bytes,
        block_bytes: reply.block_bytes,
        line_bytes: reply.line_bytes,
        stripe_bytes: reply.stripe_bytes,
        read_only: reply.flags & FLAG_READ_ONLY != 0,
    };
    if let Some(problem) = volume.problem() {
        return Err(ConnectError::Malformed(problem));
    }
    let layout = Layout::new(reply.reactors, reply.ring_entries, reply.payload_bytes)
        .filter(|layout| layout.total_bytes() == reply.memory_bytes)
        .ok_or(ConnectError::Malformed("the sizes of its rings and memory do not belong together"))?;
    Ok((layout, volume))
}
