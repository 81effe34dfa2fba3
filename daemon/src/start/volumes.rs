//! Opens what stores the volumes, and divides them into flush domains.

use super::error::StartError;
use crate::config::{self, Settings, VolumeSettings};
use crate::device::{Backing, BackingKind, BackingSpec, DomainKey, Faults};
use holdfast_engine::{DomainId, Geometry, VolumeId};
use std::sync::Arc;

/// Every volume can grow by so much: 64 GiB.
const GROWTH_LEAST: u64 = 64 << 30;
/// What a volume can have, as in the configuration: 1 PiB.
const VOLUME_BYTES_MAX: u64 = 1 << 50;

/// A volume that is open.
pub(super) struct Volume {
    pub(super) id: VolumeId,
    pub(super) settings: VolumeSettings,
    pub(super) backing: Arc<Backing>,
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) domain: DomainId,
    pub(super) domain_owner: u32,
}

impl Volume {
    /// What it can grow to while the daemon runs: its dirty index is made for that, in memory that is touched only where
    /// lines are dirty. A thin limit has a map of the file as it was.
    pub(super) fn bytes_max(&self) -> u64 {
        let size = self.backing.size();
        if self.backing.thin().is_some() {
            return size;
        }
        (size * 4).max(size + GROWTH_LEAST).min(VOLUME_BYTES_MAX).max(size)
    }

    /// The volume's shape, as one reactor has it.
    pub(super) fn geometry(&self, settings: &Settings, reactor: u32) -> Geometry {
        self.geometry_of(self.backing.size(), settings, reactor)
    }

    /// Its shape with `volume_bytes`.
    pub(super) fn geometry_of(&self, volume_bytes: u64, settings: &Settings, reactor: u32) -> Geometry {
        Geometry {
            volume_bytes,
            block_bytes: self.backing.block_bytes(),
            line_bytes: settings.arena.line_bytes,
            stripe_bytes: settings.arena.stripe_bytes,
            reactors: settings.daemon.reactors,
            reactor,
        }
    }
}

/// Opens the volumes of the settings under these numbers. With `late`, files that a dead daemon's operations still hold are
/// opened without their locks. The domains that they are in come along.
pub(super) fn open(
    settings: &Settings,
    numbers: &[VolumeId],
    late: bool,
) -> Result<(Vec<Volume>, Vec<DomainKey>), StartError> {
    let mut domains: Vec<DomainKey> = Vec::new();
    let mut volumes = Vec::new();
    for (volume, &id) in settings.volumes.iter().zip(numbers) {
        volumes.push(open_one(settings, volume, id, late, |key| {
            domains.iter().position(|&known| known == key).unwrap_or_else(|| {
                domains.push(key);
                domains.len() - 1
            })
        })?);
    }
    Ok((volumes, domains))
}

/// Opens one; `place` says which number its domain has.
pub(super) fn open_one(
    settings: &Settings,
    volume: &VolumeSettings,
    id: VolumeId,
    late: bool,
    place: impl FnOnce(DomainKey) -> usize,
) -> Result<Volume, StartError> {
    let spec = spec(volume);
    let backing = if late { Backing::open_late(&spec) } else { Backing::open(&spec) }
        .map_err(|source| StartError::Backing { volume: volume.name.clone(), source })?;
    if backing.block_bytes() > settings.arena.line_bytes {
        let (volume, block_bytes) = (volume.name.clone(), backing.block_bytes());
        return Err(StartError::Block { volume, block_bytes });
    }
    let domain = u16::try_from(place(backing.domain_key())).expect("no more than volumes");
    Ok(Volume {
        id,
        settings: volume.clone(),
        backing: Arc::new(backing),
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
