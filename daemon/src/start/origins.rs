//! Marks on backings whose newest data is in this daemon's cache, and respect for those of others (mechanism M13).

use super::error::StartError;
use super::table::Served;
use crate::config::{Settings, VolumeSettings};
use crate::device::{Backing, OriginMark};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Refuses a backing that another daemon's cache has newer data of. What the same ledger knows, the ledger judges. What is not
/// open yet is looked at when it is.
pub(super) fn check(
    volume: &VolumeSettings,
    backing: Option<&Arc<Backing>>,
    settings: &Settings,
) -> Result<(), StartError> {
    let Some(backing) = backing else { return Ok(()) };
    let (ours, path) = (state_dir(settings), volume.backing.path().to_owned());
    let failed = |source| StartError::Mark { volume: volume.name.clone(), path: path.clone(), source };
    let mark = backing.origin_mark().map_err(failed)?;
    if let Some(OriginMark { volume: known_as, state_dir }) = mark.filter(|mark| mark.state_dir != ours) {
        let (name, remedy) = (volume.name.clone(), backing.origin_remedy());
        return Err(StartError::StaleOrigin { volume: name, path, state_dir, known_as, remedy });
    }
    Ok(())
}

/// Marks a volume that can be written to, before its first acknowledgement. A warning, if there is no mark on it after that. One
/// that an earlier daemon served has its mark.
pub(super) fn mark(
    volume: &VolumeSettings,
    backing: Option<&Arc<Backing>>,
    settings: &Settings,
) -> Option<String> {
    let backing = backing.filter(|_| !volume.read_only)?;
    let (name, path) = (volume.name.clone(), volume.backing.path().to_owned());
    let mark = OriginMark { volume: name.clone(), state_dir: state_dir(settings) };
    match backing.mark_origin(&mark) {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "volume '{name}': nothing on this host can say of {} that its newest data is in a cache; a second daemon \
             over it would not be refused after a crash of this one",
            path.display()
        )),
        // A full disk must not keep its volume from being served.
        Err(error) => Some(format!(
            "volume '{name}': {} cannot be marked as having newer data in a cache: {error}",
            path.display()
        )),
    }
}

/// Everything of the volume is on stable media. Where its device is let go of, the mark stays: nobody can take it off.
pub(super) fn clear(served: &Served) {
    if let Some(backing) = served.backing() {
        clear_from(&served.settings, &backing);
    }
}

/// The same of a volume that has not come after all.
pub(super) fn clear_from(settings: &VolumeSettings, backing: &Backing) {
    if settings.read_only {
        return;
    }
    if let Err(error) = backing.clear_origin() {
        tracing::warn!(volume = settings.name, %error, "the mark of a cached backing stays on it");
    }
}

/// As every daemon would find it.
fn state_dir(settings: &Settings) -> PathBuf {
    let path: &Path = &settings.daemon.state_dir;
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
