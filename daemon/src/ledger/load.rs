//! Reads a store's file into memory. Every row is hostile input; the file itself is never written.

use super::bounded::Bounded;
use super::memory::{Closed, Memory, Told};
use super::rows;
use super::shape;
use super::store::{
    AUDIT, ByNumber, ByPlace, HISTORY, INCARNATION_KEY, LOST, META, NEXT_ID_KEY, NOT_STABLE, TOLD, VERSION,
    VERSION_KEY, VOLUMES,
};
use super::volume::Volume;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, StorageBackend, TableError};
use std::io;
use std::sync::{Mutex, PoisonError};

/// Why a file is no ledger.
#[derive(Debug)]
pub(super) enum LoadError {
    /// It is damaged, in these words.
    Damaged(String),
    /// It is of this version.
    Version(u64),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        LoadError::Damaged(error.into().to_string())
    }
}

/// The record in `file`.
pub(super) fn load(file: &[u8], history_max: usize) -> Result<Memory, LoadError> {
    let slots = shape::check(file).map_err(LoadError::Damaged)?;
    let (&last, others) = slots.split_last().expect("a header has a slot to read");
    for &slot in others {
        if let Ok(memory) = load_slot(file, slot, history_max) {
            return Ok(memory);
        }
    }
    load_slot(file, last, history_max)
}

/// The record in one commit of a file.
fn load_slot(file: &[u8], slot: usize, history_max: usize) -> Result<Memory, LoadError> {
    let mut file = file.to_vec();
    shape::keep_only(&mut file, slot);
    let database = Builder::new().create_with_backend(Image(Mutex::new(file)))?;
    let rows = database.begin_read()?;
    let mut memory = Memory::new(history_max);
    read_meta(&rows, &mut memory)?;
    read_volumes(&rows, &mut memory)?;
    read_not_stable(&rows, &mut memory)?;
    read_lost(&rows, &mut memory)?;
    read_history(&rows, &mut memory)?;
    read_told(&rows, &mut memory)?;
    read_list(&rows, AUDIT, "audit", &mut memory.audit, rows::read_audit)?;
    drop(rows);
    drop::<Database>(database);
    Ok(memory)
}

fn damaged(table: &str, key: impl std::fmt::Debug, what: &str) -> LoadError {
    LoadError::Damaged(format!("row {key:?} of table `{table}` {what}"))
}

const NOT_OURS: &str = "is not one that a ledger writes";

fn read_meta(rows: &ReadTransaction, memory: &mut Memory) -> Result<(), LoadError> {
    let meta = match rows.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(LoadError::Damaged(
                "it is a redb file, but not a ledger: it has no table `meta`".to_owned(),
            ));
        }
        other => other?,
    };
    let number = |key: &str| -> Result<u64, LoadError> {
        let value = meta.get(key)?.ok_or_else(|| damaged("meta", key, "is missing"))?;
        Ok(value.value())
    };
    match number(VERSION_KEY)? {
        VERSION => {}
        other => return Err(LoadError::Version(other)),
    }
    memory.incarnation = meta.get(INCARNATION_KEY)?.map_or(0, |value| value.value());
    // Half of all numbers: so that counting on from a hostile one never overflows.
    memory.next_id = number(NEXT_ID_KEY)?;
    if memory.next_id == 0 || memory.next_id > u64::MAX / 2 {
        return Err(damaged("meta", NEXT_ID_KEY, "is not a number that counting reaches"));
    }
    Ok(())
}

fn read_volumes(rows: &ReadTransaction, memory: &mut Memory) -> Result<(), LoadError> {
    for row in rows.open_table(VOLUMES)?.range::<u32>(..)? {
        let (key, row) = row?;
        let key = key.value();
        let volume = rows::read_volume(row.value()).ok_or_else(|| damaged("volumes", key, NOT_OURS))?;
        if volume.version >= memory.next_id || volume.complete_from >= memory.next_id {
            return Err(damaged("volumes", key, "has a failure id that was never given"));
        }
        if memory.volumes.values().any(|other| other.name == volume.name) {
            return Err(damaged("volumes", key, "has the name of another volume"));
        }
        memory.volumes.insert(key, volume);
    }
    Ok(())
}

/// Calls `read` with volume, start and bytes of every row of a table of ranges; it says what is wrong, if anything is.
fn read_places(
    rows: &ReadTransaction,
    table: ByPlace,
    name: &str,
    memory: &mut Memory,
    read: impl Fn(&mut Volume, u64, &[u8]) -> Result<Place, &'static str>,
) -> Result<(), LoadError> {
    for row in rows.open_table(table)?.range::<(u32, u64)>(..)? {
        let (key, row) = row?;
        let (number, start) = key.value();
        let bad = |what: &str| damaged(name, (number, start), what);
        let volume = memory.volumes.get_mut(&number).ok_or_else(|| bad("is of no volume"))?;
        let (size, version) = (volume.size, volume.version);
        let place = read(volume, start, row.value()).map_err(bad)?;
        if place.end > size {
            return Err(bad("reaches over the end of its volume"));
        }
        if place.since == 0 || place.since > version {
            return Err(bad("has a failure id that its volume never had"));
        }
    }
    Ok(())
}

/// What all rows of ranges have.
struct Place {
    end: u64,
    since: u64,
}

const OVERLAPS: &str = "overlaps the one before or is empty";

fn read_not_stable(rows: &ReadTransaction, memory: &mut Memory) -> Result<(), LoadError> {
    read_places(rows, NOT_STABLE, "not_stable", memory, |volume, start, row| {
        let (end, held) = rows::read_held(row).ok_or(NOT_OURS)?;
        volume.not_stable.load(start, end, held).then_some(Place { end, since: held.since }).ok_or(OVERLAPS)
    })
}

fn read_lost(rows: &ReadTransaction, memory: &mut Memory) -> Result<(), LoadError> {
    read_places(rows, LOST, "lost", memory, |volume, start, row| {
        let (end, losses) = rows::read_lost(row).ok_or(NOT_OURS)?;
        let since = losses.since;
        volume.lost.load(start, end, losses).then_some(Place { end, since }).ok_or(OVERLAPS)
    })
}

fn read_history(rows: &ReadTransaction, memory: &mut Memory) -> Result<(), LoadError> {
    let Memory { volumes, history, next_id, .. } = memory;
    let read = |row: &[u8]| {
        rows::read_closed(row).filter(|closed| is_sound(closed, volumes.get(&closed.volume), *next_id))
    };
    let dropped = read_list(rows, HISTORY, "history", history, read)?;
    for closed in dropped {
        let volume = volumes.get_mut(&closed.volume).expect("checked as it was read");
        volume.complete_from = volume.complete_from.max(closed.until);
    }
    Ok(())
}

fn is_sound(closed: &Closed, volume: Option<&Volume>, next_id: u64) -> bool {
    let ids = 0 < closed.since && closed.since < closed.until && closed.until < next_id;
    ids && volume.is_some()
}

fn read_told(rows: &ReadTransaction, memory: &mut Memory) -> Result<(), LoadError> {
    let Memory { volumes, told, next_id, .. } = memory;
    let sound = |told: &Told| (1..*next_id).contains(&told.id) && volumes.contains_key(&told.volume);
    read_list(rows, TOLD, "told", told, |row| rows::read_told(row).filter(sound))?;
    Ok(())
}

/// Reads a numbered list; returns what did not fit into it.
fn read_list<T>(
    rows: &ReadTransaction,
    table: ByNumber,
    name: &str,
    list: &mut Bounded<T>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, LoadError> {
    let mut dropped = Vec::new();
    for row in rows.open_table(table)?.range::<u64>(..)? {
        let (number, row) = row?;
        let number = number.value();
        let entry = read(row.value()).ok_or_else(|| damaged(name, number, NOT_OURS))?;
        let gone =
            list.load(number, entry).map_err(|_| damaged(name, number, "does not follow the one before"))?;
        dropped.extend(gone);
    }
    Ok(dropped)
}

/// A copy of the file in memory, in which redb may repair as it likes.
#[derive(Debug)]
struct Image(Mutex<Vec<u8>>);

impl Image {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The place of an operation, if it lies in what is there.
fn inside(offset: u64, bytes: usize, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(bytes)).filter(|&end| end <= length);
    start.zip(end).map(|(start, end)| start..end).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for Image {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|bytes| {
            let place = inside(offset, out.len(), bytes.len())?;
            out.copy_from_slice(&bytes[place]);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|bytes| bytes.resize(len, 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|bytes| {
            let place = inside(offset, data.len(), bytes.len())?;
            bytes[place].copy_from_slice(data);
            Ok(())
        })
    }
}
