//! The configuration, read again: everything that differs is put in force, or nothing is.

use super::hub::Hub;
use crate::admin::{BackendError, ReloadView};
use crate::config::{self, Difference, Settings, VolumeSettings};
use holdfast_engine::{Command, Tuning};
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
            what: format!("The configuration makes no sense: {}", in_a_line(&error.to_string())),
            remedy: "Nothing was changed. 'holdfastd check FILE' says the same.".to_owned(),
        })?;
        // One change at a time, from the comparison to its end.
        let _changing = self.changing();
        let before = self.in_force();
        let differences = config::differences(&before, &settings);
        let config = path.display().to_string();
        if !dry_run {
            refuse_what_needs_a_restart(path, &differences)?;
            self.apply(&before, settings);
        }
        Ok(ReloadView { config, differences })
    }

    /// Puts settings in force that have the same volumes, perhaps in another order.
    fn apply(&self, before: &Settings, mut after: Settings) {
        let place =
            |volume: &VolumeSettings| before.volumes.iter().position(|other| other.name == volume.name);
        after.volumes.sort_by_key(|volume| place(volume).expect("a new volume needs a restart"));
        for (index, (old, new)) in before.volumes.iter().zip(&after.volumes).enumerate() {
            if tuning(old) != tuning(new) {
                let command = Command::SetPolicy { tuning: Box::new(tuning(new)) };
                // Nobody waits for the answers: the letters are in the boxes, and are never refused.
                let _answers = self.ask(self.volumes[index].id, &command);
            }
            if let (Some(thin), Some(old), Some(new)) =
                (&self.volumes[index].thin, config::thin_limit(old), config::thin_limit(new))
            {
                thin.grow(new.saturating_sub(old));
            }
        }
        self.put_in_force(after);
    }
}

/// What is drawn on lines under each other, as words one behind the other.
fn in_a_line(drawn: &str) -> String {
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
