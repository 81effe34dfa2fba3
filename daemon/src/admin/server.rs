//! The server: one thread, one socket, a bounded number of connections, each with an end.

use super::ask::APART_MAX;
use super::refusal::Refusal;
use super::{
    Backend, Peer, Port, change, cross_site, look, metrics, operation::Operations, page, page_data, peer,
    tune, volumes,
};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The largest request body: the largest that makes sense is a fault with its range, some 200 bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// Bytes of a request's line and headers; hyper takes no less than 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What bounds the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Besides root, who may change something: the user that the daemon runs as.
    pub owner_uid: u32,
    /// Connections of those who may only look, at a time.
    pub readers_max: usize,
    /// Connections of root and the owner, at a time: lookers cannot lock them out.
    pub owners_max: usize,
    /// How long a peer may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a connection lasts, whatever it does. It carries one request.
    pub connection_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            owner_uid: rustix::process::geteuid().as_raw(),
            readers_max: 48,
            owners_max: 16,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(30),
        }
    }
}

/// What every request needs.
pub(super) struct Shared {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) operations: Arc<Operations>,
    pub(super) owner_uid: u32,
    /// Places for requests that wait for a disk.
    pub(super) apart: Arc<Semaphore>,
}

/// A running server. It ends with [`Server::stop`], or when it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Ends the server: no new connections, those that are open are cut.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread had panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves `listener`, and `port` if there is one, from a thread of its own until the [`Server`] is stopped.
///
/// # Errors
/// What the kernel says when a thread, an epoll instance or a non-blocking socket cannot be had.
pub fn serve(
    listener: StdListener,
    port: Option<Port>,
    backend: Arc<dyn Backend>,
    options: Options,
) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().max_blocking_threads(APART_MAX).build()?;
    let operations = Arc::new(Operations::default());
    let shared = Arc::new(Shared {
        backend,
        operations,
        owner_uid: options.owner_uid,
        apart: Arc::new(Semaphore::new(APART_MAX)),
    });
    let (listener, port) = {
        let _entered = runtime.enter();
        let port = port.map(|port| port.open(Arc::clone(&shared), options)).transpose()?;
        (UnixListener::from_std(listener)?, port)
    };
    let (stop, stopped) = watch::channel(false);
    let door = Door::new(shared, options);
    let served = async move {
        let at_port = async {
            if let Some(port) = port {
                port.accept(stopped.clone()).await;
            }
        };
        tokio::join!(door.accept(listener, stopped.clone()), at_port);
    };
    let thread = std::thread::Builder::new().name("holdfast-admin".to_owned()).spawn(move || {
        runtime.block_on(served);
        // Nobody waits for an answer any more that a ledger does not give.
        runtime.shutdown_background();
    })?;
    Ok(Server { stop, thread: Some(thread) })
}

/// Takes connections in.
struct Door {
    router: Router,
    options: Options,
    readers: Arc<Semaphore>,
    owners: Arc<Semaphore>,
}

impl Door {
    fn new(shared: Arc<Shared>, options: Options) -> Door {
        Door {
            router: router(shared, options),
            options,
            readers: Arc::new(Semaphore::new(options.readers_max)),
            owners: Arc::new(Semaphore::new(options.owners_max)),
        }
    }

    async fn accept(self, listener: UnixListener, mut stopped: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn admit(&self, stream: UnixStream) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => return tracing::warn!(%error, "the kernel does not say who connected"),
        };
        let owner = peer.may_change(self.options.owner_uid);
        let places = if owner { &self.owners } else { &self.readers };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => {
                let router = self.router.clone().layer(Extension(peer));
                drop(tokio::spawn(hold(stream, router, self.options, place)));
            }
            Err(_) => {
                tracing::warn!(uid = peer.uid, "too many connections to the admin socket: one was closed")
            }
        }
    }
}

/// Out of descriptors or memory: the pause keeps this from becoming a hot loop.
pub(super) async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Serves one connection, which has its `place` until it ends.
pub(super) async fn hold(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    options: Options,
    place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let timeout = options.connection_timeout;
    match tokio::time::timeout(timeout, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
        Err(_) => tracing::warn!("a connection was cut after {timeout:?}"),
    }
    drop(place);
}

fn router(shared: Arc<Shared>, options: Options) -> Router {
    let owners_only = middleware::from_fn_with_state(Arc::clone(&shared), peer::owners_only);
    let routes = Router::new()
        .merge(look::routes())
        .merge(metrics::routes())
        .merge(page::routes())
        .merge(page_data::routes())
        .merge(change::routes().merge(tune::routes()).merge(volumes::routes()).route_layer(owners_only));
    bounded(routes, options).layer(middleware::from_fn(cross_site::at_socket)).with_state(shared)
}

/// What every request has: a limit of its size and time, and an answer where there is nothing.
pub(super) fn bounded(routes: Router<Arc<Shared>>, options: Options) -> Router<Arc<Shared>> {
    routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(options, in_time))
}

/// Gives up on a request shortly before its connection ends, so that the peer is told.
async fn in_time(State(options): State<Options>, request: Request, next: Next) -> Response {
    let timeout = options.connection_timeout * 3 / 4;
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("The request was not done within {timeout:?}.");
            Refusal::busy(message, "Send the body at once, or see 'holdfastctl status'.").into_response()
        }
    }
}

async fn unknown_path(request: Request) -> Refusal {
    let message = format!("There is no '{}' here.", request.uri().path());
    Refusal::not_found(
        message,
        "The paths begin with /v1/status, /v1/volumes, /v1/explain, /v1/stats, /v1/events; and there is /metrics.",
    )
}

async fn unknown_method(request: Request) -> Refusal {
    let message = format!("'{}' cannot be asked with {}.", request.uri().path(), request.method());
    let remedy = "Look with GET, change with POST.".to_owned();
    Refusal { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message, remedy }
}
