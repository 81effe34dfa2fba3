//! `export` and `import`.

use super::{Outcome, Run};
use crate::api::{Exported, Extent, ExtentState, Imported, Status, Versioned, Volume};
use crate::cli::{ExportArgs, ImportArgs};
use crate::error::Error;
use crate::manifest::path_beside;
use crate::salvage::{Exporter, Package, Source, connect, write_back};
use crate::{Exit, text};
use std::path::{Path, PathBuf};

impl Run<'_, '_> {
    pub(super) fn export(&mut self, args: &ExportArgs) -> Outcome {
        let states = states(args)?;
        let status: Status = self.client.read(&self.client.get("/v1/status")?)?;
        let volume = self.named_volume(&args.volume)?;
        let extents = self.extents_in(&args.volume, &states)?;
        let names: Vec<String> = states.iter().map(|state| state.name().to_owned()).collect();
        if extents.is_empty() {
            let nothing = nothing(&volume, &states, names);
            self.print(&Versioned::of(&nothing), |_| text::exported(&nothing));
            return Ok(Exit::Ok);
        }
        let client = connect(&clients(args.clients.as_deref(), &status), &args.volume)?;
        let source = Source { daemon: &status.daemon, volume: &volume };
        let progress = self.streams.progress && !self.json;
        let mut exporter = Exporter::new(source, client, &args.to)?;
        exporter.save(extents, progress)?;
        let now = self.extents_in(&args.volume, &states)?;
        let lost = self.all_extents(&args.volume, ExtentState::Lost)?;
        let (manifest, outcome) = exporter.finish(now, lost, progress)?;
        let exported = Exported {
            volume: volume.name.clone(),
            states: names,
            file: Some(args.to.display().to_string()),
            manifest: Some(path_beside(&args.to).display().to_string()),
            ranges: manifest.ranges.len() as u64,
            saved_bytes: manifest.saved_bytes(),
            unreadable_bytes: outcome.unreadable,
            other_bytes: other_bytes(&volume, &states),
            changed_bytes: outcome.changed,
            came_bytes: outcome.came,
            left_bytes: outcome.left,
        };
        self.print(&Versioned::of(&exported), |_| text::exported(&exported));
        Ok(if exported.unreadable_bytes == 0 { Exit::Ok } else { Exit::Incomplete })
    }

    fn extents_in(&self, volume: &str, states: &[ExtentState]) -> Result<Vec<Extent>, Error> {
        let lists: Result<Vec<_>, Error> =
            states.iter().map(|&state| self.all_extents(volume, state)).collect();
        Ok(lists?.into_iter().flatten().collect())
    }

    pub(super) fn import(&mut self, args: &ImportArgs) -> Outcome {
        if !args.dry_run && !args.yes_overwrite {
            let message =
                format!("'import' overwrites what volume '{}' has in the saved ranges.", args.volume);
            let remedy = "Nothing was changed. See what it would do with --dry-run; if that is meant, add --yes-overwrite.";
            return Err(Error::usage(message, remedy));
        }
        let progress = self.streams.progress && !self.json;
        let package = Package::verify(&args.from, progress)?;
        let status: Status = self.client.read(&self.client.get("/v1/status")?)?;
        self.named_volume(&args.volume)?;
        let client = connect(&clients(args.clients.as_deref(), &status), &args.volume)?;
        package.check_volume(&args.volume, &client, args.other_volume)?;
        let written_bytes = if args.dry_run { 0 } else { write_back(&package, &client, progress)? };
        let manifest = package.manifest();
        let imported = Imported {
            volume: args.volume.clone(),
            exported_from: manifest.volume.clone(),
            ranges: manifest.ranges.len() as u64,
            verified_bytes: manifest.saved_bytes(),
            notes: manifest.notes.clone(),
            written_bytes,
            dry_run: args.dry_run,
        };
        self.print(&Versioned::of(&imported), |_| text::imported(&imported));
        Ok(Exit::Ok)
    }
}

/// The states to list, in an order in which nothing that is on its way slips through: what is dirty when it is listed
/// becomes unstable or failed, and what falls back to dirty is found by the second listing.
fn states(args: &ExportArgs) -> Result<Vec<ExtentState>, Error> {
    match args.state {
        Some(ExtentState::Lost) => {
            let remedy = "Nothing was written. 'extents --state lost' lists it; restore it from a copy.";
            Err(Error::usage("What is lost is in no place any more, and cannot be exported.", remedy))
        }
        Some(state) => Ok(vec![state]),
        None if args.failed => Ok(vec![ExtentState::Failed]),
        None => Ok(vec![ExtentState::Dirty, ExtentState::Unstable, ExtentState::Failed]),
    }
}

fn clients(typed: Option<&Path>, status: &Status) -> PathBuf {
    typed.map_or_else(|| PathBuf::from(&status.daemon.socket), Path::to_owned)
}

/// What of the volume is not on stable media and not in any of these states.
fn other_bytes(volume: &Volume, states: &[ExtentState]) -> u64 {
    let bytes = &volume.bytes;
    let all = [
        (ExtentState::Dirty, bytes.dirty_bytes),
        (ExtentState::Unstable, bytes.unstable_bytes),
        (ExtentState::Failed, bytes.failed_bytes),
    ];
    all.iter().filter(|(state, _)| !states.contains(state)).map(|(_, bytes)| bytes).sum()
}

fn nothing(volume: &Volume, states: &[ExtentState], names: Vec<String>) -> Exported {
    Exported {
        other_bytes: other_bytes(volume, states),
        volume: volume.name.clone(),
        states: names,
        file: None,
        manifest: None,
        ranges: 0,
        saved_bytes: 0,
        unreadable_bytes: 0,
        changed_bytes: 0,
        came_bytes: 0,
        left_bytes: 0,
    }
}
