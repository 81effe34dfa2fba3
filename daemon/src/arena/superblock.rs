//! What an arena says about itself: the first 4096 bytes of its superblock file.
//!
//! Written once, under another name, and renamed into place, so that a superblock is there whole or not at all. The one
//! thing that changes later is the state word at its end: a single 8-byte store, outside the checksum.

use super::layout::{Plan, check_shape};
use super::memory::Mapping;
use super::{ArenaError, SEGMENT_BYTES_MAX};
use crc_fast::CrcAlgorithm::Crc32Iscsi;
use std::path::Path;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of it; the rest of its page, which may be huge, stays zero.
pub(super) const SUPERBLOCK_BYTES: usize = 4096;
/// The format that this release writes and reads.
pub(super) const VERSION: u32 = 2;
/// Had no notes: what is in such an arena cannot be taken over.
const OLDER: u32 = 1;

/// More volumes than any configuration has.
const VOLUMES_MAX: u32 = 4096;
const MAGIC: [u8; 8] = *b"HOLDFAST";
const STATE_AT: usize = SUPERBLOCK_BYTES - 8;

/// The files are being made; no slot has held anything.
const CREATING: u64 = 0x4352_4541_5449_4e47;
/// A daemon serves, or served, from it.
const SERVING: u64 = 0x5345_5256_494e_4721;

/// All but padding and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Fields {
    magic: [u8; 8],
    version: u32,
    reactors: u32,
    arena_id: u64,
    boot_id: [u8; 16],
    page_bytes: u64,
    stripe_bytes: u64,
    header_bytes: u64,
    line_bytes: u32,
    slots: u32,
    volumes: u32,
    checksum: u32,
}

impl Fields {
    fn sum(&self) -> u32 {
        let covered = &self.as_bytes()[..size_of::<Fields>() - 4];
        u32::try_from(crc_fast::checksum(Crc32Iscsi, covered)).expect("a CRC of 32 bits")
    }
}

/// A superblock that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) plan: Plan,
    pub(super) arena_id: u64,
    pub(super) boot_id: [u8; 16],
    /// Whether its files were all made, so that slots may hold something.
    pub(super) serving: bool,
    /// Its format is an older one, without notes.
    pub(super) older: bool,
}

impl Superblock {
    /// Stores it, in the state of being created.
    pub(super) fn write(&self, mapping: &mut Mapping) {
        let plan = &self.plan;
        let mut fields = Fields {
            magic: MAGIC,
            version: VERSION,
            reactors: plan.reactors,
            arena_id: self.arena_id,
            boot_id: self.boot_id,
            page_bytes: plan.page_bytes,
            stripe_bytes: plan.stripe_bytes,
            header_bytes: plan.header_bytes,
            line_bytes: plan.line_bytes,
            slots: plan.slots,
            volumes: plan.volumes,
            checksum: 0,
        };
        fields.checksum = fields.sum();
        mapping.write(0, fields.as_bytes());
        mapping.word(STATE_AT).store(CREATING, Ordering::Release);
    }

    /// Says that the files are all there.
    pub(super) fn mark_serving(mapping: &Mapping) {
        mapping.word(STATE_AT).store(SERVING, Ordering::Release);
    }

    /// Reads what an earlier daemon left, believing nothing.
    pub(super) fn parse(path: &Path, bytes: &[u8; SUPERBLOCK_BYTES]) -> Result<Superblock, ArenaError> {
        let damaged = |what: String| ArenaError::Damaged { path: path.to_owned(), what };
        let (fields, _) = Fields::read_from_prefix(bytes).expect("4096 bytes hold the fields");
        if fields.magic != MAGIC {
            return Err(ArenaError::Foreign { path: path.to_owned(), found: "superblock".to_owned() });
        }
        // Before the checksum: a later format may have its checksum elsewhere, and must not be called damaged.
        if fields.version > VERSION || fields.version < OLDER {
            return Err(ArenaError::Newer { path: path.to_owned(), version: fields.version, known: VERSION });
        }
        if fields.checksum != fields.sum() {
            return Err(damaged(format!("its superblock's checksum is {:#x}", fields.checksum)));
        }
        let plan = plan_of(&fields).map_err(damaged)?;
        let serving = match u64::from_ne_bytes(bytes[STATE_AT..].try_into().expect("8 bytes")) {
            CREATING => false,
            SERVING => true,
            other => return Err(damaged(format!("its superblock's state is {other:#x}"))),
        };
        Ok(Superblock {
            plan,
            arena_id: fields.arena_id,
            boot_id: fields.boot_id,
            serving,
            older: fields.version == OLDER,
        })
    }
}

/// A checksum that matches proves that some release wrote it, not that it can be mapped.
fn plan_of(fields: &Fields) -> Result<Plan, String> {
    check_shape(fields.reactors, fields.line_bytes, fields.stripe_bytes)
        .map_err(|error| error.to_string())?;
    let page = fields.page_bytes;
    let room = fields.header_bytes / super::layout::HEADER_BYTES;
    let plausible = page.is_power_of_two()
        && (4096..=SEGMENT_BYTES_MAX).contains(&page)
        && fields.header_bytes.is_multiple_of(page)
        && fields.header_bytes <= 1 << 40
        && u64::from(fields.slots) <= room
        && fields.volumes <= VOLUMES_MAX
        && (fields.volumes > 0 || fields.version == OLDER);
    if !plausible || fields.slots == 0 {
        return Err(format!(
            "its layout is impossible ({} slots in {} bytes)",
            fields.slots, fields.header_bytes
        ));
    }
    Ok(Plan {
        page_bytes: page,
        reactors: fields.reactors,
        line_bytes: fields.line_bytes,
        stripe_bytes: fields.stripe_bytes,
        slots: fields.slots,
        header_bytes: fields.header_bytes,
        volumes: fields.volumes,
    })
}
