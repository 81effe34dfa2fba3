//! The command line.

use crate::api::{DEFAULT_SOCKET, ExtentState, FailureId, FaultOperation, Range};
use crate::{exit, size};
use clap::{ArgGroup, Args, Parser, Subcommand};
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
    /// The volumes, with backing, budget and policy.
    Volumes,
    /// The extents of a volume that are in a state.
    Extents(ExtentsArgs),
    /// What a failed flush reported, by the id that its error has.
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
    /// Change volumes.
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Add space to a file volume with a thin limit (the same as 'volume grow-thin').
    GrowThin(GrowThinArgs),
    /// How far an operation is that was started before.
    Operation {
        /// Its number, as it was printed.
        id: u64,
    },
    /// Counters of volumes and reactors.
    Stats,
    /// What happened lately.
    Events(EventsArgs),
    /// End the daemon: it writes back what it can and exits, with an error if it still holds anything.
    Shutdown(ShutdownArgs),
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ExtentsArgs {
    /// The volume.
    pub(crate) volume: String,
    /// Which extents.
    #[arg(long)]
    pub(crate) state: ExtentState,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Which part of a list of extents.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Begin at this byte of the volume.
    #[arg(long, value_name = "OFF", default_value = "0", value_parser = size::parse)]
    pub(crate) from: u64,
    /// Print so many extents at most.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The id, 16 hexadecimal digits.
    pub(crate) id: FailureId,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("where").required(true).args(["volume", "all"])))]
pub(crate) struct RetryArgs {
    /// The volume.
    pub(crate) volume: Option<String>,
    /// Every volume that has failed extents or whose device refuses.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only in this part of the volume.
    #[arg(long, value_name = "OFF:LEN", value_parser = size::parse_range, conflicts_with = "all")]
    pub(crate) range: Option<Range>,
    /// Only extents of this error class (transient, space, medium, gone); can be given several times.
    #[arg(long = "class", value_name = "C")]
    pub(crate) classes: Vec<String>,
    /// Wait until every extent was tried, however long that takes. Without it, wait 2 s at most.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DropArgs {
    /// The volume.
    pub(crate) volume: String,
    /// Only in this part of the volume.
    #[arg(long, value_name = "OFF:LEN", value_parser = size::parse_range)]
    pub(crate) range: Option<Range>,
    /// Yes, lose it.
    #[arg(long)]
    pub(crate) yes_lose_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AckLossArgs {
    /// The volume.
    pub(crate) volume: String,
    /// Only in this part of the volume.
    #[arg(long, value_name = "OFF:LEN", value_parser = size::parse_range)]
    pub(crate) range: Option<Range>,
    /// Yes, accept it.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FaultArgs {
    /// The volume.
    pub(crate) volume: String,
    /// What to do with its faults.
    #[command(subcommand)]
    pub(crate) verb: FaultVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultVerb {
    /// Add one.
    Add {
        /// Which device operations it meets.
        operation: FaultOperation,
        /// What they fail with: a name (ENOSPC) or a number (28).
        errno: String,
        /// Only in this part of the volume.
        #[arg(long, value_name = "OFF:LEN", value_parser = size::parse_range)]
        range: Option<Range>,
        /// What happens to matching operations, in order: x fail one, w pass one, h hang one; as the last letter X
        /// fail all, or W pass all, from then on.
        #[arg(long, default_value = "X")]
        sequence: String,
    },
    /// Take all away.
    Clear,
    /// Show those in force.
    List,
}

/// Changes to volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Add space to a file volume with a thin limit.
    GrowThin(GrowThinArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GrowThinArgs {
    /// The volume.
    pub(crate) volume: String,
    /// How much to add.
    #[arg(value_parser = size::parse)]
    pub(crate) size: u64,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only those after the event with this number.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) since: u64,
    /// Print so many at most.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) limit: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ShutdownArgs {
    /// Give up what cannot be written, put the loss on record, and exit.
    #[arg(long)]
    pub(crate) abandon: bool,
    /// Yes, lose it.
    #[arg(long)]
    pub(crate) yes_lose_data: bool,
}
