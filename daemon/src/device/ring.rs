//! Making a reactor's io_uring: the best one that this kernel and these limits allow, and a word for each step down.
#![allow(unsafe_code, reason = "registers buffers and builds a CPU set through libc's types")]

use super::{DiskError, Fallback, Patience};
use crate::arena::SlotAddresses;
use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// How the slots' memory is named in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    Plain,
    Registered,
    RegisteredVectors,
}

/// Entries of a ring below which it is not worth having: a page holds them.
const ENTRIES_MIN: u32 = 16;
/// How long the memory of rings of a daemon that just ended may take to come back.
const MEMORY_WAIT: Duration = Duration::from_millis(200);

/// A ring with room for `wanted` entries in its submission queue, or for fewer if memory is short: newer kernels
/// (seen: 6.18) count its queues against RLIMIT_MEMLOCK, for all rings of a user together.
pub(super) fn build(wanted: u32, fallbacks: &mut Vec<Fallback>) -> Result<IoUring, DiskError> {
    let patience = Patience::of(MEMORY_WAIT);
    let mut entries = wanted;
    loop {
        let mut steps = Vec::new();
        let error = match build_of_size(entries, &mut steps) {
            Ok(ring) => {
                fallbacks.append(&mut steps);
                if entries < wanted {
                    fallbacks.push(Fallback::ShortQueues { entries, wanted });
                }
                return Ok(ring);
            }
            Err(error) => error,
        };
        let short = Errno::from_io_error(&error) == Some(Errno::NOMEM);
        if short && patience.wait() {
            continue;
        }
        if !short || entries <= ENTRIES_MIN {
            return Err(DiskError::Setup { source: error });
        }
        entries /= 2;
    }
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

/// Bounds the kernel's worker threads, which carry out flushes, deallocations and whatever would block, and keeps them
/// off the reactors' cores.
pub(super) fn tame_workers(
    ring: &IoUring,
    bounded: u32,
    reactor_cores: &[usize],
    fallbacks: &mut Vec<Fallback>,
) {
    // The second is for sockets and the like, of which we have none; 0 would leave it as it is.
    if let Err(error) = ring.submitter().register_iowq_max_workers(&mut [bounded, 1]) {
        fallbacks.push(Fallback::WorkersUnbounded { errno: error.raw_os_error().unwrap_or(0) });
    }
    let free: Vec<usize> = allowed_cores().into_iter().filter(|core| !reactor_cores.contains(core)).collect();
    if free.is_empty() {
        fallbacks.push(Fallback::WorkersAnywhere { errno: 0 });
        return;
    }
    if let Err(error) = ring.submitter().register_iowq_aff(&core_set(&free)) {
        fallbacks.push(Fallback::WorkersAnywhere { errno: error.raw_os_error().unwrap_or(0) });
    }
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
    use super::parse_cores;

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_cores("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cores("5"), [5]);
        assert!(parse_cores("").is_empty());
    }
}
