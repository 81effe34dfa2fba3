//! The configuration, read again: everything that differs is put in force, or nothing is.

use super::added;
use super::hub::Hub;
use crate::admin::{BackendError, ReloadView};
use crate::config::{self, Difference, Settings, VolumeSettings};
use holdfast_engine::Tuning;
use std::path::Path;

/// What the reactors need to know of a volume's settings.
pub(super) fn tuning(volume: &VolumeSettings) -> Tuning {
    Tuning {
        rules: volume.rules,
        flush_on_failure: volume.flush_on_failure,
        parked_flushes_max: volume.parked_flushes_max,
        io_timeout_ms: volume.io_timeout_ms,
        write_back_from: volume.write_back_from,
        write_back_after_ms: volume.write_back_after_ms,
    }
}

impl Hub {
    /// Reads the configuration and puts in force what differs; with `dry_run` says what differs.
    pub(super) fn reload_configuration(&self, dry_run: bool) -> Result<ReloadView, BackendError> {
        if dry_run { self.load_again(true) } else { crate::service::reloading(|| self.load_again(false)) }
    }

    fn load_again(&self, dry_run: bool) -> Result<ReloadView, BackendError> {
        let path = self.config.as_deref().ok_or_else(|| BackendError::Refused {
            what: "The daemon was started without a configuration file.".to_owned(),
            remedy: "Start it with 'holdfastd serve --config FILE'.".to_owned(),
        })?;
        let settings = config::load(path).map_err(|error| BackendError::Refused {
            what: format!("The configuration makes no sense.\n{error}"),
            remedy: "Nothing was changed. 'holdfastd check FILE' says the same.".to_owned(),
        })?;
        // One change at a time, from the comparison to its end.
        let _changing = self.changing()?;
        let before = self.in_force();
        let state_dir = &self.settings.daemon.state_dir;
        let by_hand = added::names(state_dir);
        let mut kept = before.volumes.clone();
        kept.retain(|volume| by_hand.contains(&volume.name));
        let in_file: Vec<String> = settings.volumes.iter().map(|volume| volume.name.clone()).collect();
        let after = added::with_remembered(settings, &kept).map_err(|why| BackendError::Refused {
            what: format!("The configuration cannot be put in force: {why}."),
            remedy:
                "Nothing was changed. Add that volume to the file, with a budget that fits; or remove it."
                    .to_owned(),
        })?;
        let differences = self.differences(&before, &after);
        let config = path.display().to_string();
        if !dry_run {
            refuse_what_needs_a_restart(path, &differences)?;
            self.change_over(after, false)?;
            // The configuration has them now: it is what counts from here on.
            by_hand
                .iter()
                .filter(|name| in_file.contains(name))
                .for_each(|name| added::forget_one(state_dir, name));
        }
        Ok(ReloadView { config, differences })
    }

    /// What differs, and what is to be known of that.
    pub(super) fn differences(&self, before: &Settings, after: &Settings) -> Vec<Difference> {
        let mut differences = config::differences(before, after);
        for difference in &mut differences {
            let name = difference.key.strip_prefix("volume.").and_then(|rest| rest.strip_suffix(".budget"));
            if let Some(note) = name.and_then(|name| self.note_on_budget(name, after)) {
                difference.after = format!("{} ({note})", difference.after);
            }
        }
        differences
    }
}

/// What is drawn on lines under each other, as words one behind the other: for the log.
pub(super) fn in_a_line(drawn: &str) -> String {
    let words = drawn.split_whitespace().filter(|word| word.chars().any(|letter| !"|^".contains(letter)));
    words.collect::<Vec<_>>().join(" ")
}

fn refuse_what_needs_a_restart(path: &Path, differences: &[Difference]) -> Result<(), BackendError> {
    let fixed: Vec<String> = differences
        .iter()
        .filter(|difference| difference.needs_restart)
        .map(|difference| format!("'{}' ({} -> {})", difference.key, difference.before, difference.after))
        .collect();
    if fixed.is_empty() {
        return Ok(());
    }
    Err(BackendError::Refused {
        what: format!("{} cannot change while the daemon runs.", fixed.join(", ")),
        remedy: format!(
            "Nothing was changed. Take that out of '{}', or start the daemon again.",
            path.display()
        ),
    })
}
