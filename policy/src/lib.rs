//! The judge of Holdfast: what a failure is, what may be done about it, and which lines it concerns.
//!
//! Nothing here performs, remembers or measures anything. Facts come in by value, verdicts go out; the caller
//! acts.
//!
//! - [`ErrorClass`]: four classes of refusal, the errno and NVMe tables that lead to them, and the [`Floor`] of
//!   attempts and time below which no failure is called final.
//! - [`State`], [`Cause`]: the life of a slot as a table of edges; what the table does not name cannot happen.
//! - [`FailurePolicy`] and its three answers to a disk that refuses: [`EvictImmediately`], [`HoldUntilPressure`],
//!   [`HoldForever`]. [`Policy`] chooses between them without a virtual call.
//! - [`Retry`]: when a failed extent is tried again, with backoff and jitter from the caller's seed.
//! - [`Rules`]: which policy and which retry hold for which class; the first match wins and every class has one.
//! - [`DirtyIndex`]: which lines are dirty, failed, in flight and recorded, as [`Plane`]s of bits in LBA order, with
//!   one writer and any number of readers that never stop it.
//!
//! ```
//! use holdfast_policy::{ErrorClass, FailedExtent, FailurePolicy, HoldForever, Verdict, class_of_errno, errno};
//! let class = class_of_errno(errno::ENOSPC);
//! assert_eq!(class, ErrorClass::Space);
//! let extent = FailedExtent { class, errno: errno::ENOSPC, attempts: 9, age_ms: 60_000 };
//! assert_eq!(HoldForever::default().on_failure(extent), Verdict::Hold);
//! ```
//!
//! No allocation, no clock, no `unsafe`. Times are milliseconds, and the caller says which.
#![no_std]
#![forbid(unsafe_code)]

mod class;
pub mod errno;
mod evict_immediately;
mod hold_forever;
mod hold_until_pressure;
mod index;
mod nvme;
mod plane;
mod plane_writer;
mod retry;
mod rules;
mod scan;
mod state;
mod sync;
mod verdict;

pub use class::{ClassSet, ErrorClass, Floor};
pub use errno::class_of_errno;
pub use evict_immediately::EvictImmediately;
pub use hold_forever::HoldForever;
pub use hold_until_pressure::HoldUntilPressure;
pub use index::{DirtyIndex, IndexReader, Want};
pub use nvme::class_of_nvme_status;
pub use plane::{Iter, Plane};
pub use plane_writer::PlaneWriter;
pub use retry::Retry;
pub use rules::{Rule, Rules, RulesError};
pub use scan::{Run, Search};
pub use state::{Cause, State};
pub use sync::AtomicU64;
pub use verdict::{FailedExtent, FailurePolicy, Policy, Pressure, PressureVerdict, Verdict};
