//! What `volume` takes.

use super::GrowThinArgs;
use crate::size;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Looking at one volume, changing it, adding one, taking one away.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Everything about one volume: backing, state, budget, policy, sessions.
    Show {
        /// The volume.
        volume: String,
    },
    /// Serve one more volume until the daemon ends; says what the configuration needs for it to stay.
    Add(VolumeAddArgs),
    /// End a volume's sessions, write back what it has, and let its device go.
    Remove(VolumeRemoveArgs),
    /// Give a volume another budget until the next start or reload.
    Budget(BudgetArgs),
    /// Let a volume grow. A file is extended; a block device must have grown before.
    Resize(ResizeArgs),
    /// Add space to a file volume with a thin limit.
    GrowThin(GrowThinArgs),
    /// Let go of its device, so that what is below can be unmounted or exchanged. What is acknowledged stays held.
    Release {
        /// The volume.
        volume: String,
    },
    /// Open its device again, and try everything that waits for it.
    Reopen(ReopenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VolumeAddArgs {
    /// Its name.
    pub(crate) volume: String,
    /// What stores it: block:/dev/NODE, file:/PATH, or a path alone, which is a block device below /dev and a file elsewhere.
    #[arg(long, value_name = "BACKING")]
    pub(crate) backing: String,
    /// Of a file: its size.
    #[arg(long, value_parser = size::parse)]
    pub(crate) size: Option<u64>,
    /// Of a file: create it if it is not there.
    #[arg(long, requires = "size")]
    pub(crate) create: bool,
    /// Of a file: how much of it may be allocated.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) thin_limit: Option<u64>,
    /// Of a file: accept one that cannot be written past the page cache.
    #[arg(long)]
    pub(crate) buffered: bool,
    /// What of the cache its data may take that is not on stable media, as 25% or 2GiB; without it, a fair share of what the
    /// others leave.
    #[arg(long, value_name = "BUDGET")]
    pub(crate) budget: Option<String>,
    /// Any other key of [[volume]], as in the configuration: --set 'mode = "write-through"'. Can be given several times.
    #[arg(long = "set", value_name = "KEY = VALUE")]
    pub(crate) settings: Vec<String>,
    /// Only say whether it would work.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeRemoveArgs {
    /// The volume.
    pub(crate) volume: String,
    /// Give up what its device refuses, and put the loss on record.
    #[arg(long)]
    pub(crate) abandon: bool,
    /// Yes, lose it.
    #[arg(long)]
    pub(crate) yes_lose_data: bool,
    /// Only say what would stand in the way.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// The volume.
    pub(crate) volume: String,
    /// The budget, as 25% or 2GiB.
    pub(crate) budget: String,
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResizeArgs {
    /// The volume.
    pub(crate) volume: String,
    /// Its new size: more than it has.
    #[arg(value_parser = size::parse)]
    pub(crate) size: u64,
    /// Only say what would happen.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReopenArgs {
    /// The volume.
    pub(crate) volume: String,
    /// Where the device is now, if it came back under another path. It must be the same device.
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub(crate) path: Option<String>,
    /// Only look whether it is the volume's device.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Nobody knows the daemon's working directory.
fn absolute(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err("write it from the root on, as /dev/sdb".to_owned())
    }
}

/// What stores a volume, as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypedBacking {
    Block(PathBuf),
    File(PathBuf),
}

impl TypedBacking {
    pub(crate) fn of(text: &str) -> TypedBacking {
        match (text.strip_prefix("block:"), text.strip_prefix("file:")) {
            (Some(path), _) => TypedBacking::Block(path.into()),
            (None, Some(path)) => TypedBacking::File(path.into()),
            (None, None) if text.starts_with("/dev/") && !text.starts_with("/dev/shm/") => {
                TypedBacking::Block(text.into())
            }
            (None, None) => TypedBacking::File(text.into()),
        }
    }
}
