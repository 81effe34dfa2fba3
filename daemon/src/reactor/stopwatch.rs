//! What a reactor measures: how long clients and devices waited, with the one look at the clock that a turn has.
//!
//! A request counts from the beginning of the turn that took it from its ring to the end of the turn that answered it: a
//! hit takes as long as its turn, because its client cannot see it sooner. A device operation counts from the turn that
//! submitted it to the turn that found it done. The end of a turn is known only when the next begins; until then the
//! answers are noted, neighbours of one kind and beginning as one note.

use crate::latency::{Counts, Histogram, Kind, bump};
use holdfast_engine::{Instant, Io, IoKind, OpId, VolumeId};
use holdfast_policy::{ErrorClass, errno};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const KINDS: usize = Kind::ALL.len();
const CLASSES: usize = ErrorClass::ALL.len();

/// What a reactor has measured since the daemon started; it writes, anybody reads.
#[derive(Debug)]
pub struct Measured {
    /// [`KINDS`] for each volume.
    requests: Vec<Histogram>,
    /// [`KINDS`] for each volume.
    device: Vec<Histogram>,
    /// [`CLASSES`] for each volume.
    refused: Vec<AtomicU64>,
    turns: Histogram,
}

impl Measured {
    pub(super) fn new(volumes: usize) -> Measured {
        let histograms = || (0..volumes * KINDS).map(|_| Histogram::default()).collect();
        Measured {
            requests: histograms(),
            device: histograms(),
            refused: (0..volumes * CLASSES).map(|_| AtomicU64::new(0)).collect(),
            turns: Histogram::default(),
        }
    }

    /// For the reactor: another volume is in the place from now on.
    pub(super) fn begin_anew(&self, volume: usize) {
        for kind in Kind::ALL {
            self.requests[place(volume, kind)].clear();
            self.device[place(volume, kind)].clear();
        }
        ErrorClass::ALL.iter().for_each(|&class| self.refused[class_place(volume, class)].store(0, Relaxed));
    }

    /// How long clients of a volume waited for an answer.
    pub fn requests(&self, volume: usize, kind: Kind) -> Counts {
        self.requests[place(volume, kind)].counts()
    }

    /// How long the device of a volume took, whatever its answer was.
    pub fn device(&self, volume: usize, kind: Kind) -> Counts {
        self.device[place(volume, kind)].counts()
    }

    /// Operations that the device of a volume refused with an error of this class.
    pub fn refused(&self, volume: usize, class: ErrorClass) -> u64 {
        self.refused[class_place(volume, class)].load(Relaxed)
    }

    /// How long the turns were that found something to do.
    pub fn turns(&self) -> Counts {
        self.turns.counts()
    }
}

const fn place(volume: usize, kind: Kind) -> usize {
    volume * KINDS + kind as usize
}

const fn class_place(volume: usize, class: ErrorClass) -> usize {
    volume * CLASSES + class as usize - 1
}

/// When a request was taken, and what it is, in one word: the kind takes the low bits of the nanoseconds' eight times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun(u64);

impl Begun {
    pub(crate) const fn new(at: Instant, kind: Kind) -> Begun {
        Begun(at.0 << 3 | kind as u64)
    }

    const fn at(self) -> Instant {
        Instant(self.0 >> 3)
    }
}

/// Answers of one turn that are alike.
#[derive(Clone, Copy, Debug)]
struct Note {
    volume: VolumeId,
    begun: Begun,
    count: u64,
}

/// A device operation in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    since: Instant,
    place: u32,
    volume: u16,
}

/// The reactor's own part: what is not measured to its end yet.
#[derive(Debug)]
pub(super) struct Stopwatch {
    answered: Vec<Note>,
    flights: Vec<Flight>,
}

impl Stopwatch {
    /// For so many answers a turn and so many device operations in flight.
    pub(super) fn new(answers_max: usize, operations_max: usize) -> Stopwatch {
        Stopwatch {
            answered: Vec::with_capacity(answers_max),
            flights: vec![Flight::default(); operations_max],
        }
    }

    /// A request that was taken at `begun` is answered in this turn.
    pub(super) fn answer(&mut self, volume: VolumeId, begun: Begun) {
        match self.answered.last_mut() {
            Some(last) if last.begun == begun && last.volume == volume => last.count += 1,
            _ => self.answered.push(Note { volume, begun, count: 1 }),
        }
    }

    /// The turn that began at `began` ended now.
    pub(super) fn lap(&mut self, began: Instant, now: Instant, measured: &Measured) {
        for note in self.answered.drain(..) {
            let kind = usize::try_from(note.begun.0 & 7).expect("three bits");
            let histogram = &measured.requests[usize::from(note.volume.0) * KINDS + kind];
            histogram.record(now.since_ns(note.begun.at()), note.count);
        }
        measured.turns.record(now.since_ns(began), 1);
    }

    /// A device operation is submitted.
    pub(super) fn submit(&mut self, io: &Io, now: Instant) {
        let kind = match io.kind {
            IoKind::Read => Kind::Read,
            IoKind::Write => Kind::Write,
            IoKind::Flush => Kind::Flush,
            IoKind::Discard => Kind::Discard,
            IoKind::Zero => Kind::WriteZeroes,
        };
        let place = place(usize::from(io.volume.0), kind);
        let place = u32::try_from(place).expect("at most 4096 volumes");
        self.flights[io.op.0 as usize] = Flight { since: now, place, volume: io.volume.0 };
    }

    /// A device operation has ended: what the kernel says of it.
    pub(super) fn complete(&self, op: OpId, result: i32, now: Instant, measured: &Measured) {
        let Flight { since, place, volume } = self.flights[op.0 as usize];
        measured.device[place as usize].record(now.since_ns(since), 1);
        if result < 0 {
            let number = u16::try_from(result.unsigned_abs()).unwrap_or(errno::EIO);
            let class = errno::class_of_errno(number);
            bump(&measured.refused[class_place(usize::from(volume), class)], 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::bucket_of;

    #[test]
    fn a_hit_takes_as_long_as_its_turn_and_a_wait_from_its_own() {
        let (measured, mut stopwatch) = (Measured::new(2), Stopwatch::new(8, 4));
        let one = VolumeId(1);
        stopwatch.answer(one, Begun::new(Instant(5_000), Kind::Write));
        stopwatch.answer(one, Begun::new(Instant(5_000), Kind::Write));
        stopwatch.answer(one, Begun::new(Instant(1_000), Kind::Flush));
        assert_eq!(stopwatch.answered.len(), 2, "neighbours that are alike are one note");
        stopwatch.lap(Instant(5_000), Instant(7_000), &measured);
        let (writes, flushes) = (measured.requests(1, Kind::Write), measured.requests(1, Kind::Flush));
        assert_eq!((writes.count(), writes.sum_ns), (2, 4_000));
        assert_eq!(writes.buckets[bucket_of(2_000)], 2);
        assert_eq!((flushes.count(), flushes.sum_ns), (1, 6_000));
        assert_eq!(measured.requests(0, Kind::Write).count(), 0);
        assert_eq!((measured.turns().count(), measured.turns().sum_ns), (1, 2_000));
        stopwatch.lap(Instant(7_000), Instant(8_000), &measured);
        assert_eq!(measured.requests(1, Kind::Write).count(), 2, "what was counted is counted once");
    }

    #[test]
    fn a_refusal_is_counted_in_its_class() {
        let (measured, mut stopwatch) = (Measured::new(2), Stopwatch::new(8, 4));
        let (op, volume) = (OpId(3), VolumeId(1));
        let io =
            Io { op, volume, kind: IoKind::Write, offset: 0, length: 4096, first_segment: 0, segments: 1 };
        stopwatch.submit(&io, Instant(1_000));
        stopwatch.complete(op, -28, Instant(4_000), &measured);
        stopwatch.submit(&io, Instant(5_000));
        stopwatch.complete(op, 4096, Instant(6_000), &measured);
        assert_eq!(measured.refused(1, ErrorClass::Space), 1);
        let others = [ErrorClass::Transient, ErrorClass::Medium, ErrorClass::Gone];
        assert_eq!(others.map(|class| measured.refused(1, class)), [0; 3]);
        assert_eq!(measured.refused(0, ErrorClass::Space), 0);
        let writes = measured.device(1, Kind::Write);
        assert_eq!((writes.count(), writes.sum_ns), (2, 4_000));
    }
}
