//! The thread that looks at the volumes for what somebody wants to be told of.

use super::hub::Hub;
use crate::events::{Kind, Watch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks. The reactors publish more often; what comes and goes in between shows in what they count.
const LOOK: Duration = Duration::from_millis(200);

/// Starts it. It looks a last time when `stop` is set, and ends.
pub(super) fn start(hub: Arc<Hub>, stop: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("holdfast-events".to_owned()).spawn(move || {
        let mut watches = BTreeMap::new();
        while !stop.load(Ordering::Acquire) {
            look(&hub, &mut watches);
            std::thread::sleep(LOOK);
        }
        look(&hub, &mut watches);
    })
}

/// By the serial numbers of the volumes: one that comes in another's place is watched anew.
fn look(hub: &Hub, watches: &mut BTreeMap<u64, Watch>) {
    let table = hub.table();
    watches.retain(|serial, _| table.iter().any(|served| served.serial == *serial));
    for served in table.iter() {
        let stats = hub.stats(served.id);
        let news: Vec<Kind> = watches.entry(served.serial).or_default().look(&stats);
        news.into_iter().for_each(|kind| hub.tell(kind, served, &stats));
    }
}
