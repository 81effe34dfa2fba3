//! Where the bytes of an operation are: an io_uring entry from an operation and its segments.

use super::ring::Buffers;
use crate::arena::SlotAddresses;
use holdfast_engine::{Io, IoKind, Segment};
use io_uring::squeue::Entry;
use io_uring::{opcode, types};

/// `FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE`: on a file it deallocates, on a block device it zeroes without writing
/// or says EOPNOTSUPP; in both cases success means zeroes.
const PUNCH_HOLE: i32 = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE;

/// The vectors of every operation that may be in flight, each in its own place: the kernel reads them when the entry
/// is submitted, which may be later than when it is made (a full queue, a hung operation).
pub(super) struct Vectors {
    table: Box<[libc::iovec]>,
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
        Vectors { table: vec![nothing; operations * each].into_boxed_slice(), each }
    }

    /// The entry of an operation, without its user data.
    pub(super) fn entry(
        &mut self,
        io: &Io,
        segments: &[Segment],
        addresses: &SlotAddresses,
        buffers: Buffers,
        file: types::Fixed,
    ) -> Entry {
        match io.kind {
            IoKind::Flush => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
            IoKind::Zero | IoKind::Discard => {
                opcode::Fallocate::new(file, io.length).offset(io.offset).mode(PUNCH_HOLE).build()
            }
            IoKind::Read => read(&self.join(io, segments, addresses), io.offset, buffers, file),
            IoKind::Write => write(&self.join(io, segments, addresses), io.offset, buffers, file),
        }
    }

    fn join(&mut self, io: &Io, segments: &[Segment], addresses: &SlotAddresses) -> Joined<'_> {
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
        Joined { parts: &place[..count], buffer }
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

fn read(joined: &Joined<'_>, offset: u64, buffers: Buffers, file: types::Fixed) -> Entry {
    let (vector, count) = joined.vector();
    match (joined.single(), buffers, joined.buffer) {
        (Some((base, length)), Buffers::Registered | Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::ReadFixed::new(file, base, length, buffer).offset(offset).build()
        }
        (None, Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::ReadvFixed::new(file, vector, count, buffer).offset(offset).build()
        }
        _ => opcode::Readv::new(file, vector, count).offset(offset).build(),
    }
}

fn write(joined: &Joined<'_>, offset: u64, buffers: Buffers, file: types::Fixed) -> Entry {
    let (vector, count) = joined.vector();
    match (joined.single(), buffers, joined.buffer) {
        (Some((base, length)), Buffers::Registered | Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::WriteFixed::new(file, base, length, buffer).offset(offset).build()
        }
        (None, Buffers::RegisteredVectors, Some(buffer)) => {
            opcode::WritevFixed::new(file, vector, count, buffer).offset(offset).build()
        }
        _ => opcode::Writev::new(file, vector, count).offset(offset).build(),
    }
}
