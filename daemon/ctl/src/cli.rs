//! The command line.

mod change;
mod look;
mod policy;
mod salvage;
mod volume;

pub(crate) use change::*;
pub(crate) use look::*;
pub(crate) use policy::*;
pub(crate) use salvage::*;
pub(crate) use volume::*;

use crate::api::DEFAULT_SOCKET;
use crate::exit;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// Look after a Holdfast daemon: what is safe, what is held, what is lost, and what to do about it.
#[derive(Debug, Parser)]
#[command(name = "holdfastctl", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// The daemon's admin socket.
    #[arg(long, global = true, value_name = "PATH", env = "HOLDFAST_ADMIN_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Print the daemon's answer as JSON, with exact bytes.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How everything is, and what to type if it is not well.
    Status,
    /// The codes of what is wrong; 'detail' says what is safe, what to type, and what it costs.
    Health {
        /// How much of it.
        #[command(subcommand)]
        verb: Option<HealthVerb>,
    },
    /// What to do about each health code, as the runbook says it.
    Runbook(RunbookArgs),
    /// The volumes, with backing, budget and policy.
    Volumes,
    /// The extents of a volume that are in a state.
    Extents(ExtentsArgs),
    /// What a failed flush reported, by the id that its error has; without one, which flushes failed lately.
    Explain(ExplainArgs),
    /// Try failed extents again, now. Exits with 0 only if all were healed.
    Retry(RetryArgs),
    /// Give up failed extents that are held: their data is lost for good.
    Drop(DropArgs),
    /// Accept that lost extents are lost: they read from the device again and flushes succeed.
    AckLoss(AckLossArgs),
    /// Write back and flush all there is, of one volume or of all.
    Drain {
        /// Of this volume only.
        volume: Option<String>,
    },
    /// Inject faults into a volume's device operations, if the configuration allows it.
    Fault(FaultArgs),
    /// Save held data of a volume into a sparse file, with a manifest beside it, while the daemon runs.
    Export(ExportArgs),
    /// Write exported data into a volume.
    Import(ImportArgs),
    /// What happens to data that the device refuses.
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Load the configuration again: all that can change without a restart, or nothing.
    Reload(ReloadArgs),
    /// Who is connected.
    Sessions {
        /// What to do with them; without it, list them.
        #[command(subcommand)]
        verb: Option<SessionsVerb>,
    },
    /// One volume: show it, change its size or budget; add one, take one away.
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Add space to a file volume with a thin limit (the same as 'volume grow-thin').
    GrowThin(GrowThinArgs),
    /// How far an operation is that was started before; without a number, all that run and those that ended last.
    Operation {
        /// Its number, as it was printed.
        #[arg(value_parser = number)]
        id: Option<u64>,
    },
    /// End a retry before everything was tried, and with it the other retries of its volume. What was written stays
    /// written, what is left stays held.
    Cancel {
        /// Its number, as it was printed.
        #[arg(value_parser = number)]
        id: u64,
    },
    /// Counters of volumes and reactors.
    Stats(StatsArgs),
    /// Rates, states and reactors on a screen that renews itself.
    Top(TopArgs),
    /// What happened lately.
    #[command(after_help = look::EVENTS_HELP)]
    Events(EventsArgs),
    /// Who changed what, and when.
    Audit(AuditArgs),
    /// End the daemon: it writes back what it can and exits, with an error if it still holds anything.
    Shutdown(ShutdownArgs),
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each verb.
    Man(ManArgs),
}
