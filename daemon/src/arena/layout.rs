//! From what the operator wants to files and their sizes.

use super::ArenaError;
use crate::device::DomainKey;

use super::volumes::{NOTES, VOLUME_BYTES};
use holdfast_engine::Notes;
use std::path::PathBuf;

/// Bytes of a segment at most: the largest buffer that io_uring registers (`EFAULT` above).
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Slots that a reactor needs at least: its reserve, a few runs of write-back, and something to cache in.
const SLOTS_MIN: u64 = 64;
/// More reactors than any host has cores to poll with; keeps a damaged superblock from asking for the moon.
pub(super) const REACTORS_MAX: u32 = 1024;
pub(super) const HEADER_BYTES: u64 = size_of::<holdfast_engine::Header>() as u64;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct ArenaLayout {
    /// The arena's own directory. Created if its parent exists.
    pub path: PathBuf,
    /// Bytes of all files together, headers included.
    pub size_bytes: u64,
    /// How many reactors share it, 1 to 1024.
    pub reactors: u32,
    /// Bytes of a line: 4, 8 or 16 KiB.
    pub line_bytes: u32,
    /// Bytes of a stripe: a power of two, 1 MiB or more. Only recorded.
    pub stripe_bytes: u64,
    /// Fill the page tables now, so that no first touch of a slot is a page fault. The memory itself is always
    /// allocated now.
    pub prefault: bool,
    /// Keep it from being swapped out (huge pages never are).
    pub lock_memory: bool,
    /// Give up data that an earlier daemon left in it. The operator's `--discard-arena`.
    pub discard_existing: bool,
    /// The volumes by their numbers; no place is behind the last one.
    pub volumes: Vec<Option<ArenaVolume>>,
}

/// A volume as the arena knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaVolume {
    /// Its name.
    pub name: String,
    /// Who its backing is.
    pub identity: String,
    /// Its size.
    pub bytes: u64,
    /// What a later daemon has to know to serve it before its device answers; none if nothing is known.
    pub device: Option<DeviceNote>,
}

/// What is noted of a volume's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNote {
    /// The smallest unit it reads and writes whole, in bytes.
    pub block_bytes: u32,
    /// Whether it bypasses the page cache.
    pub direct: bool,
    /// What one flush of it covers.
    pub domain: DomainKey,
}

impl ArenaLayout {
    /// Bytes of all files together on a file system with pages of this size: the size that was asked for, or less.
    ///
    /// # Errors
    /// [`ArenaError::Setting`], [`ArenaError::Small`].
    pub fn total_bytes(&self, page_bytes: u64) -> Result<u64, ArenaError> {
        Plan::new(self, page_bytes).map(|plan| plan.total_bytes())
    }
}

/// The files of an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) page_bytes: u64,
    pub(super) reactors: u32,
    pub(super) line_bytes: u32,
    pub(super) stripe_bytes: u64,
    /// Slots of one reactor.
    pub(super) slots: u32,
    /// Bytes of one reactor's file of headers.
    pub(super) header_bytes: u64,
    /// Volumes that there is room for in the notes.
    pub(super) volumes: u32,
}

/// Volumes that an arena has room for at least: others may be added before the next drain.
const VOLUMES_MIN: u32 = 16;

impl Plan {
    /// Divides the size. Every reactor gets the same; what does not divide is left over.
    pub(super) fn new(layout: &ArenaLayout, page_bytes: u64) -> Result<Plan, ArenaError> {
        let &ArenaLayout { size_bytes, reactors, line_bytes, stripe_bytes, .. } = layout;
        check_shape(reactors, line_bytes, stripe_bytes)?;
        let line = u64::from(line_bytes);
        let small =
            || ArenaError::Small { size_bytes, reactors, needed_bytes: smallest(reactors, line, page_bytes) };
        let share = size_bytes.checked_sub(page_bytes).ok_or_else(small)? / u64::from(reactors);
        let header_bytes = (share / (line + HEADER_BYTES) * HEADER_BYTES).next_multiple_of(page_bytes);
        let slot_bytes = share.saturating_sub(header_bytes) / page_bytes * page_bytes;
        let slots = (slot_bytes / line).min(header_bytes / HEADER_BYTES);
        if slots < SLOTS_MIN {
            return Err(small());
        }
        let slots = u32::try_from(slots).map_err(|_| ArenaError::Setting {
            what: "the number of slots of a reactor",
            found: slots,
            must: "below 2^32; use more reactors or longer lines",
        })?;
        let volumes = u32::try_from(layout.volumes.len()).unwrap_or(u32::MAX).next_multiple_of(VOLUMES_MIN);
        let volumes = volumes.max(VOLUMES_MIN);
        Ok(Plan { page_bytes, reactors, line_bytes, stripe_bytes, slots, header_bytes, volumes })
    }

    /// Whether an arena of the other plan serves as well as one of this.
    pub(super) fn fits(&self, other: &Plan) -> bool {
        Plan { volumes: 0, ..*self } == Plan { volumes: 0, ..*other }
    }

    /// Words of one reactor's notes.
    pub(super) fn note_words(&self) -> usize {
        Notes::words_needed(self.volumes as usize)
    }

    /// Bytes of the file of notes: the volumes, and what each reactor remembers. It comes on top of the arena's size.
    pub(super) fn note_bytes(&self) -> u64 {
        let words = self.reactors as usize * self.note_words();
        (u64::from(self.volumes) * VOLUME_BYTES as u64 + words as u64 * 8).next_multiple_of(self.page_bytes)
    }

    /// Bytes of one reactor's slots, whole pages.
    fn slot_bytes(&self) -> u64 {
        (u64::from(self.slots) * u64::from(self.line_bytes)).next_multiple_of(self.page_bytes)
    }

    /// The sizes of one reactor's segments.
    pub(super) fn segments(&self) -> impl Iterator<Item = u64> {
        let bytes = self.slot_bytes();
        (0..bytes.div_ceil(SEGMENT_BYTES_MAX))
            .map(move |n| (bytes - n * SEGMENT_BYTES_MAX).min(SEGMENT_BYTES_MAX))
    }

    /// Bytes of all files.
    pub(super) fn total_bytes(&self) -> u64 {
        self.page_bytes
            + self.note_bytes()
            + u64::from(self.reactors) * (self.header_bytes + self.slot_bytes())
    }

    /// Every file but the superblock, with its size.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, u64)> {
        let notes = std::iter::once((NOTES.to_owned(), self.note_bytes()));
        notes.chain((0..self.reactors).flat_map(move |reactor| {
            let segments = self.segments().enumerate().map(move |(n, bytes)| (slots_name(reactor, n), bytes));
            std::iter::once((headers_name(reactor), self.header_bytes)).chain(segments)
        }))
    }
}

/// The file of a reactor's headers.
pub(super) fn headers_name(reactor: u32) -> String {
    format!("shard-{reactor}.headers")
}

/// The file of a reactor's segment.
pub(super) fn slots_name(reactor: u32, segment: usize) -> String {
    format!("shard-{reactor}.slots.{segment}")
}

/// What is true of every arena, whoever wrote it.
pub(super) fn check_shape(reactors: u32, line_bytes: u32, stripe_bytes: u64) -> Result<(), ArenaError> {
    let setting = |what, found, must| Err(ArenaError::Setting { what, found, must });
    if !(1..=REACTORS_MAX).contains(&reactors) {
        return setting("the number of reactors", u64::from(reactors), "1 to 1024");
    }
    if ![4096, 8192, 16384].contains(&line_bytes) {
        return setting("the line", u64::from(line_bytes), "4 KiB, 8 KiB or 16 KiB");
    }
    if !stripe_bytes.is_power_of_two() || stripe_bytes < 1 << 20 {
        return setting("the stripe", stripe_bytes, "a power of two and 1 MiB or more");
    }
    Ok(())
}

fn smallest(reactors: u32, line: u64, page: u64) -> u64 {
    let share = (SLOTS_MIN * HEADER_BYTES).next_multiple_of(page) + (SLOTS_MIN * line).next_multiple_of(page);
    page + u64::from(reactors) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size_bytes: u64, reactors: u32, line_bytes: u32) -> ArenaLayout {
        ArenaLayout {
            path: PathBuf::from("/nowhere"),
            size_bytes,
            reactors,
            line_bytes,
            stripe_bytes: 1 << 20,
            prefault: false,
            lock_memory: false,
            discard_existing: false,
            volumes: Vec::new(),
        }
    }

    #[test]
    fn all_files_together_fit_the_size_and_nearly_fill_it() {
        for page in [4096, 2 << 20] {
            for (size, reactors, line) in [(64 << 20, 1, 4096), (1 << 30, 2, 8192), (5 << 30, 3, 16384)] {
                let plan = Plan::new(&layout(size, reactors, line), page).expect("fits");
                let total = plan.total_bytes() - plan.note_bytes();
                assert!(total <= size, "{total} of {size}");
                assert!(size - total < u64::from(reactors) * (2 * page + 2 * u64::from(line)) + page);
                assert!(u64::from(plan.slots) * HEADER_BYTES <= plan.header_bytes, "each slot has a header");
                let slots: u64 = plan.segments().sum();
                assert!(slots >= u64::from(plan.slots) * u64::from(line), "each slot has memory");
                assert!(
                    plan.segments().all(|bytes| bytes <= SEGMENT_BYTES_MAX && bytes.is_multiple_of(page))
                );
                let files: u64 = plan.files().map(|(_, bytes)| bytes).sum();
                assert_eq!(files + page, total + plan.note_bytes());
            }
        }
    }

    #[test]
    fn segments_are_cut_at_a_gibibyte() {
        let plan = Plan::new(&layout(5 << 30, 2, 4096), 4096).expect("fits");
        let sizes: Vec<u64> = plan.segments().collect();
        assert_eq!(sizes.len(), 3);
        assert_eq!(sizes[..2], [SEGMENT_BYTES_MAX; 2]);
        let names: Vec<String> = plan.files().map(|(name, _)| name).collect();
        assert_eq!(names[0], NOTES);
        assert_eq!(names[5..], ["shard-1.headers", "shard-1.slots.0", "shard-1.slots.1", "shard-1.slots.2"]);
    }

    #[test]
    fn the_smallest_size_that_an_error_names_does() {
        for page in [4096, 2 << 20] {
            let Err(ArenaError::Small { needed_bytes, .. }) = Plan::new(&layout(8192, 2, 4096), page) else {
                panic!("8 KiB are enough?");
            };
            let smallest = Plan::new(&layout(needed_bytes, 2, 4096), page).expect("what it asked for");
            assert!(u64::from(smallest.slots) >= SLOTS_MIN);
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let what = |layout: &ArenaLayout| match Plan::new(layout, 4096) {
            Err(ArenaError::Setting { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(what(&layout(1 << 30, 0, 4096)), "the number of reactors");
        assert_eq!(what(&layout(1 << 30, 1025, 4096)), "the number of reactors");
        assert_eq!(what(&layout(1 << 30, 1, 6000)), "the line");
        assert_eq!(what(&ArenaLayout { stripe_bytes: 1 << 19, ..layout(1 << 30, 1, 4096) }), "the stripe");
    }
}
