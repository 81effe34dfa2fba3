//! Making a reactor's io_uring: the best one that this kernel and these limits allow, and a word for each step down.
#![allow(unsafe_code, reason = "registers buffers and builds a CPU set through libc's types")]

use crate::arena::SlotAddresses;
use io_uring::{IoUring, Probe, opcode};
use std::fmt;
use std::io;

/// Why there is no ring, or why it no longer works.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The kernel gives none.
    #[error("io_uring cannot be set up: {source}; `holdfastd check` says what this kernel lacks")]
    Setup {
        /// The kernel's answer.
        source: io::Error,
    },
    /// A backing could not be registered.
    #[error("io_uring cannot register the backing of volume {volume}: {source}")]
    Attach {
        /// The volume.
        volume: u16,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refuses to take entries, though they are right.
    #[error("io_uring no longer takes operations: {source}")]
    Enter {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Every place for watched descriptors is taken.
    #[error("io_uring watches {watches_max} descriptors already")]
    Watches {
        /// How many there can be.
        watches_max: usize,
    },
}

/// Something that this ring does in a slower way than it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// `IORING_SETUP_DEFER_TASKRUN` was refused: completions interrupt the reactor where they like.
    NoDeferredCompletions {
        /// Why.
        errno: i32,
    },
    /// `IORING_SETUP_COOP_TASKRUN` was refused, too.
    NoCooperativeCompletions {
        /// Why.
        errno: i32,
    },
    /// The arena's memory is not registered: the kernel pins its pages for every operation.
    PlainBuffers {
        /// Why.
        errno: i32,
        /// What there is to register.
        bytes: u64,
        /// `RLIMIT_MEMLOCK` in bytes, none if unlimited.
        limit_bytes: Option<u64>,
    },
    /// The kernel has no vectored operations on registered buffers (Linux 6.15 has): runs of several slots that are not
    /// neighbours use plain ones.
    PlainVectors,
    /// The kernel's worker threads run wherever they like, on the reactors' cores, too.
    WorkersAnywhere {
        /// Why; 0 if every core that this process may use is a reactor's.
        errno: i32,
    },
    /// The kernel's worker threads are not bounded.
    WorkersUnbounded {
        /// Why.
        errno: i32,
    },
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |errno: &i32| io::Error::from_raw_os_error(*errno);
        match self {
            Fallback::NoDeferredCompletions { errno } => {
                write!(f, "io_uring without DEFER_TASKRUN ({}): completions may cost more", word(errno))
            }
            Fallback::NoCooperativeCompletions { errno } => {
                write!(
                    f,
                    "io_uring without COOP_TASKRUN ({}): completions interrupt the reactors",
                    word(errno)
                )
            }
            Fallback::PlainBuffers { errno, bytes, limit_bytes } => {
                let limit = limit_bytes.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
                write!(
                    f,
                    "the arena's {bytes} bytes are not registered with io_uring ({}; RLIMIT_MEMLOCK is {limit}): device \
                     I/O costs more CPU; `ulimit -l unlimited`, or LimitMEMLOCK=infinity in the unit, mends it",
                    word(errno)
                )
            }
            Fallback::PlainVectors => f.write_str(
                "io_uring without vectored I/O on registered buffers (Linux 6.15): write-back costs more CPU",
            ),
            Fallback::WorkersAnywhere { errno: 0 } => f.write_str(
                "every core is a reactor's: the kernel's I/O workers share them; leave one core free",
            ),
            Fallback::WorkersAnywhere { errno } => {
                write!(f, "the kernel's I/O workers may run on the reactors' cores ({})", word(errno))
            }
            Fallback::WorkersUnbounded { errno } => {
                write!(f, "the kernel's I/O workers are not bounded ({})", word(errno))
            }
        }
    }
}

/// How the slots' memory is named in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    Plain,
    Registered,
    RegisteredVectors,
}

/// A ring with room for `entries` in its submission queue.
pub(super) fn build(entries: u32, fallbacks: &mut Vec<Fallback>) -> Result<IoUring, DiskError> {
    let errno = |error: &io::Error| error.raw_os_error().unwrap_or(0);
    let mut builder = IoUring::builder();
    // Twice the entries: each operation completes once, and each watch may have fired more than once meanwhile.
    builder.setup_clamp().setup_cqsize(entries * 2).dontfork();
    let mut deferring = builder.clone();
    deferring.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    let error = match deferring.build(entries) {
        Ok(ring) => return Ok(ring),
        Err(error) => error,
    };
    fallbacks.push(Fallback::NoDeferredCompletions { errno: errno(&error) });
    let mut cooperative = builder.clone();
    cooperative.setup_coop_taskrun().setup_taskrun_flag();
    let error = match cooperative.build(entries) {
        Ok(ring) => return Ok(ring),
        Err(error) => error,
    };
    fallbacks.push(Fallback::NoCooperativeCompletions { errno: errno(&error) });
    builder.build(entries).map_err(|source| DiskError::Setup { source })
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
