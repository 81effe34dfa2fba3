//! How a function of this library fails: a negative errno for the program, a sentence and a failure id for its thread.
// `no_mangle` is unsafe, because a name can be taken: those that begin with `hf_` are this library's.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::io;

use holdfast_ringbuf::client::{ConnectError, Error};
use rustix::io::Errno;

/// Larger than any errno of Linux.
const ERRNO_LIMIT: i32 = 4096;

/// Why a function did not do what it was called for.
#[derive(Debug)]
pub(crate) struct Refusal {
    errno: Errno,
    words: String,
    /// 0: none.
    failure_id: u64,
}

/// What a thread's last failing call has left.
#[derive(Default)]
struct Last {
    words: CString,
    failure_id: u64,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

impl Refusal {
    pub(crate) fn new(errno: Errno, words: impl Into<String>) -> Self {
        Self { errno, words: words.into(), failure_id: 0 }
    }

    pub(crate) fn invalid(words: impl Into<String>) -> Self {
        Self::new(Errno::INVAL, words)
    }
}

/// An errno that a daemon has sent: whatever it says, a failure must not look like a success.
fn believable(errno: i32) -> Errno {
    if (1..ERRNO_LIMIT).contains(&errno) { Errno::from_raw_os_error(errno) } else { Errno::PROTO }
}

/// What C returns for a positive errno from outside.
pub(crate) fn negative(errno: i32) -> c_int {
    -believable(errno).raw_os_error()
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let failure_id = error.failure_id().map_or(0, |id| id.0);
        Self { errno: believable(error.errno()), words: error.to_string(), failure_id }
    }
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        let errno = match &error {
            ConnectError::Socket { source, .. } => of_system(source),
            ConnectError::Handshake(source) | ConnectError::Memory(source) => of_system(source),
            ConnectError::Name { .. } => Errno::INVAL,
            ConnectError::Refused { errno, .. } => believable(*errno),
            ConnectError::Version { .. } => Errno::PROTONOSUPPORT,
            ConnectError::Malformed(_) => Errno::PROTO,
        };
        Self::new(errno, error.to_string())
    }
}

fn of_system(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(match error.kind() {
        io::ErrorKind::TimedOut => Errno::TIMEDOUT,
        io::ErrorKind::UnexpectedEof => Errno::CONNRESET,
        io::ErrorKind::InvalidInput => Errno::INVAL,
        _ => Errno::IO,
    })
}

/// What an exported function returns: the result of `attempt`, or the negative errno of its refusal, which is remembered.
pub(crate) fn answer(attempt: impl FnOnce() -> Result<c_int, Refusal>) -> c_int {
    attempt().unwrap_or_else(|refusal| {
        let errno = -refusal.errno.raw_os_error();
        remember(refusal);
        errno
    })
}

pub(crate) fn remember(refusal: Refusal) {
    let mut words = refusal.words.into_bytes();
    words.retain(|&byte| byte != 0);
    let words = CString::new(words).expect("its zero bytes were taken out");
    // A thread that is ending has no place for it any more, and nobody who would read it.
    let _ = LAST.try_with(|last| last.replace(Last { words, failure_id: refusal.failure_id }));
}

/// See `holdfast.h`.
#[unsafe(no_mangle)]
pub extern "C" fn hf_error_message() -> *const c_char {
    LAST.try_with(|last| last.borrow().words.as_ptr()).unwrap_or(c"".as_ptr())
}

/// See `holdfast.h`.
#[unsafe(no_mangle)]
pub extern "C" fn hf_error_failure_id() -> u64 {
    LAST.try_with(|last| last.borrow().failure_id).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_daemon_sends_a_failure_is_negative() {
        assert_eq!(negative(28), -28);
        for errno in [0, -1, -28, i32::MIN, i32::MAX, ERRNO_LIMIT] {
            assert_eq!(negative(errno), -Errno::PROTO.raw_os_error(), "{errno}");
            let refused = Refusal::from(ConnectError::Refused { errno, reason: "no".into() });
            assert_eq!(answer(|| Err(refused)), -Errno::PROTO.raw_os_error(), "{errno}");
        }
    }

    #[test]
    fn words_with_a_zero_byte_arrive_without_it() {
        let refused = ConnectError::Refused { errno: 13, reason: "not \0for you".into() };
        assert_eq!(answer(|| Err(refused.into())), -13);
        let words = LAST.with(|last| last.borrow().words.clone());
        assert_eq!(words.to_str(), Ok("refused: not for you (errno 13)"));
    }
}
