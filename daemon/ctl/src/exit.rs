//! Exit codes, which scripts rely on.

use crate::api::Health;
use std::process::ExitCode;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done in full; for `status`: HEALTHY.
    Ok,
    /// 1: not done, not in full, or not yet; for `status`: DEGRADED.
    Incomplete,
    /// 2: for `status`: FAULTED.
    Faulted,
    /// 3: the daemon cannot be reached or understood.
    Unreachable,
    /// 64: the command line, or what it names, makes no sense.
    Usage,
    /// 70: a bug of the daemon.
    Internal,
    /// 77: only root and the daemon's user may do this.
    NotPermitted,
}

/// What `--help` says about exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0   done in full; for 'status': HEALTHY
  1   not done, not in full, or still going on; for 'status': DEGRADED
  2   for 'status': FAULTED
  3   the daemon cannot be reached or understood
  64  the command line, or what it names, makes no sense; nothing was changed
  70  a bug of the daemon
  77  only root and the daemon's user may do this; nothing was changed

Sizes: 4096, 4KiB, 1.5MiB, 2GiB; KB, MB and GB are decimal.";

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Incomplete => 1,
            Exit::Faulted => 2,
            Exit::Unreachable => 3,
            Exit::Usage => 64,
            Exit::Internal => 70,
            Exit::NotPermitted => 77,
        }
    }

    /// What `status` exits with.
    pub const fn of_health(health: Health) -> Exit {
        match health {
            Health::Healthy => Exit::Ok,
            Health::Degraded => Exit::Incomplete,
            Health::Faulted => Exit::Faulted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
