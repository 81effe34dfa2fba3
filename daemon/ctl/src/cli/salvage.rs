//! What `export` and `import` take.

use crate::api::ExtentState;
use clap::{ArgGroup, Args};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["failed", "dirty", "state"])))]
pub(crate) struct ExportArgs {
    /// The volume.
    pub(crate) volume: String,
    /// What the device refused and the cache holds.
    #[arg(long)]
    pub(crate) failed: bool,
    /// All that is not on stable media: what was refused, what was not tried, what is on its way.
    #[arg(long)]
    pub(crate) dirty: bool,
    /// What is in this state; 'lost' cannot be read.
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<ExtentState>,
    /// A new file: sparse, of the volume's size, the data at its own offsets. The manifest is FILE.json.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// The clients' socket, if it is not the one that the daemon names.
    #[arg(long, value_name = "PATH")]
    pub(crate) clients: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The volume that is written to.
    pub(crate) volume: String,
    /// What 'export' wrote; the manifest FILE.json is beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// The volume has another name than the one that was exported.
    #[arg(long)]
    pub(crate) other_volume: bool,
    /// Check everything, write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Yes, overwrite what the volume has in these ranges.
    #[arg(long)]
    pub(crate) yes_overwrite: bool,
    /// The clients' socket, if it is not the one that the daemon names.
    #[arg(long, value_name = "PATH")]
    pub(crate) clients: Option<PathBuf>,
}
