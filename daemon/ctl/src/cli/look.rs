//! What verbs take that change nothing.

use crate::api::{ExtentState, FailureId, HealthCode};
use crate::size;
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
    /// The id, as the failed request's answer gives it: up to 16 hexadecimal digits. Without it, those that were given last
    /// are listed: NBD and virtual machines have no place for one.
    pub(crate) id: Option<FailureId>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// What `events --help` ends with: the words that the daemon uses, and how to go through them.
pub(crate) const EVENTS_HELP: &str = "\
Kinds:
  not_stable         a flush failed, and this was not on stable media
  lost               given up; reads and flushes fail until it is healed
  healed             not_stable before, and on stable media now
  given_up           not_stable before, and lost now
  rescinded          it was to be given up, and newer data came first
  loss_healed        lost before, and superseded by data on stable media
  loss_acknowledged  lost before, and accepted by 'ack-loss'
  changed            it fails otherwise now; a newer event says how

The newest come by default, the oldest of them first. To go through all that are kept, begin with
--since 0, and go on with the number of the last one that was printed.";

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Those after the event with this number, the oldest of them first; without it, the newest.
    #[arg(long, value_name = "N")]
    pub(crate) since: Option<u64>,
    /// Print so many at most.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) limit: u64,
    /// Go on: print what happens as it happens, until interrupted or the daemon ends.
    #[arg(long)]
    pub(crate) follow: bool,
}

/// How everything is, by code.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum HealthVerb {
    /// Everything that is wrong: what is safe, what to type, what it costs.
    Detail,
    /// Every code there is, with what it means.
    Codes,
}

#[derive(Debug, Args)]
pub(crate) struct RunbookArgs {
    /// Of this code only, as HF_FAILED_EXTENTS.
    pub(crate) code: Option<HealthCode>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Those after the row with this number, the oldest of them first; without it, the newest.
    #[arg(long, value_name = "N")]
    pub(crate) since: Option<u64>,
    /// Print so many at most.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) limit: u64,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Print rates every so often, as 2s, until interrupted or the daemon ends.
    #[arg(long, value_name = "TIME", value_parser = size::parse_pause, num_args = 0..=1, default_missing_value = "1s")]
    pub(crate) watch: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Look so often.
    #[arg(long, value_name = "TIME", value_parser = size::parse_pause, default_value = "1s")]
    pub(crate) every: std::time::Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each verb into this directory, which exists, instead of one page to standard output.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) to: Option<PathBuf>,
}
