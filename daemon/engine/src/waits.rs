//! Write-through and FUA writes that wait for their lines.

use crate::requests::RequestId;
use alloc::vec::Vec;

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Until {
    /// The device accepted it.
    Written,
    /// It is on stable media.
    Stable,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    request: RequestId,
    volume: u16,
    line: u64,
    generation: u64,
    until: Until,
}

/// A bounded, unordered set of waits. A list that is scanned: only volumes in write-through mode and FUA writes get
/// here, whose pace the device sets.
pub(crate) struct Waits {
    waits: Vec<Wait>,
    max: usize,
}

impl Waits {
    pub(crate) fn new(max: usize) -> Waits {
        Waits { waits: Vec::with_capacity(max), max }
    }

    /// Whether `count` more fit.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.waits.len() + count <= self.max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    pub(crate) fn any_of(&self, volume: u16) -> bool {
        self.waits.iter().any(|wait| wait.volume == volume)
    }

    /// Whether any write waits for the line.
    pub(crate) fn any_on(&self, volume: u16, line: u64) -> bool {
        self.waits.iter().any(|wait| wait.volume == volume && wait.line == line)
    }

    pub(crate) fn add(&mut self, request: RequestId, volume: u16, line: u64, generation: u64, until: Until) {
        self.waits.push(Wait { request, volume, line, generation, until });
    }

    /// Takes out one wait that is satisfied: `generation` of the line, or a newer one, has come as far as `reached`.
    pub(crate) fn satisfied(
        &mut self,
        volume: u16,
        line: u64,
        generation: u64,
        reached: Until,
    ) -> Option<RequestId> {
        self.take(|wait| {
            wait.volume == volume
                && wait.line == line
                && wait.generation <= generation
                && wait.until <= reached
        })
        .map(|wait| wait.request)
    }

    /// The same for any line in `first..end`.
    pub(crate) fn satisfied_in(
        &mut self,
        volume: u16,
        (first, end): (u64, u64),
        generation: u64,
        reached: Until,
    ) -> Option<RequestId> {
        self.take(|wait| {
            wait.volume == volume
                && (first..end).contains(&wait.line)
                && wait.generation <= generation
                && wait.until <= reached
        })
        .map(|wait| wait.request)
    }

    /// Takes out one wait of a line, whatever it waits for.
    pub(crate) fn of_line(&mut self, volume: u16, line: u64) -> Option<RequestId> {
        self.take(|wait| wait.volume == volume && wait.line == line).map(|wait| wait.request)
    }

    /// Takes out one wait of a volume: the request and its line.
    pub(crate) fn of_volume(&mut self, volume: u16) -> Option<(RequestId, u64)> {
        self.take(|wait| wait.volume == volume).map(|wait| (wait.request, wait.line))
    }

    fn take(&mut self, wanted: impl Fn(&Wait) -> bool) -> Option<Wait> {
        let index = self.waits.iter().position(wanted)?;
        Some(self.waits.swap_remove(index))
    }
}
