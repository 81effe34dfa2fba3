//! Frontends: which doors there are beside the rings', and how a virtual machine's thread gets a session.

use super::error::StartError;
use super::hub::Hub;
use super::keeper::Ask;
use super::registry::Client;
use super::table::Served;
use crate::config::FrontendSettings;
use crate::vhost::{MakeSeats, Office, Peer, Ticket};
use crate::{nbd, vhost};
use holdfast_engine::SessionId;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// A door that is open.
pub(super) enum Frontend {
    Nbd(nbd::Frontend),
    Vhost(vhost::Frontend),
}

impl Frontend {
    /// Lets nobody in any more.
    pub(super) fn stop(self) {
        match self {
            Frontend::Nbd(door) => door.stop(),
            Frontend::Vhost(door) => door.stop(),
        }
    }
}

/// Opens all doors. Whoever comes before the reactors turn, or before anybody answers `asks`, waits for them.
pub(super) fn open(hub: &Arc<Hub>, asks: &Sender<Ask>) -> Result<Vec<Frontend>, StartError> {
    let start = |settings: &FrontendSettings| match settings {
        FrontendSettings::Nbd(settings) => {
            let (clients, seen) = (&hub.settings.daemon.socket, Arc::clone(hub));
            let volumes = move || seen.table().iter().map(|served| nbd_volume(&seen, served)).collect();
            let door = nbd::Frontend::start(settings, clients, Box::new(volumes), Arc::clone(hub) as _)?;
            Ok(Frontend::Nbd(door))
        }
        FrontendSettings::Vhost(settings) => {
            let office = Arc::new(Desk { hub: Arc::clone(hub), asks: asks.clone() });
            let (seen, name) = (Arc::clone(hub), settings.volume.clone());
            let find = move || disk(&seen, &name);
            Ok(Frontend::Vhost(vhost::Frontend::start(settings, Box::new(find), office)?))
        }
    };
    hub.settings.frontends.iter().map(start).collect()
}

fn nbd_volume(hub: &Hub, served: &Arc<Served>) -> nbd::Volume {
    let of = Arc::clone(served);
    nbd::Volume {
        name: served.settings.name.clone(),
        id: served.id,
        bytes: Arc::clone(&served.bytes),
        block_bytes: served.block_bytes,
        line_bytes: hub.settings.arena.line_bytes,
        read_only: served.settings.read_only,
        backing: nbd::BackingNow::new(move || of.backing()),
    }
}

/// The volume of this name as it is now, unless it is about to go.
fn disk(hub: &Hub, name: &str) -> Option<vhost::Disk> {
    let table = hub.table();
    let served = table.named(name).filter(|served| !served.is_leaving())?;
    Some(vhost::Disk {
        name: served.settings.name.clone(),
        id: served.id,
        serial: served.serial,
        bytes: Arc::clone(&served.bytes),
        block_bytes: served.block_bytes,
        line_bytes: hub.settings.arena.line_bytes,
        stripe_bytes: hub.settings.arena.stripe_bytes,
        reactors: hub.settings.daemon.reactors,
        request_bytes_max: u64::from(hub.settings.limits.request_bytes_max),
        read_only: served.settings.read_only,
        arena: hub.arena.id,
        incarnation: hub.incarnation,
    })
}

/// Where virtual machines' threads ask for sessions: the thread that keeps them answers.
struct Desk {
    hub: Arc<Hub>,
    asks: Sender<Ask>,
}

impl Desk {
    fn ask(&self, ask: Ask) {
        // Who answers is gone only when the daemon ends, and then nobody is waited for.
        let _ = self.asks.send(ask);
        self.hub.words.ring();
    }
}

impl Office for Desk {
    fn seat(&self, disk: &vhost::Disk, peer: Peer, make: MakeSeats) -> Result<Ticket, String> {
        let client = Client { volume: disk.id, pid: peer.pid, uid: peer.uid, gid: peer.gid };
        let (given, is_given) = channel();
        let (over, is_over) = channel();
        self.ask(Ask::Seat { client, serial: disk.serial, make, given, over });
        let session = is_given.recv().map_err(|_| "the daemon is ending".to_owned())??;
        Ok(Ticket { session, over: is_over })
    }

    fn leave(&self, session: SessionId) {
        self.ask(Ask::Leave(session));
    }
}
