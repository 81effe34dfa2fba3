//! A volume's device, let go of and opened again: for a file system that must be unmounted to be mended, and for a device that
//! came back, perhaps under another path. A volume is known by its device's identity (M13), not by its path.

use super::added;
use super::hub::Hub;
use super::table::{DeviceHold, Served};
use super::volumes;
use crate::admin::{Answers, BackendError};
use crate::config::{Settings, VolumeSettings};
use crate::device::{self, Backing, BackingSpec, Directness, DomainKey};
use crate::reactor::Mail;
use holdfast_engine::{Answer, ByteRange, Command, Event, VolumeId};
use holdfast_policy::ClassSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

fn refused(what: String, remedy: impl Into<String>) -> BackendError {
    BackendError::Refused { what, remedy: remedy.into() }
}

impl Hub {
    /// Closes a volume's device. What is in the cache is served and held as before; what needs the device finds it gone.
    pub(super) fn release_device(&self, volume: VolumeId) -> Result<(), BackendError> {
        let (served, _closing) = self.movable(volume)?;
        self.let_go(&served)
    }

    /// Opens a volume's device again, at `path` if it has moved, and has everything written that waits for it. Returns the
    /// path.
    pub(super) fn reopen_device(
        &self,
        volume: VolumeId,
        path: Option<PathBuf>,
        dry_run: bool,
    ) -> Result<PathBuf, BackendError> {
        let (served, _opening) = self.movable(volume)?;
        let mut settings = self.settings_of(&served);
        if let Some(path) = path {
            settings.backing = settings.backing.moved_to(path);
        }
        let path = settings.backing.path().to_owned();
        self.look(&served, &path)?;
        if dry_run {
            return Ok(path);
        }
        // Its lock is on the description that is about to be closed.
        self.let_go(&served)?;
        let backing = open(&served, &settings)?;
        let changing = self.changing_at_last();
        self.claim_domain(&served, backing.domain_key())?;
        self.take(&served, Arc::new(backing))?;
        self.moved(&settings);
        drop(changing);
        // Nobody waits for the answers: the letters are in the boxes, and are never refused.
        let again = Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY };
        let _answers = self.ask(volume, &again);
        Ok(path)
    }

    /// The volume, if its device can be exchanged without harm to another volume.
    fn movable(&self, volume: VolumeId) -> Result<(Arc<Served>, DeviceHold), BackendError> {
        let served = self.served(volume)?;
        // Whoever comes onto its disk waits for this: from here on it is known who is there.
        let hold = served.change_device()?;
        let name = served.name();
        let restart = "Nothing was changed. Mend it, write its path into the configuration, and start the daemon again: the \
                       cache outlives it.";
        let table = self.table();
        let beside = |other: &&Arc<Served>| other.domain == served.domain && other.id != volume;
        if let Some(other) = table.iter().find(beside) {
            let other = other.name();
            let what = format!("Volumes '{name}' and '{other}' are on one disk, and are flushed together.");
            return Err(refused(what, restart));
        }
        if served.backing().is_some_and(|backing| !backing.is_fenced()) {
            let what = format!(
                "Operations of a daemon that was killed are still in flight on the device of '{name}'."
            );
            return Err(BackendError::Busy { what, remedy: restart.to_owned() });
        }
        Ok((served, hold))
    }

    /// A look at what is to be opened, before anything is closed.
    fn look(&self, served: &Served, path: &Path) -> Result<(), BackendError> {
        let name = &served.settings.name;
        let at = path.to_owned();
        let found = device::in_time(volumes::SOON, move || device::identify(&at)).map_err(|error| {
            let what = format!("'{}' cannot be opened for volume '{name}': {error}.", path.display());
            refused(what, "Nothing was changed. Bring the device back, or say where it is now with --path.")
        })?;
        let (identity, bytes) = found;
        let wanted = served.bytes.load(Ordering::Acquire);
        if identity.name != served.identity {
            let what = format!(
                "'{}' is not the device of volume '{name}': it is '{}', and the volume is on '{}'.",
                path.display(),
                identity.name,
                served.identity
            );
            let remedy = format!(
                "Nothing was changed. Give the path of that device; to move to another one, save what is held with \
                 'holdfastctl export {name} --dirty --to FILE'."
            );
            return Err(refused(what, remedy));
        }
        if bytes < wanted {
            let what = format!("'{}' has {bytes} bytes, and volume '{name}' has {wanted}.", path.display());
            return Err(refused(what, "Nothing was changed. Let the device have its size again."));
        }
        Ok(())
    }

    /// The reactors close it first, so that its last reference goes here and not there.
    fn let_go(&self, served: &Served) -> Result<(), BackendError> {
        let volume = served.id;
        let answers = self.ask_each(volume, |token, _| Mail::Device { token, volume, backing: None });
        let done = all_done(answers, self.links.len());
        served.put_backing(None);
        done
    }

    /// The volume's flush domain is the disk that its device is on now, if no other volume has come onto that meanwhile.
    pub(super) fn claim_domain(&self, served: &Served, key: DomainKey) -> Result<(), BackendError> {
        let table = self.table();
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |other: &&Arc<Served>| {
            other.domain != served.domain && domains[usize::from(other.domain.0)] == key
        };
        if let Some(other) = table.iter().find(taken) {
            let (name, other) = (served.name(), other.name());
            let what = format!(
                "The device of '{name}' is on the disk of '{other}' now, which is flushed by itself."
            );
            let remedy = "What was acknowledged is held. Write the new path into the configuration, and start the daemon \
                          again: the cache outlives it.";
            return Err(refused(what, remedy));
        }
        domains[usize::from(served.domain.0)] = key;
        Ok(())
    }

    /// Gives the reactors the device. What was written through the old description and not flushed may be gone with it (C7):
    /// that is said first, so that what is asked of them afterwards is about the new one.
    fn take(&self, served: &Served, backing: Arc<Backing>) -> Result<(), BackendError> {
        let volume = served.id;
        let owner = &self.links[served.domain_owner as usize];
        self.post(owner, Mail::Event(Event::DeviceChanged { domain: served.domain }));
        let mail = |token, _| Mail::Device { token, volume, backing: Some(Arc::clone(&backing)) };
        all_done(self.ask_each(volume, mail), self.links.len())?;
        served.put_backing(Some(backing));
        Ok(())
    }

    fn moved(&self, settings: &VolumeSettings) {
        let mut changed = Settings::clone(&self.in_force());
        let volume = changed.volumes.iter_mut().find(|volume| volume.name == settings.name);
        let volume = volume.expect("a volume that is served has settings");
        volume.backing = settings.backing.clone();
        let state_dir = &self.settings.daemon.state_dir;
        // A daemon that is killed is followed by one that looks for it there.
        if added::names(state_dir).contains(&volume.name)
            && let Err(error) = added::remember(state_dir, volume)
        {
            tracing::warn!(volume = volume.name, %error, "its new path could not be written down");
        }
        self.put_in_force(changed);
    }
}

/// Opens it as the settings say, and looks again: between the look and this it may have become another one.
fn open(served: &Served, settings: &VolumeSettings) -> Result<Backing, BackendError> {
    let name = &served.settings.name;
    let again = format!(
        "The volume is served without its device, and what was acknowledged is held. Mend that, then type 'holdfastctl volume \
         reopen {name}'."
    );
    let spec = BackingSpec { size: None, create: false, thin_limit: None, ..volumes::spec(settings) };
    let backing = volumes::open_soon(&spec).map_err(|error| {
        let what = format!("{error}. Operations that were in flight when it was closed must end first.");
        refused(what, again.clone())
    })?;
    is_as_before(served, &backing).map_err(|what| refused(what, again))?;
    Ok(backing)
}

/// Whether a backing can take the place of the device that a volume had; if not, what it is, in words.
pub(super) fn is_as_before(served: &Served, backing: &Backing) -> Result<(), String> {
    let direct = matches!(backing.directness(), Directness::Direct(_));
    let same = backing.identity().name == served.identity
        && backing.size() >= served.bytes.load(Ordering::Acquire)
        && backing.block_bytes() <= served.block_bytes
        && direct == served.direct;
    if same {
        return Ok(());
    }
    Err(format!(
        "'{}' is not as the device of volume '{}' was: '{}', {} bytes in blocks of {}, {}.",
        backing.path().display(),
        served.name(),
        backing.identity().name,
        backing.size(),
        backing.block_bytes(),
        if direct { "direct" } else { "through the page cache" }
    ))
}

pub(super) fn all_done(mut answers: Answers, reactors: usize) -> Result<(), BackendError> {
    for _ in 0..reactors {
        match answers.blocking_recv() {
            Some((_, Answer::Done)) => {}
            answer => {
                let what = format!("A reactor does not exchange the device: {answer:?}.");
                return Err(refused(what, "See 'holdfastctl status'; start the daemon again if it lasts."));
            }
        }
    }
    Ok(())
}
