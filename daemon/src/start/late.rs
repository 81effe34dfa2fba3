//! Volumes whose devices may not be used yet when the daemon begins to serve (mechanism M1): operations of a daemon that was
//! killed are in flight on them, or they do not even let themselves be opened.
//!
//! Such a volume serves what is in the cache and needs no device, and the others serve as ever. How long it takes is the
//! device's affair: the lock goes with the last operation.

use super::hub::Hub;
use super::table::{DeviceHold, Served};
use super::volumes::{Access, Volume};
use super::{origins, reopen};
use crate::device::{Backing, Opening};
use crate::reactor::Mail;
use holdfast_engine::{Event, VolumeId};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often the lock is tried.
const STEP: Duration = Duration::from_millis(10);
/// How often it is looked whether a device is open; it is heard of at once.
const LOOK: Duration = Duration::from_secs(60);

/// Tells the reactors when a volume's device may be used, if that is not yet so. The thread ends with the process, if the
/// device never does.
pub(super) fn wait_for(volume: Volume, hub: &Arc<Hub>) {
    if volume.is_fenced() {
        return;
    }
    let (hub, id) = (Arc::clone(hub), volume.id);
    let Some(served) = hub.table().get(id).cloned() else { return };
    let started = match volume.access {
        Access::Open(backing) => spawn(move || settle(&hub, &served, &backing)),
        Access::Coming(opening) => {
            let opening = opening.into_inner().unwrap_or_else(PoisonError::into_inner);
            // Nobody else grows it, opens it again or removes it meanwhile.
            let (Some(opening), Ok(hold)) = (opening, served.change_device()) else { return };
            tracing::warn!(
                volume = served.name(),
                path = %opening.path().display(),
                "its device does not answer: until it has been opened, what is in the cache is served, and what needs the \
                 device waits"
            );
            spawn(move || come(&hub, &served, &opening, hold))
        }
    };
    if let Err(error) = started {
        tracing::error!(%error, "no thread to wait for a volume's device: it serves what is in the cache only");
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("holdfast-late".to_owned()).spawn(work).map(drop)
}

/// Waits for the lock of a device that is open, and lets it be used.
fn settle(hub: &Hub, served: &Served, backing: &Backing) {
    let volume = served.name();
    if !backing.fence().unwrap_or(false) {
        tracing::warn!(
            volume,
            "operations of a daemon that was killed are still in flight: until they end, what needs the device waits"
        );
        while !backing.fence().unwrap_or(false) {
            std::thread::sleep(STEP);
        }
        tracing::info!(volume, "the last operation of the killed daemon has ended");
    }
    settled(hub, served.id);
}

fn settled(hub: &Hub, volume: VolumeId) {
    hub.links.iter().for_each(|link| hub.post(link, Mail::Event(Event::Settled { volume })));
}

/// Waits until a device is open, and lets it be used if it is the one that was served before.
fn come(hub: &Hub, served: &Served, opening: &Opening, hold: DeviceHold) {
    let opened = loop {
        if let Some(opened) = opening.wait(LOOK) {
            break opened;
        }
    };
    let volume = served.name();
    let taken = opened.map_err(|error| error.to_string()).and_then(|backing| take(hub, served, backing));
    served.set_opened();
    drop(hold);
    match taken {
        Ok(backing) => {
            tracing::info!(volume, "its device has been opened");
            settle(hub, served, &backing);
        }
        Err(why) => {
            tracing::error!(
                volume,
                "its device cannot be had: {why}; what was acknowledged is held. Mend that, then type 'holdfastctl volume \
                 reopen {volume}'"
            );
            // Operations find it gone from here on.
            settled(hub, served.id);
        }
    }
}

fn take(hub: &Hub, served: &Served, backing: Backing) -> Result<Arc<Backing>, String> {
    reopen::is_as_before(served, &backing)?;
    let backing = Arc::new(backing);
    let settings = hub.settings_of(served);
    origins::check(&settings, Some(&backing), &hub.settings).map_err(|error| error.to_string())?;
    hub.claim_domain(served, backing.domain_key()).map_err(|error| error.to_string())?;
    let (volume, device) = (served.id, Some(Arc::clone(&backing)));
    let mail = |token, _| Mail::Device { token, volume, backing: device.clone() };
    reopen::all_done(hub.ask_each(volume, mail), hub.links.len()).map_err(|error| error.to_string())?;
    // An earlier daemon put its mark on it; it may have been taken off by hand.
    if let Some(warning) = origins::mark(&settings, device.as_ref(), &hub.settings) {
        tracing::warn!("{warning}");
    }
    served.put_backing(device);
    Ok(backing)
}
