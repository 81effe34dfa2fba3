//! Which file system something is on: some of them say yes to O_DIRECT and mean page cache.

use rustix::fs::StatFs;
use std::fmt;

/// A file system, as far as it matters here. Magic numbers from `linux/magic.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Huge pages.
    HugeTlb,
    /// Memory; takes O_DIRECT, and is page cache all the same.
    Tmpfs,
    /// ext2, ext3 or ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs; writes with checksums or odd alignment go through the page cache, whatever was asked for.
    Btrfs,
    /// A process in user space.
    Fuse,
    /// NFS.
    Nfs,
    /// Overlayfs, as in containers.
    Overlay,
    /// One that we know nothing about.
    Other(u64),
}

impl FileSystem {
    /// From what `statfs` says.
    pub fn of(found: &StatFs) -> FileSystem {
        match u64::try_from(found.f_type).unwrap_or(0) {
            0x9584_58f6 => FileSystem::HugeTlb,
            0x0102_1994 => FileSystem::Tmpfs,
            0xef53 => FileSystem::Ext4,
            0x5846_5342 => FileSystem::Xfs,
            0x9123_683e => FileSystem::Btrfs,
            0x6573_5546 => FileSystem::Fuse,
            0x6969 => FileSystem::Nfs,
            0x794c_7630 => FileSystem::Overlay,
            other => FileSystem::Other(other),
        }
    }

    /// Whether an operation that is not to wait may wait all the same. Writes to FUSE do, for the file's lock, which one
    /// that hangs has: a ring that tries them at once stops with its reactor. What is not known not to is taken for one.
    pub(super) const fn may_wait(self) -> bool {
        !matches!(self, FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Btrfs | FileSystem::Tmpfs)
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileSystem::HugeTlb => f.write_str("hugetlbfs"),
            FileSystem::Tmpfs => f.write_str("tmpfs"),
            FileSystem::Ext4 => f.write_str("ext4"),
            FileSystem::Xfs => f.write_str("XFS"),
            FileSystem::Btrfs => f.write_str("Btrfs"),
            FileSystem::Fuse => f.write_str("FUSE"),
            FileSystem::Nfs => f.write_str("NFS"),
            FileSystem::Overlay => f.write_str("overlayfs"),
            FileSystem::Other(magic) => write!(f, "a file system of type {magic:#x}"),
        }
    }
}
