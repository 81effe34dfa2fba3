//! The daemon as a process, on disks that really fail, with clients that are killed or hostile, and with operators who
//! mend things. What needs root, loop devices or nbdkit is skipped loudly where they are missing, and fails where
//! `HOLDFAST_REQUIRE_REAL=1` says that they must be there.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod c_programs;
mod captures;
mod crowds;
mod damaged_arena;
mod database;
mod doctor;
mod events;
mod exit_codes;
mod exported;
mod faults;
mod file_systems;
mod four_clients;
mod full_cache;
mod full_disk;
mod hanging;
mod hostile;
mod hung_teardown;
mod ill_disks;
#[path = "../../../ringbuf/capi/tests/installed/mod.rs"]
mod installed;
mod killed_clients;
mod kills;
mod ledger_disk;
#[cfg(target_arch = "x86_64")]
mod lost_memory;
mod many_failures;
mod movable;
mod nbd;
mod nbd_hostile;
mod nbd_terms;
#[path = "../../../ringbuf/tests/needs/mod.rs"]
mod needs;
mod nonsense;
mod one_bad_line;
mod pages;
mod pattern;
mod place;
mod places;
#[path = "../../../ringbuf/tests/raw_client/mod.rs"]
mod raw_client;
mod refusing;
mod reopened;
mod restarts;
mod runbook;
mod running;
mod salvage;
mod service;
mod stopping;
#[cfg(target_arch = "x86_64")]
mod syscalls;
mod tuning;
mod vhost;
mod watched;
mod world;
mod write_through;
