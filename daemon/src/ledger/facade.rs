//! The ledger as the control thread owns it: entries in, durable answers out.

use super::disk::{Directory, Disk};
use super::error::LedgerError;
use super::load::{self, LoadError};
use super::lock::Lock;
use super::memory::Memory;
use super::outcome::{CommitOutcome, Stuck};
use super::record::{Now, Report};
use super::store::{Store, StoreError, VERSION};
use super::volume::Volume;
use holdfast_engine::{LedgerEntry, LedgerSeq, Token, VolumeId};
use std::collections::BTreeMap;
use std::mem;
use std::path::Path;

/// How many ended records, given failure ids, deeds of operators and transitions are kept, of each.
pub const HISTORY_MAX: usize = 10_000;

/// The wait after a first failure to write, in milliseconds; doubles up to [`RETRY_MAX_MS`].
pub const RETRY_FIRST_MS: u64 = 100;
/// The longest wait between two attempts, in milliseconds. Flushes wait for the ledger: it must not be long.
pub const RETRY_MAX_MS: u64 = 5_000;

/// The durable record of failure. One thread owns it; nothing in it blocks but [`commit`](Self::commit) and
/// [`tick`](Self::tick), which write and sync.
pub struct Ledger {
    pub(super) memory: Memory,
    disk: Box<dyn Disk>,
    /// `None` after an error, until a new file is in place.
    store: Option<Store>,
    pub(super) stuck: Option<Stuck>,
    pub(super) replaced: u64,
    pub(super) history_max: usize,
    /// The store's number of each registered volume.
    pub(super) keys: BTreeMap<VolumeId, u32>,
    /// For every reactor: the last entry applied, and the last one said to be durable.
    sequences: BTreeMap<u32, (LedgerSeq, LedgerSeq)>,
    /// Reports that wait until their volume's set is whole: the end of the batch, or something that makes it smaller.
    pub(super) asked: Vec<(u32, VolumeId, Token)>,
    /// Reports that wait until their set is durable.
    pub(super) told: Vec<Report>,
    /// Held for life: one daemon a state directory.
    _lock: Option<Lock>,
}

impl Ledger {
    /// Reads the record in `state_dir`, and writes it into a new file: what the last daemon left may have come through
    /// a failed sync. If that cannot be written the ledger begins [`Stuck`], which [`health`](Self::health) shows.
    ///
    /// # Errors
    /// The directory is missing or in use, or its ledger is damaged or of another version. Nothing is changed then.
    pub fn open(state_dir: &Path, now: Now) -> Result<Ledger, LedgerError> {
        let lock = Lock::take(state_dir)?;
        let mut ledger = Ledger::open_on(Box::new(Directory::new(state_dir)), now, HISTORY_MAX)?;
        ledger._lock = Some(lock);
        Ok(ledger)
    }

    /// [`open`](Self::open) on any disk.
    pub(super) fn open_on(disk: Box<dyn Disk>, now: Now, history_max: usize) -> Result<Ledger, LedgerError> {
        let path = || disk.path().to_owned();
        let file = disk.read().map_err(|source| LedgerError::Read { path: path(), source })?;
        let memory = match file {
            None => Memory::new(history_max),
            Some(file) => load::load(&file, history_max).map_err(|error| match error {
                LoadError::Damaged(what) => LedgerError::Damaged { path: path(), what },
                LoadError::Version(found) => LedgerError::Version { path: path(), found, known: VERSION },
            })?,
        };
        let mut ledger = Ledger {
            memory,
            disk,
            store: None,
            stuck: None,
            replaced: 0,
            history_max,
            keys: BTreeMap::new(),
            sequences: BTreeMap::new(),
            asked: Vec::new(),
            told: Vec::new(),
            _lock: None,
        };
        if let Err(error) = ledger.replace() {
            ledger.note_stuck(now, error);
        }
        Ok(ledger)
    }

    /// Takes an entry of a reactor. In memory only, until [`commit`](Self::commit).
    ///
    /// # Panics
    /// If the entry's number does not follow, or its volume is not registered.
    pub fn apply(&mut self, now: Now, reactor: u32, seq: LedgerSeq, entry: LedgerEntry) {
        let (applied, _) = self.sequences.entry(reactor).or_default();
        assert!(seq > *applied, "entry {seq:?} of reactor {reactor} after {applied:?}");
        *applied = seq;
        let volume = volume_of(&entry);
        match entry {
            LedgerEntry::Report { token, .. } => self.asked.push((reactor, volume, token)),
            // A set only grows while its reports wait: so all reactors that report one flush get one id.
            LedgerEntry::NotStable { .. } => {}
            _ => self.tell(now, Some(volume)),
        }
        let key = self.key(volume);
        self.memory.apply(now, key, reactor, entry);
    }

    /// Names the sets that reports wait for: of one volume, or of all.
    fn tell(&mut self, now: Now, only: Option<VolumeId>) {
        for (reactor, volume, token) in mem::take(&mut self.asked) {
            if only.is_some_and(|only| only != volume) {
                self.asked.push((reactor, volume, token));
                continue;
            }
            let failure_id = self.memory.tell(now, self.key(volume));
            self.told.push(Report { reactor, token, failure_id });
        }
    }

    /// Makes all that was applied durable, in one transaction; if the file fails, in a new file. While stuck it only
    /// tries when the wait is over.
    pub fn commit(&mut self, now: Now) -> CommitOutcome {
        self.tell(now, None);
        if let Some(stuck) = &self.stuck
            && now.instant < stuck.retry_at
        {
            return CommitOutcome::Stuck(stuck.clone());
        }
        match self.write() {
            Ok(()) => {
                self.stuck = None;
                self.deliver()
            }
            Err(error) => CommitOutcome::Stuck(self.note_stuck(now, error)),
        }
    }

    /// Tries again to write if the ledger is stuck and the wait is over. Call it at [`Stuck::retry_at`] at the latest.
    pub fn tick(&mut self, now: Now) -> CommitOutcome {
        match self.stuck {
            Some(_) => self.commit(now),
            None => CommitOutcome::Durable { durable: Vec::new(), reports: Vec::new() },
        }
    }

    /// [`commit`](Self::commit) that also writes what alone is not worth a write: newer attempts and times, and that
    /// waits for nothing. For a stop.
    pub fn commit_all(&mut self, now: Now) -> CommitOutcome {
        self.memory.pending = true;
        self.commit_now(now)
    }

    /// [`commit`](Self::commit) that waits for nothing. For a start: what [`open`](Self::open) wrote is the record, and a
    /// daemon that finds everything as it was has nothing to add and no disk to wait for.
    pub fn commit_now(&mut self, now: Now) -> CommitOutcome {
        self.memory.pending |= self.memory.volumes.values().any(Volume::is_touched);
        if let Some(stuck) = &mut self.stuck {
            stuck.retry_at = now.instant;
        }
        self.commit(now)
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if let Some(store) = &mut self.store {
            if !self.memory.pending {
                return Ok(());
            }
            if store.commit(&mut self.memory).is_ok() {
                self.memory.mark_saved();
                return Ok(());
            }
            // What this file holds is uncertain from now on; it is never read or written again.
            self.store = None;
        }
        self.replace()?;
        self.replaced += 1;
        Ok(())
    }

    fn replace(&mut self) -> Result<(), StoreError> {
        self.store = Some(Store::replace(&*self.disk, &self.memory)?);
        self.memory.mark_saved();
        Ok(())
    }

    fn note_stuck(&mut self, now: Now, error: StoreError) -> Stuck {
        let (since_ms, before) =
            self.stuck.as_ref().map_or((now.wall_ms, 0), |stuck| (stuck.since_ms, stuck.attempts));
        let wait_ms = RETRY_FIRST_MS.saturating_mul(1 << before.min(16)).min(RETRY_MAX_MS);
        let retry_at = now.instant.after_ms(wait_ms);
        let attempts = before.saturating_add(1);
        let stuck = Stuck { since_ms, errno: error.errno, text: error.text, attempts, retry_at };
        self.stuck.insert(stuck).clone()
    }

    /// Entries that were applied and not said to be durable.
    pub(super) fn waiting(&self) -> u64 {
        self.sequences.values().map(|(applied, said)| applied.0 - said.0).sum()
    }

    fn deliver(&mut self) -> CommitOutcome {
        let mut durable = Vec::new();
        for (&reactor, (applied, said)) in &mut self.sequences {
            if said < applied {
                *said = *applied;
                durable.push((reactor, *applied));
            }
        }
        CommitOutcome::Durable { durable, reports: mem::take(&mut self.told) }
    }

    /// The record itself, to compare with another.
    #[cfg(test)]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The store's number of a registered volume.
    pub(super) fn key(&self, volume: VolumeId) -> u32 {
        *self.keys.get(&volume).unwrap_or_else(|| panic!("volume {volume:?} is not registered"))
    }
}

fn volume_of(entry: &LedgerEntry) -> VolumeId {
    match *entry {
        LedgerEntry::NotStable { volume, .. }
        | LedgerEntry::Healed { volume, .. }
        | LedgerEntry::Lost { volume, .. }
        | LedgerEntry::Rescinded { volume, .. }
        | LedgerEntry::LossHealed { volume, .. }
        | LedgerEntry::Report { volume, .. } => volume,
    }
}
