//! The arena's table of volumes: whose the numbers in headers are. It stands at the beginning of the file of notes.
//!
//! An entry is written once, when the volume first takes part in the arena, before any header has its number.

use super::layout::{ArenaVolume, Plan};
use super::memory::Mapping;
use crc_fast::CrcAlgorithm::Crc32Iscsi;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The file of notes.
pub(super) const NOTES: &str = "notes";
/// Bytes of an entry.
pub(super) const VOLUME_BYTES: usize = size_of::<Entry>();

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    bytes: u64,
    name_bytes: u32,
    checksum: u32,
    name: [u8; 64],
    /// Of the identity, which may be long.
    identity: u64,
    reserved: [u8; 168],
}

impl Entry {
    fn of(volume: &ArenaVolume) -> Entry {
        let mut entry = Entry::new_zeroed();
        let name = &volume.name.as_bytes()[..volume.name.len().min(64)];
        entry.bytes = volume.bytes;
        entry.name_bytes = u32::try_from(name.len()).expect("at most 64");
        entry.name[..name.len()].copy_from_slice(name);
        entry.identity = identity_sum(&volume.identity);
        entry.checksum = entry.sum();
        entry
    }

    fn sum(&self) -> u32 {
        let covered = Entry { checksum: 0, ..*self };
        let sum = crc_fast::checksum(Crc32Iscsi, covered.as_bytes());
        u32::try_from(sum).expect("a CRC of 32 bits") | 1
    }
}

fn identity_sum(identity: &str) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, identity.as_bytes())
}

/// A volume that an arena has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownVolume {
    pub(super) name: String,
    bytes: u64,
    identity: u64,
}

impl KnownVolume {
    /// What differs from the volume of the configuration, in words; `None` if it is the same, or grew by what leaves every
    /// line what it was: a volume that grows in use is not noted here.
    pub(super) fn differs(&self, volume: &ArenaVolume, line_bytes: u32) -> Option<String> {
        let grew = self.bytes < volume.bytes && self.bytes.is_multiple_of(u64::from(line_bytes));
        if self.bytes != volume.bytes && !grew {
            return Some(format!("had {} bytes and now has {}", self.bytes, volume.bytes));
        }
        let same = self.identity == identity_sum(&volume.identity);
        (!same).then(|| format!("was on another backing than '{}'", volume.identity))
    }
}

/// The volume of an entry; `None` if the entry is empty or damaged.
pub(super) fn parse(bytes: [u8; VOLUME_BYTES]) -> Option<KnownVolume> {
    let entry: Entry = zerocopy::transmute!(bytes);
    let name = str::from_utf8(entry.name.get(..entry.name_bytes as usize)?).ok()?;
    let sound = entry.checksum == entry.sum();
    sound.then(|| KnownVolume { name: name.to_owned(), bytes: entry.bytes, identity: entry.identity })
}

/// The volumes in the order of their numbers; in words, if an entry is damaged.
pub(super) fn read(mapping: &Mapping, plan: &Plan) -> Result<Vec<KnownVolume>, String> {
    let mut known = Vec::new();
    for number in 0..plan.volumes as usize {
        let bytes = mapping.read::<VOLUME_BYTES>(number * VOLUME_BYTES);
        if bytes == [0; VOLUME_BYTES] {
            break;
        }
        let volume = parse(bytes);
        known.push(volume.ok_or_else(|| format!("entry {number} of its volumes has a wrong checksum"))?);
    }
    Ok(known)
}

/// Writes the entries from number `from` on.
pub(super) fn write(mapping: &mut Mapping, volumes: &[ArenaVolume], from: usize) {
    for (number, volume) in volumes.iter().enumerate().skip(from) {
        mapping.write(number * VOLUME_BYTES, Entry::of(volume).as_bytes());
    }
}
