//! Which volumes there are: a place for each, by number. Volumes come and go; whoever looks keeps what he saw.

use super::map::Sheet;
use super::volumes::Volume;
use crate::admin::BackendError;
use crate::config::VolumeSettings;
use crate::device::{Backing, Faults, Thin};
use holdfast_engine::{DomainId, VolumeId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What operators and clients are told of a volume, apart from what changes.
pub(super) struct Served {
    pub(super) id: VolumeId,
    /// No other volume has it, whatever its place or name.
    pub(super) serial: u64,
    /// As they were when it came: what of them can change is in the settings in force.
    pub(super) settings: VolumeSettings,
    /// None while its device is let go of.
    backing: Mutex<Option<Arc<Backing>>>,
    /// It grows, its device is opened again, or it is about to go: see [`DeviceHold`].
    changing: AtomicBool,
    pub(super) domain: DomainId,
    pub(super) domain_owner: u32,
    pub(super) bytes: Arc<AtomicU64>,
    /// What it can grow to while the daemon runs.
    pub(super) bytes_max: u64,
    pub(super) block_bytes: u32,
    pub(super) direct: bool,
    pub(super) identity: String,
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) thin: Option<Arc<Thin>>,
    /// Its device was not open when the daemon began to serve, and is not yet.
    unopened: AtomicBool,
    /// Of its map, in the order of the reactors.
    pub(super) sheets: Vec<Sheet>,
    leaving: AtomicBool,
}

impl Served {
    pub(super) fn new(volume: &Volume, sheets: Vec<Sheet>) -> Served {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        Served {
            id: volume.id,
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            settings: volume.settings.clone(),
            backing: Mutex::new(volume.backing().cloned()),
            changing: AtomicBool::new(false),
            domain: volume.domain,
            domain_owner: volume.domain_owner,
            bytes: Arc::new(AtomicU64::new(volume.device.bytes)),
            bytes_max: volume.bytes_max(),
            block_bytes: volume.device.block_bytes,
            direct: volume.device.direct,
            identity: volume.device.identity.clone(),
            faults: volume.faults.clone(),
            thin: volume.thin().cloned(),
            unopened: AtomicBool::new(volume.backing().is_none()),
            sheets,
            leaving: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Keeps others from changing its device, or taking it away, until that is dropped, however long its disk takes.
    pub(super) fn change_device(self: &Arc<Served>) -> Result<DeviceHold, BackendError> {
        let busy = |what: String| BackendError::Busy {
            what,
            remedy: "Nothing was changed. Do it again when that is done.".to_owned(),
        };
        let name = self.name();
        if self.changing.swap(true, Ordering::Acquire) {
            let what = "is growing, its device is being opened, or it is being removed";
            return Err(busy(format!("Volume '{name}' {what}.")));
        }
        let hold = DeviceHold(Arc::clone(self));
        // Whoever removed it has let go of this: whoever found it before that finds it gone.
        if self.is_leaving() {
            return Err(busy(format!("Volume '{name}' is being removed, or was.")));
        }
        Ok(hold)
    }

    /// Its device, unless it is let go of.
    pub(super) fn backing(&self) -> Option<Arc<Backing>> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another description of its device in the place of the one that it had, which is closed here, not on a reactor.
    pub(super) fn put_backing(&self, backing: Option<Arc<Backing>>) {
        let before =
            std::mem::replace(&mut *self.backing.lock().unwrap_or_else(PoisonError::into_inner), backing);
        drop(before);
    }

    /// Whether its device has been waited for since the daemon began to serve.
    pub(super) fn is_unopened(&self) -> bool {
        self.unopened.load(Ordering::Acquire)
    }

    /// Its device is waited for no more, whatever came of it.
    pub(super) fn set_opened(&self) {
        self.unopened.store(false, Ordering::Release);
    }

    /// Whether it lets nobody in any more, because it is about to be removed.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(super) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Release);
    }
}

/// Nobody else changes a volume's device while it is there.
pub(super) struct DeviceHold(Arc<Served>);

impl DeviceHold {
    pub(super) fn is_of(&self, served: &Served) -> bool {
        self.0.serial == served.serial
    }
}

impl Drop for DeviceHold {
    fn drop(&mut self) {
        self.0.changing.store(false, Ordering::Release);
    }
}

/// All volumes at one time.
#[derive(Clone, Default)]
pub(super) struct Table {
    places: Vec<Option<Arc<Served>>>,
    /// Places that volumes have left, the longest ago first.
    vacated: Vec<u16>,
}

impl Table {
    /// The volumes that the daemon starts with; places between them are vacant.
    pub(super) fn of(volumes: impl IntoIterator<Item = Served>) -> Table {
        let mut table = Table::default();
        volumes.into_iter().for_each(|served| table.put(Arc::new(served)));
        let vacant = (0..).zip(&table.places).filter(|(_, place)| place.is_none());
        table.vacated = vacant.map(|(number, _)| number).collect();
        table
    }

    pub(super) fn get(&self, id: VolumeId) -> Option<&Arc<Served>> {
        self.places.get(usize::from(id.0))?.as_ref()
    }

    /// In the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.places.iter().flatten()
    }

    pub(super) fn named(&self, name: &str) -> Option<&Arc<Served>> {
        self.iter().find(|served| served.name() == name)
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    /// Where another volume can go, of `places` in all: where none has ever been, else where none has been for longest, so
    /// that a number which somebody still has in hand does not soon mean another volume.
    pub(super) fn vacancy(&self, places: usize) -> Option<VolumeId> {
        // Places of volumes that did not come are not vacated, and so not found.
        let next = u16::try_from(self.places.len()).ok().filter(|_| self.places.len() < places);
        next.or_else(|| self.vacated.first().copied()).map(VolumeId)
    }

    pub(super) fn put(&mut self, served: Arc<Served>) {
        let place = usize::from(served.id.0);
        self.places.resize(self.places.len().max(place + 1), None);
        self.vacated.retain(|&vacated| vacated != served.id.0);
        self.places[place] = Some(served);
    }

    /// Nobody gets a place any more: some reactor has a volume in it, and others have not.
    pub(super) fn spoil(&mut self, id: VolumeId) {
        let place = usize::from(id.0);
        self.places.resize(self.places.len().max(place + 1), None);
        self.vacated.retain(|&vacated| vacated != id.0);
    }

    pub(super) fn take(&mut self, id: VolumeId) {
        self.places[usize::from(id.0)] = None;
        self.vacated.push(id.0);
    }
}
