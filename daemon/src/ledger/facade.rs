//! The ledger as the control thread owns it: entries in, durable answers out.

use super::disk::{Directory, Disk};
use super::error::{LedgerError, RegisterError};
use super::explain::{self, Explanation, UnknownId};
use super::load::{self, LoadError};
use super::lock::Lock;
use super::memory::{Audit, Memory, Transition};
use super::record::{AuditRow, LostRecord, NotStableRecord, Now, OpenMark, Report};
use super::rows;
use super::store::{Store, StoreError, VERSION};
use super::volume::Volume;
use holdfast_engine::{Instant, LedgerEntry, LedgerSeq, Token, VolumeId};
use std::collections::BTreeMap;
use std::mem;
use std::path::Path;

/// How many ended records, given failure ids, deeds of operators and transitions are kept, of each.
pub const HISTORY_MAX: usize = 10_000;

/// The wait after a first failure to write, in milliseconds; doubles up to [`RETRY_MAX_MS`].
pub const RETRY_FIRST_MS: u64 = 100;
/// The longest wait between two attempts, in milliseconds. Flushes wait for the ledger: it must not be long.
pub const RETRY_MAX_MS: u64 = 5_000;

/// The ledger's disk does not take it. Nothing new is durable, so nobody may be told of it and no lost data be freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Since when, in milliseconds of the wall clock.
    pub since_ms: u64,
    /// The disk's last word, a Linux errno; 0 if it gave none.
    pub errno: i32,
    /// The same in words.
    pub text: String,
    /// How often writing a new file was tried since.
    pub attempts: u32,
    /// When it is tried next.
    pub retry_at: Instant,
}

/// What a commit achieved.
#[derive(Clone, Debug, PartialEq)]
pub enum CommitOutcome {
    /// All that was applied is durable.
    Durable {
        /// For every reactor that had entries waiting: all up to this one are durable.
        durable: Vec<(u32, LedgerSeq)>,
        /// The reports that waited, in the order they came.
        reports: Vec<Report>,
    },
    /// The disk refused; everything stays in memory and waits. [`Ledger::tick`] tries again.
    Stuck(Stuck),
}

/// How the ledger is.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Set while nothing can be written.
    pub stuck: Option<Stuck>,
    /// How often the file was replaced after an error since the start.
    pub replaced: u64,
    /// Held ranges on record.
    pub not_stable: usize,
    /// Lost ranges on record.
    pub lost: usize,
    /// Whether something waits to become durable.
    pub pending: bool,
}

/// The durable record of failure. One thread owns it; nothing in it blocks but [`commit`](Self::commit) and
/// [`tick`](Self::tick), which write and sync.
pub struct Ledger {
    memory: Memory,
    disk: Box<dyn Disk>,
    /// `None` after an error, until a new file is in place.
    store: Option<Store>,
    stuck: Option<Stuck>,
    replaced: u64,
    history_max: usize,
    /// The store's number of each registered volume.
    keys: BTreeMap<VolumeId, u32>,
    /// For every reactor: the last entry applied, and the last one said to be durable.
    sequences: BTreeMap<u32, (LedgerSeq, LedgerSeq)>,
    /// Reports that wait until their volume's set is whole: the end of the batch, or something that makes it smaller.
    asked: Vec<(u32, VolumeId, Token)>,
    /// Reports that wait until their set is durable.
    told: Vec<Report>,
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

    /// Connects the engines' number of a volume with what is on record of it. Durable with the next commit.
    ///
    /// `identity` names the device or file itself, never its path (serial and namespace; file system and inode).
    ///
    /// # Errors
    /// Name, identity or size contradict what is on record and not yet clean. Nothing is changed then.
    ///
    /// # Panics
    /// If `id` is registered already.
    pub fn register_volume(
        &mut self,
        id: VolumeId,
        name: &str,
        identity: &str,
        size: u64,
    ) -> Result<(), RegisterError> {
        assert!(!self.keys.contains_key(&id), "volume {id:?} is registered twice");
        if name.is_empty() || name.len() > rows::TEXT_MAX || size == 0 {
            return Err(RegisterError::Invalid { name: name.to_owned(), size });
        }
        let identity = rows::cut(identity);
        self.refuse_other_name(name, identity)?;
        let known = self.memory.volumes.iter_mut().find(|(_, volume)| volume.name == name);
        let key = match known {
            Some((&key, volume)) => {
                adopt(volume, identity, size)?;
                key
            }
            None => {
                let key = self.memory.volumes.last_key_value().map_or(1, |(&last, _)| last + 1);
                self.memory.volumes.insert(key, Volume::new(name, identity, size));
                key
            }
        };
        self.memory.touch_volume(key);
        self.keys.insert(id, key);
        Ok(())
    }

    fn refuse_other_name(&self, name: &str, identity: &str) -> Result<(), RegisterError> {
        let same_device =
            |volume: &&Volume| volume.identity == identity && volume.name != name && !volume.is_idle();
        match self.memory.volumes.values().find(same_device) {
            None => Ok(()),
            Some(volume) => Err(RegisterError::OtherName {
                name: name.to_owned(),
                recorded: volume.name.clone(),
                identity: identity.to_owned(),
            }),
        }
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

    /// [`commit`](Self::commit) that also writes what alone is not worth a write: newer attempts and times. For a stop.
    pub fn commit_all(&mut self, now: Now) -> CommitOutcome {
        self.memory.pending = true;
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

    /// All that a volume lost and nothing healed, in the order of offsets.
    pub fn lost(&self, volume: VolumeId) -> Vec<LostRecord> {
        self.volume(volume).lost_records().collect()
    }

    /// All that a volume holds and somebody was told of, in the order of offsets.
    pub fn not_stable(&self, volume: VolumeId) -> Vec<NotStableRecord> {
        self.volume(volume).not_stable_records().collect()
    }

    /// The host went down, and with it all that the volume held: what was on record as held is lost. Durable with the
    /// next commit.
    pub fn turn_into_lost(&mut self, now: Now, volume: VolumeId) {
        let key = self.key(volume);
        self.memory.lose_all_held(now, key);
    }

    /// The id of the volume's set of failures as it is now: same set, same id; never 0. Durable with the next commit.
    pub fn report(&mut self, now: Now, volume: VolumeId) -> u64 {
        let key = self.key(volume);
        self.memory.tell(now, key)
    }

    /// What a failure id stood for and what became of it, with at most `limit` ranges.
    ///
    /// # Errors
    /// The id was never given, or so long ago that it is forgotten.
    pub fn explain(&self, id: u64, limit: usize) -> Result<Explanation, UnknownId> {
        explain::explain(&self.memory, id, limit, self.history_max)
    }

    /// The transitions from `number` on that are kept, oldest first; the first of them tells whether any are missing.
    /// They are counted from 1 in every daemon's life.
    pub fn events(&self, number: u64) -> impl Iterator<Item = &Transition> {
        self.memory.transitions.from(number).map(|(_, transition)| transition)
    }

    /// The volume takes writes whose data lives in this arena. Durable with the next commit: before the first is
    /// acknowledged.
    pub fn mark_open(&mut self, volume: VolumeId, mark: OpenMark) {
        self.set_mark(volume, Some(mark));
    }

    /// Everything the volume took is on stable media. Durable with the next commit.
    pub fn mark_drained(&mut self, volume: VolumeId) {
        self.set_mark(volume, None);
    }

    fn set_mark(&mut self, volume: VolumeId, mark: Option<OpenMark>) {
        let key = self.key(volume);
        self.memory.volumes.get_mut(&key).expect("keys are of volumes").mark = mark;
        self.memory.touch_volume(key);
    }

    /// Where the volume's data was when it was used last, unless it was drained since.
    pub fn open_mark(&self, volume: VolumeId) -> Option<OpenMark> {
        self.volume(volume).mark
    }

    /// Keeps what an operator did. Texts over 1024 bytes are cut. Durable with the next commit.
    pub fn audit(&mut self, now: Now, who: &str, verb: &str) {
        let (who, verb) = (rows::cut(who).to_owned(), rows::cut(verb).to_owned());
        self.memory.audit.push(Audit { at_ms: now.wall_ms, who, verb });
        self.memory.pending = true;
    }

    /// What operators did from row `number` on, oldest first.
    pub fn audit_rows(&self, number: u64) -> impl Iterator<Item = AuditRow> {
        self.memory.audit.from(number).map(|(number, audit)| AuditRow {
            number,
            at_ms: audit.at_ms,
            who: audit.who.clone(),
            verb: audit.verb.clone(),
        })
    }

    /// How the ledger is.
    pub fn health(&self) -> Health {
        let volumes = self.memory.volumes.values();
        Health {
            stuck: self.stuck.clone(),
            replaced: self.replaced,
            not_stable: volumes.clone().map(|volume| volume.not_stable.len()).sum(),
            lost: volumes.map(|volume| volume.lost.len()).sum(),
            pending: self.memory.pending || !self.told.is_empty() || !self.asked.is_empty(),
        }
    }

    /// The record itself, to compare with another.
    #[cfg(test)]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    fn key(&self, volume: VolumeId) -> u32 {
        *self.keys.get(&volume).unwrap_or_else(|| panic!("volume {volume:?} is not registered"))
    }

    fn volume(&self, volume: VolumeId) -> &Volume {
        &self.memory.volumes[&self.key(volume)]
    }
}

/// Takes a volume on record for the one that is configured, if nothing speaks against it.
fn adopt(volume: &mut Volume, identity: &str, size: u64) -> Result<(), RegisterError> {
    if volume.identity != identity && !volume.is_idle() {
        return Err(RegisterError::OtherDevice {
            name: volume.name.clone(),
            recorded: volume.identity.clone(),
            found: identity.to_owned(),
            records: volume.not_stable.len() + volume.lost.len(),
            open: volume.mark.is_some(),
        });
    }
    let end = volume.not_stable.end().max(volume.lost.end());
    if end > size {
        return Err(RegisterError::Shrunk { name: volume.name.clone(), size, end });
    }
    identity.clone_into(&mut volume.identity);
    volume.size = size;
    Ok(())
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
