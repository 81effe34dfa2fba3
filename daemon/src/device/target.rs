//! Where the bytes of an operation are: an io_uring entry from an operation and its segments.

use super::ring::Buffers;
use crate::arena::SlotAddresses;
use holdfast_engine::{Io, IoKind, OpId, Segment};
use io_uring::squeue::Entry;
use io_uring::{opcode, types};

/// The vectors of every operation that may be in flight, each in its own place: the kernel reads them when the entry
/// is submitted, which may be later than when it is made (a full queue, a hung operation).
pub(super) struct Vectors {
    table: Box<[libc::iovec]>,
    /// How many of its vectors each operation uses, and the registered buffer that holds them all, if one does.
    used: Box<[(u32, Option<u16>)]>,
    each: usize,
}

/// The memory of one operation, adjacent segments joined.
struct Joined<'a> {
    parts: &'a [libc::iovec],
    /// The registered buffer that holds all parts, if one does.
    buffer: Option<u16>,
}

impl Vectors {
    pub(super) fn new(operations: usize, each: usize) -> Vectors {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let (table, used) = (vec![nothing; operations * each], vec![(0, None); operations]);
        Vectors { table: table.into_boxed_slice(), used: used.into_boxed_slice(), each }
    }

    /// Where the memory of a read or write is noted, for whoever carries it out without a ring.
    pub(super) fn of(&self, op: OpId) -> (*const libc::iovec, u32) {
        let place = op.0 as usize;
        (self.table[place * self.each..].as_ptr(), self.used[place].0)
    }

    /// Notes the memory of a read or write, for as long as it is in flight; others have none.
    pub(super) fn note(&mut self, io: &Io, segments: &[Segment], addresses: &SlotAddresses) {
        if matches!(io.kind, IoKind::Read | IoKind::Write) {
            self.join(io, segments, addresses);
        }
    }

    /// Operations of a ring that is gone are in flight elsewhere, and their vectors stay for them.
    pub(super) fn leave_behind(&mut self) {
        Box::leak(std::mem::take(&mut self.table));
    }

    /// The entry of a read or write whose memory was noted, without its user data. It ends with EAGAIN rather than wait.
    ///
    /// # Panics
    /// If it is something else: that may wait.
    pub(super) fn entry(
        &self,
        op: OpId,
        kind: IoKind,
        offset: u64,
        buffers: Buffers,
        file: types::Fd,
    ) -> Entry {
        let (count, buffer) = self.used[op.0 as usize];
        let start = op.0 as usize * self.each;
        let joined = Joined { parts: &self.table[start..start + count as usize], buffer };
        match kind {
            IoKind::Flush | IoKind::Zero | IoKind::Discard => panic!("{kind:?} may wait"),
            IoKind::Read => read(&joined, offset, buffers, file),
            IoKind::Write => write(&joined, offset, buffers, file),
        }
    }

    fn join(&mut self, io: &Io, segments: &[Segment], addresses: &SlotAddresses) {
        assert!(
            !segments.is_empty() && segments.len() <= self.each,
            "{} segments of {}",
            segments.len(),
            self.each
        );
        let total: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
        assert!(total == io.length, "segments of {total} bytes for {} bytes", io.length);
        let start = io.op.0 as usize * self.each;
        let place = &mut self.table[start..start + self.each];
        let first = addresses.segment_of(segments[0].slot);
        let mut count = 0;
        let mut last = first;
        let mut buffer = Some(first);
        for segment in segments {
            let base = addresses.address(segment.slot, segment.at, segment.length);
            let within = addresses.segment_of(segment.slot);
            let before = if count > 0 && within == last { Some(&mut place[count - 1]) } else { None };
            match before.filter(|part| part.iov_base.addr() + part.iov_len == base.addr()) {
                Some(part) => part.iov_len += segment.length as usize,
                None => {
                    place[count] = libc::iovec { iov_base: base.cast(), iov_len: segment.length as usize };
                    count += 1;
                }
            }
            buffer = buffer.filter(|buffer| *buffer == within);
            last = within;
        }
        self.used[io.op.0 as usize] = (u32::try_from(count).expect("a run has few parts"), buffer);
    }
}

impl Joined<'_> {
    /// The one part of an operation that has one.
    fn single(&self) -> Option<(*mut u8, u32)> {
        let [part] = self.parts else { return None };
        Some((part.iov_base.cast(), u32::try_from(part.iov_len).expect("a run is no longer than 1 MiB")))
    }

    fn vector(&self) -> (*const libc::iovec, u32) {
        (self.parts.as_ptr(), u32::try_from(self.parts.len()).expect("a run has few parts"))
    }
}

fn read(joined: &Joined<'_>, offset: u64, buffers: Buffers, file: types::Fd) -> Entry {
    let (vector, count) = joined.vector();
    match (joined.single(), buffers, joined.buffer) {
        (Some((base, length)), Buffers::Registered | Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::ReadFixed::new(file, base, length, buffer)
                .offset(offset)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        }
        (None, Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::ReadvFixed::new(file, vector, count, buffer)
                .offset(offset)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        }
        _ => opcode::Readv::new(file, vector, count).offset(offset).rw_flags(libc::RWF_NOWAIT).build(),
    }
}

fn write(joined: &Joined<'_>, offset: u64, buffers: Buffers, file: types::Fd) -> Entry {
    let (vector, count) = joined.vector();
    match (joined.single(), buffers, joined.buffer) {
        (Some((base, length)), Buffers::Registered | Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::WriteFixed::new(file, base, length, buffer)
                .offset(offset)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        }
        (None, Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::WritevFixed::new(file, vector, count, buffer)
                .offset(offset)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        }
        _ => opcode::Writev::new(file, vector, count).offset(offset).rw_flags(libc::RWF_NOWAIT).build(),
    }
}
