//! The operators' door: HTTP/JSON on a Unix socket, answered by a thread of its own.
//!
//! The door has no power but what its [`Backend`] gives it: it asks for snapshots that the reactors published, and posts
//! commands into their mailboxes. So `status` answers while every disk hangs, and a listing of a million extents is a
//! row of small questions, one page a reactor, none of which makes a turn long.
//!
//! Who may connect is the business of the socket's file mode ([`bind`]: owner and group). Who may change something is
//! decided by the peer's user when it connects: root, or the user of the daemon. The interface itself is
//! [`holdfast_ctl::api`].

mod ask;
mod backend;
mod bind;
mod change;
mod cross_site;
mod health;
mod listing;
mod look;
pub mod metrics;
mod operation;
mod page;
mod page_data;
mod peer;
mod policy;
mod port;
mod refusal;
mod server;
mod snapshot;
mod token;
mod tune;
mod view;
mod volumes;

pub use backend::{Answers, Backend, BackendError, Peer};
pub use bind::{BindError, bind};
pub(crate) use listing::list_ranges;
pub use port::{Port, PortError};
pub use server::{Options, Server, serve};
pub use snapshot::{
    AddedView, ArenaView, AuditPage, AuditView, DaemonView, EventView, EventsPage, ExplanationPage,
    FaultView, LedgerView, LossPage, Measures, PolicyView, ReactorView, ReloadView, RemovedView, ReportView,
    SessionView, StuckView, ThinView, VolumeMeasures, VolumeView,
};
pub use token::{Token, TokenError};
pub(crate) use view::state_bytes;
pub(crate) use view::{errno, now};

use server::{BODY_BYTES_MAX, Shared};

/// The body of an operator's request, read as the request that `which` names.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(which: u8, text: &[u8]) {
    use holdfast_ctl::api;
    fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Option<T> {
        ask::parse(text).ok()
    }
    match which % 8 {
        0 => drop(read::<api::RetryRequest>(text).map(|request| ask::classes(&request.classes).is_ok())),
        1 => drop(read::<api::DropRequest>(text)),
        2 => drop(read::<api::AckLossRequest>(text)),
        3 => drop(read::<api::Fault>(text).map(|fault| crate::device::parse_errno(&fault.errno).is_ok())),
        4 => drop(read::<api::GrowThinRequest>(text)),
        5 => drop(read::<api::PolicyChange>(text)),
        6 => drop(read::<api::ReloadRequest>(text)),
        _ => drop(read::<api::ResizeRequest>(text)),
    }
}
