//! The blocking client: `struct hf_client` and what can be done with it.
//!
//! Every `# Safety` is the header's: handles are live, pointers are what they say, strings end.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use holdfast_ringbuf::client::Client;

use crate::border::{bytes, bytes_mut, give, room, shared, take_back, text};
use crate::info::{hf_info, sized};
use crate::options::{hf_options, wished};
use crate::refusal::{Refusal, answer};

/// A session that any number of threads may use.
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct hf_client(Client);

/// C may call from any thread, and from several at once.
const fn is_shared_by_threads<T: Send + Sync>() {}
const _: () = is_shared_by_threads::<hf_client>();

/// `HF_FUA` of the header.
const FUA: u32 = 1;

/// Whether the only flag there is is set.
pub(crate) fn is_fua(flags: u32) -> Result<bool, Refusal> {
    if flags & !FUA == 0 {
        Ok(flags == FUA)
    } else {
        Err(Refusal::invalid(format!("flags {flags:#x}: known is HF_FUA")))
    }
}

pub(crate) fn path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

pub(crate) fn volume(text: &CStr) -> Result<&str, Refusal> {
    text.to_str().map_err(|_| Refusal::invalid(format!("{text:?} is no volume name: it is not UTF-8")))
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_client_open(
    socket_path: *const c_char,
    volume_name: *const c_char,
    options: *const hf_options,
    client: *mut *mut hf_client,
) -> c_int {
    answer(|| {
        // SAFETY: two strings and a struct that says how long it is, not changed during the call: the caller's promise.
        let (path_text, name, options) = unsafe {
            (text(socket_path, "the path")?, text(volume_name, "the volume's name")?, wished(options)?)
        };
        // SAFETY: a pointer's place that only this call uses: the caller's promise.
        unsafe { room(client, 1, "the place for the client")? };
        let opened = Client::connect(path(path_text), volume(name)?, options)?;
        // SAFETY: not null was checked just now.
        unsafe { give(client, hf_client(opened)) };
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_client_close(client: *mut hf_client) {
    // SAFETY: null, or from `hf_client_open`, closed once and used by no thread any more: the caller's promise.
    if let Some(client) = unsafe { take_back(client) } {
        client.0.close();
    }
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_client_info(client: *const hf_client, info: *mut hf_info, size: usize) -> c_int {
    answer(|| {
        // SAFETY: a live client: the caller's promise.
        let hf_client(client) = unsafe { shared(client, "the client")? };
        // SAFETY: `size` bytes that only this call uses: the caller's promise.
        let room = unsafe { room(sized(info, size)?, size, "the info")? };
        hf_info::new(client.volume(), client.session_id(), client.incarnation()).fill(room);
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_read(
    client: *const hf_client,
    buffer: *mut c_void,
    length: usize,
    offset: u64,
) -> c_int {
    answer(|| {
        // SAFETY: a live client, and a buffer that only this call uses: the caller's promise.
        let (hf_client(client), buffer) =
            unsafe { (shared(client, "the client")?, bytes_mut(buffer, length)?) };
        client.read_at(buffer, offset)?;
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_write(
    client: *const hf_client,
    buffer: *const c_void,
    length: usize,
    offset: u64,
    flags: u32,
) -> c_int {
    answer(|| {
        // SAFETY: a live client, and a buffer that nobody changes during the call: the caller's promise.
        let (hf_client(client), buffer) = unsafe { (shared(client, "the client")?, bytes(buffer, length)?) };
        if is_fua(flags)? {
            client.write_at_fua(buffer, offset)?
        } else {
            client.write_at(buffer, offset)?
        }
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_flush(client: *const hf_client) -> c_int {
    answer(|| {
        // SAFETY: a live client: the caller's promise.
        unsafe { shared(client, "the client")? }.0.flush()?;
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_discard(client: *const hf_client, offset: u64, length: u64) -> c_int {
    answer(|| {
        // SAFETY: a live client: the caller's promise.
        unsafe { shared(client, "the client")? }.0.discard(offset, length)?;
        Ok(0)
    })
}

/// See `holdfast.h`.
///
/// # Safety
/// See there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hf_write_zeroes(
    client: *const hf_client,
    offset: u64,
    length: u64,
    flags: u32,
) -> c_int {
    answer(|| {
        // SAFETY: a live client: the caller's promise.
        let hf_client(client) = unsafe { shared(client, "the client")? };
        if is_fua(flags)? {
            client.write_zeroes_fua(offset, length)?
        } else {
            client.write_zeroes(offset, length)?
        }
        Ok(0)
    })
}
