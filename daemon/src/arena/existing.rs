//! What an earlier daemon left in the directory, and whether it may go.
//!
//! | found | with it |
//! |---|---|
//! | nothing, or a creation that never got to serve | is replaced |
//! | an arena of this configuration | taken over, headers and all |
//! | of another one, or of an older format, and everything in it is on stable media | is replaced |
//! | the same, and something in it is not | refused, unless discarding was asked for |
//! | files of others, a later format, anything that does not add up | refused, never overwritten |
//!
//! Replaced means new files: device I/O of a killed daemon may still be on its way into slots of the old ones (M1),
//! and lands in pages that are nobody's. Zeroing the old files in place was rejected for that reason.

use super::layout::{Plan, headers_name};
use super::memory::Mapping;
use super::place::{Place, failed, length_of, remove_file};
use super::superblock::{SUPERBLOCK_BYTES, Superblock};
use super::volumes::{self, KnownVolume, NOTES, VOLUME_BYTES};
use super::{ArenaError, HeldData};
use holdfast_engine::{Notes, Remnant};
use holdfast_policy::State;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicU64;

pub(super) const SUPERBLOCK: &str = "superblock";
/// The superblock before it is in place, and after it is out of it: the files beside it are worth nothing.
pub(super) const SUPERBLOCK_VOID: &str = "superblock.void";

/// What is in the directory.
pub(super) enum Existing {
    /// Nothing of value.
    Nothing,
    /// An arena, and what it holds.
    Left(Box<Left>),
}

/// An arena that an earlier daemon left.
pub(super) struct Left {
    pub(super) superblock: Superblock,
    pub(super) held: HeldData,
    /// By their numbers.
    pub(super) volumes: Vec<Option<KnownVolume>>,
    /// Whether headers are in use, by the numbers of their volumes; of damaged ones nobody knows.
    pub(super) used: Vec<bool>,
    /// The headers, by reactors.
    pub(super) headers: Vec<Mapping>,
}

/// Looks and touches nothing.
pub(super) fn examine(place: &Place) -> Result<Existing, ArenaError> {
    let Some(superblock) = find(place)? else { return Ok(Existing::Nothing) };
    let mut held = HeldData::default();
    let mut used = vec![false; 1 << u16::BITS];
    let headers = (0..superblock.plan.reactors)
        .map(|reactor| count_held(place, &superblock, reactor, &mut held, &mut used))
        .collect::<Result<_, _>>()?;
    let (volumes, zeroed) = known_volumes(place, &superblock)?;
    held.zeroed = zeroed;
    Ok(Existing::Left(Box::new(Left { superblock, held, volumes, used, headers })))
}

/// The volumes of an arena that is there, by their numbers. What was noted of devices in another boot than this one is worth
/// nothing: numbers of devices are given anew.
pub(super) fn volumes_there(
    place: &Place,
    boot_id: [u8; 16],
) -> Result<Vec<Option<KnownVolume>>, ArenaError> {
    let Some(superblock) = find(place)? else { return Ok(Vec::new()) };
    let (mut volumes, _) = known_volumes(place, &superblock)?;
    if superblock.boot_id != boot_id {
        volumes.iter_mut().flatten().for_each(|known| known.device = None);
    }
    Ok(volumes)
}

/// The superblock of an arena whose files are all there, if the directory has one that ever served.
fn find(place: &Place) -> Result<Option<Superblock>, ArenaError> {
    let names = names(place)?;
    if let Some(foreign) = names.iter().find(|name| !is_ours(name)) {
        return Err(ArenaError::Foreign { path: place.path.clone(), found: foreign.clone() });
    }
    if !names.iter().any(|name| name == SUPERBLOCK) {
        return match names.first() {
            Some(orphan) if !names.iter().any(|name| name == SUPERBLOCK_VOID) => {
                Err(damaged(place, format!("there is {orphan:?}, but no superblock")))
            }
            _ => Ok(None),
        };
    }
    let superblock = Superblock::parse(&place.path, &read_superblock(place)?)?;
    if !superblock.serving {
        return Ok(None);
    }
    for (name, bytes) in superblock.plan.files().filter(|(name, _)| !(superblock.older && name == NOTES)) {
        if length_of(&place.file(&name))? != Some(bytes) {
            return Err(damaged(place, format!("{name:?} is missing, or not {bytes} bytes long")));
        }
    }
    Ok(Some(superblock))
}

/// The volumes, and how many zeroes are noted.
fn known_volumes(
    place: &Place,
    superblock: &Superblock,
) -> Result<(Vec<Option<KnownVolume>>, u64), ArenaError> {
    if superblock.older {
        return Ok((Vec::new(), 0));
    }
    let plan = &superblock.plan;
    let path = place.file(NOTES);
    let mapping = map(&path, plan.note_bytes())?;
    let zeroed =
        (0..plan.reactors).map(|reactor| notes_of(&mapping, plan, reactor, Notes::over).zeroed_ranges());
    let zeroed = zeroed.sum();
    let volumes = volumes::read(&mapping, plan).map_err(|what| damaged(place, what))?;
    Ok((volumes, zeroed))
}

/// The words of one reactor's notes.
pub(super) fn notes_of<'m, T>(
    mapping: &'m Mapping,
    plan: &Plan,
    reactor: u32,
    made: impl FnOnce(&'m [AtomicU64]) -> T,
) -> T {
    let table = plan.volumes as usize * VOLUME_BYTES;
    made(mapping.words(table + reactor as usize * plan.note_words() * 8, plan.note_words()))
}

/// A file of an arena that is there.
pub(super) fn map(path: &Path, bytes: u64) -> Result<Mapping, ArenaError> {
    let file = File::options().read(true).write(true).open(path).map_err(failed("open", path))?;
    Mapping::of(&file, bytes).map_err(failed("map", path))
}

/// Removes every file of an arena. The superblock is voided first and removed last, so that an end in between does not
/// leave an arena that looks damaged.
pub(super) fn remove(place: &Place) -> Result<(), ArenaError> {
    let (superblock, void) = (place.file(SUPERBLOCK), place.file(SUPERBLOCK_VOID));
    if length_of(&superblock)?.is_some() {
        std::fs::rename(&superblock, &void).map_err(failed("void", &superblock))?;
    }
    for name in names(place)?.iter().filter(|name| name.starts_with("shard-") || *name == NOTES) {
        remove_file(&place.file(name))?;
    }
    remove_file(&void)
}

/// Counts what a reactor's headers say; returns them, so that whoever takes them over need not map them again.
fn count_held(
    place: &Place,
    superblock: &Superblock,
    reactor: u32,
    held: &mut HeldData,
    used: &mut [bool],
) -> Result<Mapping, ArenaError> {
    let mapping = map(&place.file(&headers_name(reactor)), superblock.plan.header_bytes)?;
    for header in mapping.headers(superblock.plan.slots as usize) {
        let status = match header.recover() {
            Ok((_, status)) => status,
            Err(damage) => {
                held.damaged += 1;
                match header.remnant(damage) {
                    Remnant::Nothing => {}
                    Remnant::Line(identity) => used[usize::from(identity.volume)] = true,
                    Remnant::Somewhere => held.somewhere += 1,
                }
                continue;
            }
        };
        if status.state != State::Free {
            used[usize::from(header.volume())] = true;
        }
        match status.state {
            State::Free | State::Incoming | State::Filling | State::Clean => {}
            State::Dirty => held.dirty += 1,
            State::Writing => held.writing += 1,
            State::Unstable => held.unstable += 1,
            State::Failed | State::Condemned => held.failed += 1,
        }
    }
    Ok(mapping)
}

fn read_superblock(place: &Place) -> Result<[u8; SUPERBLOCK_BYTES], ArenaError> {
    let path = place.file(SUPERBLOCK);
    if length_of(&path)?.is_none_or(|bytes| bytes < SUPERBLOCK_BYTES as u64) {
        return Err(damaged(place, "its superblock is too short".to_owned()));
    }
    let mut bytes = [0; SUPERBLOCK_BYTES];
    let mut file = File::open(&path).map_err(failed("open", &path))?;
    file.read_exact(&mut bytes).map_err(failed("read", &path))?;
    Ok(bytes)
}

fn damaged(place: &Place, what: String) -> ArenaError {
    ArenaError::Damaged { path: place.path.clone(), what }
}

fn names(place: &Place) -> Result<Vec<String>, ArenaError> {
    let entries = std::fs::read_dir(&place.path).map_err(failed("list", &place.path))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", &place.path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// `shard-N.headers`, `shard-N.slots.K`, the notes or a superblock.
fn is_ours(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((number, rest)) = name.strip_prefix("shard-").and_then(|rest| rest.split_once('.')) else {
        return [SUPERBLOCK, SUPERBLOCK_VOID, NOTES].contains(&name);
    };
    is_number(number) && (rest == "headers" || rest.strip_prefix("slots.").is_some_and(is_number))
}
