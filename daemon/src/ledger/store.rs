//! The file: a copy of the record, written in group commits, replaced as a whole after any error.

use super::disk::{Disk, FirstError, Sticky};
use super::memory::Memory;
use super::rows;
use redb::{Builder, Database, TableDefinition, WriteTransaction};
use std::sync::PoisonError;

pub(super) type Numbers = TableDefinition<'static, &'static str, u64>;
pub(super) type ByNumber = TableDefinition<'static, u64, &'static [u8]>;
pub(super) type ByPlace = TableDefinition<'static, (u32, u64), &'static [u8]>;

pub(super) const META: Numbers = TableDefinition::new("meta");
pub(super) const VOLUMES: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("volumes");
pub(super) const NOT_STABLE: ByPlace = TableDefinition::new("not_stable");
pub(super) const LOST: ByPlace = TableDefinition::new("lost");
pub(super) const HISTORY: ByNumber = TableDefinition::new("history");
pub(super) const TOLD: ByNumber = TableDefinition::new("told");
pub(super) const AUDIT: ByNumber = TableDefinition::new("audit");

/// The key of the version in [`META`].
pub(super) const VERSION_KEY: &str = "version";
/// The key of the next failure id in [`META`].
pub(super) const NEXT_ID_KEY: &str = "next_id";
/// The key of the incarnation in [`META`]; missing in a store of before there was one.
pub(super) const INCARNATION_KEY: &str = "incarnation";
/// The version of these tables and rows.
pub(super) const VERSION: u64 = 1;

/// The most memory that redb may use for pages, in bytes. Rows are read at the start only.
const CACHE_BYTES: usize = 16 << 20;

/// The store could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreError {
    /// A Linux errno, 0 if the disk gave none.
    pub(super) errno: i32,
    pub(super) text: String,
}

/// A file that took all writes so far.
pub(super) struct Store {
    database: Database,
    first_error: FirstError,
}

impl Store {
    /// Writes the whole record into a new file and puts it in the old one's place.
    pub(super) fn replace(disk: &dyn Disk, memory: &Memory) -> Result<Store, StoreError> {
        let first_error = FirstError::default();
        let database =
            write_new(disk, memory, &first_error).map_err(|error| store_error(&first_error, &*error))?;
        disk.publish().map_err(|error| store_error(&first_error, &error))?;
        Ok(Store { database, first_error })
    }

    /// Writes what changed since the last time, durably. After an error the store is of no more use.
    pub(super) fn commit(&mut self, memory: &mut Memory) -> Result<(), StoreError> {
        self.write_changes(memory).map_err(|error| store_error(&self.first_error, &error))
    }

    fn write_changes(&mut self, memory: &mut Memory) -> Result<(), redb::Error> {
        let transaction = begin(&self.database)?;
        write_meta(&transaction, memory)?;
        write_touched(&transaction, memory)?;
        write_lists(&transaction, memory, false)?;
        transaction.commit()?;
        Ok(())
    }
}

/// A transaction whose commit is two syncs: with one, a torn commit and a damaged one look the same at the next start.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn write_new(
    disk: &dyn Disk,
    memory: &Memory,
    first_error: &FirstError,
) -> Result<Database, Box<dyn std::error::Error>> {
    let file = Sticky::new(disk.create()?, first_error.clone());
    let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(file)?;
    let transaction = begin(&database)?;
    write_meta(&transaction, memory)?;
    write_all_ranges(&transaction, memory)?;
    write_lists(&transaction, memory, true)?;
    transaction.commit()?;
    Ok(database)
}

fn write_meta(transaction: &WriteTransaction, memory: &Memory) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(VERSION_KEY, VERSION)?;
    meta.insert(NEXT_ID_KEY, memory.next_id)?;
    meta.insert(INCARNATION_KEY, memory.incarnation)?;
    Ok(())
}

fn write_all_ranges(transaction: &WriteTransaction, memory: &Memory) -> Result<(), redb::Error> {
    let mut volumes = transaction.open_table(VOLUMES)?;
    let (mut not_stable, mut lost) = (transaction.open_table(NOT_STABLE)?, transaction.open_table(LOST)?);
    for (&key, volume) in &memory.volumes {
        volumes.insert(key, rows::volume_row(volume).as_slice())?;
        for (span, held) in volume.not_stable.iter() {
            not_stable.insert((key, span.start), rows::held_row(span.end, held).as_slice())?;
        }
        for (span, losses) in volume.lost.iter() {
            lost.insert((key, span.start), rows::lost_row(span.end, losses).as_slice())?;
        }
    }
    Ok(())
}

fn write_touched(transaction: &WriteTransaction, memory: &mut Memory) -> Result<(), redb::Error> {
    let mut volumes = transaction.open_table(VOLUMES)?;
    for key in std::mem::take(&mut memory.volumes_touched) {
        volumes.insert(key, rows::volume_row(&memory.volumes[&key]).as_slice())?;
    }
    let (mut not_stable, mut lost) = (transaction.open_table(NOT_STABLE)?, transaction.open_table(LOST)?);
    for (&key, volume) in &mut memory.volumes {
        for start in volume.not_stable.take_touched() {
            match volume.not_stable.starting_at(start) {
                Some((end, held)) => not_stable.insert((key, start), rows::held_row(end, held).as_slice())?,
                None => not_stable.remove((key, start))?,
            };
        }
        for start in volume.lost.take_touched() {
            match volume.lost.starting_at(start) {
                Some((end, losses)) => lost.insert((key, start), rows::lost_row(end, losses).as_slice())?,
                None => lost.remove((key, start))?,
            };
        }
    }
    Ok(())
}

/// Writes the numbered lists: what the store lacks of them, or all.
fn write_lists(transaction: &WriteTransaction, memory: &Memory, all: bool) -> Result<(), redb::Error> {
    let Memory { history, told, audit, .. } = memory;
    if all || history.is_unsaved() {
        write_list(transaction, HISTORY, history.to_write(all), history.first(), rows::closed_row)?;
    }
    if all || told.is_unsaved() {
        write_list(transaction, TOLD, told.to_write(all), told.first(), rows::told_row)?;
    }
    if all || audit.is_unsaved() {
        write_list(transaction, AUDIT, audit.to_write(all), audit.first(), rows::audit_row)?;
    }
    Ok(())
}

/// Writes entries of a list and removes those that fell out of it, before `first`.
fn write_list<'a, T: 'a>(
    transaction: &WriteTransaction,
    table: ByNumber,
    entries: impl Iterator<Item = (u64, &'a T)>,
    first: u64,
    row: impl Fn(&T) -> Vec<u8>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(table)?;
    for (number, entry) in entries {
        table.insert(number, row(entry).as_slice())?;
    }
    table.retain_in(..first, |_, _| false)?;
    Ok(())
}

/// The disk's own first word if it said one, else what the store says.
fn store_error(first_error: &FirstError, error: &(dyn std::error::Error + 'static)) -> StoreError {
    let first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
    match &*first {
        Some((errno, text)) => StoreError { errno: *errno, text: text.clone() },
        None => StoreError { errno: errno_of(error), text: error.to_string() },
    }
}

fn errno_of(error: &(dyn std::error::Error + 'static)) -> i32 {
    let io = error.downcast_ref::<std::io::Error>();
    io.and_then(std::io::Error::raw_os_error).unwrap_or(0)
}
