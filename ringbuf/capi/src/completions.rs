//! The answers of a queue, as C takes them: into an array of its own, which may be shorter than what has come.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::MaybeUninit;

use holdfast_ringbuf::client::{Done, Error, Queue};

use crate::border::{exclusive, room};
use crate::queue::hf_queue;
use crate::refusal::{Refusal, answer, negative};

/// See `holdfast.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct hf_done {
    tag: u32,
    result: i32,
    failure_id: u64,
}

const _: () = assert!(size_of::<hf_done>() == 16);

impl From<Done> for hf_done {
    fn from(Done { tag, result }: Done) -> Self {
        match result {
            Ok(()) => Self { tag, result: 0, failure_id: 0 },
            Err(failure) => {
                let failure_id = failure.failure.map_or(0, |id| id.0);
                Self { tag, result: negative(failure.errno), failure_id }
            }
        }
    }
}

/// What has come and was not handed out yet.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Room for the queue's depth: a tag in it is not used again before it was handed out, so no more can come.
    done: Vec<Done>,
    /// What ended the session, to be told when all answers before it are handed out.
    over: Option<Error>,
}

impl Backlog {
    pub(crate) fn new(depth: u32) -> Self {
        Self { done: Vec::with_capacity(depth as usize), over: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.done.len()
    }

    /// Whether a tag's answer waits here; almost always there is nothing to look through.
    pub(crate) fn has(&self, tag: u32) -> bool {
        self.done.iter().any(|done| done.tag == tag)
    }

    /// Asks the queue, and waits only where there is nothing to hand out.
    fn collect(&mut self, queue: &mut Queue, wait: bool) {
        if self.over.is_some() {
            return;
        }
        let wait = wait && self.done.is_empty();
        let asked = if wait { queue.wait(&mut self.done) } else { queue.poll(&mut self.done) };
        self.over = asked.err();
    }

    /// Hands out what there is room for, and the session's end only when nothing came before it.
    fn hand_out(&mut self, room: &mut [MaybeUninit<hf_done>]) -> Result<c_int, Refusal> {
        let count = room.len().min(self.done.len());
        for (place, done) in room.iter_mut().zip(self.done.drain(..count)) {
            place.write(done.into());
        }
        match self.over.take_if(|_| count == 0) {
            Some(error) => Err(error.into()),
            None => Ok(c_int::try_from(count).expect("no more than the depth")),
        }
    }
}

/// # Safety
/// As of the exported functions below.
unsafe fn take(queue: *mut hf_queue, done: *mut hf_done, capacity: u32, wait: bool) -> c_int {
    answer(|| {
        // SAFETY: a live queue and an array, both used by this call alone: the caller's promise.
        let (queue, room) = unsafe {
            (exclusive(queue, "the queue")?, room(done, capacity as usize, "the array for what is done")?)
        };
        if room.is_empty() {
            return Err(Refusal::invalid("a capacity of 0: there must be room for an answer"));
        }
        queue.backlog.collect(&mut queue.queue, wait);
        queue.backlog.hand_out(room)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_poll(queue: *mut hf_queue, done: *mut hf_done, capacity: u32) -> c_int {
    // SAFETY: passed on.
    unsafe { take(queue, done, capacity, false) }
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_wait(queue: *mut hf_queue, done: *mut hf_done, capacity: u32) -> c_int {
    // SAFETY: passed on.
    unsafe { take(queue, done, capacity, true) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_ringbuf::FailureId;
    use holdfast_ringbuf::client::Failure;

    #[test]
    fn answers_come_before_the_sessions_end_and_each_is_told_once() {
        let failed = Failure { errno: 28, failure: Some(FailureId(9)) };
        let mut backlog = Backlog::new(4);
        backlog.done = vec![Done { tag: 3, result: Ok(()) }, Done { tag: 1, result: Err(failed) }];
        backlog.over = Some(Error::Disconnected);
        let mut room = [MaybeUninit::uninit(); 1];
        assert!(backlog.has(3) && backlog.has(1) && !backlog.has(0));
        assert_eq!(backlog.hand_out(&mut room).ok(), Some(1));
        assert!(!backlog.has(3) && backlog.has(1));
        assert_eq!(backlog.hand_out(&mut room).ok(), Some(1));
        assert!(backlog.hand_out(&mut room).is_err(), "now the end");
        assert_eq!(backlog.hand_out(&mut room).ok(), Some(0), "told once; the queue tells it again");
    }

    #[test]
    fn a_failure_is_negative_and_keeps_its_id() {
        let failed = Failure { errno: 28, failure: Some(FailureId(9)) };
        let done = hf_done::from(Done { tag: 1, result: Err(failed) });
        assert_eq!(done, hf_done { tag: 1, result: -28, failure_id: 9 });
        let strange = Failure { errno: -5, failure: None };
        assert!(hf_done::from(Done { tag: 1, result: Err(strange) }).result < 0);
    }
}
