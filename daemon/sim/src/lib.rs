//! The proving ground of Holdfast: the real engine and policies in a world where everything that can go wrong does,
//! drawn from a seed, so that the same seed is the same run.
//!
//! A [`Shell`] performs what the engines of several reactors want, in the documented order, on simulated [`Disk`]s and a
//! simulated [`Ledger`]; a [`Model`] says which values each sector may have and who may be told what. No real bytes: a
//! sector is a 64-bit stamp.
#![forbid(unsafe_code)]

mod answer;
mod civil;
mod client;
mod coverage;
mod disk;
pub mod draw;
mod fault;
mod happening;
mod kill;
mod ledger;
mod listed;
mod losses;
mod medium;
mod model;
mod note;
mod perform;
mod places;
mod plan;
mod power;
mod probes;
mod random;
mod ranges;
mod reactor;
mod rules;
pub mod scene;
mod sectors;
mod settle;
mod shell;
mod starved;
mod stuck;
mod swarm;
mod told;
mod trace;
mod versions;
mod violation;
mod weather;
mod wish;
mod workload;

pub use civil::Civil;
pub use client::{Clients, Outcome, Outstanding};
pub use coverage::Coverage;
pub use disk::{Disk, Finished, Harm, Operation as DiskOperation, Work};
pub use fault::{Fault, Kinds, Trouble};
pub use happening::{Happening, Queue};
pub use ledger::{Entry, Ledger, Noted};
pub use medium::{CHUNK, Medium, MediumSetup};
pub use model::{Model, stamp};
pub use note::Note;
pub use plan::{Memory, Plan, VolumePlan};
pub use random::Random;
pub use ranges::Ranges;
pub use reactor::Reactor;
pub use rules::InForce;
pub use sectors::Sectors;
pub use shell::Shell;
pub use swarm::{Options, Report, run};
pub use trace::Trace;
pub use violation::{Clause, checks, demand};
pub use weather::{Kind, Weather};
pub use wish::{What, Wish};
pub use workload::Workload;
