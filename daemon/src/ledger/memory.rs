//! The record in memory: the truth, of which the file is a copy.

use super::bounded::Bounded;
use super::losses::Loss;
use super::ranges::Span;
use super::record::{Cause, Ending, Failure, Kind, Now};
use super::volume::{Change, Volume, byte_range};
use holdfast_engine::{ByteRange, DAMAGED, Extent, LedgerEntry};
use holdfast_policy::ErrorClass;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// A record that is no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) volume: u32,
    pub(super) kind: Kind,
    pub(super) span: Span,
    pub(super) failure: Failure,
    /// The first failure id that had it.
    pub(super) since: u64,
    /// The first failure id that has it no more.
    pub(super) until: u64,
    pub(super) ending: Ending,
    pub(super) at_ms: u64,
}

/// A failure id that was given to somebody.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) id: u64,
    pub(super) volume: u32,
    pub(super) at_ms: u64,
}

/// A row of the audit list; its number is its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Audit {
    pub(super) at_ms: u64,
    pub(super) who: String,
    pub(super) verb: String,
}

/// Something that happened to a range, for operators who watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Counts from 1 since this daemon started.
    pub number: u64,
    /// When, in milliseconds of the wall clock.
    pub at_ms: u64,
    /// The name of the volume.
    pub volume: String,
    /// Which record.
    pub kind: Kind,
    /// Where.
    pub range: ByteRange,
    /// Why it failed.
    pub failure: Failure,
    /// How the record ended; `None` if it began.
    pub ending: Option<Ending>,
}

/// The record.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// By the store's number of the volume.
    pub(super) volumes: BTreeMap<u32, Volume>,
    /// The failure id that the next new set gets.
    pub(super) next_id: u64,
    /// Changes when memory died with data that was not on stable media; 0 before the first.
    pub(super) incarnation: u64,
    pub(super) history: Bounded<Closed>,
    pub(super) told: Bounded<Told>,
    pub(super) audit: Bounded<Audit>,
    pub(super) transitions: Bounded<Transition>,
    /// Volumes whose own row differs from the store's.
    pub(super) volumes_touched: BTreeSet<u32>,
    /// Whether the store lacks anything that must not be lost. New attempts and times alone do not count: they go
    /// along with the next transition.
    pub(super) pending: bool,
}

impl Memory {
    /// Nothing on record. Each list keeps `history_max` entries.
    pub(super) fn new(history_max: usize) -> Memory {
        Memory {
            volumes: BTreeMap::new(),
            next_id: 1,
            incarnation: 0,
            history: Bounded::new(history_max),
            told: Bounded::new(history_max),
            audit: Bounded::new(history_max),
            transitions: Bounded::new(history_max),
            volumes_touched: BTreeSet::new(),
            pending: false,
        }
    }

    /// Applies what an engine says of a volume. A report changes nothing here: see [`Memory::tell`].
    pub(super) fn apply(&mut self, now: Now, key: u32, reactor: u32, entry: LedgerEntry) {
        match entry {
            LedgerEntry::NotStable { extent, .. } => {
                let failure = failure_of(now, &extent);
                self.change(now, key, extent.range, |volume, span, since, changes| {
                    volume.set_not_stable(span, failure, since, changes);
                });
            }
            LedgerEntry::Healed { range, .. } => {
                self.change(now, key, range, |volume, span, _, changes| volume.heal(span, changes));
            }
            LedgerEntry::Lost { extent, generation, .. } => {
                let failure = failure_of(now, &extent);
                let damaged = extent.errno == DAMAGED && extent.attempts == 0;
                let cause = if damaged { Cause::DamagedHeader } else { Cause::GivenUp };
                let loss = Loss { failure, generation, reactor, cause };
                self.change(now, key, extent.range, |volume, span, since, changes| {
                    volume.lose(span, loss, since, changes);
                });
            }
            LedgerEntry::Rescinded { range, generation, .. } => {
                self.change(now, key, range, |volume, span, since, changes| {
                    volume.rescind(span, reactor, generation, since, changes);
                });
            }
            LedgerEntry::LossHealed { range, acknowledged, .. } => {
                let ending = if acknowledged { Ending::Acknowledged } else { Ending::LossHealed };
                self.change(now, key, range, |volume, span, _, changes| {
                    volume.heal_loss(span, ending, changes)
                });
            }
            LedgerEntry::Report { .. } => {}
        }
        let attempts_only = matches!(entry, LedgerEntry::NotStable { .. });
        self.pending |= !attempts_only && self.volumes[&key].is_touched();
    }

    /// Something of the volume is lost, and nobody knows what.
    pub(super) fn lose_all(&mut self, now: Now, key: u32) {
        let class = ErrorClass::Medium as u8;
        let failure =
            Failure { class, errno: DAMAGED, attempts: 0, first_ms: now.wall_ms, last_ms: now.wall_ms };
        self.change(now, key, ByteRange::ALL, |volume, span, since, changes| {
            volume.lose_rest(span, failure, since, changes);
        });
    }

    /// The host went down with everything the volume held.
    pub(super) fn lose_all_held(&mut self, now: Now, key: u32) {
        self.change(now, key, ByteRange::ALL, |volume, _, since, changes| {
            volume.lose_all_held(since, changes)
        });
    }

    /// The id of the volume's set as it is; from now on somebody knows it.
    pub(super) fn tell(&mut self, now: Now, key: u32) -> u64 {
        let volume = self.volumes.get_mut(&key).expect("the caller has its key from here");
        if volume.version == 0 {
            volume.version = self.next_id;
            self.next_id += 1;
        }
        let id = volume.version;
        if !mem::replace(&mut volume.told, true) {
            self.told.push(Told { id, volume: key, at_ms: now.wall_ms });
            self.touch_volume(key);
        }
        id
    }

    /// The volume's own row is to be written.
    pub(super) fn touch_volume(&mut self, key: u32) {
        self.volumes_touched.insert(key);
        self.pending = true;
    }

    /// The store has everything.
    pub(super) fn mark_saved(&mut self) {
        for volume in self.volumes.values_mut() {
            volume.not_stable.take_touched();
            volume.lost.take_touched();
        }
        self.volumes_touched.clear();
        self.history.mark_saved();
        self.told.mark_saved();
        self.audit.mark_saved();
        self.pending = false;
    }

    /// Runs `change` on the part of `range` that the volume has, and files what it did under the right failure id.
    fn change(
        &mut self,
        now: Now,
        key: u32,
        range: ByteRange,
        change: impl FnOnce(&mut Volume, Span, u64, &mut Vec<Change>),
    ) {
        let volume = self.volumes.get_mut(&key).expect("the caller has its key from here");
        let Some(span) = volume.clip(range) else { return };
        let needs_new = volume.told || volume.version == 0;
        let since = if needs_new { self.next_id } else { volume.version };
        let mut changes = Vec::new();
        change(volume, span, since, &mut changes);
        if changes.is_empty() {
            return;
        }
        if needs_new {
            volume.version = since;
            volume.told = false;
            self.next_id += 1;
        }
        self.touch_volume(key);
        for change in changes {
            self.file(now, key, since, change);
        }
    }

    /// Keeps a change for operators and, if a failure id may have had it, for `explain`.
    fn file(&mut self, now: Now, key: u32, version: u64, change: Change) {
        let at_ms = now.wall_ms;
        let (kind, span, failure, ending) = match change {
            Change::Opened { kind, span, failure } => (kind, span, failure, None),
            Change::Closed { kind, span, failure, since, ending } => {
                if since < version {
                    let closed =
                        Closed { volume: key, kind, span, failure, since, until: version, ending, at_ms };
                    self.remember(closed);
                }
                (kind, span, failure, Some(ending))
            }
        };
        let (number, volume) = (self.transitions.next(), self.volumes[&key].name.clone());
        let range = byte_range(span);
        self.transitions.push(Transition { number, at_ms, volume, kind, range, failure, ending });
    }

    /// Adds to the history; what falls out of it makes older explanations incomplete.
    fn remember(&mut self, closed: Closed) {
        let Some(dropped) = self.history.push(closed) else { return };
        let volume = self.volumes.get_mut(&dropped.volume).expect("volumes are never removed");
        volume.complete_from = volume.complete_from.max(dropped.until);
        self.touch_volume(dropped.volume);
    }
}

/// An extent's failure, with times that people read.
fn failure_of(now: Now, extent: &Extent) -> Failure {
    let tried = extent.attempts > 0;
    let wall_ms = |instant| if tried { now.wall_ms_of(instant) } else { 0 };
    Failure {
        class: extent.class,
        errno: extent.errno,
        attempts: extent.attempts,
        first_ms: wall_ms(extent.first),
        last_ms: wall_ms(extent.last),
    }
}
