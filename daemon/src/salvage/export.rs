//! One volume: its held lines become ranges, and the ranges a sparse file with a manifest.

use super::SalvageError;
use super::report::{Damage, ListedRange, VolumeReport};
use super::scan::{Found, HeldLine};
use super::volumes::{self, Named};
use crate::arena::Remains;
use crate::ledger::ArchivedVolume;
use holdfast_ctl::manifest::{About, ExportWriter, HeldRefusal, Manifest, Saved, WriteError};
use holdfast_engine::SECTOR_BYTES;
use std::path::Path;

/// A volume of the arena.
pub(super) struct Volume<'a> {
    remains: &'a Remains,
    found: &'a mut Found,
    number: u16,
    named: Named,
    lines: Vec<HeldLine>,
}

/// Neighbouring sectors of a line that are held.
struct Piece {
    offset: u64,
    /// The first byte of it in its slot.
    at: u32,
    length: u32,
}

impl<'a> Volume<'a> {
    /// Takes the volume's lines; those beyond its end are damage.
    pub(super) fn new(remains: &'a Remains, found: &'a mut Found, number: u16, named: Named) -> Volume<'a> {
        let size = named.recorded.as_ref().map(|volume| volume.size);
        let begin = found.lines.partition_point(|line| line.volume < number);
        let end = found.lines.partition_point(|line| line.volume <= number);
        let mut lines = found.lines[begin..end].to_vec();
        if let Some(size) = size {
            lines.retain_mut(|line| fits(line, size, found));
        }
        Volume { remains, found, number, named, lines }
    }

    /// Lists it, and exports it if there is a place to export it to.
    pub(super) fn save(mut self, to: Option<&Path>) -> Result<VolumeReport, SalvageError> {
        let (ranges, exported) = match to {
            None => (self.listed(), None),
            Some(to) => {
                let path = to.join(format!("{}.img", self.named.name));
                let manifest = self
                    .export(&path)
                    .map_err(|source| SalvageError::Write { volume: self.named.name.clone(), source })?;
                (ranges_of(&manifest), Some(path.display().to_string()))
            }
        };
        let mut held_bytes = std::collections::BTreeMap::new();
        for range in &ranges {
            *held_bytes.entry(range.state.name()).or_insert(0) += range.length;
        }
        let recorded = self.named.recorded;
        Ok(VolumeReport {
            number: self.number,
            lost: recorded.as_ref().map(volumes::lost).unwrap_or_default(),
            volume_bytes: recorded.as_ref().map(|volume| volume.size),
            identity: recorded.map(|volume| volume.identity),
            name: self.named.name,
            held_bytes,
            ranges,
            exported,
            notes: self.named.notes,
        })
    }

    fn listed(&self) -> Vec<ListedRange> {
        let mut ranges: Vec<ListedRange> = Vec::new();
        for line in &self.lines {
            let Saved { state, refusal } = saved(line, self.named.recorded.as_ref());
            for Piece { offset, length, .. } in pieces(line) {
                let length = u64::from(length);
                match ranges.last_mut() {
                    Some(last) if last.offset + last.length == offset && last.is(state, &refusal) => {
                        last.length += length;
                    }
                    _ => ranges.push(ListedRange { offset, length, state, refusal: refusal.clone() }),
                }
            }
        }
        ranges
    }

    fn export(&mut self, path: &Path) -> Result<Manifest, WriteError> {
        let mut writer = ExportWriter::create(path)?;
        for line in std::mem::take(&mut self.lines) {
            let saved = saved(&line, self.named.recorded.as_ref());
            for piece in pieces(&line) {
                self.copy(&mut writer, &line, &piece, &saved)?;
            }
        }
        let recorded = self.named.recorded.as_ref();
        let mut notes = self.named.notes.clone();
        if self.found.damages > 0 {
            notes.push(format!(
                "the arena has {} damaged headers or files: some lines may be missing here, or be older than the newest",
                self.found.damages
            ));
        }
        writer.finish(About {
            made: crate::admin::now(),
            made_by: format!("holdfastd salvage {}", env!("CARGO_PKG_VERSION")),
            volume: self.named.name.clone(),
            volume_bytes: recorded.map(|volume| volume.size),
            identity: recorded.map(|volume| volume.identity.clone()),
            lost: recorded.map(volumes::lost).unwrap_or_default(),
            notes,
        })
    }

    /// What cannot be read, or lies where no file can, is left out and said; all other errors end the export.
    fn copy(
        &mut self,
        writer: &mut ExportWriter,
        line: &HeldLine,
        piece: &Piece,
        saved: &Saved,
    ) -> Result<(), WriteError> {
        let mut bytes = vec![0; piece.length as usize];
        if let Err(error) = self.remains.read_slot(line.reactor, line.slot, piece.at, &mut bytes) {
            self.damaged(line, error.to_string());
            return Ok(());
        }
        match writer.append(piece.offset, &bytes, saved) {
            Err(WriteError::Io { source, .. }) if is_too_far(&source) => {
                self.damaged(
                    line,
                    format!("it is of byte {}, where no file reaches: {source}", piece.offset),
                );
                Ok(())
            }
            other => other,
        }
    }

    fn damaged(&mut self, line: &HeldLine, what: String) {
        self.found.add_damage(Damage::of(line.reactor, Some(line.slot), what));
    }
}

impl ListedRange {
    fn is(&self, state: holdfast_ctl::api::ExtentState, refusal: &Option<HeldRefusal>) -> bool {
        self.state == state && self.refusal == *refusal
    }
}

/// Cuts a line that the volume ends in; false, and damage, if it lies beyond the end.
fn fits(line: &mut HeldLine, size: u64, found: &mut Found) -> bool {
    let sectors = size.saturating_sub(line.offset) / SECTOR_BYTES;
    let existing = if sectors >= 32 { u32::MAX } else { (1 << sectors) - 1 };
    if line.mask & !existing != 0 {
        let what = format!("it is of byte {}, behind the volume's end at {size}", line.offset);
        found.add_damage(Damage::of(line.reactor, Some(line.slot), what));
    }
    line.mask &= existing;
    line.mask != 0
}

fn pieces(line: &HeldLine) -> impl Iterator<Item = Piece> + use<> {
    let (mut mask, offset) = (u64::from(line.mask), line.offset);
    std::iter::from_fn(move || {
        let first = (mask != 0).then(|| mask.trailing_zeros())?;
        let count = (!(mask >> first)).trailing_zeros();
        mask &= !(((1 << count) - 1) << first);
        let (at, length) = (first * 512, count * 512);
        Some(Piece { offset: offset + u64::from(at), at, length })
    })
}

fn saved(line: &HeldLine, recorded: Option<&ArchivedVolume>) -> Saved {
    let refusal = volumes::refusal_at(recorded, line.offset, (line.class, line.errno, line.attempts));
    Saved { state: line.state, refusal }
}

/// The file system's limit, or the kernel's for offsets.
fn is_too_far(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::FBIG | rustix::io::Errno::INVAL | rustix::io::Errno::OVERFLOW))
}

fn ranges_of(manifest: &Manifest) -> Vec<ListedRange> {
    let ranges = manifest.ranges.iter().map(|range| ListedRange {
        offset: range.offset,
        length: range.length,
        state: range.state,
        refusal: range.refusal.clone(),
    });
    ranges.collect()
}
