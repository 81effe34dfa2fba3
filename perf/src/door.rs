//! Where a client's requests go, as another process can be told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::client::Tally;
use crate::crew::{Plan, one_client};
use crate::daemon_target::DaemonTarget;
use crate::files::{Direct, PageCache};
use crate::load::Target;
use crate::nbd_target::Nbd;
use crate::vhost_target::VhostUser;

/// Each client goes through it by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// A session with a daemon.
    Holdfast {
        /// Where it awaits its clients.
        socket: PathBuf,
        /// Which volume.
        volume: String,
    },
    /// `pwrite` and `pread`.
    PageCache(PathBuf),
    /// O_DIRECT through io_uring.
    Direct(PathBuf),
    /// An NBD server.
    Nbd {
        /// Where it listens.
        socket: PathBuf,
        /// What it serves.
        export: String,
    },
    /// A vhost-user-blk server's socket, for one client at a time.
    VhostUser(PathBuf),
}

impl Door {
    /// Goes through it, and carries a client's part of a plan out once `begin` returns.
    pub(crate) fn carry_out(
        &self,
        plan: Plan<'_>,
        client: u32,
        begin: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Tally> {
        let (depth, block) = (plan.case.depth, plan.case.block);
        match self {
            Self::Holdfast { socket, volume } => {
                let bytes = u32::try_from(block)?;
                let session = DaemonTarget::connect_sized(socket, volume, depth, plan.job.span, bytes)?;
                through(session, plan, client, begin)
            }
            Self::PageCache(path) => through(PageCache::open(path, depth, block)?, plan, client, begin),
            Self::Nbd { socket, export } => {
                through(Nbd::connect(socket, export, depth, block)?, plan, client, begin)
            }
            Self::VhostUser(socket) => {
                through(VhostUser::connect(socket, depth, plan.job.span, block)?, plan, client, begin)
            }
            Self::Direct(path) => through(Direct::open(path, depth, block)?, plan, client, begin),
        }
    }
}

fn through<T: Target>(
    mut target: T,
    plan: Plan<'_>,
    client: u32,
    begin: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    begin()?;
    one_client(&mut target, plan, client)
}
