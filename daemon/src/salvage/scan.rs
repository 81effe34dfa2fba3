//! What the headers of an arena say is held, line by line. All of them are hostile until they are checked here.

use super::report::Damage;
use crate::arena::Remains;
use holdfast_ctl::api::ExtentState;
use holdfast_engine::{Geometry, HeaderDamage, Identity, SECTOR_BYTES, Status};
use holdfast_policy::State;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Damages that are kept with their words; more are only counted.
const DAMAGE_MAX: usize = 1000;

/// A line whose newest data is not known to be on stable media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldLine {
    pub(super) volume: u16,
    /// Its first byte in the volume.
    pub(super) offset: u64,
    pub(super) reactor: u32,
    pub(super) slot: u32,
    /// The sectors that are held.
    pub(super) mask: u32,
    pub(super) generation: u64,
    pub(super) state: ExtentState,
    pub(super) class: u8,
    pub(super) errno: u8,
    pub(super) attempts: u8,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of volumes and offsets, each line once.
    pub(super) lines: Vec<HeldLine>,
    /// Slots that a newer one of the same line replaces.
    pub(super) superseded: u64,
    /// Slots with a write that was never acknowledged.
    pub(super) incoming: u64,
    /// What could not be believed.
    pub(super) damage: Vec<Damage>,
    /// How many there were, with those that are not in `damage`.
    pub(super) damages: u64,
}

impl Found {
    pub(super) fn add_damage(&mut self, damage: Damage) {
        self.damages += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(damage);
        }
    }
}

/// Reads the headers of all reactors, twice: what is held, and what is newer than that and not held.
pub(super) fn scan(remains: &Remains) -> Found {
    let mut found = Found::default();
    for reactor in 0..remains.reactors() {
        scan_reactor(remains, reactor, &mut found);
    }
    found.lines.sort_unstable_by_key(|line| (line.volume, line.offset));
    found
}

fn scan_reactor(remains: &Remains, reactor: u32, found: &mut Found) {
    let mut newest: HashMap<(u16, u64), HeldLine> = HashMap::new();
    let complete = remains.headers(reactor, |slot, header| {
        let (identity, status) = match header {
            Ok(header) => header,
            Err(damage) => return found.add_damage(Damage::of(reactor, Some(slot), in_words(damage))),
        };
        found.incoming += u64::from(status.state == State::Incoming);
        let Some(state) = held_as(status.state) else { return };
        match held_line(remains, reactor, slot, identity, status, state) {
            Ok(line) => keep_newest(&mut newest, (identity.volume, identity.line), line, found),
            Err(what) => found.add_damage(Damage::of(reactor, Some(slot), what)),
        }
    });
    if let Err(error) = complete {
        found.add_damage(Damage::of(reactor, None, error.to_string()));
    }
    // Its first pass said all that there is to say about this file.
    let _ = remains.headers(reactor, |_, header| {
        let Ok((identity, Status { state: State::Clean, .. })) = header else { return };
        if let Entry::Occupied(held) = newest.entry((identity.volume, identity.line))
            && held.get().generation < identity.generation
        {
            found.superseded += 1;
            held.remove();
        }
    });
    found.lines.extend(newest.into_values());
}

/// What operators call the state of a slot that holds the only copy of something acknowledged. What is condemned is on
/// record as lost, or about to be; its bytes are still here.
const fn held_as(state: State) -> Option<ExtentState> {
    match state {
        State::Dirty => Some(ExtentState::Dirty),
        State::Writing | State::Unstable => Some(ExtentState::Unstable),
        State::Failed | State::Condemned => Some(ExtentState::Failed),
        State::Free | State::Incoming | State::Filling | State::Clean => None,
    }
}

fn held_line(
    remains: &Remains,
    reactor: u32,
    slot: u32,
    identity: Identity,
    status: Status,
    state: ExtentState,
) -> Result<HeldLine, String> {
    let geometry = geometry(remains, reactor);
    // offset_of() counts in 64 bits: a line that overflows them is of no volume, which has at most i64::MAX bytes.
    let roughly = u128::from(identity.line) * u128::from(geometry.line_bytes) * u128::from(geometry.reactors);
    if roughly + 2 * u128::from(geometry.reactors) * u128::from(geometry.stripe_bytes) > i64::MAX as u128 {
        return Err(format!("it is of line {}, which no volume has", identity.line));
    }
    if identity.dirty & !(status.valid & geometry.full_mask()) != 0 {
        return Err(format!(
            "it holds sectors {:#x}, of which only {:#x} are valid: none of them is taken",
            identity.dirty, status.valid
        ));
    }
    Ok(HeldLine {
        volume: identity.volume,
        offset: geometry.offset_of(identity.line),
        reactor,
        slot,
        mask: identity.dirty,
        generation: identity.generation,
        state,
        class: status.class,
        errno: status.errno,
        attempts: status.attempts,
    })
}

fn geometry(remains: &Remains, reactor: u32) -> Geometry {
    Geometry {
        volume_bytes: i64::MAX as u64 / SECTOR_BYTES * SECTOR_BYTES,
        block_bytes: 512,
        line_bytes: remains.line_bytes(),
        stripe_bytes: remains.stripe_bytes(),
        reactors: remains.reactors(),
        reactor,
    }
}

/// A predecessor may still be there if its write was in flight at the end, or the end came between two stores.
fn keep_newest(
    newest: &mut HashMap<(u16, u64), HeldLine>,
    place: (u16, u64),
    line: HeldLine,
    found: &mut Found,
) {
    match newest.entry(place) {
        Entry::Vacant(free) => {
            free.insert(line);
        }
        Entry::Occupied(mut other) => {
            if other.get().generation == line.generation {
                let what = format!(
                    "it has line and generation {} of slot {}, which is taken instead",
                    line.generation,
                    other.get().slot
                );
                return found.add_damage(Damage::of(line.reactor, Some(line.slot), what));
            }
            found.superseded += 1;
            if other.get().generation < line.generation {
                other.insert(line);
            }
        }
    }
}

fn in_words(damage: HeaderDamage) -> String {
    match damage {
        HeaderDamage::Status { found } => format!("its status word {found:#018x} does not match its check"),
        HeaderDamage::Identity { found, expected } => {
            format!("its identity has the checksum {found:#010x}, not {expected:#010x}")
        }
    }
}
