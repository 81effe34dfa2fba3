//! Follows the chain of descriptors that a guest offers. All of it is the guest's: each step is bounded and checked.
//!
//! `virtio-queue`'s own iterator was not taken: it begins at the available ring only, where a request that an earlier life
//! of the daemon has taken is no more, and it ends a broken chain as if it were a short one.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Pieces of memory of one request, in each direction. A request of more is refused, not cut.
pub(super) const SEGMENTS_MAX: usize = 128;
const DESCRIPTOR_BYTES: u32 = 16;

/// A piece of the guest's memory, in one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) length: u64,
}

/// What a chain's descriptors amount to.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// What the device reads.
    pub(super) readable: Vec<Segment>,
    /// What the device writes; the last byte of it is the status.
    pub(super) writable: Vec<Segment>,
    /// A piece is not in memory, or there are too many: only the status can be used.
    pub(super) refused: bool,
    /// Where the last byte is that the device may write.
    pub(super) status: Option<u64>,
}

impl Chain {
    /// With memory for the longest.
    pub(super) fn new() -> Chain {
        Chain {
            readable: Vec::with_capacity(SEGMENTS_MAX),
            writable: Vec::with_capacity(SEGMENTS_MAX),
            refused: false,
            status: None,
        }
    }

    /// Reads the chain that begins at `head` of a table with `size` entries.
    ///
    /// # Errors
    /// In words, why it cannot be followed to a status byte: then nothing can be answered.
    pub(super) fn read(
        &mut self,
        map: &GuestMemoryMmap,
        table: GuestAddress,
        size: u16,
        head: u16,
    ) -> Result<(), &'static str> {
        self.readable.clear();
        self.writable.clear();
        (self.refused, self.status) = (false, None);
        let (mut table, mut size, mut at) = (table, u32::from(size), u32::from(head));
        let (mut indirect, mut left) = (false, size);
        loop {
            if at >= size {
                return Err("leads out of its table");
            }
            if left == 0 {
                return Err("is a loop");
            }
            left -= 1;
            let place = table.checked_add(u64::from(at) * u64::from(DESCRIPTOR_BYTES));
            let place = place.ok_or("has its table outside of memory")?;
            let entry: Descriptor = map.read_obj(place).map_err(|_| "has its table outside of memory")?;
            if entry.refers_to_indirect_table() {
                let entries = entry.len() / DESCRIPTOR_BYTES;
                if indirect || entry.has_next() {
                    return Err("has a table inside a table, or beside one");
                }
                if entries == 0 || !entry.len().is_multiple_of(DESCRIPTOR_BYTES) || entries > 1 << 15 {
                    return Err("has a table of no whole entries, or too many");
                }
                (table, size, at, left, indirect) = (entry.addr(), entries, 0, entries, true);
                continue;
            }
            self.add(map, &entry)?;
            if !entry.has_next() {
                break;
            }
            at = u32::from(entry.next());
        }
        if self.status.is_some() { Ok(()) } else { Err("has no byte for the status") }
    }

    fn add(&mut self, map: &GuestMemoryMmap, entry: &Descriptor) -> Result<(), &'static str> {
        let length = entry.len() as usize;
        if length == 0 {
            return Ok(());
        }
        if entry.is_write_only() {
            let end = entry.addr().checked_add(u64::from(entry.len()) - 1);
            self.status = end.map(|end| end.0);
        } else if !self.writable.is_empty() || self.status.is_some() {
            return Err("has something to read behind something to write");
        }
        let segments = if entry.is_write_only() { &mut self.writable } else { &mut self.readable };
        let mut address = entry.addr().0;
        for slice in GuestMemoryBackend::get_slices(map, entry.addr(), length) {
            let Ok(slice) = slice else {
                self.refused = true;
                break;
            };
            if segments.len() == SEGMENTS_MAX {
                self.refused = true;
                break;
            }
            segments.push(Segment { address, length: slice.len() as u64 });
            address += slice.len() as u64;
        }
        Ok(())
    }
}

/// Bytes of some segments.
pub(super) fn bytes_of(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.length).sum()
}

/// Copies the first bytes of some segments, and takes them away. `false` if there are fewer, or they are not there.
pub(super) fn take_front(map: &GuestMemoryMmap, segments: &mut Vec<Segment>, into: &mut [u8]) -> bool {
    let mut done = 0;
    while done < into.len() {
        let Some(first) = segments.first_mut() else { return false };
        let count = usize::try_from(first.length).unwrap_or(usize::MAX).min(into.len() - done);
        if map.read_slice(&mut into[done..done + count], GuestAddress(first.address)).is_err() {
            return false;
        }
        first.address += count as u64;
        first.length -= count as u64;
        done += count;
        if first.length == 0 {
            segments.remove(0);
        }
    }
    true
}

/// Takes the last byte away: the status.
pub(super) fn drop_last(segments: &mut Vec<Segment>) {
    if let Some(last) = segments.last_mut() {
        last.length -= 1;
        if last.length == 0 {
            segments.pop();
        }
    }
}
