//! Whole messages over a Unix socket within a deadline: a peer that is slow, silent or dripping costs its own time.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv, recvmsg, send, sendmsg,
};
use zerocopy::{Immutable, IntoBytes};

use crate::limits::REACTORS_MAX;

/// Descriptors in one message: the memory and a wake-up socket for each reactor.
const DESCRIPTORS_MAX: usize = 1 + REACTORS_MAX as usize;

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer did not answer in time")
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection")
}

fn wait(socket: BorrowedFd<'_>, events: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        // A day at most, so that the conversion cannot fail; the loop goes on if it was too short.
        let left = left.min(Duration::from_secs(86_400));
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(socket, events)], Some(&timeout)) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Repeats a non-blocking operation until it is done or the deadline is over.
fn until<T>(
    socket: BorrowedFd<'_>,
    events: PollFlags,
    deadline: Instant,
    mut operation: impl FnMut() -> rustix::io::Result<T>,
) -> io::Result<T> {
    loop {
        match operation() {
            Ok(done) => return Ok(done),
            Err(rustix::io::Errno::AGAIN) => wait(socket, events, deadline)?,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub(crate) fn send_message<T: IntoBytes + Immutable>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
    deadline: Instant,
) -> io::Result<()> {
    let (socket, bytes) = (socket.as_fd(), message.as_bytes());
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "{} descriptors in one message", descriptors.len());
    }
    // The descriptors travel with the first bytes.
    let mut sent = until(socket, PollFlags::OUT, deadline, || {
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)
    })?;
    while sent < bytes.len() {
        sent += until(socket, PollFlags::OUT, deadline, || send(socket, &bytes[sent..], flags))?;
    }
    Ok(())
}

/// Receives bytes that carry no descriptors; those that a peer attaches anyway the kernel closes.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    receive_rest(socket.as_fd(), bytes, deadline)
}

fn receive_rest(socket: BorrowedFd<'_>, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        // Checked each time: a peer that drips a byte now and then must not outlive the deadline.
        if Instant::now() >= deadline {
            return Err(timed_out());
        }
        let (received, _) =
            until(socket, PollFlags::IN, deadline, || recv(socket, &mut *bytes, RecvFlags::DONTWAIT))?;
        if received == 0 {
            return Err(closed());
        }
        bytes = &mut bytes[received..];
    }
    Ok(())
}

/// Receives bytes and the descriptors that came with the first of them.
pub(crate) fn receive_with_descriptors(
    socket: impl AsFd,
    bytes: &mut [u8],
    deadline: Instant,
) -> io::Result<Vec<OwnedFd>> {
    let socket = socket.as_fd();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = until(socket, PollFlags::IN, deadline, || {
        recvmsg(socket, &mut [IoSliceMut::new(&mut *bytes)], &mut control, flags)
    })?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Err(closed());
    }
    receive_rest(socket, &mut bytes[received.bytes..], deadline)?;
    Ok(descriptors)
}

/// Whether the peer has closed its end; reads nothing, never blocks.
pub(crate) fn hung_up(socket: impl AsFd) -> bool {
    let mut byte = [0u8; 1];
    match recv(socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((received, _)) => received == 0,
        Err(errno) => !matches!(errno, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
    }
}
