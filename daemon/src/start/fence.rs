//! Volumes that wait for the operations of a daemon that was killed (mechanism M1).
//!
//! Such a volume serves what is in the cache and needs no device, and the others serve as ever. How long it takes is the
//! device's affair: the lock goes with the last operation.

use super::volumes::Volume;
use crate::reactor::{Link, Mail};
use holdfast_engine::Event;
use std::sync::Arc;
use std::time::Duration;

/// How often the lock is tried.
const STEP: Duration = Duration::from_millis(10);

/// Tells the reactors when a volume's device may be used, if that is not yet so. The thread ends with the process, if the
/// device never does.
pub(super) fn wait_for(volume: &Volume, links: &Arc<[Link]>) {
    if volume.backing.is_fenced() {
        return;
    }
    tracing::warn!(
        volume = volume.settings.name,
        "operations of a daemon that was killed are still in flight: until they end, what needs the device waits"
    );
    let (backing, links, id) = (Arc::clone(&volume.backing), Arc::clone(links), volume.id);
    let name = volume.settings.name.clone();
    let wait = move || {
        while !backing.fence().unwrap_or(false) {
            std::thread::sleep(STEP);
        }
        tracing::info!(volume = name, "the last operation of the killed daemon has ended");
        for link in links.iter() {
            let mut mail = Mail::Event(Event::Settled { volume: id });
            while let Err(back) = link.inbox.push(mail) {
                mail = back;
                std::thread::sleep(STEP);
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("holdfast-fence".to_owned()).spawn(wait) {
        tracing::error!(%error, "no thread to wait for a volume's lock: it serves what is in the cache only");
    }
}
