//! The socket of a frontend, and the thread that negotiates with whoever comes.

use super::device::{Device, Disk};
use super::office::{Office, Peer};
use crate::admin::{self, BindError};
use crate::config::VhostSettings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use vhost::vhost_user::{BackendReqHandler, Error};

/// How often a connection is looked at of which nothing is heard.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long nothing must be heard of a front end that has changed something, before its queues are taken up again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// How long one message may take.
const MESSAGE: Duration = Duration::from_secs(5);

/// Why a frontend does not listen.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// Its Unix socket cannot be made.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// There is no thread for it.
    #[error("vhost-user-blk: no thread: {0}")]
    Thread(#[source] io::Error),
}

/// The disk as it is when it is asked for, if it is there: volumes come and go.
pub type FindDisk = Box<dyn Fn() -> Option<Disk> + Send>;

/// A socket that is served: one virtual machine at a time.
#[derive(Debug)]
pub struct Frontend {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Frontend {
    /// Listens as `settings` say. Whoever connects is served what `find` finds then.
    ///
    /// # Errors
    /// [`VhostError`]; nothing listens then.
    pub fn start(
        settings: &VhostSettings,
        find: FindDisk,
        office: Arc<dyn Office>,
    ) -> Result<Frontend, VhostError> {
        let listener = admin::bind(&settings.socket, settings.socket_mode, None)?;
        let failed = |source| BindError::Io { path: settings.socket.clone(), source };
        listener.set_nonblocking(true).map_err(failed)?;
        let settings = settings.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("holdfast-vhost".to_owned());
        let serve = move || accept_all(&listener, &find, &settings, &office, &stopped);
        let thread = thread.spawn(serve).map_err(VhostError::Thread)?;
        Ok(Frontend { stop, thread })
    }

    /// Closes the connection, and lets nobody in any more.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // It does not panic; if it did, there would be nothing left to stop.
        let _ = self.thread.join();
    }
}

fn accept_all(
    listener: &UnixListener,
    find: &FindDisk,
    settings: &VhostSettings,
    office: &Arc<dyn Office>,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => {
                let Some(mut disk) = find() else {
                    tracing::info!(volume = settings.volume, "a virtual machine's volume is not there");
                    continue;
                };
                disk.read_only |= settings.read_only;
                if let Err(error) = serve(stream, &disk, settings.queues, office, stop) {
                    tracing::info!(volume = disk.name, %error, "a virtual machine's connection ended");
                }
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!(%error, "a virtual machine could not be accepted");
                }
                // An interruption is a look more.
                let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK));
            }
        }
    }
}

/// Serves a front end until it leaves.
fn serve(
    stream: UnixStream,
    disk: &Disk,
    queues: u16,
    office: &Arc<dyn Office>,
    stop: &AtomicBool,
) -> Result<(), Error> {
    stream.set_nonblocking(false).map_err(Error::SocketError)?;
    stream.set_read_timeout(Some(MESSAGE)).map_err(Error::SocketError)?;
    stream.set_write_timeout(Some(MESSAGE)).map_err(Error::SocketError)?;
    let credentials = socket_peercred(&stream).map_err(|errno| Error::SocketError(errno.into()))?;
    let peer = Peer {
        pid: credentials.pid.as_raw_nonzero().get(),
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
    };
    let polled = stream.try_clone().map_err(Error::SocketError)?;
    let device = Device::new(disk.clone(), queues, Arc::clone(office), peer);
    let device = Arc::new(Mutex::new(device));
    let mut messages = BackendReqHandler::from_stream(stream, Arc::clone(&device));
    while !stop.load(Ordering::Acquire) {
        let pause = if lock(&device).may_begin() { PAUSE } else { LOOK };
        let heard = poll(&mut [PollFd::new(&polled, PollFlags::IN)], Some(&pause)).unwrap_or(0);
        if heard > 0 {
            match messages.handle_request() {
                Ok(()) => {}
                Err(Error::Disconnected) => return Ok(()),
                Err(error) => return Err(error),
            }
            continue;
        }
        let mut device = lock(&device);
        device.look();
        if device.may_begin() {
            device.begin();
        }
        if device.over {
            return Ok(());
        }
    }
    Ok(())
}

/// Nobody else has it: messages are handled on this very thread.
fn lock(device: &Mutex<Device>) -> MutexGuard<'_, Device> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}
