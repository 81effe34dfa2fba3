//! The operators' door: HTTP/JSON on a Unix socket, answered by a thread of its own.
//!
//! The door has no power but what its [`Backend`] gives it: it asks for snapshots that the reactors published, and posts
//! commands into their mailboxes. So `status` answers while every disk hangs, and a listing of a million extents is a
//! row of small questions, one page a reactor, none of which makes a turn long.

mod backend;

pub use backend::{
    Answers, ArenaView, Backend, BackendError, DaemonView, EventView, EventsPage, ExplanationPage, FaultView, LedgerView,
    LossPage, Peer, ReactorView, StuckView, ThinView, VolumeView,
};
