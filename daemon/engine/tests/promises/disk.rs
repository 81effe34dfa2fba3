//! A disk in memory that refuses, delays and cuts short as a test says.

use holdfast_engine::{Io, IoKind, OpId};
use std::collections::BTreeMap;

/// One operation that was submitted and has not ended.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) reactor: u32,
    pub(crate) volume: u16,
    pub(crate) op: OpId,
    pub(crate) kind: IoKind,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// The slots it reads or writes: slot, first byte, bytes.
    pub(crate) pieces: Vec<(u32, usize, usize)>,
    /// What the slots of a write held when it was submitted.
    pub(crate) data: Vec<u8>,
}

/// One attempt that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) at_ms: u64,
    pub(crate) kind: IoKind,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A disk with a volatile cache: `media` is what it reads, `stable` is what would survive a power cut.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) media: Vec<u8>,
    pub(crate) stable: Vec<u8>,
    pub(crate) in_flight: Vec<InFlight>,
    pub(crate) log: Vec<Attempt>,
    /// Blocks of 4 KiB whose writes are refused, with the errno.
    pub(crate) bad: BTreeMap<u64, i32>,
    /// Whole kinds that are refused.
    pub(crate) refused: BTreeMap<IoKind, i32>,
    /// Kinds that do not end until they are released.
    pub(crate) held: Vec<IoKind>,
    /// The next write ends after so many bytes.
    pub(crate) short: Option<u64>,
}

impl Disk {
    pub(crate) fn new(bytes: usize) -> Disk {
        // A pattern that is not zero, so that zeroes are told from what was never written.
        let media = vec![0xd5; bytes];
        Disk { stable: media.clone(), media, ..Disk::default() }
    }

    /// Takes an operation in. M2: no other one may overlap it.
    pub(crate) fn submit(&mut self, io: InFlight) {
        for other in &self.in_flight {
            let apart = io.offset >= other.offset + other.length || other.offset >= io.offset + io.length;
            assert!(apart || io.length == 0, "two operations on one block: {io:?} and {other:?}");
        }
        let flushing = self.in_flight.iter().any(|other| other.kind == IoKind::Flush);
        assert!(io.kind != IoKind::Flush || !flushing, "two device flushes at once");
        self.in_flight.push(io);
    }

    /// Takes out the operations that may end now.
    pub(crate) fn take_ready(&mut self) -> Vec<InFlight> {
        let held = self.held.clone();
        let (stay, ready) = self.in_flight.drain(..).partition(|io| held.contains(&io.kind));
        self.in_flight = stay;
        ready
    }

    /// What io_uring would say of an operation, which happens now. Returns the bytes of a read.
    pub(crate) fn perform(&mut self, io: &InFlight, at_ms: u64) -> (i32, Vec<u8>) {
        let result = self.outcome(io);
        let (kind, offset, length) = (io.kind, io.offset, io.length);
        self.log.push(Attempt { at_ms, kind, offset, length });
        let mut read = Vec::new();
        let from = usize::try_from(io.offset).unwrap();
        if result >= 0 {
            let done = usize::try_from(result).unwrap();
            let to = from + usize::try_from(io.length).unwrap();
            match io.kind {
                IoKind::Read => read = self.media[from..from + done].to_vec(),
                IoKind::Write => self.media[from..from + done].copy_from_slice(&io.data[..done]),
                IoKind::Zero | IoKind::Discard => self.media[from..to].fill(0),
                IoKind::Flush => {}
            }
        }
        (result, read)
    }

    fn outcome(&mut self, io: &InFlight) -> i32 {
        if let Some(&errno) = self.refused.get(&io.kind) {
            return -errno;
        }
        let blocks = io.offset / 4096..(io.offset + io.length).div_ceil(4096);
        if io.kind == IoKind::Write {
            if let Some((_, &errno)) = self.bad.range(blocks).next() {
                return -errno;
            }
            if let Some(bytes) = self.short.take() {
                return i32::try_from(bytes.min(io.length)).unwrap();
            }
        }
        match io.kind {
            IoKind::Read | IoKind::Write => i32::try_from(io.length).unwrap(),
            _ => 0,
        }
    }

    pub(crate) fn refuse(&mut self, kind: IoKind, errno: u16) {
        self.refused.insert(kind, i32::from(errno));
    }

    /// Refuses nothing any more.
    pub(crate) fn heal(&mut self) {
        self.refused.clear();
        self.bad.clear();
    }

    pub(crate) fn hold(&mut self, kind: IoKind) {
        self.held.push(kind);
    }

    pub(crate) fn release(&mut self) {
        self.held.clear();
    }

    /// Attempts of a kind so far.
    pub(crate) fn attempts(&self, kind: IoKind) -> usize {
        self.log.iter().filter(|attempt| attempt.kind == kind).count()
    }

    /// Writes that touched a block of 4 KiB so far.
    pub(crate) fn writes_of(&self, block: u64) -> Vec<Attempt> {
        let touches = |attempt: &&Attempt| {
            attempt.kind == IoKind::Write
                && attempt.offset < (block + 1) * 4096
                && block * 4096 < attempt.offset + attempt.length
        };
        self.log.iter().filter(touches).copied().collect()
    }
}

/// An operation as the engine describes it, with the slots that it names.
pub(crate) fn in_flight(io: &Io, pieces: Vec<(u32, usize, usize)>, data: Vec<u8>, reactor: u32) -> InFlight {
    let (op, volume, kind, offset, length) = (io.op, io.volume.0, io.kind, io.offset, io.length);
    InFlight { reactor, volume, op, kind, offset, length, pieces, data }
}
