//! Device operations in flight.

use crate::requests::RequestId;
use crate::{Instant, OpId, RUN_LINES_MAX};
use alloc::vec::Vec;

/// The most requests that wait on one operation; one more is parked.
pub(crate) const WAITERS_MAX: usize = 8;

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A read of lines into slots that no client sees yet.
    Fill,
    /// A write of a run of lines.
    WriteBack,
    /// A write of zeroes or a discard, of a volume's zeroing piece.
    Zero,
    /// A device flush.
    Flush,
}

/// A read that waits for lines of a fill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    /// Its first line in the operation.
    pub(crate) first: u64,
    /// The line after its last.
    pub(crate) end: u64,
}

/// One operation. A run is worked off from its start: `position .. position + length` is on its way, what lies before
/// is settled, what lies behind comes next. A refused run is cut in half until the line is found that the device means.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) purpose: Purpose,
    pub(crate) volume: u16,
    pub(crate) first: u64,
    pub(crate) count: usize,
    pub(crate) position: usize,
    pub(crate) length: usize,
    /// The sectors of a single line that are still to be written, for a line with gaps; else 0.
    pub(crate) pieces: u32,
    /// Bytes that the device was asked for, this time.
    pub(crate) bytes: u64,
    pub(crate) slots: [u32; RUN_LINES_MAX],
    pub(crate) submitted: Instant,
    pub(crate) overdue: bool,
    /// The volume's count of doubts when it was submitted: if it has grown since, the write may not have survived.
    pub(crate) doubts: u64,
    /// Zeroes: it is a discard.
    pub(crate) discard: bool,
    /// Zeroes: the place of its note for a later life, if it has one of its own.
    pub(crate) note: Option<usize>,
    /// It finds out whether the device still refuses.
    pub(crate) probe: bool,
    /// A retry pass sent it.
    pub(crate) pass: bool,
    /// A gating refusal of one line does not end the run: each line is to get its verdict.
    pub(crate) thorough: bool,
    pub(crate) waiters: [Option<Waiter>; WAITERS_MAX],
}

impl Op {
    pub(crate) fn new(purpose: Purpose, volume: u16, first: u64, count: usize, now: Instant) -> Op {
        Op {
            purpose,
            volume,
            first,
            count,
            position: 0,
            length: count,
            pieces: 0,
            bytes: 0,
            slots: [0; RUN_LINES_MAX],
            submitted: now,
            overdue: false,
            doubts: 0,
            discard: false,
            note: None,
            probe: false,
            pass: false,
            thorough: false,
            waiters: [None; WAITERS_MAX],
        }
    }

    /// Whether the line was settled already.
    pub(crate) fn is_settled(&self, line: u64) -> bool {
        line < self.first + self.position as u64
    }
}

/// The lines that an operation in flight has.
#[derive(Clone, Copy, Debug)]
struct Place {
    volume: u16,
    first: u64,
    end: u64,
    op: u32,
}

/// A fixed table of operations, and the lines they have, in order: no two have the same line (M2).
pub(crate) struct Ops {
    entries: Vec<Option<Op>>,
    free: Vec<u32>,
    places: Vec<Place>,
}

impl Ops {
    pub(crate) fn new(max: usize) -> Ops {
        let count = u32::try_from(max).expect("few operations");
        Ops {
            entries: alloc::vec![None; max],
            free: (0..count).rev().collect(),
            places: Vec::with_capacity(max),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// # Panics
    /// If none is free, or another one has one of its lines.
    pub(crate) fn insert(&mut self, op: Op) -> OpId {
        let index = self.free.pop().expect("the caller asked for a free operation");
        if op.purpose != Purpose::Flush {
            let (volume, first, end) = (op.volume, op.first, op.first + op.count as u64);
            let at = self.place(volume, first);
            let apart = self.places.get(at).is_none_or(|next| (next.volume, next.first) >= (volume, end));
            assert!(apart, "two operations on lines {first}..{end} of volume {volume}");
            self.places.insert(at, Place { volume, first, end, op: index });
        }
        self.entries[index as usize] = Some(op);
        OpId(index)
    }

    pub(crate) fn get(&self, id: OpId) -> &Op {
        self.entries[id.0 as usize].as_ref().expect("an operation is named while it is in flight")
    }

    pub(crate) fn get_mut(&mut self, id: OpId) -> &mut Op {
        self.entries[id.0 as usize].as_mut().expect("an operation is named while it is in flight")
    }

    pub(crate) fn remove(&mut self, id: OpId) -> Op {
        let op = self.entries[id.0 as usize].take().expect("an operation completes once");
        self.free.push(id.0);
        if op.purpose != Purpose::Flush {
            self.places.remove(self.place(op.volume, op.first));
        }
        op
    }

    /// The first place that ends after `line`.
    fn place(&self, volume: u16, line: u64) -> usize {
        self.places.partition_point(|place| (place.volume, place.end) <= (volume, line))
    }

    /// The operations on any of the lines `first..end`, in the order of their lines.
    pub(crate) fn on(&self, volume: u16, first: u64, end: u64) -> impl Iterator<Item = OpId> {
        let behind = self.places[self.place(volume, first)..].iter();
        behind
            .take_while(move |place| (place.volume, place.first) < (volume, end))
            .map(|place| OpId(place.op))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OpId, &Op)> {
        self.entries.iter().zip(0..).filter_map(|(op, index)| op.as_ref().map(|op| (OpId(index), op)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Op> {
        self.entries.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is found on some lines is what a look at every operation finds.
    #[test]
    fn operations_are_found_by_their_lines() {
        let steps = proptest::collection::vec((any::<bool>(), 0u16..3, 0u64..60, 1usize..9), 1..200);
        proptest!(|(steps in steps)| {
            let mut ops = Ops::new(16);
            let mut list: Vec<(OpId, u16, u64, u64)> = Vec::new();
            for (insert, volume, first, count) in steps {
                let end = first + count as u64;
                let overlaps = |&&(_, of, from, to): &&(OpId, u16, u64, u64)| of == volume && from < end && first < to;
                let mut expected: Vec<_> = list.iter().filter(overlaps).map(|op| (op.2, op.0)).collect();
                expected.sort_by_key(|op| op.0);
                let expected: Vec<OpId> = expected.into_iter().map(|op| op.1).collect();
                prop_assert_eq!(ops.on(volume, first, end).collect::<Vec<_>>(), expected.clone());
                if insert && expected.is_empty() && ops.free() > 0 {
                    let id = ops.insert(Op::new(Purpose::Fill, volume, first, count, Instant(0)));
                    list.push((id, volume, first, end));
                } else if !insert && !list.is_empty() {
                    ops.remove(list.swap_remove(count % list.len()).0);
                }
            }
        });
    }
}
