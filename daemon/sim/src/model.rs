//! What a client may see: for each sector the values that are allowed now, and who may be told what.
//!
//! Shares no type with the engine but `Request`. Time is a count: every submission and every answer gets the next
//! number. A version of a sector is *superseded* for whoever began at `since` if another one took effect before
//! `since` and was submitted after this one was answered; what overlaps in time may end up in either order.

use crate::Ranges;
use crate::violation::{Clause, demand};
use holdfast_engine::{Operation, Request};
use std::collections::BTreeMap;

const NEVER: u64 = u64::MAX;

/// What the model asks the disk: (what a read returns, what a power cut leaves) of a sector.
pub(crate) type Content<'a> = &'a dyn Fn(u64) -> (u64, u64);

#[derive(Clone, Copy, Debug)]
struct Version {
    stamp: u64,
    submitted: u64,
    /// When it was answered, however: it cannot happen any more.
    answered: u64,
    acknowledged: u64,
    /// When it was acknowledged or seen by a read, whichever came first.
    effective: u64,
    /// When a read showed that another version came after it.
    dead: u64,
}

impl Version {
    const ZEROES: Version =
        Version { stamp: 0, submitted: 0, answered: 0, acknowledged: 0, effective: 0, dead: NEVER };

    const fn new(stamp: u64, submitted: u64) -> Version {
        Version { stamp, submitted, answered: NEVER, acknowledged: NEVER, effective: NEVER, dead: NEVER }
    }
}

#[derive(Clone, Copy, Debug)]
struct Loss {
    generation: u64,
    recorded: u64,
    /// When the record was durable.
    since: u64,
}

/// What an entry of the ledger says, in the model's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Not on stable media.
    NotStable,
    /// On stable media after all.
    Healed,
    /// Given up, with its generation.
    Lost(u64),
    /// Not given up after all.
    Rescinded(u64),
    /// The loss is no more.
    LossHealed,
    /// An operator acknowledged it.
    Acknowledged,
}

#[derive(Debug, Default)]
struct Volume {
    sectors: BTreeMap<u64, Vec<Version>>,
    lost: BTreeMap<u64, Vec<Loss>>,
    /// Losses whose end is not yet durable: from, to, since when they were in force.
    healing: Vec<(u64, u64, u64)>,
    reported: Ranges,
}

/// The model of all volumes.
#[derive(Debug, Default)]
pub struct Model {
    clock: u64,
    volumes: BTreeMap<u16, Volume>,
    pending: BTreeMap<u64, Request>,
}

/// The stamp of a sector of the write that was submitted as `id`.
pub const fn stamp(id: u64, sector: u64) -> u64 {
    id << 32 | (sector & 0xffff_ffff)
}

fn superseded(versions: &[Version], old: &Version, since: u64, effect: impl Fn(&Version) -> u64) -> bool {
    versions.iter().any(|new| effect(new) < since && old.answered < new.submitted)
}

fn span(request: &Request) -> (u64, u64) {
    (request.offset / 512, (request.offset + request.length) / 512)
}

const fn zeroes(operation: Operation) -> bool {
    matches!(operation, Operation::Discard | Operation::WriteZeroes { .. })
}

impl Model {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A client asks; the number is the model's name for it.
    pub fn submitted(&mut self, request: &Request) -> u64 {
        let id = self.tick();
        let oldest = self.pending.first_key_value().map_or(id, |(&oldest, _)| oldest);
        let volume = self.volumes.entry(request.volume.0).or_default();
        let (from, to) = span(request);
        if matches!(request.operation, Operation::Write { .. }) {
            for sector in from..to {
                let versions = volume.sectors.entry(sector).or_insert_with(|| {
                    let asked = self.pending.iter().filter(|(_, other)| {
                        let (first, end) = span(other);
                        zeroes(other.operation)
                            && other.volume == request.volume
                            && first <= sector
                            && sector < end
                    });
                    std::iter::once(Version::ZEROES)
                        .chain(asked.map(|(&id, _)| Version::new(0, id)))
                        .collect()
                });
                if versions.len() > 3 {
                    let all = versions.clone();
                    versions.retain(|old| !superseded(&all, old, oldest, |new| new.acknowledged));
                }
                versions.push(Version::new(stamp(id, sector), id));
            }
        } else if zeroes(request.operation) {
            volume.sectors.range_mut(from..to).for_each(|(_, versions)| versions.push(Version::new(0, id)));
        }
        self.pending.insert(id, *request);
        id
    }

    /// A session is over and everybody knows: its writes cannot happen any more, though what the device has of its
    /// zeroes may.
    pub fn closed(&mut self, session: u32) {
        let gone: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, request)| request.session.0 == session)
            .map(|(&id, _)| id)
            .collect();
        for id in gone {
            let request = self.pending.remove(&id).expect("a request that was just found");
            if !zeroes(request.operation) {
                self.settle(id, &request, false);
            }
        }
    }

    /// A write, write-zeroes or discard was answered.
    pub fn changed(&mut self, id: u64, errno: u16) {
        let request = self.pending.remove(&id).expect("a request of the model");
        self.settle(id, &request, errno == 0);
    }

    fn settle(&mut self, id: u64, request: &Request, acknowledged: bool) {
        let now = self.tick();
        let (from, to) = span(request);
        let sectors = &mut self.volumes.get_mut(&request.volume.0).expect("a volume of the model").sectors;
        for (_, versions) in sectors.range_mut(from..to) {
            for version in versions.iter_mut().filter(|version| version.submitted == id) {
                version.answered = now;
                if acknowledged {
                    version.acknowledged = now;
                    version.effective = version.effective.min(now);
                }
            }
        }
    }

    /// A read was answered. `excused` says that the device gave a reason to fail it.
    pub fn read(&mut self, id: u64, errno: u16, data: &[u64], excused: bool) {
        let request = self.pending.remove(&id).expect("a request of the model");
        let now = self.tick();
        let (from, to) = span(&request);
        let volume = self.volumes.get_mut(&request.volume.0).expect("a volume of the model");
        if errno != 0 {
            let lost = volume.lost.range(from..to).next().is_some()
                || volume.healing.iter().any(|&(a, b, _)| a < to && from < b);
            demand(Clause::C5, excused || lost, || {
                format!("{request:?} failed with {errno} without a reason")
            });
            return;
        }
        for (sector, &value) in (from..to).zip(data) {
            let in_force =
                volume.lost.get(&sector).is_some_and(|losses| losses.iter().any(|loss| loss.since < id));
            let Some(versions) = volume.sectors.get_mut(&sector) else {
                demand(Clause::C5, value == 0, || {
                    format!("sector {sector} was never written and reads {value:x}")
                });
                continue;
            };
            let newer = |version: &Version| {
                volume.lost.get(&sector).is_none_or(|losses| {
                    losses
                        .iter()
                        .all(|loss| version.submitted > loss.recorded || version.answered > loss.recorded)
                })
            };
            let seen = versions.iter().position(|old| {
                old.stamp == value
                    && old.dead >= id
                    && !superseded(versions, old, id, |new| new.effective)
                    && (!in_force || newer(old))
            });
            demand(Clause::C5, seen.is_some(), || {
                format!(
                    "{request:?} (as {id}) read {value:x} in sector {sector} (lost: {in_force}); allowed {versions:x?}"
                )
            });
            let Some(seen) = seen else { continue };
            if value != 0 {
                versions[seen].effective = versions[seen].effective.min(now);
                for (at, version) in versions.iter_mut().enumerate() {
                    if at != seen && version.answered < id {
                        version.dead = version.dead.min(now);
                    }
                }
            }
        }
    }

    /// A flush was answered by everybody with success: everything acknowledged before is stable.
    pub fn flushed(&mut self, id: u64, content: Content<'_>) {
        let request = self.pending.remove(&id).expect("a request of the model");
        self.tick();
        let Some(volume) = self.volumes.get(&request.volume.0) else { return };
        for &sector in volume.sectors.keys() {
            let versions = volume.unstable(sector, id, content);
            demand(Clause::C1, versions.is_none(), || {
                format!(
                    "flush {id} succeeded; sector {sector} has {:x?}, allowed {versions:x?}",
                    content(sector)
                )
            });
        }
        let lost = volume.lost.iter().find(|(_, losses)| losses.iter().any(|loss| loss.since < id));
        demand(Clause::C2, lost.is_none(), || format!("flush {id} succeeded while lost: {lost:?}"));
        let healing = volume.healing.iter().find(|&&(_, _, since)| since < id);
        demand(Clause::C2, healing.is_none(), || {
            format!("flush {id} succeeded, its heal {healing:?} is not durable")
        });
    }

    /// One reactor, to which the sectors of `own` belong, failed a flush.
    pub fn flush_failed(
        &self,
        id: u64,
        errno: u16,
        own: &dyn Fn(u64) -> bool,
        content: Content<'_>,
        excused: bool,
    ) {
        let request = &self.pending[&id];
        let Some(volume) = self.volumes.get(&request.volume.0) else { return };
        let mut reason = excused;
        for &sector in volume.sectors.keys().filter(|&&sector| own(sector)) {
            if volume.unstable(sector, id, content).is_none() {
                continue;
            }
            reason = true;
            let known = volume.reported.contains(sector) || volume.lost.contains_key(&sector);
            demand(Clause::C9, known, || {
                format!("flush {id} failed; sector {sector} is not stable and not on record")
            });
        }
        let old = volume
            .lost
            .iter()
            .find(|(sector, losses)| own(**sector) && losses.iter().any(|loss| loss.since < id));
        demand(Clause::C3, old.is_none() || errno == 5, || {
            format!("flush {id} says {errno}, but lost is {old:?}")
        });
        demand(Clause::C3, reason || !volume.lost.is_empty() || !volume.healing.is_empty(), || {
            format!("flush {id} failed with {errno} for nothing")
        });
    }

    /// A flush that failed somewhere is answered.
    pub fn forget(&mut self, id: u64) {
        self.pending.remove(&id);
    }

    /// The ledger was told (`durable` false), or holds (`durable` true), a note on `from .. to`.
    pub fn noted(
        &mut self,
        volume: u16,
        note: Note,
        (from, to): (u64, u64),
        durable: bool,
        content: Content<'_>,
    ) {
        let now = self.tick();
        let volume = self.volumes.entry(volume).or_default();
        match (note, durable) {
            (Note::NotStable, true) => volume.reported.insert(from, to),
            (Note::Healed, true) => volume.reported.remove(from, to),
            (Note::Lost(generation), false) => (from..to).for_each(|sector| {
                volume.lost.entry(sector).or_default().push(Loss { generation, recorded: now, since: NEVER });
            }),
            (Note::Lost(generation), true) => volume.each_loss(from, to, |loss| {
                loss.since = if loss.generation == generation { loss.since.min(now) } else { loss.since };
                true
            }),
            (Note::Rescinded(generation), false) => {
                volume.each_loss(from, to, |loss| loss.generation != generation)
            }
            (Note::LossHealed | Note::Acknowledged, false) => {
                volume.heal(from, to, note == Note::Acknowledged, now, content)
            }
            (Note::LossHealed | Note::Acknowledged, true) => {
                if let Some(at) = volume.healing.iter().position(|&(a, b, _)| (a, b) == (from, to)) {
                    volume.healing.remove(at);
                }
            }
            _ => {}
        }
    }

    /// The sectors of a volume that are lost, and whether any is.
    pub fn lost(&self, volume: u16) -> Ranges {
        let mut ranges = Ranges::default();
        let sectors = self.volumes.get(&volume).into_iter().flat_map(|volume| volume.lost.keys());
        sectors.for_each(|&sector| ranges.insert(sector, sector + 1));
        ranges
    }

    /// The sectors of a volume that were ever written, for a last look.
    pub fn written(&self, volume: u16) -> Vec<u64> {
        self.volumes.get(&volume).map(|volume| volume.sectors.keys().copied().collect()).unwrap_or_default()
    }

    /// Requests that nobody has answered.
    pub fn waiting(&self) -> impl Iterator<Item = (&u64, &Request)> {
        self.pending.iter()
    }
}

impl Volume {
    /// The versions of a sector, if what is stable is older than what was acknowledged before `since`.
    fn unstable(&self, sector: u64, since: u64, content: Content<'_>) -> Option<&[Version]> {
        let versions = self.sectors.get(&sector)?;
        let (_, stable) = content(sector);
        let fine =
            |old: &Version| old.stamp == stable && !superseded(versions, old, since, |new| new.acknowledged);
        (!versions.iter().any(fine)).then_some(versions)
    }

    fn each_loss(&mut self, from: u64, to: u64, keep: impl Fn(&mut Loss) -> bool) {
        let sectors: Vec<u64> = self.lost.range(from..to).map(|(&sector, _)| sector).collect();
        for sector in sectors {
            let losses = self.lost.get_mut(&sector).expect("a sector that was just found");
            losses.retain_mut(|loss| keep(loss));
            if losses.is_empty() {
                self.lost.remove(&sector);
            }
        }
    }

    fn heal(&mut self, from: u64, to: u64, acknowledged: bool, now: u64, content: Content<'_>) {
        let mut since = NEVER;
        for sector in from..to {
            let Some(losses) = self.lost.get(&sector) else { continue };
            since = losses.iter().map(|loss| loss.since).fold(since, u64::min);
            let recorded = losses.iter().map(|loss| loss.recorded).fold(0, u64::max);
            if !acknowledged {
                let versions = self.unstable(sector, now, content);
                demand(Clause::C2, versions.is_none(), || {
                    format!(
                        "the loss of sector {sector} healed; stable is {:x?} of {versions:x?}",
                        content(sector)
                    )
                });
            } else if let Some(versions) = self.sectors.get_mut(&sector) {
                // Nobody knows any more which of the old versions the device has.
                let (view, stable) = content(sector);
                versions.extend([view, stable].map(|stamp| Version::new(stamp, 0)));
                for old in versions.iter_mut().filter(|old| old.submitted < recorded) {
                    *old = Version {
                        answered: old.answered.min(recorded),
                        ..Version::new(old.stamp, old.submitted)
                    };
                }
            }
            self.lost.remove(&sector);
        }
        self.healing.push((from, to, since));
    }
}
