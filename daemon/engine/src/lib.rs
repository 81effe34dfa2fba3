//! The brain of Holdfast: a write-back cache as a pure state machine.
//!
//! No clock, file, thread or socket: time is passed in, everything that happens is an [`Event`], everything that is to
//! be done is in [`Actions`]. The engine moves names ([`SlotId`]), the shell moves bytes. The shell drives it so:
//!
//! ```text
//! loop {                                   // one turn
//!     for event in answers, operators, peers, requests (while actions.has_room(..)) {
//!         engine.apply(now, event, &mut actions);
//!         // any number of times between requests, and only if `actions.is_plain()`: perform as below, without a tick
//!     }
//!     engine.tick(now, &mut actions);      // restores what must always hold
//!     perform actions.copies, in order;
//!     engine.commit();                     // publishes the headers of what was copied, frees what they replace
//!     send ledger entries, words to peers, answers to operators; submit ios; push completions;
//!     actions.clear();
//! }
//! ```
//! A completion must not reach a client before `commit`: a header is published after its data is in the slot, and an
//! acknowledgement follows both.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod action;
mod addresses;
mod allowance;
mod attach;
mod budget;
mod cache;
mod commit;
mod condemn;
mod damage;
mod detach;
mod domain;
mod engine;
mod epochs;
mod event;
mod failures;
mod fence;
#[cfg(test)]
mod fixture;
mod flush;
mod gate;
mod geometry;
mod header;
mod hit;
mod judge;
mod limits;
mod list;
mod losses;
mod notes;
mod operator;
mod ops;
mod outbox;
mod pace;
mod part;
mod places;
mod read;
mod rebase;
mod rebuild;
mod record;
mod replay;
mod requests;
mod settle;
mod share;
mod stall;
mod submit;
mod sweep;
mod time;
mod torn;
mod tune;
mod volume;
mod waits;
mod write;
mod writeback;
mod written;
mod zeroes;

pub use action::*;
pub use attach::{LooseVolume, vacancy};
pub use damage::Remnant;
pub use engine::Engine;
pub use event::*;
pub use geometry::*;
pub use header::{Header, HeaderDamage, Identity, Status};
pub use limits::*;
pub use notes::Notes;
pub use rebuild::{DAMAGED, Misfit, Rebuilt};
pub use share::{Share, room_slots};
pub use time::Instant;
