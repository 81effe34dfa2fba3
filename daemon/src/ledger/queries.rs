//! What is on record, for those who ask; and what others than reactors put there.

use super::explain::{self, Explanation, GivenId, UnknownId};
use super::facade::Ledger;
use super::memory::{Audit, Transition};
use super::outcome::Health;
use super::record::{AuditRow, LostRecord, NotStableRecord, Now, OpenMark};
use super::rows;
use super::volume::Volume;
use holdfast_engine::VolumeId;

impl Ledger {
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

    /// A header in the arena does not say whose data it had: all of the volume counts as lost, but for what is newer. Durable
    /// with the next commit.
    pub fn lose_all(&mut self, now: Now, volume: VolumeId) {
        let key = self.key(volume);
        self.memory.lose_all(now, key);
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

    /// The failure ids that were given last, at most `limit`, the oldest of them first.
    pub fn given_ids(&self, limit: usize) -> Vec<GivenId> {
        explain::given(&self.memory, limit)
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
        let known = &mut self.memory.volumes.get_mut(&key).expect("keys are of volumes").mark;
        if std::mem::replace(known, mark) != mark {
            self.memory.touch_volume(key);
        }
    }

    /// Bytes that are on record as lost of the volume with this name, registered or not.
    pub fn lost_of(&self, name: &str) -> u64 {
        let volumes = self.memory.volumes.values().filter(|volume| volume.name == name);
        volumes.flat_map(super::volume::Volume::lost_records).map(|record| record.range.length).sum()
    }

    /// Where the volume's data was when it was used last, unless it was drained since.
    pub fn open_mark(&self, volume: VolumeId) -> Option<OpenMark> {
        self.volume(volume).mark
    }

    /// What changes when memory dies with data that was not on stable media; 0 if it never did.
    pub fn incarnation(&self) -> u64 {
        self.memory.incarnation
    }

    /// Another one from now on. Durable with the next commit.
    pub fn set_incarnation(&mut self, incarnation: u64) {
        self.memory.incarnation = incarnation;
        self.memory.pending = true;
    }

    /// The volume is larger now: ranges behind its old end can be on record, too. Durable with the next commit.
    ///
    /// # Panics
    /// If it became smaller.
    pub fn resize(&mut self, volume: VolumeId, size: u64) {
        let key = self.key(volume);
        let volume = self.memory.volumes.get_mut(&key).expect("keys are of volumes");
        assert!(size >= volume.size, "a volume of {} bytes does not shrink to {size}", volume.size);
        volume.size = size;
        self.memory.touch_volume(key);
    }

    /// Keeps what an operator did. Texts over 1024 bytes are cut. Durable with the next commit.
    pub fn audit(&mut self, now: Now, who: &str, verb: &str) {
        let (who, verb) = (rows::cut(who).to_owned(), rows::cut(verb).to_owned());
        self.memory.audit.push(Audit { at_ms: now.wall_ms, who, verb });
        self.memory.pending = true;
    }

    /// The first row that is kept of what operators did, and the number that the next one gets.
    pub fn audit_bounds(&self) -> (u64, u64) {
        (self.memory.audit.first(), self.memory.audit.next())
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
            waiting: self.waiting(),
            pending: self.memory.pending || !self.told.is_empty() || !self.asked.is_empty(),
        }
    }

    fn volume(&self, volume: VolumeId) -> &Volume {
        &self.memory.volumes[&self.key(volume)]
    }
}
