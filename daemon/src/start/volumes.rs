//! Opens what stores the volumes, and divides them into flush domains.

use super::error::StartError;
use super::patience::Wait;
use crate::config::{self, Settings, VolumeSettings};
use crate::device::{
    Backing, BackingError, BackingKind, BackingSpec, Directness, DomainKey, Faults, Opening, Thin,
};
use holdfast_engine::{DomainId, Geometry, VolumeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long an operator waits for a device to be opened: three times as long as a killed daemon's lock is waited for, and
/// less than the 30 s that his connection lasts.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// Every volume can grow by so much: 64 GiB.
const GROWTH_LEAST: u64 = 64 << 30;
/// What a volume can have, as in the configuration: 1 PiB.
const VOLUME_BYTES_MAX: u64 = 1 << 50;

/// What has to be known of a volume's device before anybody is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) bytes: u64,
    pub(super) block_bytes: u32,
    /// Whether it bypasses the page cache.
    pub(super) direct: bool,
    /// Who it is ([`crate::device::Identity`]).
    pub(super) identity: String,
    pub(super) domain: DomainKey,
}

impl Device {
    fn of(backing: &Backing) -> Device {
        Device {
            bytes: backing.size(),
            block_bytes: backing.block_bytes(),
            direct: matches!(backing.directness(), Directness::Direct(_)),
            identity: backing.identity().name.clone(),
            domain: backing.domain_key(),
        }
    }
}

/// A volume that can be served.
pub(super) struct Volume {
    pub(super) id: VolumeId,
    pub(super) settings: VolumeSettings,
    pub(super) device: Device,
    pub(super) access: Access,
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) domain: DomainId,
    pub(super) domain_owner: u32,
}

/// What there is of a volume's device.
pub(super) enum Access {
    /// It is open.
    Open(Arc<Backing>),
    /// It does not answer yet, and is known from before; taken by whoever waits for it.
    Coming(Mutex<Option<Opening>>),
}

impl Volume {
    /// Its device, if it is open.
    pub(super) fn backing(&self) -> Option<&Arc<Backing>> {
        match &self.access {
            Access::Open(backing) => Some(backing),
            Access::Coming(_) => None,
        }
    }

    /// Whether its device may be used at once: it is open, and no operation of an earlier daemon is in flight on it.
    pub(super) fn is_fenced(&self) -> bool {
        self.backing().is_some_and(|backing| backing.is_fenced())
    }

    pub(super) fn thin(&self) -> Option<&Arc<Thin>> {
        self.backing()?.thin()
    }

    /// What it can grow to while the daemon runs: its dirty index is made for that, in memory that is touched only where
    /// lines are dirty. A thin limit has a map of the file as it was.
    pub(super) fn bytes_max(&self) -> u64 {
        let size = self.device.bytes;
        if self.thin().is_some() {
            return size;
        }
        (size * 4).max(size + GROWTH_LEAST).min(VOLUME_BYTES_MAX).max(size)
    }

    /// The volume's shape, as one reactor has it.
    pub(super) fn geometry(&self, settings: &Settings, reactor: u32) -> Geometry {
        self.geometry_of(self.device.bytes, settings, reactor)
    }

    /// Its shape with `volume_bytes`.
    pub(super) fn geometry_of(&self, volume_bytes: u64, settings: &Settings, reactor: u32) -> Geometry {
        Geometry {
            volume_bytes,
            block_bytes: self.device.block_bytes,
            line_bytes: settings.arena.line_bytes,
            stripe_bytes: settings.arena.stripe_bytes,
            reactors: settings.daemon.reactors,
            reactor,
        }
    }
}

/// What an arena and a ledger know of a volume's device, by the volume's name.
pub(super) type Remembered = HashMap<String, Device>;

/// Opens the volumes of the settings under these numbers, all at once, and waits for each as [`Wait`] says. With
/// `remembered`, which an arena that is taken over comes with, files that a dead daemon's operations still hold are opened
/// without their locks, and a volume that is known is served before its device answers. The domains that they are in come along.
pub(super) fn open(
    settings: &Settings,
    numbers: &[VolumeId],
    remembered: Option<&Remembered>,
    wait: &mut Wait<'_>,
) -> Result<(Vec<Volume>, Vec<DomainKey>), StartError> {
    let late = remembered.is_some();
    let begin = |volume: &VolumeSettings| {
        Opening::begin(spec(volume), late)
            .map_err(|source| StartError::Backing { volume: volume.name.clone(), source })
    };
    let openings: Vec<Opening> = settings.volumes.iter().map(begin).collect::<Result<_, _>>()?;
    let mut domains: Vec<DomainKey> = Vec::new();
    let mut volumes = Vec::new();
    for ((volume, &id), opening) in settings.volumes.iter().zip(numbers).zip(openings) {
        let known = remembered.and_then(|all| all.get(&volume.name)).filter(|_| may_come_later(volume));
        let opened = match wait.for_one(&opening, volume, known.is_some())? {
            Some(opened) => Ok(opened.map_err(|source| failed(volume, source))?),
            None => Err((opening, known.expect("only what is known is not waited for").clone())),
        };
        volumes.push(made(settings, volume, id, opened, |key| {
            domains.iter().position(|&known| known == key).unwrap_or_else(|| {
                domains.push(key);
                domains.len() - 1
            })
        })?);
    }
    Ok((volumes, domains))
}

/// A thin limit is a map of the file, which nobody knows before it is open.
fn may_come_later(volume: &VolumeSettings) -> bool {
    !matches!(volume.backing, config::Backing::File { thin_limit_bytes: Some(_), .. })
}

fn failed(volume: &VolumeSettings, source: BackingError) -> StartError {
    StartError::Backing { volume: volume.name.clone(), source }
}

/// Opens one while the daemon runs; `place` says which number its domain has.
pub(super) fn open_one(
    settings: &Settings,
    volume: &VolumeSettings,
    id: VolumeId,
    place: impl FnOnce(DomainKey) -> usize,
) -> Result<Volume, StartError> {
    let backing = open_soon(&spec(volume)).map_err(|source| failed(volume, source))?;
    made(settings, volume, id, Ok(backing), place)
}

/// Opens a backing while somebody waits for it who cannot wait for ever.
pub(super) fn open_soon(spec: &BackingSpec) -> Result<Backing, BackingError> {
    let opening = Opening::begin(spec.clone(), false)?;
    opening
        .wait(SOON)
        .unwrap_or_else(|| Err(BackingError::Silent { path: spec.path.clone(), waited_s: SOON.as_secs() }))
}

fn made(
    settings: &Settings,
    volume: &VolumeSettings,
    id: VolumeId,
    opened: Result<Backing, (Opening, Device)>,
    place: impl FnOnce(DomainKey) -> usize,
) -> Result<Volume, StartError> {
    let (device, access) = match opened {
        Ok(backing) => (Device::of(&backing), Access::Open(Arc::new(backing))),
        Err((opening, known)) => (known, Access::Coming(Mutex::new(Some(opening)))),
    };
    if device.block_bytes > settings.arena.line_bytes {
        return Err(StartError::Block { volume: volume.name.clone(), block_bytes: device.block_bytes });
    }
    let domain = u16::try_from(place(device.domain)).expect("no more than volumes");
    Ok(Volume {
        id,
        settings: volume.clone(),
        device,
        access,
        faults: settings.debug.fault_injection.then(Faults::new),
        domain: DomainId(domain),
        domain_owner: u32::from(domain) % settings.daemon.reactors,
    })
}

/// What the settings say of a volume's backing.
pub(super) fn spec(volume: &VolumeSettings) -> BackingSpec {
    let read_only = volume.read_only;
    match &volume.backing {
        config::Backing::Block { path } => BackingSpec {
            kind: BackingKind::Block,
            path: path.clone(),
            size: None,
            create: false,
            buffered_allowed: false,
            thin_limit: None,
            read_only,
        },
        config::Backing::File { path, size_bytes, create, thin_limit_bytes, buffered } => BackingSpec {
            kind: BackingKind::File,
            path: path.clone(),
            size: *size_bytes,
            create: *create,
            buffered_allowed: *buffered,
            thin_limit: *thin_limit_bytes,
            read_only,
        },
    }
}
