//! What a salvage found and did, for people and for programs.

use holdfast_ctl::api::ExtentState;
use holdfast_ctl::manifest::{HeldRefusal, LostRange};
use holdfast_ctl::size::binary;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The version of the report. It changes when a field changes its meaning or goes, not when one is added.
const VERSION: u32 = 1;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) arena: ArenaReport,
    pub(super) volumes: Vec<VolumeReport>,
    /// What could not be believed or read; at most 1000.
    pub(super) damage: Vec<Damage>,
    /// All of those, counted.
    pub(super) damages: u64,
    /// What the reader should know, a sentence each.
    pub(super) notes: Vec<String>,
}

/// The arena.
#[derive(Debug, Serialize)]
pub(super) struct ArenaReport {
    pub(super) path: String,
    /// 16 hexadecimal digits; none if the superblock is damaged.
    pub(super) id: Option<String>,
    pub(super) reactors: u32,
    pub(super) slots_a_reactor: u32,
    pub(super) line_bytes: u32,
    /// Whether the host has been up since it was made.
    pub(super) this_boot: bool,
    pub(super) superseded_slots: u64,
    pub(super) unacknowledged_slots: u64,
}

/// One volume.
#[derive(Debug, Serialize)]
pub(super) struct VolumeReport {
    pub(super) number: u16,
    pub(super) name: String,
    pub(super) volume_bytes: Option<u64>,
    pub(super) identity: Option<String>,
    /// Bytes by state: `dirty`, `unstable`, `failed`.
    pub(super) held_bytes: BTreeMap<&'static str, u64>,
    pub(super) ranges: Vec<ListedRange>,
    pub(super) lost: Vec<LostRange>,
    /// The data's file, if it was exported; its manifest is beside it.
    pub(super) exported: Option<String>,
    pub(super) notes: Vec<String>,
}

/// A range that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ListedRange {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) state: ExtentState,
    pub(super) refusal: Option<HeldRefusal>,
}

/// Something that could not be believed or read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Damage {
    pub(super) reactor: u32,
    /// None: a whole file.
    pub(super) slot: Option<u32>,
    pub(super) what: String,
}

impl Damage {
    pub(super) fn of(reactor: u32, slot: Option<u32>, what: String) -> Damage {
        Damage { reactor, slot, what }
    }
}

impl Report {
    pub(super) fn new(arena: ArenaReport) -> Report {
        let (volumes, damage, notes) = (Vec::new(), Vec::new(), Vec::new());
        Report { version: VERSION, arena, volumes, damage, damages: 0, notes }
    }

    /// Whether all that was acknowledged is in it, as far as an arena can tell.
    pub(super) fn is_sound(&self) -> bool {
        self.damages == 0
            && self.notes.is_empty()
            && self.volumes.iter().all(|volume| volume.notes.is_empty())
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serializes") + "\n"
    }

    /// In words; with each range if `ranges` says so.
    pub(super) fn to_text(&self, ranges: bool) -> String {
        let mut out = String::new();
        self.write_to(&mut out, ranges).expect("a String takes all that is written to it");
        out
    }

    fn write_to(&self, out: &mut String, ranges: bool) -> std::fmt::Result {
        let arena = &self.arena;
        let id = arena.id.as_deref().unwrap_or("not known");
        writeln!(out, "arena {} (id {id})", arena.path)?;
        if self.volumes.is_empty() {
            writeln!(out, "holds nothing that is not on stable media")?;
        }
        for volume in &self.volumes {
            volume.write_to(out, ranges)?;
        }
        for damage in &self.damage {
            match damage.slot {
                Some(slot) => {
                    writeln!(out, "damaged: slot {slot} of reactor {}: {}", damage.reactor, damage.what)?
                }
                None => writeln!(out, "damaged: reactor {}: {}", damage.reactor, damage.what)?,
            }
        }
        let more = self.damages - self.damage.len() as u64;
        if more > 0 {
            writeln!(out, "damaged: {more} more")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}

impl VolumeReport {
    fn write_to(&self, out: &mut String, ranges: bool) -> std::fmt::Result {
        writeln!(out, "\nvolume {} (number {})", self.name, self.number)?;
        for (state, bytes) in &self.held_bytes {
            writeln!(out, "  {state:<9} {}", binary(*bytes))?;
        }
        let lost: u64 = self.lost.iter().map(|range| range.length).sum();
        if lost > 0 {
            writeln!(out, "  {:<9} {} on record, in no place any more", "lost", binary(lost))?;
        }
        for range in self.ranges.iter().filter(|_| ranges) {
            let why = range.refusal.as_ref();
            let why = why.map(|why| format!("  {}, {} attempts", why.errno.name, why.attempts));
            let (offset, length) = (range.offset, range.length);
            writeln!(out, "  {offset:>16}:{length:<10} {:<9}{}", range.state, why.unwrap_or_default())?;
        }
        match &self.exported {
            Some(path) => writeln!(out, "  exported to {path}; write it back with 'holdfastctl import'")?,
            None => writeln!(out, "  not exported: '--to DIR' does that")?,
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))
    }
}
