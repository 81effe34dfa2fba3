//! From C's pointers to references and back. Null and impossible lengths are refused; the rest is the caller's promise.
//!
//! The lifetimes are chosen by who calls: an exported function, which lets none of them outlive itself.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;

use rustix::io::Errno;

use crate::refusal::Refusal;

/// Bytes of a struct that grows, at most: far more than any version will have, far less than what a size that was never
/// set is likely to be.
pub(crate) const STRUCT_BYTES_MAX: usize = 4096;

fn null(what: &str) -> Refusal {
    Refusal::new(Errno::FAULT, format!("{what} is NULL"))
}

/// What a handle points to, shared.
///
/// # Safety
/// `pointer` is null, or points to a `T` that nobody changes or frees during the call.
pub(crate) unsafe fn shared<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Refusal> {
    // SAFETY: not null is checked by `as_ref`; valid, aligned and not changed meanwhile is the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// What a handle points to, for this call alone.
///
/// # Safety
/// `pointer` is null, or points to a `T` that nobody else uses during the call.
pub(crate) unsafe fn exclusive<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T, Refusal> {
    // SAFETY: not null is checked by `as_mut`; valid, aligned and not used by others is the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

fn check_length<T>(length: usize) -> Result<(), Refusal> {
    let bytes = length.checked_mul(size_of::<T>());
    match bytes.and_then(|bytes| isize::try_from(bytes).ok()) {
        Some(_) => Ok(()),
        None => Err(Refusal::new(Errno::INVAL, format!("a length of {length}: no memory is that long"))),
    }
}

/// Bytes that C gives. May be null if there are none.
///
/// # Safety
/// `length` bytes from `pointer` on are readable and not changed during the call.
pub(crate) unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Result<&'a [u8], Refusal> {
    check_length::<u8>(length)?;
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null("the buffer"));
    }
    // SAFETY: not null and not longer than `isize::MAX` is checked; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// Bytes that C wants filled. May be null if there are none.
///
/// # Safety
/// `length` bytes from `pointer` on are writable and nobody else uses them during the call. That C may never have
/// written them does no harm: memory from beyond a foreign call has some value, and nothing here reads it.
pub(crate) unsafe fn bytes_mut<'a>(pointer: *mut c_void, length: usize) -> Result<&'a mut [u8], Refusal> {
    check_length::<u8>(length)?;
    if length == 0 {
        return Ok(&mut []);
    }
    if pointer.is_null() {
        return Err(null("the buffer"));
    }
    // SAFETY: not null and not longer than `isize::MAX` is checked; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer.cast(), length) })
}

/// An array that C wants filled.
///
/// # Safety
/// `pointer` is null, or aligned, and `length` elements from it on are writable and used by nobody else during the call.
pub(crate) unsafe fn room<'a, T>(
    pointer: *mut T,
    length: usize,
    what: &str,
) -> Result<&'a mut [MaybeUninit<T>], Refusal> {
    check_length::<T>(length)?;
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: not null and not longer than `isize::MAX` bytes is checked; `MaybeUninit` asks for no value; the rest is
    // the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer.cast(), length) })
}

/// A string of C's.
///
/// # Safety
/// `pointer` is null, or a string that ends with a zero byte and is not changed during the call.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a CStr, Refusal> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: not null is checked; that it ends is the caller's promise.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// Puts a new handle where C wants it.
///
/// # Safety
/// `place` is not null, aligned and writable.
pub(crate) unsafe fn give<T>(place: *mut *mut T, value: T) {
    // SAFETY: the caller's promise. Ownership goes to C, until `take_back`.
    unsafe { place.write(Box::into_raw(Box::new(value))) }
}

/// Takes a handle back; `None` for null.
///
/// # Safety
/// `pointer` is null, or came from `give` and is given back for the first time, and nobody uses it any more.
pub(crate) unsafe fn take_back<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: `give` has made it from a box of the same type, and it is the only one again.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}
