//! What an earlier life left in the arena becomes the beginning of this one (C10, M1, M3).
//!
//! | a header says | it becomes |
//! |---|---|
//! | free, incoming | free: nothing of it was acknowledged |
//! | filling | free, once the volume is settled: until then the device may write into it |
//! | writing | dirty, or failed if it was refused before, once the volume is settled: until then the device may read it |
//! | dirty, unstable | dirty: what was written may be gone by the next flush |
//! | failed | failed, with errno and attempts |
//! | condemned | lost if the ledger says so, else what it was |
//! | clean | clean |
//! | anything, and a younger slot has the line | free, as above: the newest is sufficient |
//! | anything, and something younger of the line is on record as lost | free: it is older than what nobody has any more |
//! | anything, and something older of the line is on record as lost | the same, without what is lost and was not written since |
//! | nothing that can be believed | free, and something may be lost: see `damage.rs` |

use crate::cache::Cache;
use crate::engine::Engine;
use crate::epochs::Stage;
use crate::header::{GENERATIONS, at};
use crate::losses::Loss;
use crate::volume::{Volume, Zeroed};
use crate::{Actions, Header, HeaderDamage, Identity, Instant, LedgerSeq, Limits, Notes, SlotId, Status};
use alloc::vec::Vec;
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, ErrorClass, State};

/// The errno of data whose header in the arena was damaged; such an extent has no attempts.
pub const DAMAGED: u16 = 117;

/// The link of a slot in quarantine whose data is given up.
pub(crate) const UNBOOKED: u32 = u32::MAX;
/// Generations between two lives: more than a request has lines, so that no request is of two lives.
const GAP: u64 = 1 << 16;

/// Slots whose headers are looked for together.
const AHEAD: usize = 32;

/// What was found, in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Slots with content.
    pub lines: u64,
    /// Of them, not on stable media.
    pub not_clean: u64,
    /// Of them, refused by the device.
    pub failed: u64,
    /// Slots that operations of the earlier life may still use.
    pub in_flight: u64,
    /// Lines that are lost because their headers are damaged.
    pub damaged: u64,
}

/// Why headers cannot be taken over. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A header in use that does not say whose it is, and not everything is on record as lost.
    Damaged {
        /// Whose.
        slot: SlotId,
        /// How.
        damage: HeaderDamage,
    },
    /// A header of a volume or line that there is not.
    Place {
        /// Whose.
        slot: SlotId,
        /// The volume.
        volume: u16,
        /// The local line.
        line: u64,
    },
    /// Two slots of one line and one generation.
    Twins {
        /// One.
        slot: SlotId,
        /// The other.
        other: SlotId,
    },
    /// Notes of a generation that no life can have given out.
    Notes {
        /// The generation.
        generation: u64,
    },
}

/// What the first look finds, before anything is changed.
#[derive(Default)]
pub(crate) struct Found {
    /// Superseded by younger slots.
    older: Vec<SlotId>,
    /// Of a line that is known, in a state that is not.
    pub(crate) damaged: Vec<(SlotId, Identity)>,
    /// Damaged, and nothing is lost with them that is not on record.
    pub(crate) needless: Vec<SlotId>,
    /// Whether among them is one that held something of a line that nobody knows.
    pub(crate) somewhere: bool,
    /// The newest generation given out, and the newest published.
    pub(crate) newest: u64,
    published: u64,
}

/// Slots to be put into the map, by the part of its memory that each will touch: one part after the other stays in the
/// processor's caches, where a million slots in their own order would wait for memory nearly every time.
struct Claims(Vec<Vec<SlotId>>);

impl Claims {
    /// As many as one byte counts.
    const PARTS: usize = 256;

    /// For so many slots at most, nearly without growing.
    fn of(slots: u64) -> Claims {
        let each = usize::try_from(slots).expect("slots are counted in u32") / Self::PARTS;
        Claims((0..Self::PARTS).map(|_| Vec::with_capacity(each + each / 4)).collect())
    }

    /// `place` is where in the map, from 0 up to 1 as parts of 2^64.
    fn add(&mut self, place: u64, slot: SlotId) {
        self.0[usize::from(place.to_be_bytes()[0])].push(slot);
    }
}

impl<'a> Engine<'a> {
    /// An engine over what an earlier life left, or over nothing. The order is: volumes are added, all losses on record are
    /// restored ([`crate::Command::RestoreLoss`]), [`Engine::rebuild`], then [`crate::Event::Settled`] for each volume as
    /// soon as no operation of the earlier life is in flight there, and at any time after the reports
    /// ([`crate::Command::RestoreReport`]). Memory: what any engine has, and a list of what was in flight.
    ///
    /// # Panics
    /// As [`Engine::new`], except that headers may say anything.
    pub fn resume(limits: Limits, headers: &'a [Header], notes: Notes<'a>, now: Instant) -> Engine<'a> {
        let mut engine = Engine::with(limits, headers.len(), Cache::left(headers, limits.seed), now);
        (engine.notes, engine.resumes) = (notes, true);
        engine
    }

    /// Takes over what the headers say.
    ///
    /// # Errors
    /// [`Misfit`]: this arena is not to be served from. Nothing in it was changed; the engine is of no use.
    pub fn rebuild(&mut self, now: Instant, out: &mut Actions) -> Result<Rebuilt, Misfit> {
        self.now = now;
        let generation = self.notes.newest();
        if generation >= GENERATIONS {
            return Err(Misfit::Notes { generation });
        }
        let found = self.survey()?;
        // Before the others: what is older than something that is lost goes with it.
        let lose = |&(slot, identity): &(SlotId, Identity)| u64::from(self.lose_damaged(slot, identity, out));
        let damaged = found.damaged.iter().map(lose).sum();
        self.doubtful.extend(found.needless.iter().map(|&slot| (slot, LedgerSeq(0))));
        let mut rebuilt = Rebuilt { damaged, ..Rebuilt::default() };
        let mut dealt_with = alloc::vec![false; self.all_slots().count()];
        self.doubtful.iter().for_each(|&(slot, _)| dealt_with[at(slot)] = true);
        for &slot in &found.older {
            dealt_with[at(slot)] = self.free_older(slot);
        }
        for slot in self.all_slots().filter(|&slot| !dealt_with[at(slot)]) {
            match self.cache.header(slot).recover() {
                Ok((_, status)) if status.state == State::Free => self.cache.release(slot),
                Ok((_, status)) => self.take_over(slot, status, found.somewhere, &mut rebuilt),
                Err(_) => unreachable!("damaged headers were dealt with"),
            }
        }
        for index in 0..self.volumes.len() {
            self.zeroes_again(index);
            let volume = &mut self.volumes[index];
            volume.recheck = Some(0);
            volume.allowance.cover(volume.counts.not_clean());
        }
        self.begin_life(&found);
        rebuilt.in_flight = self.quarantine.len() as u64;
        Ok(rebuilt)
    }

    fn all_slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..u32::try_from(self.cache.slots()).expect("slots are counted in u32")).map(SlotId)
    }

    /// Finds the newest slot of every line, and whatever is wrong. Changes nothing but the map and the counts.
    fn survey(&mut self) -> Result<Found, Misfit> {
        let mut found = Found::default();
        let mut claims = Claims::of(self.cache.slots());
        for slot in self.all_slots() {
            let header = self.cache.header(slot);
            if let Some(identity) = header.sound_identity() {
                found.newest = found.newest.max(identity.generation);
            }
            match header.recover() {
                Ok((_, status)) if status.state == State::Free => {}
                Ok((_, status)) => {
                    if self.survey_slot(slot, status, &mut found)? {
                        claims.add(self.cache.place_in_map(slot), slot);
                    }
                }
                Err(damage) => self.survey_damage(slot, damage, &mut found)?,
            }
        }
        for slots in claims.0.iter().flat_map(|part| part.chunks(AHEAD)) {
            self.cache.look_at(slots);
            for &slot in slots {
                let older = self.cache.claim(slot).map_err(|other| Misfit::Twins { slot, other })?;
                found.older.extend(older);
            }
        }
        Ok(found)
    }

    /// Counts a slot with content. Whether it is one to be found by its line.
    fn survey_slot(&mut self, slot: SlotId, status: Status, found: &mut Found) -> Result<bool, Misfit> {
        let header = self.cache.header(slot);
        let index = self.volume_of(slot)?;
        self.cache.adopt(&mut self.volumes[index].counts, slot);
        let believed = mutant!(IncomingIsBelieved) && status.state == State::Incoming;
        if matches!(status.state, State::Incoming | State::Filling) && !believed {
            return Ok(false);
        }
        found.published = found.published.max(header.generation());
        Ok(true)
    }

    /// The place of a header's volume, if there is such a line.
    fn volume_of(&self, slot: SlotId) -> Result<usize, Misfit> {
        let header = self.cache.header(slot);
        let (volume, line) = (header.volume(), header.line());
        if self.has_line(volume, line) {
            Ok(usize::from(volume))
        } else {
            Err(Misfit::Place { slot, volume, line })
        }
    }

    pub(crate) fn has_line(&self, volume: u16, line: u64) -> bool {
        let has = |volume: &Volume<'_>| !volume.vacant && line < volume.geometry().local_lines();
        self.volumes.get(usize::from(volume)).is_some_and(has)
    }

    /// Frees a slot whose line has a younger one, unless the device may still read it.
    fn free_older(&mut self, slot: SlotId) -> bool {
        let header = self.cache.header(slot);
        let volume = &mut self.volumes[usize::from(header.volume())];
        let free = header.state() != State::Writing || mutant!(WritingIsDirtyAtOnce);
        if free {
            self.cache.pass(&mut volume.counts, slot, Cause::Superseded);
        }
        free
    }

    /// Books a slot as what it is now.
    fn take_over(&mut self, slot: SlotId, mut status: Status, somewhere: bool, rebuilt: &mut Rebuilt) {
        let header = self.cache.header(slot);
        let (index, line) = (usize::from(header.volume()), header.line());
        let counts = &mut self.volumes[index].counts;
        match status.state {
            State::Incoming if mutant!(IncomingIsBelieved) => {
                self.cache.pass(counts, slot, Cause::Published);
                status.state = State::Dirty;
            }
            State::Filling if mutant!(FillingIsFreeAtOnce) => {
                return self.cache.pass(counts, slot, Cause::Superseded);
            }
            State::Writing if mutant!(WritingIsDirtyAtOnce) => {
                self.cache.pass(counts, slot, Cause::Restarted);
                status.state = State::Dirty;
            }
            State::Incoming => return self.cache.pass(counts, slot, Cause::Superseded),
            State::Filling => return self.quarantine.push(slot),
            State::Unstable => self.cache.pass(counts, slot, Cause::Restarted),
            _ => {}
        }
        rebuilt.lines += 1;
        let loss = self.volumes[index].losses.of(line).copied();
        let doubted = somewhere && status.state == State::Writing;
        if let Some(loss) = loss.filter(|loss| doubted || self.is_lost_for_good(slot, loss)) {
            return self.let_go(slot, &loss);
        }
        if let Some(loss) = loss {
            status.valid = self.hide_lost(slot, &loss);
        }
        if status.state == State::Clean {
            return;
        }
        rebuilt.not_clean += 1;
        rebuilt.failed += u64::from(status.attempts > 0);
        if status.state == State::Condemned {
            self.cache.pass(&mut self.volumes[index].counts, slot, Cause::Restarted);
        }
        if status.state == State::Writing {
            self.quarantine.push(slot);
        }
        let epoch = self.volumes[index].epochs.current();
        self.book(index, slot, status, epoch);
    }

    /// Whether what a slot holds is given up for good: it is condemned, and all of it is on record as lost; or what was lost
    /// is younger.
    fn is_lost_for_good(&self, slot: SlotId, loss: &Loss) -> bool {
        let header = self.cache.header(slot);
        let recorded = loss.mask & header.dirty() == header.dirty();
        loss.generation > header.generation()
            || (loss.generation == header.generation() && header.state() == State::Condemned && recorded)
    }

    /// A loss whose end the ledger had not got when the daemon died is in force again, and lines were read in meanwhile: of
    /// what is lost a slot keeps only what was written after it. Returns what is left to be read.
    fn hide_lost(&self, slot: SlotId, loss: &Loss) -> u32 {
        let header = self.cache.header(slot);
        let status = header.status();
        let valid = status.valid & !(loss.mask & !header.dirty());
        if valid != status.valid {
            header.publish(Status { valid, ..status });
        }
        valid
    }

    fn let_go(&mut self, slot: SlotId, loss: &Loss) {
        let header = self.cache.header(slot);
        let counts = &mut self.volumes[usize::from(header.volume())].counts;
        if self.cache.is_newest(slot) {
            self.cache.unmap(slot);
        }
        match header.state() {
            State::Writing => {
                self.cache.set_link(slot, UNBOOKED);
                self.quarantine.push(slot);
            }
            State::Condemned if loss.generation == header.generation() => {
                self.cache.pass(counts, slot, Cause::LossRecorded);
            }
            _ => self.cache.pass(counts, slot, Cause::Superseded),
        }
    }

    /// The books of a slot that is not clean; one in flight counts as such until its volume is settled.
    pub(crate) fn book(&mut self, index: usize, slot: SlotId, status: Status, epoch: u32) {
        let (line, now) = (self.cache.header(slot).line(), self.now);
        let volume = &mut self.volumes[index];
        self.cache.set_link(slot, epoch);
        // What failed was tried: a header that denies it is not of this release.
        let tried = status.attempts.max(u8::from(status.state == State::Failed));
        let class = class_of(status);
        let status = Status { attempts: tried, ..status };
        if status.state == State::Failed {
            self.cache.header(slot).publish(Status { class: class as u8, ..status });
        }
        if status.attempts > 0 {
            // When it failed only the ledger knows, which is heard later; the backoff begins anew.
            self.failures.set_times(slot, now, now);
            self.failures.push(&mut volume.failed, slot);
            volume.failing[class as usize] += 1;
        }
        if status.state == State::Writing {
            volume.epochs.add(epoch, Stage::Writing);
            volume.index.busy.set(line);
            return;
        }
        let header = self.cache.header(slot);
        let stage = if status.attempts > 0 { Stage::Failed } else { Stage::Waiting };
        if status.attempts > 0 && header.state() == State::Dirty {
            let status = Status { class: class as u8, ..status };
            self.cache.publish(&mut volume.counts, slot, Cause::Inherited, status);
        }
        volume.epochs.add(epoch, stage);
        volume.index.dirty.set(line);
        volume.dirty_since.get_or_insert(now);
        if stage == Stage::Failed {
            volume.index.failed.set(line);
        }
    }

    /// Ranges that the device may forget are zeroed again, and what they supersede is dropped if that was not done.
    fn zeroes_again(&mut self, index: usize) {
        let id = self.volumes[index].id();
        let lines = self.volumes[index].geometry().local_lines();
        for (place, note) in self.notes.zeroed(id) {
            if note.end > lines {
                continue;
            }
            if note.generation == 0 {
                (note.first..note.end).for_each(|line| self.forget_copies(index, line));
                continue;
            }
            for line in note.first..note.end {
                let older = self.cache.newest(id, line).map(|slot| self.cache.header(slot));
                let older = older.filter(|header| header.generation() < note.generation);
                if older.is_some_and(|header| header.state() != State::Writing) {
                    self.drop_line(index, line);
                }
            }
            let volume = &mut self.volumes[index];
            volume.losses.supersede(note.first, note.end, note.generation);
            let epoch = volume.epochs.current();
            volume.epochs.add(epoch, Stage::Waiting);
            volume.fences += 1;
            volume.zeroed.push(Zeroed {
                first: note.first,
                end: note.end,
                epoch,
                discard: note.discard,
                covered: false,
                redo: true,
                busy: false,
                refused: None,
                errno: 0,
                stable: false,
                heal_cursor: note.first,
                report_cursor: note.first,
                generation: note.generation,
                note: place,
            });
        }
    }

    /// The device may have zeroed the line, or may yet: what the cache has of it is kept only as far as it will be written.
    fn forget_copies(&mut self, index: usize, line: u64) {
        let volume = &mut self.volumes[index];
        let Some(slot) = self.cache.newest(volume.id(), line) else { return };
        let header = self.cache.header(slot);
        let status = header.status();
        match status.state {
            State::Clean => self.cache.evict(&mut volume.counts, slot),
            State::Writing => {}
            _ => header.publish(Status { valid: status.valid & header.dirty(), ..status }),
        }
    }

    /// Generations go on behind everything that was ever given out.
    fn begin_life(&mut self, found: &Found) {
        let published = found.published.max(self.notes.published());
        let last = found.newest.max(self.notes.newest()).max(published);
        if !mutant!(LifeIsNotNoted) {
            self.notes.end_life(published, last);
        }
        self.cache.resume_above(if last == 0 { 0 } else { last + GAP });
        self.first_generation = self.cache.next_generation();
        self.published = self.first_generation - 1;
        self.notes.set_published(self.published);
    }
}

/// The class of a refusal; of one that no release knows, the one that says least.
pub(crate) fn class_of(status: Status) -> ErrorClass {
    ErrorClass::from_u8(status.class).unwrap_or(ErrorClass::Medium)
}
