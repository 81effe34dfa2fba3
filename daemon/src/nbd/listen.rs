//! Who may connect, how many, and what becomes of a connection.

use super::blocks::{BackingNow, Holes, States};
use super::connection::{self, Service};
use super::negotiate::{Export, NoAgreement, negotiate, turn_away};
use super::protocol::{Refusal, error};
use super::stream::{Stream, Timed};
use crate::admin::{self, Backend, BindError};
use crate::config::{Listen, NbdSettings};
use holdfast_engine::{ByteRange, ListState, VolumeId};
use holdfast_ringbuf::client::{Options, Queue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a listener looks whether the daemon ends.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Peers that are told at a time that there is no place for them; others see their connection closed.
const TURNED_AWAY_MAX: usize = 8;
/// Requests of one connection in flight, and bytes of the longest piece of one: 8 MiB of locked memory a connection.
const DEPTH: u32 = 64;
const PIECE_BYTES: u32 = 128 << 10;

/// Why a frontend does not listen.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// Its Unix socket cannot be made.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// Its address cannot be had.
    #[error("NBD at {address}: {source}; choose another 'listen', or end what listens there")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("NBD: no thread: {0}")]
    Thread(#[source] io::Error),
}

/// A volume that a frontend may serve.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: VolumeId,
    /// Its size, which may grow: who connects later sees it.
    pub bytes: Arc<AtomicU64>,
    /// Offsets and lengths are multiples of this.
    pub block_bytes: u32,
    /// Bytes of a cache line.
    pub line_bytes: u32,
    /// Whether nobody may write to it.
    pub read_only: bool,
    /// What it is on, when that is asked: a file knows its holes.
    pub backing: BackingNow,
}

/// The volumes as they are when it is asked: they come and go.
pub type Catalogue = Box<dyn Fn() -> Vec<Volume> + Send + Sync>;

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What all connections of a frontend share.
struct Shared {
    settings: NbdSettings,
    /// The socket at which the daemon lets clients in.
    clients: PathBuf,
    volumes: Catalogue,
    backend: Arc<dyn Backend>,
    connections: AtomicUsize,
}

/// A listener that is served.
#[derive(Debug)]
pub struct Frontend {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Frontend {
    /// Listens as `settings` say, and serves those of `volumes` that they name. `clients` is the daemon's socket for
    /// clients of the rings.
    ///
    /// # Errors
    /// [`NbdError`]; nothing listens then.
    pub fn start(
        settings: &NbdSettings,
        clients: &std::path::Path,
        volumes: Catalogue,
        backend: Arc<dyn Backend>,
    ) -> Result<Frontend, NbdError> {
        let listener = listen(&settings.listen)?;
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            clients: clients.to_owned(),
            volumes,
            backend,
            connections: AtomicUsize::new(0),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("holdfast-nbd".to_owned());
        let thread =
            thread.spawn(move || accept_all(&listener, &shared, &stopped)).map_err(NbdError::Thread)?;
        Ok(Frontend { stop, thread })
    }

    /// Lets nobody in any more. Connections end with their sessions.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // It does not panic; if it did, there would be nothing left to stop.
        let _ = self.thread.join();
    }
}

fn export(volume: &Volume, read_only: bool) -> Export {
    Export {
        name: volume.name.clone(),
        bytes: volume.bytes.load(Ordering::Acquire),
        block_bytes: volume.block_bytes,
        line_bytes: volume.line_bytes,
        read_only: volume.read_only || read_only,
    }
}

fn listen(at: &Listen) -> Result<Listener, NbdError> {
    match at {
        Listen::Unix { path, mode } => {
            let listener = admin::bind(path, *mode, None)?;
            let failed = |source| BindError::Io { path: path.clone(), source };
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Listener::Unix(listener))
        }
        &Listen::Tcp { address, .. } => {
            let failed = |source| NbdError::Listen { address, source };
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Listener::Tcp(listener))
        }
    }
}

impl Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }

    fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Listener::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nonblocking(false)?;
                Ok((Stream::Unix(socket), None))
            }
            Listener::Tcp(listener) => {
                let (socket, from) = listener.accept()?;
                socket.set_nonblocking(false)?;
                socket.set_nodelay(true)?;
                // A host that vanished is noticed in the end, and its place is free again.
                rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
                Ok((Stream::Tcp(socket), Some(from.ip().to_canonical())))
            }
        }
    }
}

fn accept_all(listener: &Listener, shared: &Arc<Shared>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, from)) => welcome(shared, stream, from),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_peer(listener),
            Err(error) => {
                tracing::warn!(%error, "an NBD client could not be accepted");
                wait_for_peer(listener);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn wait_for_peer(listener: &Listener) {
    let fd = listener.as_fd();
    // An interruption is a look more.
    let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&LOOK));
}

/// Gives a peer a thread, if it may come and there is a place.
fn welcome(shared: &Arc<Shared>, stream: Stream, from: Option<IpAddr>) {
    if let (Listen::Tcp { allow, .. }, Some(from)) = (&shared.settings.listen, from)
        && !allow.iter().any(|network| network.contains(&from))
    {
        tracing::warn!(%from, "an NBD client is not in 'allow': its connection is closed");
        return;
    }
    let Some(place) = Place::take(shared) else { return };
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("holdfast-nbd-in".to_owned());
    let started = thread.spawn(move || {
        let ended = if place.is_free { serve(&shared, stream) } else { refuse(stream) };
        drop(place);
        if let Err(error) = ended {
            tracing::info!(%error, "an NBD connection ended");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for an NBD client");
    }
}

/// One of the places of a frontend, or of the few beside them for peers that are turned away; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    is_free: bool,
}

impl Place {
    /// `None` if so many peers are being turned away that one more is not worth a thread.
    fn take(shared: &Arc<Shared>) -> Option<Place> {
        let taken = shared.connections.fetch_add(1, Ordering::AcqRel);
        let max = shared.settings.connections_max as usize;
        let place = Place { shared: Arc::clone(shared), is_free: taken < max };
        (taken < max + TURNED_AWAY_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Says that there is no place. A second is enough for a peer that listens.
fn refuse(mut stream: Stream) -> Result<(), NoAgreement> {
    turn_away(&mut Timed::new(&mut stream, Duration::from_secs(1)))
}

fn serve(shared: &Arc<Shared>, mut stream: Stream) -> Result<(), NoAgreement> {
    let read_only = shared.settings.read_only;
    let named = &shared.settings.volumes;
    let mut served = (shared.volumes)();
    served.retain(|volume| named.is_empty() || named.contains(&volume.name));
    let exports: Vec<Export> = served.iter().map(|volume| export(volume, read_only)).collect();
    let agreed = match negotiate(&mut Timed::new(&mut stream, HANDSHAKE), &exports) {
        Err(NoAgreement::Left) => return Ok(()),
        agreed => agreed?,
    };
    let export = &exports[agreed.export];
    // The daemon does not outlive itself: a session that ends here was ended by somebody, and so is the connection.
    let options =
        Options { queue_depth: DEPTH, request_bytes: PIECE_BYTES, reconnect: None, ..Options::default() };
    let queue = Queue::connect(&shared.clients, &export.name, options);
    let queue = queue.map_err(|error| io::Error::other(error.to_string()))?;
    let volume = &served[agreed.export];
    let holes = Holes::of(&volume.backing);
    let service = Service {
        export,
        form: agreed.form,
        contexts: &agreed.contexts,
        states: &Reactors { backend: &*shared.backend, volume: volume.id },
        holes: &holes,
    };
    match connection::serve(stream, queue, &service) {
        // Peers often just leave.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        ended => Ok(ended?),
    }
}

/// The states of ranges, as the reactors tell them.
struct Reactors<'a> {
    backend: &'a dyn Backend,
    volume: VolumeId,
}

impl States for Reactors<'_> {
    fn list(
        &self,
        state: ListState,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<ByteRange>, Option<u64>), Refusal> {
        admin::list_ranges(self.backend, self.volume, state, from, limit)
            .map_err(|words| Refusal::new(error::EIO, words))
    }
}
