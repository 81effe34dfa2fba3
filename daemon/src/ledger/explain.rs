//! What a failure id stood for, and what became of it.

use super::memory::{Closed, Memory, Told};
use super::record::{Ending, Failure, Kind};
use super::volume::byte_range;
use holdfast_engine::ByteRange;

/// A record that the id's set had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExplainedRange {
    /// Where.
    pub range: ByteRange,
    /// Held or lost.
    pub kind: Kind,
    /// Why. Attempts and times are the newest known.
    pub failure: Failure,
    /// The first failure id that had it.
    pub since_id: u64,
    /// The first failure id that has it no more; `None` if it is still true.
    pub until_id: Option<u64>,
    /// How and when (milliseconds of the wall clock) it ended; `None` if it is still true.
    pub ended: Option<(Ending, u64)>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The id.
    pub id: u64,
    /// The volume's name.
    pub volume: String,
    /// When the id was given first, in milliseconds of the wall clock.
    pub at_ms: u64,
    /// The set that it stood for, in the order of offsets; at most as many as were asked for.
    pub ranges: Vec<ExplainedRange>,
    /// How many more there are.
    pub omitted: u64,
    /// Bytes of the whole set that are still held and not stable, still lost, and no more in this form.
    pub bytes: ExplainedBytes,
    /// Whether the set is still the volume's set, unchanged.
    pub current: bool,
    /// Whether `ranges` is the whole set; the history is bounded, and ranges that ended long ago may be missing.
    pub complete: bool,
}

/// What became of an id's set, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainedBytes {
    /// Held and not stable.
    pub not_stable: u64,
    /// Lost, not healed, not acknowledged.
    pub lost: u64,
    /// Ended, by whatever [`Ending`].
    pub ended: u64,
}

/// An id that somebody was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenId {
    /// The id.
    pub id: u64,
    /// The volume's name.
    pub volume: String,
    /// When it was given first, in milliseconds of the wall clock.
    pub at_ms: u64,
    /// Whether any of its set is still held and not stable, or lost.
    pub still_true: bool,
}

/// Why an id cannot be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownId {
    /// Nobody was ever given it.
    #[error(
        "failure id {0:016x} was never given to anybody: `holdfastctl explain` without an id lists those that were"
    )]
    NeverGiven(u64),
    /// It is older than what is kept.
    #[error(
        "failure id {0:016x} is older than the {1} ids that are kept; `extents` lists what is still true"
    )]
    Forgotten(u64, usize),
}

/// Explains `id` with at most `limit` ranges.
pub(super) fn explain(memory: &Memory, id: u64, limit: usize, kept: usize) -> Result<Explanation, UnknownId> {
    let Some((_, told)) = memory.told.iter().find(|(_, told)| told.id == id) else {
        let may_be_forgotten = id > 0 && id < memory.next_id && memory.told.first() > 1;
        return Err(if may_be_forgotten {
            UnknownId::Forgotten(id, kept)
        } else {
            UnknownId::NeverGiven(id)
        });
    };
    let volume = &memory.volumes[&told.volume];
    let held =
        volume.not_stable_records().map(|held| (held.range, Kind::NotStable, held.failure, held.since_id));
    let lost = volume.lost_records().map(|lost| (lost.range, Kind::Lost, lost.failure, lost.since_id));
    let true_still =
        held.chain(lost).filter(|&(.., since_id)| since_id <= id).map(|(range, kind, failure, since_id)| {
            ExplainedRange { range, kind, failure, since_id, until_id: None, ended: None }
        });
    let ended = memory.history.iter().map(|(_, closed)| closed);
    let ended =
        ended.filter(|closed| closed.volume == told.volume && (closed.since..closed.until).contains(&id));
    let mut ranges: Vec<ExplainedRange> = true_still.chain(ended.map(explained_end)).collect();
    ranges.sort_by_key(|range| (range.range.offset, range.kind));
    let bytes = count(&ranges);
    let omitted = ranges.len().saturating_sub(limit) as u64;
    ranges.truncate(limit);
    Ok(Explanation {
        id,
        volume: volume.name.clone(),
        at_ms: told.at_ms,
        ranges,
        omitted,
        bytes,
        current: volume.version == id,
        complete: id >= volume.complete_from,
    })
}

/// The ids that were given last, the oldest of them first.
pub(super) fn given(memory: &Memory, limit: usize) -> Vec<GivenId> {
    let first = memory.told.next().saturating_sub(limit as u64);
    let view = |told: &Told| {
        let volume = &memory.volumes[&told.volume];
        let held = volume.not_stable_records().map(|held| held.since_id);
        let mut since = held.chain(volume.lost_records().map(|lost| lost.since_id));
        GivenId {
            id: told.id,
            volume: volume.name.clone(),
            at_ms: told.at_ms,
            still_true: since.any(|since| since <= told.id),
        }
    };
    memory.told.from(first).map(|(_, told)| view(told)).collect()
}

fn explained_end(closed: &Closed) -> ExplainedRange {
    ExplainedRange {
        range: byte_range(closed.span),
        kind: closed.kind,
        failure: closed.failure,
        since_id: closed.since,
        until_id: Some(closed.until),
        ended: Some((closed.ending, closed.at_ms)),
    }
}

fn count(ranges: &[ExplainedRange]) -> ExplainedBytes {
    let mut bytes = ExplainedBytes::default();
    for range in ranges {
        let counter = match (range.ended, range.kind) {
            (Some(_), _) => &mut bytes.ended,
            (None, Kind::NotStable) => &mut bytes.not_stable,
            (None, Kind::Lost) => &mut bytes.lost,
        };
        *counter += range.range.length;
    }
    bytes
}
