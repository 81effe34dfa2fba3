//! How long a start waits for its devices.

use super::end::Signals;
use super::error::StartError;
use crate::config::VolumeSettings;
use crate::device::{Backing, BackingError, Opening};
use crate::service;
use std::time::{Duration, Instant};

/// A device that is known from before is waited for so long: to open one takes no time that anybody would notice.
const SILENT: Duration = Duration::from_secs(1);
/// How often it is said what is waited for.
const SAID: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);

/// A start that waits for its devices, which it has begun to open at one time.
pub(super) struct Wait<'a> {
    signals: &'a Signals,
    begun: Instant,
    said: Instant,
}

impl Wait<'_> {
    /// Begins now.
    pub(super) fn begin(signals: &Signals) -> Wait<'_> {
        let now = Instant::now();
        Wait { signals, begun: now, said: now }
    }

    /// The volume's backing, or why there is none. Nothing if it is `known` and does not answer.
    ///
    /// # Errors
    /// [`StartError::Interrupted`]: the daemon is told to end.
    pub(super) fn for_one(
        &mut self,
        opening: &Opening,
        volume: &VolumeSettings,
        known: bool,
    ) -> Result<Option<Result<Backing, BackingError>>, StartError> {
        loop {
            if let Some(opened) = opening.wait(STEP) {
                return Ok(Some(opened));
            }
            if known && self.begun.elapsed() >= SILENT {
                return Ok(None);
            }
            let (name, path) = (&volume.name, opening.path());
            if self.signals.wants_end() {
                return Err(StartError::Interrupted { volume: name.clone(), path: path.to_owned() });
            }
            if self.said.elapsed() >= SAID {
                self.said = Instant::now();
                let waited = self.begun.elapsed().as_secs();
                let text =
                    format!("waiting for {} of volume '{name}' to be opened: {waited} s", path.display());
                service::status(&text);
                tracing::warn!("{text}; mend it or the way to it, or end this with SIGTERM");
            }
        }
    }
}
