//! The bytes of the store's rows. Little-endian, no padding; what is read is hostile until it is checked here.

use super::losses::{DEPTH_MAX, Loss, Losses};
use super::memory::{Audit, Closed, Told};
use super::ranges::Span;
use super::record::{Cause, Ending, Failure, Kind, OpenMark};
use super::volume::{Held, Volume};

/// The longest text in a row, in bytes: names, identities, who, what. Longer ones are cut by the writer.
pub(super) const TEXT_MAX: usize = 1024;

/// Builds a row.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u128(mut self, value: u128) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(self, value: &str) -> Self {
        let value = cut(value);
        let length = u32::try_from(value.len()).expect("it was cut to TEXT_MAX");
        let mut out = self.u32(length);
        out.0.extend(value.as_bytes());
        out
    }

    fn failure(mut self, failure: &Failure) -> Self {
        self.0.push(failure.class);
        self.0.extend(failure.errno.to_le_bytes());
        self.u32(failure.attempts).u64(failure.first_ms).u64(failure.last_ms)
    }
}

/// The longest beginning of a text that fits into a row.
pub(super) fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(TEXT_MAX)]
}

/// Takes a row apart; every step fails if the row is too short or says something impossible.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok().filter(|&length| length <= TEXT_MAX)?;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }

    fn failure(&mut self) -> Option<Failure> {
        let class =
            self.u8().filter(|&class| class == 0 || holdfast_policy::ErrorClass::from_u8(class).is_some())?;
        let errno = u16::from_le_bytes(self.array()?);
        Some(Failure { class, errno, attempts: self.u32()?, first_ms: self.u64()?, last_ms: self.u64()? })
    }

    fn span(&mut self) -> Option<Span> {
        Span::new(self.u64()?, self.u64()?)
    }

    /// The value, if nothing is left over.
    fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// A volume without its ranges.
pub(super) fn volume_row(volume: &Volume) -> Vec<u8> {
    let row = Writer::default().text(&volume.name).text(&volume.identity).u64(volume.size);
    let row = row.u64(volume.version).u8(u8::from(volume.told)).u64(volume.complete_from);
    let row = match volume.mark {
        None => row.u8(0),
        Some(OpenMark { boot, arena }) => row.u8(1).u128(boot).u128(arena),
    };
    row.0
}

/// The volume of a row.
pub(super) fn read_volume(row: &[u8]) -> Option<Volume> {
    let mut row = Reader(row);
    let (name, identity) = (row.text().filter(|name| !name.is_empty())?, row.text()?);
    let size = row.u64().filter(|&size| size > 0)?;
    let mut volume = Volume::new(&name, &identity, size);
    volume.version = row.u64()?;
    volume.told = row.flag()?;
    volume.complete_from = row.u64()?;
    if row.flag()? {
        volume.mark = Some(OpenMark { boot: row.u128()?, arena: row.u128()? });
    }
    row.end(volume)
}

/// A held piece; its start is its key.
pub(super) fn held_row(end: u64, held: &Held) -> Vec<u8> {
    Writer::default().u64(end).u64(held.since).failure(&held.failure).0
}

/// End and content of a held piece.
pub(super) fn read_held(row: &[u8]) -> Option<(u64, Held)> {
    let mut row = Reader(row);
    let (end, since, failure) = (row.u64()?, row.u64()?, row.failure()?);
    row.end((end, Held { failure, since }))
}

/// A lost piece; its start is its key.
pub(super) fn lost_row(end: u64, losses: &Losses) -> Vec<u8> {
    let row = Writer::default().u64(end).u64(losses.since);
    let row = match &losses.held {
        None => row.u8(0),
        Some(failure) => row.u8(1).failure(failure),
    };
    let count = u8::try_from(losses.stack().len()).expect("at most DEPTH_MAX");
    let row = losses.stack().iter().fold(row.u8(count), |row, loss| {
        row.failure(&loss.failure).u64(loss.generation).u32(loss.reactor).u8(loss.cause as u8)
    });
    row.0
}

/// End and content of a lost piece.
pub(super) fn read_lost(row: &[u8]) -> Option<(u64, Losses)> {
    let mut row = Reader(row);
    let (end, since) = (row.u64()?, row.u64()?);
    let held = if row.flag()? { Some(row.failure()?) } else { None };
    let count = usize::from(row.u8()?);
    if count > DEPTH_MAX {
        return None;
    }
    let stack = (0..count).map(|_| read_loss(&mut row)).collect::<Option<Vec<Loss>>>()?;
    row.end((end, Losses::from_rows(stack, held, since)?))
}

fn read_loss(row: &mut Reader) -> Option<Loss> {
    let (failure, generation, reactor) = (row.failure()?, row.u64()?, row.u32()?);
    Some(Loss { failure, generation, reactor, cause: Cause::from_u8(row.u8()?)? })
}

/// A record that ended.
pub(super) fn closed_row(closed: &Closed) -> Vec<u8> {
    let row = Writer::default().u32(closed.volume).u8(closed.kind as u8);
    let row = row.u64(closed.span.start).u64(closed.span.end).failure(&closed.failure);
    row.u64(closed.since).u64(closed.until).u8(closed.ending as u8).u64(closed.at_ms).0
}

/// The record of such a row.
pub(super) fn read_closed(row: &[u8]) -> Option<Closed> {
    let mut row = Reader(row);
    let volume = row.u32()?;
    let kind = match row.u8()? {
        1 => Kind::NotStable,
        2 => Kind::Lost,
        _ => return None,
    };
    let (span, failure) = (row.span()?, row.failure()?);
    let (since, until) = (row.u64()?, row.u64()?);
    let (ending, at_ms) = (Ending::from_u8(row.u8()?)?, row.u64()?);
    row.end(Closed { volume, kind, span, failure, since, until, ending, at_ms })
}

/// A failure id that was given.
pub(super) fn told_row(told: &Told) -> Vec<u8> {
    Writer::default().u64(told.id).u32(told.volume).u64(told.at_ms).0
}

/// The id of such a row.
pub(super) fn read_told(row: &[u8]) -> Option<Told> {
    let mut row = Reader(row);
    let (id, volume, at_ms) = (row.u64()?, row.u32()?, row.u64()?);
    row.end(Told { id, volume, at_ms })
}

/// What an operator did.
pub(super) fn audit_row(audit: &Audit) -> Vec<u8> {
    Writer::default().u64(audit.at_ms).text(&audit.who).text(&audit.verb).0
}

/// The deed of such a row.
pub(super) fn read_audit(row: &[u8]) -> Option<Audit> {
    let mut row = Reader(row);
    let (at_ms, who, verb) = (row.u64()?, row.text()?, row.text()?);
    row.end(Audit { at_ms, who, verb })
}

/// A row of some table: a byte that chooses which, and the row. What is read is written again as it was.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((&table, row)) = data.split_first() else { return };
    let again = match table % 6 {
        0 => read_volume(row).map(|volume| volume_row(&volume)),
        1 => read_held(row).map(|(end, held)| held_row(end, &held)),
        2 => read_lost(row).map(|(end, losses)| lost_row(end, &losses)),
        3 => read_closed(row).map(|closed| closed_row(&closed)),
        4 => read_told(row).map(|told| told_row(&told)),
        _ => read_audit(row).map(|audit| audit_row(&audit)),
    };
    assert!(again.is_none_or(|again| again == row), "table {table} reads a row that it does not write");
}
