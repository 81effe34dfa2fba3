//! Who a backing is, whatever its path (mechanism M13), and what one flush of it covers.
#![allow(unsafe_code, reason = "one ioctl that no crate wraps")]

use super::FileSystem;
use rustix::fs::{AtFlags, Stat, StatxFlags, major, minor};
use rustix::ioctl;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// A name that stays with the data when the path changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// Whether it is the same after a reboot. If not, it is a device number, which the next boot may give to another
    /// disk.
    pub durable: bool,
}

/// What one device flush covers: volumes with the same key are in one flush domain.
///
/// A block device's flush empties the write cache of the whole disk, so partitions share a key. A file's does not
/// cover its neighbours: `fdatasync` commits the metadata of *that* file (which blocks are written, its extents), so
/// that a domain of a whole file system, flushed through one of its files, would call data of the others stable that
/// a power loss takes back. Each file is a domain of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DomainKey {
    /// A whole disk.
    Disk {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// One file.
    File {
        /// Its file system's device number.
        device: u64,
        /// Its inode.
        inode: u64,
    },
}

/// What the disk says of its cache. For people: flushes are always issued, and the kernel elides what is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// Volatile: a flush is needed.
    WriteBack,
    /// Completed writes are stable.
    WriteThrough,
    /// Nobody says.
    Unknown,
}

/// Of a regular file: file system, inode and birth. The birth tells it from a later file that got the same inode.
pub(super) fn of_file(fd: BorrowedFd<'_>, stat: &Stat, file_system: FileSystem) -> Identity {
    let known = uuid(fd).or_else(|| fsid(fd, file_system));
    // The UUID of a tmpfs is a new one each time it is mounted.
    let durable = known.is_some() && file_system != FileSystem::Tmpfs;
    let system = known.unwrap_or_else(|| format!("device {}:{}", major(stat.st_dev), minor(stat.st_dev)));
    let born = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)
        .ok()
        .filter(|found| StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME))
        .map(|found| format!(" born {}.{:09}", found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
    let name = format!("file {file_system} {system} inode {}{}", stat.st_ino, born.unwrap_or_default());
    Identity { name, durable }
}

/// The file system's UUID, which Linux tells from 6.9 on.
fn uuid(fd: BorrowedFd<'_>) -> Option<String> {
    /// `FS_IOC_GETFSUUID` of linux/fs.h: its answer is a length and 16 bytes.
    type Getter = ioctl::Getter<{ ioctl::opcode::read::<[u8; 17]>(0x15, 0) }, [u8; 17]>;
    // SAFETY: the operation stores a `struct fsuuid2`, 17 bytes without padding, in what it is given and nothing else; a
    // kernel or file system that does not know it answers with an error.
    let found = unsafe { ioctl::ioctl(fd, Getter::new()) }.ok()?;
    let bytes = found[1..].get(..usize::from(found[0])).filter(|bytes| !bytes.is_empty())?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What `statfs` says. Made of the UUID on ext4; on others often of the device number, or nothing.
fn fsid(fd: BorrowedFd<'_>, file_system: FileSystem) -> Option<String> {
    let found = rustix::fs::fstatvfs(fd).ok().filter(|_| file_system == FileSystem::Ext4)?;
    Some(format!("{:016x}", found.f_fsid))
}

/// Of a block device, from sysfs. A partition is its disk and its number on it.
pub(super) fn of_block_device(stat: &Stat) -> Identity {
    let directory = sysfs(stat.st_rdev);
    let partition = read(&directory.join("partition"));
    let disk = if partition.is_some() { directory.join("..") } else { directory };
    let named = name_of_disk(&disk);
    let durable = named.is_some();
    let mut name = named.unwrap_or_else(|| {
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        format!("device {major}:{minor}")
    });
    if let Some(number) = partition {
        name.push_str(&format!(" partition {number}"));
    }
    Identity { name, durable }
}

fn name_of_disk(disk: &Path) -> Option<String> {
    let named = |what: &str, file: &str| read(&disk.join(file)).map(|name| format!("{what} {name}"));
    let serial = || {
        let serial = read(&disk.join("device/serial")).or_else(|| read(&disk.join("serial")))?;
        let model = read(&disk.join("device/model")).unwrap_or_default();
        let namespace =
            read(&disk.join("nsid")).map(|number| format!(" namespace {number}")).unwrap_or_default();
        Some(format!("serial {model} {serial}{namespace}"))
    };
    named("wwid", "wwid")
        .or_else(|| named("wwid", "device/wwid"))
        .or_else(serial)
        .or_else(|| named("dm", "dm/uuid"))
        .or_else(|| named("md", "md/uuid"))
        .or_else(|| {
            let offset = read(&disk.join("loop/offset"))?;
            named("loop", "loop/backing_file").map(|name| format!("{name} at {offset}"))
        })
}

/// What a flush of a block device covers.
pub(super) fn domain_of_block_device(stat: &Stat) -> DomainKey {
    let directory = sysfs(stat.st_rdev);
    let whole = read(&directory.join("partition")).and_then(|_| read(&directory.join("../dev")));
    let numbers = whole.as_deref().and_then(|text| {
        let (major, minor) = text.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let (major, minor) = numbers.unwrap_or_else(|| (major(stat.st_rdev), minor(stat.st_rdev)));
    DomainKey::Disk { major, minor }
}

/// Of the disk with this device number, or the one that a partition or file system with it is on.
pub(super) fn write_cache(device: u64) -> WriteCache {
    let directory = sysfs(device);
    let found =
        read(&directory.join("queue/write_cache")).or_else(|| read(&directory.join("../queue/write_cache")));
    match found.as_deref() {
        Some("write back") => WriteCache::WriteBack,
        Some("write through") => WriteCache::WriteThrough,
        _ => WriteCache::Unknown,
    }
}

/// The device's directory with its links resolved, so that `..` of a partition is its disk.
fn sysfs(device: u64) -> PathBuf {
    let path = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    path.canonicalize().unwrap_or(path)
}

fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
