//! What a ring cannot do at all, and what it does in a slower way.

use std::fmt;
use std::io;

/// Why there is no ring, or why it no longer works.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The kernel gives none.
    #[error("io_uring cannot be set up: {source}; the start-up probe says what this kernel lacks")]
    Setup {
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no memory for the smallest one.
    #[error(
        "io_uring gets no memory for the smallest ring, {bytes} bytes, and {waited_ms} ms of waiting did not help \
         ({source}). The rings and registered buffers of all processes of this user count against RLIMIT_MEMLOCK, which \
         is {}, until some time after they have ended: stop other daemons of this user, or raise it (`ulimit -l unlimited`; \
         LimitMEMLOCK=infinity in the unit)",
        limit_bytes.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"))
    )]
    RingMemory {
        /// What it takes.
        bytes: u64,
        /// `RLIMIT_MEMLOCK` in bytes, none if unlimited.
        limit_bytes: Option<u64>,
        /// How long it was asked for.
        waited_ms: u64,
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
    /// The queues are shorter than the operations that may be in flight: some wait for the next turn.
    ShortQueues {
        /// Entries of the submission queue.
        entries: u32,
        /// What it should have.
        wanted: u32,
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
            Fallback::ShortQueues { entries, wanted } => write!(
                f,
                "io_uring's queues have {entries} entries instead of {wanted}, as locked memory is short: `ulimit -l \
                 unlimited`, or LimitMEMLOCK=infinity in the unit, mends it"
            ),
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
