//! Making a reactor's io_uring: the best one that this kernel and these limits allow, and a word for each step down.
#![allow(unsafe_code, reason = "registers buffers and builds a CPU set through libc's types")]

use super::{DiskError, Fallback};
use crate::arena::SlotAddresses;
use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;
use std::io;
use std::time::{Duration, Instant};

/// How the slots' memory is named in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    Plain,
    Registered,
    RegisteredVectors,
}

/// Entries of the smallest ring: its two pieces take a page each, and fewer entries would take no less.
const ENTRIES_MIN: u32 = 64;
/// A user whose memory is short can have so many rings: one takes no more than its share of RLIMIT_MEMLOCK.
const RINGS_A_USER: u64 = 8;
/// How long a ring of full size is waited for: 40 ms were seen after a daemon that ended in peace.
const FULL_WAIT: Duration = Duration::from_millis(200);
/// How long the smallest ring is waited for: other daemons of this user may be ending, with I/O in flight.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// A ring with room for `wanted` entries in its submission queue, or for fewer if memory is short.
///
/// The rule (seen: Linux 6.18; not 6.1): for a process without CAP_IPC_LOCK, the pages of a ring, like those of registered
/// buffers, are added to what all processes of its user have locked this way, and may not exceed RLIMIT_MEMLOCK of the
/// one that asks. They are given back by a kernel thread, some time after the last descriptor of the ring is closed and its
/// last operation has ended: a daemon that starts when another one ends finds them taken.
pub(super) fn build(wanted: u32, fallbacks: &mut Vec<Fallback>) -> Result<IoUring, DiskError> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let begun = Instant::now();
    let mut entries = wanted;
    loop {
        let wait = match entries {
            ENTRIES_MIN => LAST_WAIT,
            _ if entries == wanted && limit.is_none_or(|limit| bytes_of(entries) <= limit) => FULL_WAIT,
            _ => Duration::ZERO,
        };
        let mut steps = Vec::new();
        let source = match insist(wait, || build_of_size(entries, &mut steps)) {
            Ok(ring) => {
                fallbacks.append(&mut steps);
                if entries < wanted {
                    fallbacks.push(Fallback::ShortQueues { entries, wanted });
                }
                return Ok(ring);
            }
            Err(error) => error,
        };
        if Errno::from_io_error(&source) != Some(Errno::NOMEM) {
            return Err(DiskError::Setup { source });
        }
        if entries <= ENTRIES_MIN {
            let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Err(DiskError::RingMemory {
                bytes: bytes_of(entries),
                limit_bytes: limit,
                waited_ms,
                source,
            });
        }
        entries = smaller(entries, limit);
    }
}

/// Tries until it works, fails for another reason than memory, or `wait` is over.
fn insist(wait: Duration, mut build: impl FnMut() -> io::Result<IoUring>) -> io::Result<IoUring> {
    let until = Instant::now() + wait;
    let mut pause = PAUSES.0;
    loop {
        match build() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOMEM) && Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
            }
            built => return built,
        }
    }
}

/// The next smaller ring that takes no more than a share of the limit.
fn smaller(entries: u32, limit: Option<u64>) -> u32 {
    let share = limit.map_or(u64::MAX, |limit| limit / RINGS_A_USER);
    let mut next = entries / 2;
    while next > ENTRIES_MIN && bytes_of(next) > share {
        next /= 2;
    }
    next.max(ENTRIES_MIN)
}

/// What a ring takes: entries of 64 bytes in one piece; in another one indices, and two completions of 16 bytes for each
/// entry, behind some words.
fn bytes_of(entries: u32) -> u64 {
    let (entries, pages) = (u64::from(entries), |bytes: u64| bytes.next_multiple_of(4096));
    pages(entries * 64) + pages(512 + entries * (4 + 2 * 16))
}

/// The best kind of ring that this kernel has.
fn build_of_size(entries: u32, steps: &mut Vec<Fallback>) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    // Twice the entries: each operation completes once, and each watch may have fired more than once meanwhile.
    builder.setup_clamp().setup_cqsize(entries * 2).dontfork();
    let mut deferring = builder.clone();
    deferring.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    let refused = match unless_refused(deferring.build(entries)) {
        Ok(built) => return built,
        Err(errno) => errno,
    };
    steps.push(Fallback::NoDeferredCompletions { errno: refused });
    let mut cooperative = builder.clone();
    cooperative.setup_coop_taskrun().setup_taskrun_flag();
    let refused = match unless_refused(cooperative.build(entries)) {
        Ok(built) => return built,
        Err(errno) => errno,
    };
    steps.push(Fallback::NoCooperativeCompletions { errno: refused });
    builder.build(entries)
}

/// The errno of a kernel that does not know the flags; anything else would be the same without them.
fn unless_refused(built: io::Result<IoUring>) -> Result<io::Result<IoUring>, i32> {
    match built {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Err(Errno::INVAL.raw_os_error()),
        other => Ok(other),
    }
}

/// Registers the slots' memory if the limits allow it.
pub(super) fn register_buffers(
    ring: &IoUring,
    slots: &SlotAddresses,
    fallbacks: &mut Vec<Fallback>,
) -> Buffers {
    let vector = |segment: &crate::arena::SegmentMemory| libc::iovec {
        iov_base: segment.base().cast(),
        iov_len: segment.bytes(),
    };
    let buffers: Vec<libc::iovec> = slots.segments().iter().map(vector).collect();
    // SAFETY: each buffer is a whole mapping of the arena, which is never unmapped (`Mapping::leak`), so it is valid
    // for as long as any ring.
    if let Err(error) = unsafe { ring.submitter().register_buffers(&buffers) } {
        fallbacks.push(Fallback::PlainBuffers {
            errno: error.raw_os_error().unwrap_or(0),
            bytes: buffers.iter().map(|buffer| buffer.iov_len as u64).sum(),
            limit_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
        });
        return Buffers::Plain;
    }
    let mut probe = Probe::new();
    let probed = ring.submitter().register_probe(&mut probe).is_ok();
    let vectored = [opcode::ReadvFixed::CODE, opcode::WritevFixed::CODE];
    if probed && vectored.into_iter().all(|code| probe.is_supported(code)) {
        return Buffers::RegisteredVectors;
    }
    fallbacks.push(Fallback::PlainVectors);
    Buffers::Registered
}

/// Bounds the kernel's worker threads, which ring bells whose descriptor blocks, and keeps them off the reactors' cores. Disks'
/// operations that may wait are not for the ring: `lane.rs`.
pub(super) fn tame_workers(
    ring: &IoUring,
    workers_max: u32,
    reactor_cores: &[usize],
    fallbacks: &mut Vec<Fallback>,
) {
    // Of both kinds: those for regular files, and for what may take for ever.
    if let Err(error) = ring.submitter().register_iowq_max_workers(&mut [workers_max, workers_max]) {
        fallbacks.push(Fallback::WorkersUnbounded { errno: error.raw_os_error().unwrap_or(0) });
    }
    let free = free_cores(reactor_cores);
    if free.is_empty() {
        fallbacks.push(Fallback::WorkersAnywhere { errno: 0 });
        return;
    }
    if let Err(error) = ring.submitter().register_iowq_aff(&core_set(&free)) {
        fallbacks.push(Fallback::WorkersAnywhere { errno: error.raw_os_error().unwrap_or(0) });
    }
}

/// The cores that this process may use and no reactor has.
pub(super) fn free_cores(reactor_cores: &[usize]) -> Vec<usize> {
    allowed_cores().into_iter().filter(|core| !reactor_cores.contains(core)).collect()
}

fn core_set(cores: &[usize]) -> libc::cpu_set_t {
    // SAFETY: cpu_set_t is an array of integers, for which zeroes are the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: the bit is inside the set (filtered just above).
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    set
}

/// The cores of this process's main thread, which is not pinned; the calling thread is, so its own mask says nothing.
fn allowed_cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("");
    parse_cores(list.trim())
}

/// A list such as `0-3,8`.
pub(super) fn parse_cores(list: &str) -> Vec<usize> {
    let bounds = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(bounds).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, parse_cores, smaller};

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_cores("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cores("5"), [5]);
        assert!(parse_cores("").is_empty());
    }

    #[test]
    fn a_ring_of_a_user_with_little_memory_leaves_room_for_others() {
        assert_eq!([64, 4096].map(bytes_of), [8 << 10, (256 + 148) << 10]);
        assert_eq!(smaller(4096, Some(64 << 10)), 64);
        assert_eq!(smaller(4096, Some(8 << 20)), 2048);
        assert_eq!(smaller(4096, None), 2048);
        assert_eq!(smaller(100, Some(0)), 64);
    }
}
