//! The TCP port: metrics for whoever asks, and what needs the token for who has it.

use super::refusal::Refusal;
use super::server::{Options, Shared, hold};
use super::token::{Token, TokenError};
use super::{Peer, change, cross_site, look, metrics, page, page_data, server};
use crate::config::HttpSettings;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections at a time: a scraper, and a browser with its six.
const CONNECTIONS_MAX: usize = 32;

/// A port that is bound and not yet served.
#[derive(Debug)]
pub struct Port {
    listener: StdListener,
    token: Option<Token>,
    allow_remote: bool,
}

/// Why the port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The token cannot be had.
    #[error("http.token_file: {0}")]
    Token(#[from] TokenError),
    /// The kernel refuses the address.
    #[error("http.listen = \"{address}\": {source}; choose an address of this host and a port that is free")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Port {
    /// Binds the port that the settings name, if they name one.
    ///
    /// # Errors
    /// [`PortError`], with what to do.
    pub fn bind(settings: &HttpSettings) -> Result<Option<Port>, PortError> {
        let token = settings.token_file.as_deref().map(Token::read).transpose()?;
        let Some(address) = settings.listen else { return Ok(None) };
        let failed = |source| PortError::Bind { address, source };
        let listener = StdListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Some(Port { listener, token, allow_remote: settings.allow_remote }))
    }

    /// Where it is.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes it into the runtime that is entered.
    pub(super) fn open(self, shared: Arc<Shared>, options: Options) -> io::Result<Open> {
        let listener = TcpListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Ok(Open { listener, router: router(shared, self.token, self.allow_remote, options), places, options })
    }
}

/// A port that is served.
pub(super) struct Open {
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    options: Options,
}

impl Open {
    pub(super) async fn accept(self, mut stopped: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.admit(stream, from),
                Err(error) => server::pause_after(&error).await,
            }
        }
    }

    fn admit(&self, stream: TcpStream, from: SocketAddr) {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(hold(stream, self.router.clone(), self.options, place))),
            Err(_) => tracing::warn!(%from, "too many connections to the HTTP port: one was closed"),
        }
    }
}

fn router(shared: Arc<Shared>, token: Option<Token>, allow_remote: bool, options: Options) -> Router {
    // Who has the token acts as the user that the daemon runs as, who can read it; no process is known.
    let gid = rustix::process::getegid().as_raw();
    let peer = Peer { uid: shared.owner_uid, gid, pid: None };
    let keyed = look::routes()
        .merge(page_data::routes())
        .merge(change::retry_routes())
        .route_layer(middleware::from_fn_with_state(Arc::new(token), with_token));
    let routes = Router::new().merge(metrics::routes()).merge(page::routes()).merge(keyed);
    server::bounded(routes, options)
        .layer(middleware::from_fn_with_state(allow_remote, cross_site::at_port))
        .layer(Extension(peer))
        .with_state(shared)
}

/// Lets only those through who have the token.
async fn with_token(
    State(token): State<Arc<Option<Token>>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let Some(token) = token.as_ref() else {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            code: "not_permitted",
            message: "Over TCP there are only metrics: the configuration names no token file.".to_owned(),
            remedy: "Set 'http.token_file', or use the operators' socket.".to_owned(),
        });
    };
    let offered = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let offered = offered.and_then(|value| value.strip_prefix(b"Bearer "));
    if !offered.is_some_and(|offered| token.is(offered)) {
        return Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            code: "no_token",
            message: "This needs the token, and this is not it.".to_owned(),
            remedy:
                "Send 'authorization: Bearer TOKEN' with what is in the file that 'http.token_file' names."
                    .to_owned(),
        });
    }
    Ok(next.run(request).await)
}
