//! One volume's part of the record: what is held and not stable, what is lost, and which failure id names that set.

use super::losses::{Loss, Losses};
use super::ranges::{RangeMap, Span};
use super::record::{Cause, Ending, Failure, Kind, LostRecord, NO_REACTOR, NotStableRecord, OpenMark};
use holdfast_engine::ByteRange;

/// A piece that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) failure: Failure,
    pub(super) since: u64,
}

/// What an entry did to the set, piece by piece.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A record began.
    Opened { kind: Kind, span: Span, failure: Failure },
    /// A record ended.
    Closed { kind: Kind, span: Span, failure: Failure, since: u64, ending: Ending },
}

/// The volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) identity: String,
    pub(super) size: u64,
    /// The id of the set as it is now; 0 before the first.
    pub(super) version: u64,
    /// Whether somebody was told that id, so that the next change needs a new one.
    pub(super) told: bool,
    /// Ids below this may have members that the history has dropped.
    pub(super) complete_from: u64,
    pub(super) mark: Option<OpenMark>,
    pub(super) not_stable: RangeMap<Held>,
    pub(super) lost: RangeMap<Losses>,
}

impl Volume {
    pub(super) fn new(name: &str, identity: &str, size: u64) -> Volume {
        Volume {
            name: name.to_owned(),
            identity: identity.to_owned(),
            size,
            version: 0,
            told: false,
            complete_from: 0,
            mark: None,
            not_stable: RangeMap::default(),
            lost: RangeMap::default(),
        }
    }

    /// The part of the range that lies in the volume.
    pub(super) fn clip(&self, range: ByteRange) -> Option<Span> {
        Span::new(range.offset, range.end().min(self.size))
    }

    /// Whether there is anything that must not be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.mark.is_none() && self.not_stable.is_empty() && self.lost.is_empty()
    }

    /// Puts a range on record as held. `since` is the id of the set that has it.
    pub(super) fn set_not_stable(
        &mut self,
        span: Span,
        failure: Failure,
        since: u64,
        changes: &mut Vec<Change>,
    ) {
        self.not_stable.update(span, |piece, old| {
            let first_ms = match old {
                Some(old) if old.failure.key() == failure.key() => {
                    let first_ms = earliest(old.failure.first_ms, failure.first_ms);
                    return Some(Held { failure: Failure { first_ms, ..failure }, since: old.since });
                }
                Some(old) => {
                    changes.push(closed_held(piece, old, Ending::Changed));
                    earliest(old.failure.first_ms, failure.first_ms)
                }
                None => failure.first_ms,
            };
            let failure = Failure { first_ms, ..failure };
            changes.push(Change::Opened { kind: Kind::NotStable, span: piece, failure });
            Some(Held { failure, since })
        });
    }

    /// Takes a range off the record: it is on stable media. A later rescission must not bring it back.
    pub(super) fn heal(&mut self, span: Span, changes: &mut Vec<Change>) {
        self.not_stable.update_pieces(span, |piece, old| {
            changes.push(closed_held(piece, old, Ending::Healed));
            None
        });
        self.lost.update_pieces(span, |_, losses| Some(losses.with_held(None)));
    }

    /// Puts a loss on record; what was held there is lost now.
    pub(super) fn lose(&mut self, span: Span, loss: Loss, since: u64, changes: &mut Vec<Change>) {
        let held = self.not_stable.inside(span);
        self.not_stable.update_pieces(span, |piece, old| {
            changes.push(closed_held(piece, old, Ending::GivenUp));
            None
        });
        self.lost.update(span, |piece, old| {
            let opened = Change::Opened { kind: Kind::Lost, span: piece, failure: loss.failure };
            let Some(mut losses) = old else {
                changes.push(opened);
                return Some(Losses::new(loss, None, since));
            };
            if losses.newest().failure.key() != loss.failure.key() {
                changes.extend([closed_lost(piece, &losses, Ending::Changed), opened]);
                losses.since = since;
            }
            losses.push(loss);
            Some(losses)
        });
        for (piece, held) in held {
            self.lost.update_pieces(piece, |_, losses| Some(losses.with_held(Some(held.failure))));
        }
    }

    /// Takes a loss back: what was on record before it is on record again.
    pub(super) fn rescind(
        &mut self,
        span: Span,
        reactor: u32,
        generation: u64,
        since: u64,
        changes: &mut Vec<Change>,
    ) {
        let mut held_again = Vec::new();
        self.lost.update_pieces(span, |piece, mut losses| {
            let before = losses.clone();
            let remain = losses.rescind(reactor, generation);
            if remain.is_none() {
                return Some(losses);
            }
            if let Some(held) = losses.held.take() {
                held_again.push((piece, held));
            }
            if remain == Some(false) {
                changes.push(closed_lost(piece, &before, Ending::Rescinded));
                return None;
            }
            let failure = losses.newest().failure;
            if failure.key() != before.newest().failure.key() {
                let opened = Change::Opened { kind: Kind::Lost, span: piece, failure };
                changes.extend([closed_lost(piece, &before, Ending::Rescinded), opened]);
                losses.since = since;
            }
            Some(losses)
        });
        for (piece, failure) in held_again {
            self.hold_again(piece, failure, since, changes);
        }
    }

    /// Restores what was held before a loss, where nothing newer is on record.
    fn hold_again(&mut self, span: Span, failure: Failure, since: u64, changes: &mut Vec<Change>) {
        self.not_stable.update(span, |piece, newer| {
            newer.or_else(|| {
                changes.push(Change::Opened { kind: Kind::NotStable, span: piece, failure });
                Some(Held { failure, since })
            })
        });
    }

    /// Takes every loss in a range off the record.
    pub(super) fn heal_loss(&mut self, span: Span, ending: Ending, changes: &mut Vec<Change>) {
        self.lost.update_pieces(span, |piece, losses| {
            changes.push(closed_lost(piece, &losses, ending));
            None
        });
    }

    /// The host went down with all that was held: it is lost.
    pub(super) fn lose_all_held(&mut self, since: u64, changes: &mut Vec<Change>) {
        let held: Vec<(Span, Failure)> =
            self.not_stable.iter().map(|(span, held)| (span, held.failure)).collect();
        for (span, failure) in held {
            let loss = Loss { failure, generation: 0, reactor: NO_REACTOR, cause: Cause::HostRestart };
            self.lose(span, loss, since, changes);
        }
    }

    /// All of a range is lost, as far as it was not. What is on record already has generations that count.
    pub(super) fn lose_rest(&mut self, span: Span, failure: Failure, since: u64, changes: &mut Vec<Change>) {
        let loss = Loss { failure, generation: 0, reactor: NO_REACTOR, cause: Cause::DamagedHeader };
        self.lost.update(span, |piece, old| {
            old.or_else(|| {
                changes.push(Change::Opened { kind: Kind::Lost, span: piece, failure });
                Some(Losses::new(loss, None, since))
            })
        });
    }

    /// Whether some row differs from the store's.
    pub(super) fn is_touched(&self) -> bool {
        self.not_stable.is_touched() || self.lost.is_touched()
    }

    /// What is held, in the order of offsets.
    pub(super) fn not_stable_records(&self) -> impl Iterator<Item = NotStableRecord> {
        self.not_stable.iter().map(|(span, held)| NotStableRecord {
            range: byte_range(span),
            failure: held.failure,
            since_id: held.since,
        })
    }

    /// What is lost, in the order of offsets.
    pub(super) fn lost_records(&self) -> impl Iterator<Item = LostRecord> {
        self.lost.iter().map(|(span, losses)| {
            let &Loss { failure, generation, reactor, cause } = losses.newest();
            LostRecord {
                range: byte_range(span),
                failure,
                generation,
                reactor,
                cause,
                since_id: losses.since,
            }
        })
    }
}

/// A span as the engine writes it.
pub(super) fn byte_range(span: Span) -> ByteRange {
    ByteRange { offset: span.start, length: span.length() }
}

/// The earlier of two times of which 0 means none.
fn earliest(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, time) | (time, 0) => time,
        (one, other) => one.min(other),
    }
}

fn closed_held(span: Span, held: Held, ending: Ending) -> Change {
    Change::Closed { kind: Kind::NotStable, span, failure: held.failure, since: held.since, ending }
}

fn closed_lost(span: Span, losses: &Losses, ending: Ending) -> Change {
    let failure = losses.newest().failure;
    Change::Closed { kind: Kind::Lost, span, failure, since: losses.since, ending }
}
