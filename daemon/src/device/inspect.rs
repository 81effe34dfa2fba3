//! A look at what may become a backing, without claiming it: for the doctor.

use super::direct::{Direct, prove};
use super::{FileSystem, Identity, NotDirect, Proof, identity};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, major, minor};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Whether it is a block device; else it is a regular file.
    pub block_device: bool,
    /// The file system it is on; for a block device that of its node, which does not matter.
    pub on: String,
    /// How it is known to be direct, in words; or why it is not.
    pub direct: Result<&'static str, NotDirect>,
    /// Major and minor number of the block device, or of the one its file system is on.
    pub device: (u32, u32),
}

/// Opens it for reading, looks, and closes it: no lock is taken, so that it can be done while a daemon runs.
///
/// # Errors
/// It cannot be opened, or is neither file nor block device.
pub fn inspect(path: &Path) -> io::Result<Inspected> {
    let stat = rustix::fs::stat(path)?;
    let block_device = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => true,
        FileType::RegularFile => false,
        _ => return Err(io::Error::other("it is neither a file nor a block device")),
    };
    let number = if block_device { stat.st_rdev } else { stat.st_dev };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let on = FileSystem::of(&rustix::fs::statfs(path)?);
    let direct = match rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Ok(_) if block_device => Ok("a block device"),
        Ok(fd) => of_file(&fd, on, &stat),
        Err(Errno::INVAL) => Err(NotDirect::Refused(on)),
        Err(error) => return Err(error.into()),
    };
    Ok(Inspected { block_device, on: on.to_string(), direct, device: (major(number), minor(number)) })
}

/// Who something is, without claiming it; and its bytes.
///
/// # Errors
/// It cannot be opened, or is neither file nor block device.
pub fn identify(path: &Path) -> io::Result<(Identity, u64)> {
    let seen = rustix::fs::stat(path)?;
    if !matches!(FileType::from_raw_mode(seen.st_mode), FileType::BlockDevice | FileType::RegularFile) {
        return Err(io::Error::other("it is neither a file nor a block device"));
    }
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let identity = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => identity::of_block_device(&stat),
        _ => identity::of_file(fd.as_fd(), &stat, FileSystem::of(&rustix::fs::fstatfs(&fd)?)),
    };
    Ok((identity, rustix::fs::seek(&fd, SeekFrom::End(0))?))
}

fn of_file(fd: &OwnedFd, on: FileSystem, stat: &Stat) -> Result<&'static str, NotDirect> {
    let Direct { proof, .. } = prove(fd.as_fd(), on, u64::try_from(stat.st_size).unwrap_or(0))?;
    Ok(match proof {
        Proof::Statx => "statx gives its alignment",
        Proof::BlockDevice => "a block device",
        Proof::FuseProbe => "FUSE passes direct requests to its server, whose word it is",
    })
}
