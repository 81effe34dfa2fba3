//! The arena's table of volumes: whose the numbers in headers are. It stands at the beginning of the file of notes.
//!
//! An entry is written when the volume first takes part in the arena, before any header has its number, and taken out when
//! the volume is removed, after the last header has been freed. Its place is vacant then, until another volume gets it. The
//! word with the checksum is written last and taken out first: whoever is killed in between leaves a vacant place.

use super::layout::{ArenaVolume, DeviceNote, Plan};
use super::memory::Mapping;
use crate::device::DomainKey;
use crc_fast::CrcAlgorithm::Crc32Iscsi;
use std::sync::atomic::Ordering;
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
    device: DeviceEntry,
    reserved: [u8; 144],
}

/// What [`DeviceNote`] has. All zeroes where none was written.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct DeviceEntry {
    block_bytes: u32,
    /// [`DISK`] or [`FILE`], and [`DIRECT`].
    kind: u32,
    domain: [u64; 2],
}

const DISK: u32 = 1;
const FILE: u32 = 2;
const DIRECT: u32 = 1 << 8;

impl DeviceEntry {
    fn of(note: &DeviceNote) -> DeviceEntry {
        let (kind, domain) = match note.domain {
            DomainKey::Disk { major, minor } => (DISK, [u64::from(major), u64::from(minor)]),
            DomainKey::File { device, inode } => (FILE, [device, inode]),
        };
        let kind = kind | if note.direct { DIRECT } else { 0 };
        DeviceEntry { block_bytes: note.block_bytes, kind, domain }
    }

    fn note(self) -> Option<DeviceNote> {
        let [first, second] = self.domain;
        let domain = match self.kind & !DIRECT {
            DISK => DomainKey::Disk { major: u32::try_from(first).ok()?, minor: u32::try_from(second).ok()? },
            FILE => DomainKey::File { device: first, inode: second },
            _ => return None,
        };
        let sound = (512..=4096).contains(&self.block_bytes) && self.block_bytes.is_power_of_two();
        let note = DeviceNote { block_bytes: self.block_bytes, direct: self.kind & DIRECT != 0, domain };
        sound.then_some(note)
    }
}

impl Entry {
    fn of(volume: &ArenaVolume) -> Entry {
        let mut entry = Entry::new_zeroed();
        let name = &volume.name.as_bytes()[..volume.name.len().min(64)];
        entry.bytes = volume.bytes;
        entry.name_bytes = u32::try_from(name.len()).expect("at most 64");
        entry.name[..name.len()].copy_from_slice(name);
        entry.identity = identity_sum(&volume.identity);
        if let Some(note) = &volume.device {
            entry.device = DeviceEntry::of(note);
        }
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
pub struct KnownVolume {
    /// Its name.
    pub name: String,
    bytes: u64,
    identity: u64,
    pub(super) device: Option<DeviceNote>,
}

impl KnownVolume {
    /// What was noted of its device when it came, if `identity` is that device's. It may have changed since, but not in what
    /// it is: whoever opens it looks.
    pub fn device(&self, identity: &str) -> Option<DeviceNote> {
        self.device.filter(|_| self.identity == identity_sum(identity))
    }

    /// Its size when it came: it may have grown.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

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
    sound.then(|| KnownVolume {
        name: name.to_owned(),
        bytes: entry.bytes,
        identity: entry.identity,
        device: entry.device.note(),
    })
}

/// The volumes by their numbers, as far as the last one that is there; in words, if an entry is damaged.
pub(super) fn read(mapping: &Mapping, plan: &Plan) -> Result<Vec<Option<KnownVolume>>, String> {
    let mut known = Vec::new();
    for number in 0..plan.volumes as usize {
        let bytes = mapping.read::<VOLUME_BYTES>(number * VOLUME_BYTES);
        let entry: Entry = zerocopy::transmute!(bytes);
        let volume = parse(bytes);
        if volume.is_none() && entry.checksum != 0 {
            return Err(format!("entry {number} of its volumes has a wrong checksum"));
        }
        known.push(volume);
    }
    known.truncate(known.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
    Ok(known)
}

/// Enters the volumes that are not in the table yet; whose place is another's or nobody's now goes out of it.
pub(super) fn enter(
    notes: &mut Mapping,
    plan: &Plan,
    volumes: &[Option<ArenaVolume>],
    known: &[Option<KnownVolume>],
) {
    for number in 0..plan.volumes as usize {
        let (new, old) =
            (volumes.get(number).and_then(Option::as_ref), known.get(number).and_then(Option::as_ref));
        let same = new.map(|volume| &volume.name) == old.map(|volume| &volume.name);
        if !same {
            put(notes, number, new);
        }
    }
}

/// Where the name's length and the checksum are: the word that makes an entry one.
const SEAL: usize = 8;

/// Puts an entry in its place, or makes that vacant.
pub(super) fn put(mapping: &Mapping, number: usize, volume: Option<&ArenaVolume>) {
    let words = mapping.words(number * VOLUME_BYTES, VOLUME_BYTES / 8);
    let entry = volume.map_or_else(Entry::new_zeroed, Entry::of);
    // SYNC POINT entry: the seal goes first and comes last; pairs with nothing in this process: a successor of a daemon that
    // was killed sees its stores in their order.
    words[SEAL / 8].store(0, Ordering::SeqCst);
    let values =
        entry.as_bytes().chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("8 bytes")));
    let mut seal = 0;
    for (at, value) in values.enumerate() {
        if at == SEAL / 8 { seal = value } else { words[at].store(value, Ordering::SeqCst) }
    }
    words[SEAL / 8].store(seal, Ordering::SeqCst);
}

/// The table of an arena that is served from.
#[derive(Clone, Copy)]
pub struct VolumeTable {
    mapping: &'static Mapping,
    places: u32,
}

impl VolumeTable {
    pub(super) fn new(mapping: &'static Mapping, plan: &Plan) -> VolumeTable {
        VolumeTable { mapping, places: plan.volumes }
    }

    /// How many volumes there is room for.
    pub fn places(&self) -> usize {
        self.places as usize
    }

    /// A volume takes part from now on under this number, or no volume does.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn put(&self, number: u16, volume: Option<&ArenaVolume>) {
        assert!(u32::from(number) < self.places, "place {number} of {}", self.places);
        put(self.mapping, usize::from(number), volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(device: Option<DeviceNote>) -> ArenaVolume {
        ArenaVolume { name: "vm".to_owned(), identity: "wwid 1".to_owned(), bytes: 1 << 30, device }
    }

    fn parsed(entry: Entry) -> Option<KnownVolume> {
        parse(entry.as_bytes().try_into().expect("its size"))
    }

    #[test]
    fn what_is_noted_of_a_device_is_read_again_for_that_device_alone() {
        for domain in
            [DomainKey::Disk { major: 259, minor: 7 }, DomainKey::File { device: u64::MAX, inode: 12 }]
        {
            for direct in [false, true] {
                let note = DeviceNote { block_bytes: 4096, direct, domain };
                let known = parsed(Entry::of(&volume(Some(note)))).expect("sound");
                assert_eq!((known.device("wwid 1"), known.bytes()), (Some(note), 1 << 30));
                assert_eq!(known.device("wwid 2"), None, "another device");
            }
        }
    }

    /// Entries of daemons that noted nothing are sound, and notes that make no sense are none.
    #[test]
    fn an_entry_without_a_note_is_a_volume_all_the_same() {
        let known = parsed(Entry::of(&volume(None))).expect("sound");
        assert_eq!(known.device("wwid 1"), None);
        let note =
            DeviceNote { block_bytes: 512, direct: true, domain: DomainKey::Disk { major: 8, minor: 0 } };
        for (block_bytes, kind, domain) in [
            (0, DISK, [8, 0]),
            (513, DISK, [8, 0]),
            (8192, FILE, [8, 0]),
            (512, 3, [8, 0]),
            (512, DISK, [1 << 32, 0]),
        ] {
            let mut entry = Entry::of(&volume(Some(note)));
            entry.device = DeviceEntry { block_bytes, kind, domain };
            assert_eq!(parsed(entry), None, "its checksum is another's");
            entry.checksum = entry.sum();
            assert_eq!(parsed(entry).expect("sound").device("wwid 1"), None);
        }
    }
}
