//! What a queue is asked to do. Nothing is visible to the daemon before it is published.
//!
//! Every `# Safety` is the header's: the queue is live and used by one thread at a time, pointers are what they say.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use holdfast_ringbuf::client::{Error, Queue};

use crate::border::{bytes, exclusive};
use crate::client::is_fua;
use crate::queue::hf_queue;
use crate::refusal::{Refusal, answer};

/// Submits under a tag whose answer was handed out.
///
/// # Safety
/// `queue` is null, or a live queue that only this call uses.
unsafe fn submit(
    queue: *mut hf_queue,
    tag: u32,
    ask: impl FnOnce(&mut Queue) -> Result<(), Error>,
) -> Result<c_int, Refusal> {
    // SAFETY: passed on.
    let queue = unsafe { exclusive(queue, "the queue")? };
    queue.check_tag(tag)?;
    ask(&mut queue.queue)?;
    Ok(0)
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_submit_read(
    queue: *mut hf_queue,
    tag: u32,
    length: u32,
    offset: u64,
) -> c_int {
    // SAFETY: a live queue that only this call uses: the caller's promise.
    answer(|| unsafe { submit(queue, tag, |queue| queue.submit_read(tag, offset, length)) })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_submit_write(
    queue: *mut hf_queue,
    tag: u32,
    buffer: *const c_void,
    length: u32,
    offset: u64,
    flags: u32,
) -> c_int {
    answer(|| {
        let fua = is_fua(flags)?;
        // SAFETY: a buffer that nobody changes during the call: the caller's promise.
        let data = unsafe { bytes(buffer, length as usize)? };
        let ask = |queue: &mut Queue| {
            queue.fill(tag, data)?;
            queue.submit_filled(tag, offset, length, fua)
        };
        // SAFETY: a live queue that only this call uses: the caller's promise.
        unsafe { submit(queue, tag, ask) }
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_submit_window(
    queue: *mut hf_queue,
    tag: u32,
    length: u32,
    offset: u64,
    flags: u32,
) -> c_int {
    answer(|| {
        let fua = is_fua(flags)?;
        // SAFETY: a live queue that only this call uses: the caller's promise.
        unsafe { submit(queue, tag, |queue| queue.submit_filled(tag, offset, length, fua)) }
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_submit_flush(queue: *mut hf_queue, tag: u32) -> c_int {
    // SAFETY: a live queue that only this call uses: the caller's promise.
    answer(|| unsafe { submit(queue, tag, |queue| queue.submit_flush(tag)) })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_submit_discard(
    queue: *mut hf_queue,
    tag: u32,
    offset: u64,
    length: u64,
) -> c_int {
    // SAFETY: a live queue that only this call uses: the caller's promise.
    answer(|| unsafe { submit(queue, tag, |queue| queue.submit_discard(tag, offset, length)) })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_submit_write_zeroes(
    queue: *mut hf_queue,
    tag: u32,
    offset: u64,
    length: u64,
    flags: u32,
) -> c_int {
    answer(|| {
        let fua = is_fua(flags)?;
        // SAFETY: a live queue that only this call uses: the caller's promise.
        unsafe { submit(queue, tag, |queue| queue.submit_write_zeroes(tag, offset, length, fua)) }
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_publish(queue: *mut hf_queue) -> c_int {
    answer(|| {
        // SAFETY: a live queue that only this call uses: the caller's promise.
        unsafe { exclusive(queue, "the queue")? }.queue.publish();
        Ok(0)
    })
}
