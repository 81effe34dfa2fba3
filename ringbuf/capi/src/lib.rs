//! `libholdfast`: the client library for C, and for whatever can call C. `include/holdfast.h` is its reference; `cargo
//! xtask install-capi` installs it.
//!
//! This crate adds nothing to [`holdfast_ringbuf::client`] but a border: it checks pointers, lengths and flags, turns errors
//! into a negative errno and a message, and owns what the opaque handles point to.
//!
//! **Panics.** An assertion that fails here or below ends the process: the release profile aborts, and in every other
//! `extern "C"` functions abort when a panic reaches them. Rejected: `catch_unwind` and an errno. What failed is our own
//! invariant about data that somebody counts on; a program that goes on with such a session could be told that a flush
//! succeeded that did not. No argument of C's can cause one: all are checked before they are used.
//!
//! **Unsafe.** A file for each kind of handle exports functions; `border` is the only place where a pointer of C's becomes
//! a reference. What cannot be checked (that a pointer which is not null is valid, and what runs at the same time) is the
//! caller's promise, and the header states it for each function.
#![deny(unsafe_code)]

mod border;
mod client;
mod completions;
mod info;
mod options;
mod queue;
mod refusal;
mod submit;

pub use client::*;
pub use completions::*;
pub use info::*;
pub use options::*;
pub use queue::*;
pub use refusal::{hf_error_failure_id, hf_error_message};
pub use submit::*;
