//! What can be wrong with an arena, in words that say what to do.

use std::fmt;
use std::path::PathBuf;

/// What the headers of an arena that was left behind still hold, in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldData {
    /// Accepted and never written to the device.
    pub dirty: u64,
    /// Being written when the daemon ended.
    pub writing: u64,
    /// Written, and not known to be on stable media.
    pub unstable: u64,
    /// Refused by the device and held.
    pub failed: u64,
    /// Of which nobody knows, because their headers are damaged.
    pub damaged: u64,
    /// Damaged headers of which nobody knows whose data they had.
    pub somewhere: u64,
    /// Ranges that the device was to zero and may yet forget.
    pub zeroed: u64,
}

impl HeldData {
    /// All of them.
    pub fn lines(&self) -> u64 {
        self.dirty + self.writing + self.unstable + self.failed + self.damaged
    }
}

impl fmt::Display for HeldData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeldData { dirty, writing, unstable, failed, damaged, somewhere: _, zeroed } = self;
        let all = self.lines();
        write!(
            f,
            "{all} lines ({dirty} dirty, {writing} being written, {unstable} unstable, {failed} failed)"
        )?;
        match (damaged, zeroed) {
            (0, 0) => Ok(()),
            (_, 0) => write!(f, " and {damaged} damaged headers"),
            _ => write!(f, ", {damaged} damaged headers and {zeroed} ranges of zeroes"),
        }
    }
}

/// Why there is no arena.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// A number of the layout is out of its range.
    #[error("arena: {what} is {found}, but must be {must}")]
    Setting {
        /// Which.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The range.
        must: &'static str,
    },
    /// The size holds fewer slots than a reactor can work with.
    #[error(
        "arena: a size of {size_bytes} bytes is too small for {reactors} reactors: give it {needed_bytes} or more"
    )]
    Small {
        /// What was asked for.
        size_bytes: u64,
        /// Among how many it is divided.
        reactors: u32,
        /// What would do.
        needed_bytes: u64,
    },
    /// The directory is on a file system that cannot hold an arena.
    #[error(
        "arena: {} is on {found}; it must be on hugetlbfs (such as /dev/hugepages) or tmpfs (such as /dev/shm)", 
        path.display()
    )]
    FileSystem {
        /// The directory.
        path: PathBuf,
        /// What it is on.
        found: String,
    },
    /// A system call failed.
    #[error("arena: cannot {doing} {}: {source}; see that it is there and may be used: 'holdfastd doctor' looks", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A living daemon has it.
    #[error(
        "arena: {} is in use by another daemon{}; stop that one, or give this one an arena of its own",
        path.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds the lock, if the kernel tells.
        holder: Option<i32>,
    },
    /// An earlier daemon left data behind that is not on stable media.
    #[error(
        "arena: {} still holds {held} of an earlier daemon, {why}; they are nowhere else. Nothing was touched. {remedy}, or \
         give them up for good: start once with --discard-arena",
        path.display()
    )]
    HoldsData {
        /// The directory.
        path: PathBuf,
        /// What.
        held: HeldData,
        /// Why they cannot be taken over.
        why: String,
        /// What would do.
        remedy: &'static str,
    },
    /// The directory has files that no arena has.
    #[error("arena: {} holds {found:?}, which is not part of an arena; give the arena a directory of its own", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The file's name.
        found: String,
    },
    /// The arena is of a later release.
    #[error(
        "arena: {} has format {version}, this release knows {known}; start the release that wrote it, or, if nothing \
         in it is wanted, remove the directory",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        version: u32,
        /// Ours.
        known: u32,
    },
    /// The arena does not make sense.
    #[error(
        "arena: {} is damaged: {what}. Nothing was touched; if nothing in it is wanted, remove the directory",
        path.display()
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The kernel has too few huge pages.
    #[error(
        "arena: {} needs {needed} huge pages of {page_bytes} bytes, {free} of {total} are free; `echo {mend} > {knob}` \
         makes enough, or put the arena on tmpfs, such as /dev/shm",
        path.display()
    )]
    HugePages {
        /// The directory.
        path: PathBuf,
        /// Size of one.
        page_bytes: u64,
        /// How many the arena takes.
        needed: u64,
        /// How many nobody has taken or reserved.
        free: u64,
        /// How many there are.
        total: u64,
        /// How many there should be.
        mend: u64,
        /// The file that sets it.
        knob: String,
    },
    /// There is not enough memory, or the file system is full.
    #[error(
        "arena: {} needs {needed_bytes} bytes, but {available_bytes} are available{hint}; make the arena smaller, or \
         make room",
        path.display()
    )]
    Memory {
        /// The directory.
        path: PathBuf,
        /// What the arena takes.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
        /// What limits it.
        hint: &'static str,
    },
}

/// Something that the operator should know, and that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArenaWarning {
    /// The arena is on tmpfs.
    OnTmpfs,
    /// `lock_memory` was asked for and refused.
    NotLocked {
        /// Why.
        errno: i32,
        /// `RLIMIT_MEMLOCK` in bytes, none if unlimited.
        limit_bytes: Option<u64>,
    },
    /// An earlier daemon's arena was taken over.
    TakenOver(HeldData),
    /// An earlier daemon's arena held nothing that is not on stable media, and was replaced.
    Replaced,
    /// An earlier daemon's arena held data, and was discarded because that was asked for.
    Discarded(HeldData),
}

impl fmt::Display for ArenaWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArenaWarning::OnTmpfs => write!(
                f,
                "the arena is on tmpfs: correct, but slower than huge pages, and it can be swapped out unless the \
                 host has no swap; a directory on hugetlbfs, such as /dev/hugepages, has neither flaw"
            ),
            ArenaWarning::NotLocked { errno, limit_bytes } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                let limit = limit_bytes.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
                write!(f, "the arena is not locked in memory: {error} (RLIMIT_MEMLOCK is {limit})")
            }
            ArenaWarning::TakenOver(held) => {
                write!(f, "the arena of the daemon before this one was taken over, and with it {held}")
            }
            ArenaWarning::Replaced => {
                write!(f, "an earlier daemon's arena, all of it on stable media, was replaced")
            }
            ArenaWarning::Discarded(held) => {
                write!(f, "an earlier daemon's arena was discarded, and with it {held}")
            }
        }
    }
}
