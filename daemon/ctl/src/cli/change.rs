//! What verbs take that change something.

use crate::api::{FaultOperation, Range};
use crate::size;
use clap::{ArgGroup, Args, Subcommand};

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

#[derive(Debug, Args)]
pub(crate) struct GrowThinArgs {
    /// The volume.
    pub(crate) volume: String,
    /// How much to add.
    #[arg(value_parser = size::parse)]
    pub(crate) size: u64,
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

#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The number of something that was printed.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is no number of one; they are printed as 1, 2, 3"))
}

/// What to do with sessions.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum SessionsVerb {
    /// End one: the client is cut off, and may connect again.
    Kill {
        /// Its number, as 'sessions' prints it.
        #[arg(value_parser = number)]
        id: u64,
    },
}
