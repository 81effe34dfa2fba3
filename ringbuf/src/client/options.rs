//! What a client may choose.

use std::time::Duration;

use crate::layout::PAGE_BYTES;
use crate::limits::{REQUEST_BYTES_MAX, RING_ENTRIES_MAX};

/// A session's wishes. The daemon may grant less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Requests in flight, `1..=4096`. Default 64.
    pub queue_depth: u32,
    /// Bytes of the longest request that is sent in one piece: 4 KiB to 1 MiB. The session's payload area is the
    /// product of this and the depth. Default 128 KiB.
    pub request_bytes: u32,
    /// Time for connecting and the handshake. Default 5 s.
    pub connect_timeout: Duration,
    /// Time after which the daemon shall rather answer ETIMEDOUT, if the request can still be withdrawn; it is the
    /// daemon who gives up, so that what is reported as timed out does not happen later. Milliseconds are what counts;
    /// default: none.
    pub request_timeout: Option<Duration>,
    /// How long a daemon that is gone is waited for: requests in flight are sent again to its successor, and seen once. Then
    /// they fail with [`Error::Disconnected`](super::Error::Disconnected). Default 60 s; `None`: not at all.
    pub reconnect: Option<Duration>,
    /// Looks at the completion rings before the thread begins to yield, then sleeps: each some tens of nanoseconds.
    /// Default 2000, or 0 where there is one core only.
    pub spins: u32,
}

const PAGE: u32 = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

impl Default for Options {
    fn default() -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        Self {
            queue_depth: 64,
            request_bytes: 128 << 10,
            connect_timeout: Duration::from_secs(5),
            request_timeout: None,
            reconnect: Some(Duration::from_secs(60)),
            spins: if alone { 0 } else { 2000 },
        }
    }
}

impl Options {
    pub(super) fn wished(&self) -> Windows {
        let window = self.request_bytes.clamp(PAGE, REQUEST_BYTES_MAX) & !(PAGE - 1);
        Windows { depth: self.queue_depth.clamp(1, RING_ENTRIES_MAX), bytes: window, stride: stride(window) }
    }

    pub(super) fn timeout_ms(&self) -> u32 {
        self.request_timeout.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1))
    }
}

/// How a session's payload area is divided: tag `n` owns `bytes` from `n * stride` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) depth: u32,
    pub(super) bytes: u32,
    pub(super) stride: u64,
}

/// An odd number of pages: with a power of two the beginnings of all windows, the part that small requests use, would
/// fall into the same few sets of the processor's caches.
fn stride(window: u32) -> u64 {
    let window = u64::from(window);
    if window.is_multiple_of(2 * PAGE_BYTES) { window + PAGE_BYTES } else { window }
}

impl Windows {
    pub(super) fn total_bytes(&self) -> u64 {
        u64::from(self.depth) * self.stride
    }

    /// The same within what the daemon granted; `None` if not even one window of a page fits.
    pub(super) fn within(self, entries: u32, payload_bytes: u64, request_bytes_max: u64) -> Option<Self> {
        let bytes = u32::try_from(u64::from(self.bytes).min(request_bytes_max)).ok()? & !(PAGE - 1);
        let depth =
            self.depth.min(entries).min(u32::try_from(payload_bytes / PAGE_BYTES).unwrap_or(u32::MAX));
        if depth == 0 || bytes == 0 {
            return None;
        }
        let room = (payload_bytes / u64::from(depth)) & !(PAGE_BYTES - 1);
        let bytes = bytes.min(u32::try_from(room).unwrap_or(u32::MAX));
        Some(Self { depth, bytes, stride: stride(bytes).min(room) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn granted_windows_lie_in_the_payload_area_and_do_not_overlap(
            queue_depth in 0u32..10_000, request_bytes in 0u32..2 << 20,
            entries in 2u32..=4096, pages in 1u64..=1 << 18, request_max in 4096u64..=1 << 20,
        ) {
            let options = Options { queue_depth, request_bytes, ..Options::default() };
            let windows = options.wished().within(entries, pages * 4096, request_max).expect("room for a page");
            prop_assert!((1..=entries).contains(&windows.depth));
            prop_assert!(windows.bytes >= 4096 && u64::from(windows.bytes) <= request_max);
            prop_assert!(u64::from(windows.bytes) <= windows.stride);
            prop_assert!(windows.total_bytes() <= pages * 4096);
        }
    }

    #[test]
    fn a_wish_that_is_granted_is_kept() {
        let wished = Options::default().wished();
        assert_eq!(wished.within(64, wished.total_bytes(), 1 << 20), Some(wished));
    }
}
