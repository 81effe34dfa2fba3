//! Marks on backings whose newest data is in this daemon's cache, and respect for those of others (mechanism M13).

use super::error::StartError;
use super::hub::Served;
use super::volumes::Volume;
use crate::config::Settings;
use crate::device::OriginMark;
use std::path::{Path, PathBuf};

/// Refuses a backing that another daemon's cache has newer data of. What the same ledger knows, the ledger judges.
pub(super) fn check(volumes: &[Volume], settings: &Settings) -> Result<(), StartError> {
    let ours = state_dir(settings);
    for volume in volumes {
        let path = path_of(volume);
        let failed =
            |source| StartError::Mark { volume: volume.settings.name.clone(), path: path.clone(), source };
        let mark = volume.backing.origin_mark().map_err(failed)?;
        if let Some(OriginMark { volume: known_as, state_dir }) = mark.filter(|mark| mark.state_dir != ours) {
            let (name, remedy) = (volume.settings.name.clone(), volume.backing.origin_remedy());
            return Err(StartError::StaleOrigin { volume: name, path, state_dir, known_as, remedy });
        }
    }
    Ok(())
}

/// Marks all that can be written to, before the first acknowledgement.
pub(super) fn mark(volumes: &[Volume], settings: &Settings, warnings: &mut Vec<String>) {
    let state_dir = state_dir(settings);
    for volume in volumes.iter().filter(|volume| !volume.settings.read_only) {
        let (name, path) = (volume.settings.name.clone(), path_of(volume));
        let mark = OriginMark { volume: name.clone(), state_dir: state_dir.clone() };
        match volume.backing.mark_origin(&mark) {
            Ok(true) => {}
            Ok(false) => warnings.push(format!(
                "volume '{name}': nothing on this host can say of {} that its newest data is in a cache; a second daemon \
                 over it would not be refused after a crash of this one",
                path.display()
            )),
            // A full disk must not keep its volume from being served.
            Err(error) => warnings.push(format!(
                "volume '{name}': {} cannot be marked as having newer data in a cache: {error}",
                path.display()
            )),
        }
    }
}

/// Everything of the volume is on stable media. Where its device is let go of, the mark stays: nobody can take it off.
pub(super) fn clear(served: &Served) {
    let backing = served.backing().filter(|_| !served.settings.read_only);
    if let Some(Err(error)) = backing.map(|backing| backing.clear_origin()) {
        tracing::warn!(volume = served.settings.name, %error, "the mark of a cached backing stays on it");
    }
}

fn path_of(volume: &Volume) -> PathBuf {
    match &volume.settings.backing {
        crate::config::Backing::File { path, .. } | crate::config::Backing::Block { path } => path.clone(),
    }
}

/// As every daemon would find it.
fn state_dir(settings: &Settings) -> PathBuf {
    let path: &Path = &settings.daemon.state_dir;
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
