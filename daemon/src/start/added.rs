//! Volumes that an operator added by hand, and that the configuration does not have: a file for each in the state directory,
//! so that a daemon which is killed finds the volumes that its arena has data of. They are forgotten when the daemon ends in
//! peace, and when the configuration has a volume of that name.

use crate::config::{self, Settings, VolumeSettings};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn path_of(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("volume.{name}.toml"))
}

/// The names of those that are remembered.
pub(super) fn names(state_dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(state_dir).into_iter().flatten().flatten();
    let name = |file: &str| Some(file.strip_prefix("volume.")?.strip_suffix(".toml")?.to_owned());
    entries.filter_map(|entry| name(entry.file_name().to_str()?)).collect()
}

/// Remembers a volume, durably.
pub(super) fn remember(state_dir: &Path, volume: &VolumeSettings) -> io::Result<()> {
    let path = path_of(state_dir, &volume.name);
    let fresh = path.with_extension("fresh");
    let mut file = File::create(&fresh)?;
    file.write_all(config::volume_toml(volume).as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(state_dir)?.sync_all()
}

/// Forgets one. If that fails, the next start finds that the arena does not have it.
pub(super) fn forget_one(state_dir: &Path, name: &str) {
    let _ = fs::remove_file(path_of(state_dir, name));
}

/// Forgets all: everything is on stable media, and the next start begins with the configuration.
pub(super) fn forget(state_dir: &Path) {
    names(state_dir).iter().for_each(|name| forget_one(state_dir, name));
}

/// The settings of a file with the volumes that were added by hand and are still in use.
pub(super) fn with_remembered(settings: Settings, in_use: &[VolumeSettings]) -> Result<Settings, String> {
    let missing = |volume: &&VolumeSettings| !settings.volumes.iter().any(|other| other.name == volume.name);
    let missing: Vec<&VolumeSettings> = in_use.iter().filter(missing).collect();
    missing.into_iter().try_fold(settings, |settings, volume| {
        config::with_volume(&settings, &config::volume_toml(volume)).map_err(|why| {
            format!("volume '{}', which was added by hand, does not fit beside it: {why}", volume.name)
        })
    })
}

/// The settings with the volumes that a daemon which was killed had by hand and left in its arena, whose names are `known`.
pub(super) fn recall(
    mut settings: Settings,
    known: &[Option<String>],
    warnings: &mut Vec<String>,
) -> Settings {
    let state_dir = settings.daemon.state_dir.clone();
    for name in names(&state_dir) {
        let configured = settings.volumes.iter().any(|volume| volume.name == name);
        let left = known.iter().flatten().any(|known| *known == name);
        let text = fs::read_to_string(path_of(&state_dir, &name));
        let (false, true, Ok(text)) = (configured, left, text) else {
            forget_one(&state_dir, &name);
            continue;
        };
        match with_recalled(&settings, &text) {
            Ok(after) => {
                settings = after;
                warnings.push(format!(
                    "volume '{name}' was added by hand before the last daemon was killed, and is served again: add it to \
                     the configuration to keep it ('holdfastctl volume show {name}')"
                ));
            }
            Err(why) => {
                warnings.push(format!("volume '{name}' was added by hand and cannot be served: {why}"))
            }
        }
    }
    settings
}

/// Budgets may have been changed by hand, too, so that it does not fit as it was: then all get the same.
fn with_recalled(settings: &Settings, text: &str) -> Result<Settings, String> {
    let bare = || {
        text.lines()
            .filter(|line| !line.starts_with("budget"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    config::with_volume(settings, text)
        .or_else(|_| config::with_volume(&config::with_equal_budgets(settings), &bare()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(state_dir: &Path) -> Settings {
        let text = format!(
            "[daemon]\nstate_dir = {state_dir:?}\n[arena]\nsize = \"64MiB\"\n[[volume]]\nname = \"a\"\n\
             backing = {{ kind = \"file\", path = \"/a\" }}\n"
        );
        config::parse(&text, "test").expect("sound")
    }

    /// A killed daemon's volume is served again if the arena has it; else its file is litter.
    #[test]
    fn what_the_arena_has_is_recalled_and_the_rest_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = settings(directory.path());
        let toml = |name: &str| {
            format!(
                "[[volume]]\nname = {name:?}\nbacking = {{ kind = \"file\", path = \"/{name}\" }}\nbudget = \"8MiB\"\n"
            )
        };
        for name in ["b", "c"] {
            let with = config::with_volume(&before, &toml(name)).expect("it fits");
            remember(directory.path(), &with.volumes[1]).expect("written");
        }
        let mut warnings = Vec::new();
        let known = [Some("a".to_owned()), None, Some("b".to_owned())];
        let after = recall(before.clone(), &known, &mut warnings);
        let served: Vec<&str> = after.volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(served, ["a", "b"]);
        assert_eq!(after.volumes[1].budget_bytes, 8 << 20);
        assert!(warnings[0].contains("'b'"), "{warnings:?}");
        assert_eq!(names(directory.path()).len(), 1, "the other is forgotten");
        forget(directory.path());
        assert_eq!(recall(before.clone(), &known, &mut warnings), before);
    }
}
