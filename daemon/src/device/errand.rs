//! Work that may hang in the kernel where only its caller can wait for it: to open a device, to look at one.
//!
//! As a [`Lane`](super::lane)'s threads, whoever is sent has a table of descriptors of its own: if the daemon is killed while
//! it hangs, nothing that is the daemon's is kept open by it. What it opens comes back through a socket of the two.

use super::apart;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Work that was begun, and its result, which may have a descriptor. Who does not wait for it any more drops it: what was
/// opened meanwhile is closed.
pub(super) struct Errand<T> {
    told: Receiver<io::Result<Brought<T>>>,
    way: OwnedFd,
}

/// What came of it.
struct Brought<T> {
    value: T,
    /// One descriptor is on its way.
    with_fd: bool,
}

impl<T: Send + 'static> Errand<T> {
    /// Begins it. `work` uses no descriptor but what it opens itself.
    ///
    /// # Errors
    /// The kernel gives no thread, no socket, or no table of its own.
    pub(super) fn send(
        work: impl FnOnce() -> (T, Option<OwnedFd>) + Send + 'static,
    ) -> io::Result<Errand<T>> {
        let (way, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (tell, told) = sync_channel(1);
        let (ready, is_ready) = sync_channel(1);
        let number = theirs.as_raw_fd();
        let builder = std::thread::Builder::new().name("holdfast-errand".to_owned());
        builder.spawn(move || {
            let apart = apart::from_the_rest(&[number], &[]);
            let goes_on = apart.is_ok();
            // Whoever sent it waits for that.
            let _ = ready.send(apart);
            if goes_on {
                let (value, opened) = work();
                let with_fd = opened.is_some();
                let theirs = apart::own(number);
                let sent = opened.map_or(Ok(()), |fd| send_fd(&theirs, &fd));
                // Perhaps nobody waits any more.
                let _ = tell.send(sent.map(|()| Brought { value, with_fd }));
            }
        })?;
        is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has died")))?;
        // The thread has a copy, in its own table.
        drop(theirs);
        Ok(Errand { told, way })
    }

    /// What came of it, if that is known within `span`; to be asked for once.
    ///
    /// # Errors
    /// The descriptor did not come through: this process has too many.
    pub(super) fn wait(&self, span: Duration) -> Option<io::Result<(T, Option<OwnedFd>)>> {
        let told = match self.told.recv_timeout(span) {
            Ok(told) => told,
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("its thread has died")),
        };
        Some(told.and_then(|brought| {
            let fd = brought.with_fd.then(|| receive_fd(&self.way)).transpose()?;
            Ok((brought.value, fd))
        }))
    }
}

/// Does what may hang, and waits for its end for so long at most. What it opens must not outlive it.
///
/// # Errors
/// Its own; [`io::ErrorKind::TimedOut`].
pub(crate) fn in_time<T: Send + 'static>(
    span: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let errand = Errand::send(move || (work(), None))?;
    match errand.wait(span) {
        Some(told) => told?.0,
        None => {
            let words = format!("it does not answer within {} s", span.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        }
    }
}

fn send_fd(way: &OwnedFd, fd: &OwnedFd) -> io::Result<()> {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there is space for one");
    match sendmsg(way, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL) {
        // Nobody waits any more.
        Ok(_) | Err(Errno::PIPE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn receive_fd(way: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(way, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.next().ok_or_else(|| io::Error::other("this process has no descriptor left for it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    const LONG: Duration = Duration::from_secs(60);

    /// What was opened there is the caller's here; what is not fetched is closed, so that its lock is free.
    #[test]
    fn what_is_opened_elsewhere_comes_here_or_is_closed() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"here").expect("written");
        let path = file.path().to_owned();
        let open = move || {
            let fd = OwnedFd::from(File::open(&path).expect("it is there"));
            let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            let locked = rustix::fs::flock(&fd, lock).is_ok();
            (locked, Some(fd))
        };
        let errand = Errand::send(open.clone()).expect("sent");
        let (locked, fd) = errand.wait(LONG).expect("done").expect("brought");
        assert!(locked);
        let mut text = String::new();
        let mut here = File::from(fd.expect("a descriptor"));
        here.read_to_string(&mut text).expect("read");
        assert_eq!(text, "here");
        let (locked, _) =
            Errand::send(open.clone()).expect("sent").wait(LONG).expect("done").expect("brought");
        assert!(!locked, "it is the description that was locked there");
        drop(here);
        drop(Errand::send(open.clone()).expect("sent"));
        let free = (0..6000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Errand::send(open.clone()).expect("sent").wait(LONG).expect("done").expect("brought").0
        });
        assert!(free, "nobody fetched it");
    }

    /// It has none of the process's descriptors but its own end of the socket, and the three that everybody has.
    #[test]
    fn whoever_is_sent_takes_nothing_along() {
        let file = tempfile::tempfile().expect("a file");
        let number = file.as_raw_fd();
        let count = || std::fs::read_dir("/proc/thread-self/fd").map_or(0, Iterator::count);
        let errand = Errand::send(move || {
            let here = std::fs::read_link(format!("/proc/thread-self/fd/{number}"));
            ((here.ok(), count()), None)
        });
        let ((there, open), _) = errand.expect("sent").wait(LONG).expect("done").expect("brought");
        let here = std::fs::read_link(format!("/proc/self/fd/{number}")).expect("it is open here");
        assert_ne!(there, Some(here));
        // The three, the socket, and the directory that is read.
        assert_eq!(open, 5);
    }

    #[test]
    fn who_is_not_answered_goes_on() {
        let (keep, kept) = sync_channel::<()>(1);
        let error = in_time(Duration::from_millis(20), move || {
            // Until the test is over.
            let _ = kept.recv();
            Ok(())
        });
        assert_eq!(error.expect_err("it waits").kind(), io::ErrorKind::TimedOut);
        drop(keep);
        assert_eq!(in_time(LONG, || Ok(7)).expect("done"), 7);
        let refused = in_time::<()>(LONG, || Err(io::ErrorKind::NotFound.into()));
        assert_eq!(refused.expect_err("its own").kind(), io::ErrorKind::NotFound);
    }
}
