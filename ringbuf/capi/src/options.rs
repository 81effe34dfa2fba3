//! What a program may choose, in a struct that can grow.
#![allow(unsafe_code)]

use std::time::Duration;

use holdfast_ringbuf::client::Options;
use rustix::io::Errno;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::border::{STRUCT_BYTES_MAX, bytes, shared};
use crate::refusal::Refusal;

/// `HF_SPINS_NONE` of the header.
const SPINS_NONE: u32 = u32::MAX;
/// `HF_RECONNECT_NONE` of the header.
const RECONNECT_NONE: u32 = u32::MAX;
/// Some seconds of looking: what is longer is no spinning any more.
const SPINS_MAX: u32 = 100_000_000;

/// See `holdfast.h`. A field that is 0 asks for the default, so that what an older program does not know is 0.
#[repr(C)]
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(non_camel_case_types, reason = "its name in C")]
pub struct hf_options {
    size: u32,
    queue_depth: u32,
    request_bytes: u32,
    connect_timeout_ms: u32,
    request_timeout_ms: u32,
    spins: u32,
    reconnect_ms: u32,
}

/// Bytes of the struct's first version: none is shorter.
const FIRST_BYTES: usize = 24;
const _: () = assert!(size_of::<hf_options>() >= FIRST_BYTES);

/// The options that C wishes; the defaults if null.
///
/// # Safety
/// `options` is null, or aligned, its first field says how many bytes long it is, and it is not changed during the call.
pub(crate) unsafe fn wished(options: *const hf_options) -> Result<Options, Refusal> {
    if options.is_null() {
        return Ok(Options::default());
    }
    // SAFETY: not null. Only the first field is touched, which every version has; that it is there is the caller's promise.
    let size = unsafe { *shared(options.cast::<u32>(), "the options")? } as usize;
    if !(FIRST_BYTES..=STRUCT_BYTES_MAX).contains(&size) {
        return Err(Refusal::invalid(format!(
            "options of {size} bytes: set `size` to sizeof(struct hf_options)"
        )));
    }
    // SAFETY: the caller promises as many bytes as `size` says, and `size` was read once.
    let given = unsafe { bytes(options.cast(), size)? };
    parse(given).map(|options| options.choose())
}

fn parse(given: &[u8]) -> Result<hf_options, Refusal> {
    let known = given.len().min(size_of::<hf_options>());
    let (ours, unknown) = given.split_at(known);
    if unknown.iter().any(|&byte| byte != 0) {
        let words = "an option that this version of libholdfast does not know is set: use a newer library";
        return Err(Refusal::new(Errno::TOOBIG, words));
    }
    let mut options = hf_options::new_zeroed();
    options.as_mut_bytes()[..known].copy_from_slice(ours);
    Ok(options)
}

impl hf_options {
    fn choose(&self) -> Options {
        let mut options = Options::default();
        self.change(&mut options);
        options
    }

    /// Leaves alone what was not wished, and what C cannot wish.
    fn change(&self, options: &mut Options) {
        if self.queue_depth != 0 {
            options.queue_depth = self.queue_depth;
        }
        if self.request_bytes != 0 {
            options.request_bytes = self.request_bytes;
        }
        if self.connect_timeout_ms != 0 {
            options.connect_timeout = Duration::from_millis(u64::from(self.connect_timeout_ms));
        }
        if self.request_timeout_ms != 0 {
            options.request_timeout = Some(Duration::from_millis(u64::from(self.request_timeout_ms)));
        }
        match self.spins {
            0 => {}
            SPINS_NONE => options.spins = 0,
            spins => options.spins = spins.min(SPINS_MAX),
        }
        match self.reconnect_ms {
            0 => {}
            RECONNECT_NONE => options.reconnect = None,
            time => options.reconnect = Some(Duration::from_millis(u64::from(time))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn zero_is_the_default() {
        let options = parse(&words(&[24, 0, 0, 0, 0, 0])).expect("in order").choose();
        assert_eq!(options, Options::default(), "and what an older program does not know is 0");
    }

    #[test]
    fn what_is_set_is_chosen() {
        let options = parse(&words(&[24, 7, 8192, 250, 90, SPINS_NONE])).expect("in order").choose();
        assert_eq!((options.queue_depth, options.request_bytes, options.spins), (7, 8192, 0));
        assert_eq!(options.connect_timeout, Duration::from_millis(250));
        assert_eq!(options.request_timeout, Some(Duration::from_millis(90)));
        let spins = parse(&words(&[24, 0, 0, 0, 0, SPINS_NONE - 1])).expect("in order").choose().spins;
        assert_eq!(spins, SPINS_MAX, "more would be for ever");
        for (reconnect_ms, chosen) in [(250, Some(Duration::from_millis(250))), (RECONNECT_NONE, None)] {
            let options = parse(&words(&[28, 0, 0, 0, 0, 0, reconnect_ms])).expect("in order").choose();
            assert_eq!(options.reconnect, chosen);
        }
    }

    #[test]
    fn a_newer_program_may_use_an_older_library_as_long_as_it_asks_for_nothing_new() {
        let newer = parse(&words(&[32, 7, 0, 0, 0, 0, 0, 0])).expect("nothing new is set").choose();
        assert_eq!(newer.queue_depth, 7);
        let refused = parse(&words(&[32, 7, 0, 0, 0, 0, 0, 1])).expect_err("an unknown option");
        assert_eq!(crate::refusal::answer(|| Err(refused)), -Errno::TOOBIG.raw_os_error());
    }
}
