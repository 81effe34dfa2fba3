//! Who may do what: the socket's file mode says who may ask, the peer's user who may change.

use super::Peer;
use super::refusal::Refusal;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use tokio::net::UnixStream;

impl Peer {
    /// The process at the other end of `stream`, as the kernel recorded it when it connected.
    ///
    /// # Errors
    /// What `SO_PEERCRED` says.
    pub(super) fn of(stream: &UnixStream) -> std::io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
    }

    /// Whether it may change anything: root, or the user that the daemon runs as.
    pub(super) const fn may_change(&self, owner_uid: u32) -> bool {
        self.uid == 0 || self.uid == owner_uid
    }
}

/// Lets only those through who may change something, and writes down who it was.
pub(super) async fn owners_only(
    State(shared): State<Arc<super::Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let peer = request.extensions().get::<Peer>().copied();
    let peer = peer.expect("every connection puts its peer into its requests");
    let path = request.uri().path().to_owned();
    if !peer.may_change(shared.owner_uid) {
        tracing::warn!(uid = peer.uid, pid = peer.pid, method = %request.method(), path, "refused: not permitted");
        return Err(not_permitted(peer, shared.owner_uid));
    }
    tracing::info!(uid = peer.uid, pid = peer.pid, method = %request.method(), path, "an operator acts");
    Ok(next.run(request).await)
}

fn not_permitted(peer: Peer, owner_uid: u32) -> Refusal {
    let owner = match owner_uid {
        0 => "root, which the daemon runs as".to_owned(),
        uid => format!("root or as user {uid}, which the daemon runs as"),
    };
    Refusal {
        status: StatusCode::FORBIDDEN,
        code: "not_permitted",
        message: format!("User {} may look but not change anything on this socket.", peer.uid),
        remedy: format!("Nothing was changed. Run the same command as {owner}."),
    }
}
