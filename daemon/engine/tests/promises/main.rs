//! The promises and mechanisms of the design, each as a named test against a disk that does what the test says.
#![allow(clippy::cast_possible_truncation, reason = "sizes of tests are small")]

mod allocations;
mod budget;
mod damaged;
mod disk;
mod flush;
mod gate;
mod ledger;
mod life;
mod loss;
mod neighbours;
mod overdue;
mod pace;
mod patience;
mod places;
mod plan;
mod pressure;
mod reactors;
mod read;
mod replayed;
mod restart;
mod retry;
mod shell;
mod timeout;
mod tune;
mod verifier;
mod write;
mod zeroes;
