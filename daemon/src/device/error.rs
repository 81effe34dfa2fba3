//! Why a backing was not opened, in words that say what to do.

use super::FileSystem;
use std::path::PathBuf;

/// Why there is no backing.
#[derive(Debug, thiserror::Error)]
pub enum BackingError {
    /// A system call failed.
    #[error("backing {}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file or device.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// There is no such file, and it may not be made.
    #[error(
        "backing {}: there is no such file; for a new one, say so and give its size (`create = true, size = \"8GiB\"`; \
         --create --size 8GiB)",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is not what the configuration says it is.
    #[error("backing {} is {found}, but the configuration says it is {wanted}", path.display())]
    Kind {
        /// The file or device.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// Somebody else has it.
    #[error(
        "backing {} is in use by another daemon{}, or by device I/O that a killed daemon left behind; waited {waited_ms} ms",
        path.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The file or device.
        path: PathBuf,
        /// Who holds the lock, if the kernel tells.
        holder: Option<i32>,
        /// How long it was asked for.
        waited_ms: u64,
    },
    /// It does not answer.
    #[error(
        "backing {} has not been opened within {waited_s} s: its disk or server does not answer", path.display()
    )]
    Silent {
        /// The file or device.
        path: PathBuf,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// The block device is mounted, part of another device, or open exclusively.
    #[error(
        "backing {} is busy: {}", path.display(),
        holder.as_deref().unwrap_or("it is mounted, a part of another device, or held by another program")
    )]
    Busy {
        /// The device.
        path: PathBuf,
        /// What keeps it, in words, if that can be seen.
        holder: Option<String>,
    },
    /// It would go through the page cache.
    #[error(
        "backing {} would go through the page cache ({why}), which may drop data that its disk refused; put it on \
         ext4, XFS or a block device, or, for a test, allow it with `buffered = true`",
        path.display()
    )]
    NotDirect {
        /// The file.
        path: PathBuf,
        /// How we know.
        why: NotDirect,
    },
    /// A file that is to be created needs a size, and so does one that is empty.
    #[error("backing {}: give it a size (`size = \"8GiB\"`)", path.display())]
    NoSize {
        /// The file.
        path: PathBuf,
    },
    /// The size is not the one asked for.
    #[error(
        "backing {} has {found_bytes} bytes, but the configuration says {wanted_bytes}; make them agree (a file is \
         never resized)",
        path.display()
    )]
    Size {
        /// The file or device.
        path: PathBuf,
        /// Its size.
        found_bytes: u64,
        /// What was asked for.
        wanted_bytes: u64,
    },
    /// The size is no multiple of what the device reads and writes whole.
    #[error("backing {} has {bytes} bytes, which is no multiple of its block of {block_bytes}", path.display())]
    Ragged {
        /// The file or device.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Its block.
        block_bytes: u32,
    },
    /// Its blocks are larger than a cache line can be.
    #[error("backing {} has blocks of {block_bytes} bytes; 512 to 4096 are supported", path.display())]
    Block {
        /// The device.
        path: PathBuf,
        /// Its block.
        block_bytes: u32,
    },
    /// A limit of allocated space on something that is not a file.
    #[error("backing {}: thin_limit is for files only", path.display())]
    ThinDevice {
        /// The device.
        path: PathBuf,
    },
}

/// How we know that I/O would go through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDirect {
    /// Its file system takes O_DIRECT and uses the page cache all the same.
    #[error("{0} takes O_DIRECT, but uses it all the same")]
    PageCache(FileSystem),
    /// `statx` does not say that direct I/O is possible.
    #[error("statx reports no direct I/O for it on {0}")]
    Unproven(FileSystem),
    /// O_DIRECT was refused.
    #[error("{0} refuses O_DIRECT")]
    Refused(FileSystem),
}
