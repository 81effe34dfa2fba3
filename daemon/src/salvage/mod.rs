//! `holdfastd salvage`: what an arena holds when no daemon will start, listed and exported. It only reads.
//!
//! ```text
//! superblock -> headers (the newest of each line) -> names (arena, configuration, ledger) -> list, sparse files and manifests
//! ```
//! Salvage is for the night when the daemon refuses: everything it reads may be damaged, and it says what is and goes on.

mod export;
mod report;
mod scan;
#[cfg(test)]
mod tests;
mod volumes;

use crate::arena::{ArenaError, Remains};
use crate::{config, ledger};
use report::{ArenaReport, Report};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use volumes::Sources;

/// The configuration that is looked for if none is named.
const CONFIG: &str = "/etc/holdfast/holdfast.toml";
/// The state directory if neither the command line nor a configuration names one.
const STATE_DIR: &str = "/var/lib/holdfast";

/// What to salvage, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The arena's directory, or a copy of it.
    arena: PathBuf,
    /// The configuration that the daemon ran with; it names the volumes.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the ledger; by default the configuration's.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Export each volume's held data to DIR/VOLUME.img, with a manifest beside it. DIR is made; nothing is overwritten.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print every range.
    #[arg(long)]
    list: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why nothing could be salvaged.
#[derive(Debug, thiserror::Error)]
enum SalvageError {
    #[error(transparent)]
    Arena(#[from] ArenaError),
    #[error("the directory '{path}' cannot be made: {source}; name another with --to")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("volume '{volume}' is not exported: {source}")]
    Write { volume: String, source: holdfast_ctl::manifest::WriteError },
}

/// Runs it. Exit code 0: all that the arena holds was listed, and exported if that was asked for; 1: something in it is
/// damaged or in doubt, and what could be had was had; 2: nothing, or not all, was done.
pub fn run(options: &Options) -> ExitCode {
    match salvage(options) {
        Ok(report) => {
            let text = if options.json { report.to_json() } else { report.to_text(options.list) };
            print!("{text}");
            ExitCode::from(if report.is_sound() { 0 } else { 1 })
        }
        Err(error) => {
            eprintln!("holdfastd: {error}");
            ExitCode::from(2)
        }
    }
}

fn salvage(options: &Options) -> Result<Report, SalvageError> {
    let mut notes = Vec::new();
    let settings = read_config(options.config.as_deref(), &mut notes);
    let layout = settings.as_ref().map(config::Settings::arena_layout);
    let remains = Remains::open(&options.arena, layout.as_ref())?;
    let ledger = read_ledger(options.state_dir.as_deref(), settings.as_ref(), &mut notes);
    // A crash in the making leaves files of zeroes, or some of them: that they are missing is no damage.
    let mut found = if remains.has_served() { scan::scan(&remains) } else { scan::Found::default() };
    let this_boot = remains.is_of_this_boot();
    let mut report = Report::new(ArenaReport {
        path: remains.path().display().to_string(),
        id: remains.id().map(|id| format!("{id:016x}")),
        reactors: remains.reactors(),
        slots_a_reactor: remains.slots(),
        line_bytes: remains.line_bytes(),
        this_boot,
        superseded_slots: found.superseded,
        unacknowledged_slots: found.incoming,
    });
    if remains.is_headless() {
        notes.push(
            "the superblock is damaged or gone: the layout is the configuration's, which all files fit; if it was changed \
             since the daemon ran, stripe and line may be wrong, and with them every offset"
                .to_owned(),
        );
    } else if !this_boot {
        notes.push(
            "the arena was made before this host was booted: a daemon that ran since may have written newer data to the \
             devices; compare before importing"
                .to_owned(),
        );
    }
    let zeroed = remains.zeroed_ranges();
    if zeroed > 0 {
        notes.push(format!(
            "zeroes or discards of {} were not flushed: a daemon that takes the arena over makes them stable, the exports \
             do not have them",
            holdfast_ctl::size::counted(zeroed, "range")
        ));
    }
    if let Some(to) = &options.to {
        let made = std::fs::create_dir_all(to);
        made.map_err(|source| SalvageError::Directory { path: to.clone(), source })?;
    }
    let numbers: BTreeSet<u16> = found.lines.iter().map(|line| line.volume).collect();
    let names = numbers.iter().filter_map(|&number| Some((number, remains.volume_name(number)?)));
    let sources = Sources { settings, ledger, arena_id: remains.id(), names: names.collect() };
    for &number in &numbers {
        let named = sources.name(number, &numbers);
        let volume = export::Volume::new(&remains, &mut found, number, named);
        report.volumes.push(volume.save(options.to.as_deref())?);
    }
    report.damages = found.damages;
    report.damage = found.damage;
    report.notes = notes;
    Ok(report)
}

/// What cannot be read is said, and done without.
fn read_ledger(
    named: Option<&Path>,
    settings: Option<&config::Settings>,
    notes: &mut Vec<String>,
) -> Option<Vec<ledger::ArchivedVolume>> {
    let configured = settings.map(|settings| settings.daemon.state_dir.as_path());
    let state_dir = named.or(configured).unwrap_or(Path::new(STATE_DIR));
    let ledger = ledger::archived(state_dir).unwrap_or_else(|error| {
        notes.push(error.to_string());
        None
    });
    if ledger.is_none() {
        notes.push(format!(
            "there is no ledger in {} to be read: what is lost, and when devices refused what, is not known here; \
             --config or --state-dir names another place",
            state_dir.display()
        ));
    }
    ledger
}

fn read_config(named: Option<&Path>, notes: &mut Vec<String>) -> Option<config::Settings> {
    let path = named.unwrap_or(Path::new(CONFIG));
    if named.is_none() && !path.exists() {
        return None;
    }
    match config::load(path) {
        Ok(settings) => Some(settings),
        Err(error) => {
            notes.push(format!("the configuration is not used: {error}"));
            None
        }
    }
}
