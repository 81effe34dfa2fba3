//! A volume that grows: first its device, then the record of it, then the reactors; who connects later sees it.

use super::hub::Hub;
use crate::admin::{Answers, BackendError};
use holdfast_engine::{Command, VolumeId};
use std::sync::atomic::Ordering;

fn refused(what: String, remedy: &str) -> BackendError {
    BackendError::Refused { what, remedy: format!("Nothing was changed. {remedy}") }
}

impl Hub {
    /// Grows a volume to `bytes`. Returns its size before, and the reactors' answers if anything was done.
    pub(super) fn grow_volume(
        &self,
        volume: VolumeId,
        bytes: u64,
        dry_run: bool,
    ) -> Result<(u64, Option<Answers>), BackendError> {
        let served = self.served(volume)?;
        let _growing = served.change_device()?;
        let (name, before) = (&served.settings.name, served.bytes.load(Ordering::Acquire));
        if served.settings.read_only {
            return Err(refused(format!("Volume '{name}' is read only."), "See its 'read_only'."));
        }
        if served.thin.is_some() {
            let what = format!(
                "Volume '{name}' has a thin limit, whose map of blocks is as large as the volume was."
            );
            return Err(refused(what, "Change its 'size' in the configuration and start the daemon again."));
        }
        let line = u64::from(self.settings.arena.line_bytes);
        if !before.is_multiple_of(line) {
            let what = format!("Volume '{name}' ends inside a line of {line} bytes.");
            return Err(refused(what, "Change its 'size' in the configuration and start the daemon again."));
        }
        if bytes > served.bytes_max {
            let most = served.bytes_max;
            let what = format!(
                "Volume '{name}' can grow to {most} bytes while the daemon runs: its index is made for that."
            );
            return Err(refused(what, "Change its 'size' in the configuration and start the daemon again."));
        }
        let device =
            |error: crate::device::GrowError| refused(format!("Volume '{name}': {error}."), error.remedy());
        let backing = served.backing().ok_or_else(|| {
            let remedy = format!("Open it with 'holdfastctl volume reopen {name}' first.");
            refused(format!("The device of volume '{name}' is let go of."), &remedy)
        })?;
        backing.check_growth(bytes).map_err(device)?;
        if dry_run {
            return Ok((before, None));
        }
        backing.grow(bytes).map_err(device)?;
        self.book.resize(volume, bytes);
        let answers = self.ask(volume, &Command::Grow { bytes })?;
        served.bytes.store(bytes, Ordering::Release);
        Ok((before, Some(answers)))
    }
}
