//! Who is connected: written by the thread that lets clients in and out, read by operators.

use crate::admin::SessionView;
use holdfast_engine::{SessionId, VolumeId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A client, as the handshake showed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// The number of its volume.
    pub(super) volume: VolumeId,
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

struct Known {
    client: Client,
    since_unix_ms: u64,
    leaving: bool,
}

/// All clients.
#[derive(Default)]
pub(super) struct Registry(Mutex<BTreeMap<u64, Known>>);

/// The number by which clients and operators know a session: 0 is none of it.
pub(super) fn number_of(session: SessionId) -> u64 {
    u64::from(session.0) + 1
}

/// The session with this number.
pub(super) fn session_of(number: u64) -> Option<SessionId> {
    u32::try_from(number.checked_sub(1)?).ok().map(SessionId)
}

impl Registry {
    /// Nothing in here panics while it holds the lock, and nobody holds it for long.
    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, session: SessionId, client: Client, since_unix_ms: u64) {
        self.known().insert(number_of(session), Known { client, since_unix_ms, leaving: false });
    }

    pub(super) fn leaving(&self, session: SessionId) {
        if let Some(known) = self.known().get_mut(&number_of(session)) {
            known.leaving = true;
        }
    }

    pub(super) fn remove(&self, session: SessionId) {
        self.known().remove(&number_of(session));
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.known().len()).expect("few seats")
    }

    /// How many are of this volume.
    pub(super) fn count_of(&self, volume: VolumeId) -> usize {
        self.known().values().filter(|known| known.client.volume == volume).count()
    }

    /// One session, or all with `None`; `name` says what a volume is called.
    pub(super) fn list(&self, only: Option<u64>, name: impl Fn(VolumeId) -> String) -> Vec<SessionView> {
        let known = self.known();
        let wanted = known.iter().filter(|(number, _)| only.is_none_or(|only| only == **number));
        let view = |(&id, known): (&u64, &Known)| {
            let Client { volume, pid, uid, gid } = known.client;
            let (since_unix_ms, leaving) = (known.since_unix_ms, known.leaving);
            SessionView { id, volume: name(volume), pid, uid, gid, since_unix_ms, leaving }
        };
        wanted.map(view).collect()
    }
}
