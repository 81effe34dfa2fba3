//! The queue: `struct hf_queue`, its life, its windows and what it says about itself.
//!
//! Every `# Safety` is the header's: handles are live and used by one thread at a time, pointers are what they say.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};

use holdfast_ringbuf::client::{Error, Queue};

use crate::border::{bytes_mut, exclusive, give, room, shared, take_back, text};
use crate::client::{path, volume};
use crate::completions::Backlog;
use crate::info::{hf_info, sized};
use crate::options::{hf_options, wished};
use crate::refusal::{Refusal, answer, remember};

/// A session with one owner and many requests in flight.
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct hf_queue {
    pub(crate) queue: Queue,
    pub(crate) backlog: Backlog,
}

/// C may use it on any thread, one at a time.
const fn moves_between_threads<T: Send>() {}
const _: () = moves_between_threads::<hf_queue>();

impl hf_queue {
    /// A tag is its caller's from the answer that was handed out on, not from the one that has come.
    pub(crate) fn check_tag(&self, tag: u32) -> Result<(), Refusal> {
        let depth = self.queue.depth();
        if tag >= depth {
            return Err(Error::Tag { tag, depth }.into());
        }
        if self.backlog.has(tag) { Err(Error::TagInUse { tag }.into()) } else { Ok(()) }
    }
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_open(
    socket_path: *const c_char,
    volume_name: *const c_char,
    options: *const hf_options,
    queue: *mut *mut hf_queue,
) -> c_int {
    answer(|| {
        // SAFETY: two strings and a struct that says how long it is, not changed during the call: the caller's promise.
        let (path_text, name, options) = unsafe {
            (text(socket_path, "the path")?, text(volume_name, "the volume's name")?, wished(options)?)
        };
        // SAFETY: a pointer's place that only this call uses: the caller's promise.
        unsafe { room(queue, 1, "the place for the queue")? };
        let opened = Queue::connect(path(path_text), volume(name)?, options)?;
        let backlog = Backlog::new(opened.depth());
        // SAFETY: not null was checked just now.
        unsafe { give(queue, hf_queue { queue: opened, backlog }) };
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_close(queue: *mut hf_queue) {
    // SAFETY: null, or from `hf_queue_open`, closed once and used by no thread any more: the caller's promise.
    if let Some(queue) = unsafe { take_back(queue) } {
        queue.queue.close();
    }
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_info(queue: *const hf_queue, info: *mut hf_info, size: usize) -> c_int {
    answer(|| {
        // SAFETY: a live queue that only this call uses: the caller's promise.
        let hf_queue { queue, .. } = unsafe { shared(queue, "the queue")? };
        // SAFETY: `size` bytes that only this call uses: the caller's promise.
        let room = unsafe { room(sized(info, size)?, size, "the info")? };
        let info = hf_info::new(queue.volume(), queue.session_id(), queue.incarnation());
        info.with_windows(queue.depth(), queue.window_bytes()).fill(room);
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_fd(queue: *const hf_queue) -> c_int {
    answer(|| {
        // SAFETY: a live queue that only this call uses: the caller's promise.
        Ok(unsafe { shared(queue, "the queue")? }.queue.as_fd().as_raw_fd())
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_in_flight(queue: *const hf_queue) -> c_int {
    answer(|| {
        // SAFETY: a live queue that only this call uses: the caller's promise.
        let hf_queue { queue, backlog } = unsafe { shared(queue, "the queue")? };
        let count = queue.in_flight() as usize + backlog.len();
        Ok(c_int::try_from(count).expect("no more than the depth"))
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_window(queue: *mut hf_queue, tag: u32) -> *mut c_void {
    let window = || {
        // SAFETY: a live queue that only this call uses: the caller's promise.
        let queue = unsafe { exclusive(queue, "the queue")? };
        queue.check_tag(tag)?;
        Ok(queue.queue.window(tag).as_ptr().cast())
    };
    window().unwrap_or_else(|refusal| {
        remember(refusal);
        std::ptr::null_mut()
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_queue_take(
    queue: *mut hf_queue,
    tag: u32,
    buffer: *mut c_void,
    length: usize,
) -> c_int {
    answer(|| {
        // SAFETY: a live queue and a buffer, both used by this call alone: the caller's promise.
        let (queue, buffer) = unsafe { (exclusive(queue, "the queue")?, bytes_mut(buffer, length)?) };
        queue.check_tag(tag)?;
        queue.queue.take(tag, buffer)?;
        Ok(0)
    })
}
