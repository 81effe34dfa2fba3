//! The ideal ring: one producer, one consumer, no checks, because both ends are the same program.
//!
//! Own indices are private and only published; the peer's index is looked at only when all that it last showed is used
//! up. A completion is the credit for the next submission, so neither ring can be full and nobody publishes a head.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

use crossbeam::utils::CachePadded;

use super::memory::{Shared, Span};
use crate::load::Operation;

/// Requests in flight, at most.
pub const DEPTH_MAX: u32 = 128;
const ENTRIES: usize = DEPTH_MAX as usize;
/// Requests that the other side carries out before it publishes, at most: with all of a depth of 32 together, client
/// and other side would take turns instead of working at the same time.
const PUBLISH_MAX: u32 = 4;

/// 64 bytes: the tag with the operation in its highest bit, the offset, and what a real request has more.
#[derive(Debug)]
#[repr(C, align(64))]
struct Descriptor([AtomicU64; 8]);

/// All that the two processes share but the payload; zeroes are a new ring. 128 bytes separate what the two write.
#[derive(Debug)]
#[repr(C)]
pub struct RingMemory {
    submitted: CachePadded<AtomicU32>,
    completed: CachePadded<AtomicU32>,
    pub(super) phase: CachePadded<AtomicU32>,
    pub(super) ready: CachePadded<AtomicU32>,
    pub(super) ping: CachePadded<AtomicU32>,
    pub(super) pong: CachePadded<AtomicU32>,
    descriptors: [Descriptor; ENTRIES],
    completions: [AtomicU32; ENTRIES],
}

const READ: u64 = 1 << 63;

/// The end that asks.
#[derive(Debug)]
pub struct Client<'memory> {
    memory: &'memory RingMemory,
    submitted: u32,
    completed: u32,
    /// The other side's index when it was last looked at: it may be further by now, never back.
    completed_seen: u32,
}

impl<'memory> Client<'memory> {
    /// The only client of a ring in which nothing is in flight; panics if something is.
    #[must_use]
    pub fn new(shared: &'memory Shared) -> Self {
        let memory = shared.ring();
        let (submitted, completed) = (memory.submitted.load(Acquire), memory.completed.load(Acquire));
        assert_eq!(submitted, completed, "requests of an earlier client are in flight");
        Self { memory, submitted, completed, completed_seen: completed }
    }

    /// Fills a descriptor; panics if `DEPTH_MAX` requests are in flight.
    #[inline]
    pub fn submit(&mut self, tag: u32, operation: Operation, offset: u64) {
        assert!(self.submitted.wrapping_sub(self.completed) < DEPTH_MAX, "the ring is full");
        let entry = &self.memory.descriptors[self.submitted as usize % ENTRIES].0;
        let direction = if operation == Operation::Read { READ } else { 0 };
        entry[0].store(u64::from(tag) | direction, Relaxed);
        entry[1].store(offset, Relaxed);
        self.submitted = self.submitted.wrapping_add(1);
    }

    /// Makes what was submitted visible.
    #[inline]
    pub fn publish(&self) {
        // SYNC POINT asked: pairs with the load in `Server::turn`; descriptors and windows are filled.
        self.memory.submitted.store(self.submitted, Release);
    }

    /// Appends the tags that are done.
    #[inline]
    pub fn poll(&mut self, done: &mut Vec<u32>) {
        // SYNC POINT answered: pairs with the store in `Server::turn`; what was read is in the windows.
        self.completed_seen = self.memory.completed.load(Acquire);
        while self.completed != self.completed_seen {
            done.push(self.memory.completions[self.completed as usize % ENTRIES].load(Relaxed));
            self.completed = self.completed.wrapping_add(1);
        }
    }
}

/// The end that answers.
#[derive(Debug)]
pub struct Server<'memory> {
    shared: &'memory Shared,
    memory: &'memory RingMemory,
    /// Requests taken and answered: one index, as nothing is in between.
    answered: u32,
    /// The client's index when it was last looked at: it may be further by now, never back.
    submitted_seen: u32,
}

impl<'memory> Server<'memory> {
    /// The other side of a new ring.
    #[must_use]
    pub fn new(shared: &'memory Shared) -> Self {
        Self { shared, memory: shared.ring(), answered: 0, submitted_seen: 0 }
    }

    /// Carries out some of what was asked and publishes the answers; how many.
    #[inline]
    pub fn turn(&mut self, span: &mut Span) -> u32 {
        if self.answered == self.submitted_seen {
            // SYNC POINT asked: pairs with `Client::publish`.
            self.submitted_seen = self.memory.submitted.load(Acquire);
        }
        let count = self.submitted_seen.wrapping_sub(self.answered).min(PUBLISH_MAX);
        for _ in 0..count {
            let place = self.answered as usize % ENTRIES;
            let tag = self.carry_out(place, span);
            self.memory.completions[place].store(tag, Relaxed);
            self.answered = self.answered.wrapping_add(1);
        }
        if count > 0 {
            // SYNC POINT answered: pairs with `Client::poll`.
            self.memory.completed.store(self.answered, Release);
        }
        count
    }

    #[inline]
    fn carry_out(&self, place: usize, span: &mut Span) -> u32 {
        let entry = &self.memory.descriptors[place].0;
        let (word, offset) = (entry[0].load(Relaxed), entry[1].load(Relaxed));
        let tag = u32::try_from(word & !READ).expect("a tag of the client's");
        let window = self.shared.window(tag);
        if word & READ == 0 {
            span.store(offset, window)
        } else {
            span.load(offset, window)
        }
        tag
    }
}

#[cfg(test)]
mod tests;
