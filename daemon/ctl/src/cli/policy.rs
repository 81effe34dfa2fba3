//! What `policy` takes.

use crate::api::{FlushKind, PolicyKind, RetryCause};
use crate::size;
use clap::{ArgGroup, Args, Subcommand};

/// What happens to data that the device refuses.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Show it, for each error class.
    Show {
        /// The volume.
        volume: String,
    },
    /// Change it until the next start or reload; write it into the configuration to keep it.
    Set(PolicySetArgs),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args([
    "kind", "pressure", "stall_timeout", "retry_on", "retry_first", "retry_max", "flush_on_failure", "flush_timeout",
])))]
pub(crate) struct PolicySetArgs {
    /// The volume.
    pub(crate) volume: String,
    /// For this error class (transient, space, medium, gone) only; can be given several times. All without it.
    #[arg(long = "class", value_name = "C")]
    pub(crate) classes: Vec<String>,
    /// What becomes of refused data.
    #[arg(long, value_name = "POLICY")]
    pub(crate) kind: Option<PolicyKind>,
    /// Of 'hold-until-pressure': the share of the budget at which it gives up, as 90%.
    #[arg(long, value_name = "SHARE", value_parser = size::parse_permille)]
    pub(crate) pressure: Option<u16>,
    /// How long new writes wait for room.
    #[arg(long, value_name = "TIME", value_parser = size::parse_milliseconds)]
    pub(crate) stall_timeout: Option<u64>,
    /// What may cause another attempt; several with commas, or 'operator' alone for none of them.
    #[arg(long, value_name = "CAUSE", value_delimiter = ',')]
    pub(crate) retry_on: Option<Vec<RetryCause>>,
    /// The wait after the first failure.
    #[arg(long, value_name = "TIME", value_parser = size::parse_milliseconds)]
    pub(crate) retry_first: Option<u64>,
    /// The longest wait between two attempts.
    #[arg(long, value_name = "TIME", value_parser = size::parse_milliseconds)]
    pub(crate) retry_max: Option<u64>,
    /// What a flush does that cannot succeed; for all classes.
    #[arg(long, value_name = "KIND", conflicts_with = "classes")]
    pub(crate) flush_on_failure: Option<FlushKind>,
    /// Of 'stall': how long a flush waits.
    #[arg(long, value_name = "TIME", value_parser = size::parse_milliseconds, conflicts_with = "classes")]
    pub(crate) flush_timeout: Option<u64>,
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Yes, the new policy may give up what is held now.
    #[arg(long)]
    pub(crate) yes_lose_data: bool,
}
