//! What the library is, and what a session is, in a struct that can grow.
// `no_mangle` is unsafe, because a name can be taken: those that begin with `hf_` are this library's.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use holdfast_ringbuf::VolumeInfo;
use zerocopy::{Immutable, IntoBytes};

use crate::border::STRUCT_BYTES_MAX;
use crate::refusal::Refusal;

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) if number < 256 => number,
        _ => panic!("a part of the version does not fit into its 8 bits"),
    }
}

const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

/// See `holdfast.h`.
#[unsafe(no_mangle)]
pub extern "C" fn hf_version() -> u32 {
    VERSION
}

/// See `holdfast.h`.
#[repr(C)]
#[derive(Debug, IntoBytes, Immutable)]
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct hf_info {
    volume_bytes: u64,
    stripe_bytes: u64,
    session_id: u64,
    incarnation: u64,
    block_bytes: u32,
    line_bytes: u32,
    read_only: u32,
    queue_depth: u32,
    window_bytes: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<hf_info>() == 56);

impl hf_info {
    pub(crate) fn new(volume: VolumeInfo, session_id: u64, incarnation: u64) -> Self {
        Self {
            volume_bytes: volume.bytes,
            stripe_bytes: volume.stripe_bytes,
            session_id,
            incarnation,
            block_bytes: volume.block_bytes,
            line_bytes: volume.line_bytes,
            read_only: u32::from(volume.read_only),
            queue_depth: 0,
            window_bytes: 0,
            reserved: 0,
        }
    }

    pub(crate) fn with_windows(self, queue_depth: u32, window_bytes: u32) -> Self {
        Self { queue_depth, window_bytes, ..self }
    }

    /// Fills what C has room for.
    pub(crate) fn fill(&self, room: &mut [MaybeUninit<u8>]) {
        for (place, byte) in room.iter_mut().zip(self.image()) {
            place.write(byte);
        }
    }

    /// The struct's bytes, of which an older program takes a part, and zeroes behind it for a newer one.
    fn image(&self) -> impl Iterator<Item = u8> + '_ {
        self.as_bytes().iter().copied().chain(std::iter::repeat(0))
    }
}

/// A pointer to bytes, if the size is one that a version of the struct can have.
pub(crate) fn sized(info: *mut hf_info, size: usize) -> Result<*mut u8, Refusal> {
    if (1..=STRUCT_BYTES_MAX).contains(&size) {
        return Ok(info.cast());
    }
    Err(Refusal::invalid(format!("an info of {size} bytes: give sizeof(struct hf_info)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeInfo = VolumeInfo {
        bytes: 1 << 30,
        block_bytes: 512,
        line_bytes: 4096,
        stripe_bytes: 1 << 20,
        read_only: true,
    };

    #[test]
    fn older_and_newer_programs_get_what_they_have_room_for() {
        let info = hf_info::new(VOLUME, 3, 4).with_windows(8, 4096);
        let taken = |size| info.image().take(size).collect::<Vec<u8>>();
        assert_eq!(taken(8), (1u64 << 30).to_ne_bytes());
        let newer = taken(64);
        assert_eq!(newer[56..], [0; 8]);
        assert_eq!(newer[40..44], 1u32.to_ne_bytes(), "read-only");
    }

    #[test]
    fn sizes_that_no_version_has_are_refused() {
        for size in [0, STRUCT_BYTES_MAX + 1, usize::MAX] {
            assert!(sized(std::ptr::null_mut(), size).is_err(), "{size}");
        }
    }
}
