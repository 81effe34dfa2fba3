//! One client's handshake, on a thread of its own.

use super::crowd::Crowd;
use super::hub::Hub;
use super::registry::{Client, number_of};
use super::table::Served;
use holdfast_engine::SessionId;
use holdfast_ringbuf::VolumeInfo;
use holdfast_ringbuf::daemon_side::{Hello, Offer, Pending, Refusal, Session};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How long a client may take for its part of the handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// A client whose handshake is over.
pub(super) struct Admitted {
    pub(super) session: Session,
    pub(super) id: SessionId,
    pub(super) client: Client,
    /// Of the volume that it chose.
    pub(super) serial: u64,
}

/// How a handshake ended; the place of one that failed is free again.
pub(super) type Outcome = Result<Admitted, SessionId>;

/// Runs one client's handshake on a thread of its own. Without threads there are no clients: this one sees its connection
/// closed.
pub(super) fn hello(handshake: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name("holdfast-hello".to_owned()).spawn(handshake) {
        tracing::warn!(%error, "no thread for a client's handshake");
    }
}

/// A handshake under way: counted while it lives. Its place is given back if it ends without a session, however.
pub(super) struct Ticket {
    handshakes: Arc<Crowd>,
    uid: u32,
    place: Option<(Sender<Outcome>, SessionId)>,
}

impl Ticket {
    pub(super) fn new(
        handshakes: &Arc<Crowd>,
        uid: u32,
        place: Option<(Sender<Outcome>, SessionId)>,
    ) -> Ticket {
        handshakes.enter(uid);
        Ticket { handshakes: Arc::clone(handshakes), uid, place }
    }

    pub(super) fn admit(&mut self, admitted: Admitted) {
        if let Some((sender, _)) = self.place.take() {
            // The keeper is gone only when the daemon is.
            let _ = sender.send(Ok(admitted));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.handshakes.leave(self.uid);
        if let Some((sender, id)) = self.place.take() {
            let _ = sender.send(Err(id));
        }
    }
}

/// Refuses a client for want of places, after its hello: a peer that hangs up while the client still talks is not heard.
pub(super) fn turn_away(mut pending: Pending, text: String, _counted: &Ticket) {
    if pending.read_hello(HANDSHAKE).is_ok() {
        // It may have gone meanwhile.
        let _ = pending.refuse(&Refusal { errno: errno(rustix::io::Errno::AGAIN), text });
    }
}

/// One handshake; `None` if the client was refused or gave up.
pub(super) fn shake_hands(hub: &Hub, mut pending: Pending, id: SessionId) -> Option<Admitted> {
    let (pid, uid, gid) = (pending.pid(), pending.uid(), pending.gid());
    let hello = pending.read_hello(HANDSHAKE).ok()?;
    let served = match choose(hub, &hello, uid, gid) {
        Ok(served) => served,
        Err(refusal) => {
            let _ = pending.refuse(&refusal);
            return None;
        }
    };
    let offer = offer(hub, &hello, &served, id);
    match pending.offer(&offer, HANDSHAKE) {
        Ok(session) => {
            let (client, serial) = (Client { volume: served.id, pid, uid, gid }, served.serial);
            Some(Admitted { session, id, client, serial })
        }
        Err(error) => {
            tracing::warn!(volume = hello.volume, %error, "a client's handshake failed");
            None
        }
    }
}

fn choose(hub: &Hub, hello: &Hello, uid: u32, gid: u32) -> Result<Arc<Served>, Refusal> {
    let Some(served) = hub.table().named(&hello.volume).cloned() else {
        let text = format!("there is no volume '{}'; 'holdfastctl volumes' lists them", hello.volume);
        return Err(Refusal { errno: errno(rustix::io::Errno::NOENT), text });
    };
    let own = rustix::process::geteuid().as_raw();
    if !hub.settings_of(&served).clients.admit(uid, gid, own) {
        let text = format!(
            "uid {uid}, gid {gid} may not open volume '{}': name one of them in its 'clients'",
            hello.volume
        );
        return Err(Refusal { errno: errno(rustix::io::Errno::ACCESS), text });
    }
    if hub.stopping() {
        let text = "the daemon is stopping; connect again when it is back".to_owned();
        return Err(Refusal { errno: errno(rustix::io::Errno::AGAIN), text });
    }
    if served.is_leaving() {
        let text = format!(
            "volume '{}' is about to be removed; connect again to learn how that ended",
            hello.volume
        );
        return Err(Refusal { errno: errno(rustix::io::Errno::AGAIN), text });
    }
    Ok(served)
}

fn offer(hub: &Hub, hello: &Hello, volume: &Served, id: SessionId) -> Offer {
    let settings = hub.in_force();
    let limits = &settings.limits;
    let (entries, payload) = Offer::sized_for(hello, limits.queue_depth_max, limits.session_bytes_max);
    let payload = payload.max(u64::from(limits.request_bytes_max));
    Offer {
        session: number_of(id),
        incarnation: hub.incarnation,
        arena: hub.arena.id,
        volume: VolumeInfo {
            bytes: volume.bytes.load(Ordering::Acquire),
            block_bytes: volume.block_bytes,
            line_bytes: hub.settings.arena.line_bytes,
            stripe_bytes: hub.settings.arena.stripe_bytes,
            read_only: volume.settings.read_only,
        },
        reactors: hub.settings.daemon.reactors,
        ring_entries: entries,
        payload_bytes: payload,
        request_bytes_max: limits.request_bytes_max,
    }
}

pub(super) fn errno(errno: rustix::io::Errno) -> i32 {
    errno.raw_os_error()
}
