//! Which volume of the configuration is which on record.

use super::error::RegisterError;
use super::facade::Ledger;
use super::rows;
use super::volume::Volume;
use holdfast_engine::VolumeId;
use holdfast_mutants::mutant;

impl Ledger {
    /// Connects the engines' number of a volume with what is on record of it. Durable with the next commit.
    ///
    /// `identity` names the device or file itself, never its path (serial and namespace; file system and inode).
    ///
    /// # Errors
    /// Name, identity or size contradict what is on record and not yet clean. Nothing is changed then.
    ///
    /// # Panics
    /// If `id` is registered already.
    pub fn register_volume(
        &mut self,
        id: VolumeId,
        name: &str,
        identity: &str,
        size: u64,
    ) -> Result<(), RegisterError> {
        assert!(!self.keys.contains_key(&id), "volume {id:?} is registered twice");
        if name.is_empty() || name.len() > rows::TEXT_MAX || size == 0 {
            return Err(RegisterError::Invalid { name: name.to_owned(), size });
        }
        let identity = rows::cut(identity);
        self.refuse_other_name(name, identity)?;
        let known = self.memory.volumes.iter_mut().find(|(_, volume)| volume.name == name);
        let key = match known {
            Some((&key, volume)) => {
                if adopt(volume, identity, size)? {
                    self.memory.touch_volume(key);
                }
                key
            }
            None => {
                let key = self.memory.volumes.last_key_value().map_or(1, |(&last, _)| last + 1);
                self.memory.volumes.insert(key, Volume::new(name, identity, size));
                self.memory.touch_volume(key);
                key
            }
        };
        self.keys.insert(id, key);
        Ok(())
    }

    /// Ends what [`register_volume`](Self::register_volume) began: the number may be another volume's from now on. The record
    /// stays, under the volume's name.
    ///
    /// # Panics
    /// If the volume is not registered, or a report of it waits.
    pub fn forget(&mut self, id: VolumeId) {
        assert!(self.asked.iter().all(|(_, volume, _)| *volume != id), "a report of volume {id:?} waits");
        assert!(self.keys.remove(&id).is_some(), "volume {id:?} is not registered");
    }

    /// What is on record of the device of the volume with this name: who it is, and its bytes.
    pub fn device_of(&self, name: &str) -> Option<(&str, u64)> {
        let volume = self.memory.volumes.values().find(|volume| volume.name == name)?;
        Some((&volume.identity, volume.size))
    }

    fn refuse_other_name(&self, name: &str, identity: &str) -> Result<(), RegisterError> {
        let same_device =
            |volume: &&Volume| volume.identity == identity && volume.name != name && !volume.is_idle();
        match self.memory.volumes.values().find(same_device) {
            None => Ok(()),
            Some(volume) => Err(RegisterError::OtherName {
                name: name.to_owned(),
                recorded: volume.name.clone(),
                identity: identity.to_owned(),
            }),
        }
    }
}

/// Takes a volume on record for the one that is configured, if nothing speaks against it. Returns whether its row changes.
fn adopt(volume: &mut Volume, identity: &str, size: u64) -> Result<bool, RegisterError> {
    if volume.identity != identity && !volume.is_idle() && !mutant!(OtherDeviceIsTaken) {
        return Err(RegisterError::OtherDevice {
            name: volume.name.clone(),
            recorded: volume.identity.clone(),
            found: identity.to_owned(),
            records: volume.not_stable.len() + volume.lost.len(),
            open: volume.mark.is_some(),
        });
    }
    let end = volume.not_stable.end().max(volume.lost.end());
    if end > size {
        return Err(RegisterError::Shrunk { name: volume.name.clone(), size, end });
    }
    let changes = volume.identity != identity || volume.size != size;
    identity.clone_into(&mut volume.identity);
    volume.size = size;
    Ok(changes)
}
