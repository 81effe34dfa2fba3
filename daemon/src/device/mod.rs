//! Disks: opening them so that what they say can be believed, and talking to them through io_uring.
//!
//! A [`Backing`] is a file or block device that this process has alone, through one open file description that carries
//! both its lock and its I/O (mechanism M1). A [`Disk`] is one reactor's io_uring, to which backings are attached. Two
//! things can be put in between for tests and demonstrations: [`Faults`] and [`Thin`].

mod apart;
mod attached;
mod backing;
mod bell;
mod claims;
mod direct;
mod errand;
mod error;
mod fallback;
mod faults;
mod file_system;
mod grow;
mod identity;
mod inspect;
mod lane;
mod lock;
mod open;
mod opening;
mod origin;
mod ring;
mod sequence;
mod target;
mod thin;
mod uring;
mod watch;

pub use backing::{Backing, BackingKind, BackingSpec};
pub use direct::{Directness, Proof};
pub use error::{BackingError, NotDirect};
pub use fallback::{DiskError, Fallback};
pub use faults::{FaultOperation, FaultSpec, FaultStatus, Faults};
pub use file_system::FileSystem;
pub use grow::GrowError;
pub use identity::{DomainKey, Identity, WriteCache};
pub use inspect::{Inspected, identify, inspect};
pub use opening::Opening;
pub use origin::OriginMark;
pub use sequence::{FaultParseError, Sequence, parse_errno};
pub use thin::Thin;
pub use uring::{Disk, DiskOptions, Reaped};

pub(crate) use errand::in_time;
pub(crate) use lock::{Patience, holder as lock_holder, lock_unless_alive};
