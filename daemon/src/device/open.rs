//! The steps of opening a backing: look, open, lock, look again, prove, measure.

use super::claims;
use super::direct::{Direct, prove};
use super::identity::{self, DomainKey, Identity, WriteCache};
use super::{
    BackingError, BackingKind, BackingSpec, Directness, FileSystem, NotDirect, Patience, Proof, Thin,
};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a late lock is waited for at first: what a kill takes when nothing is stuck.
const LATE: std::time::Duration = std::time::Duration::from_millis(100);

/// What is known of a backing when it has been opened; its fields are as [`Backing`]'s methods say.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) path: PathBuf,
    pub(super) kind: BackingKind,
    pub(super) size: u64,
    pub(super) block_bytes: u32,
    pub(super) directness: Directness,
    /// Its operations are not tried in a ring, which would wait: [`FileSystem::may_wait`].
    pub(super) may_wait: bool,
    pub(super) identity: Identity,
    pub(super) domain: DomainKey,
    pub(super) write_cache: WriteCache,
    pub(super) thin: Option<Arc<Thin>>,
    /// The lock is ours.
    pub(super) fenced: bool,
}

/// Its description, and what is known of it.
pub(super) type Opened = (OwnedFd, Measured);

/// Opens what the specification asks for; with `late`, see [`Backing::open_late`].
pub(super) fn open(spec: &BackingSpec, late: bool) -> Result<Opened, BackingError> {
    match spec.kind {
        BackingKind::Block => block_device(spec, late),
        BackingKind::File => file(spec, late),
    }
}

fn block_device(spec: &BackingSpec, late: bool) -> Result<Opened, BackingError> {
    let path = &spec.path;
    if spec.thin_limit.is_some() {
        return Err(BackingError::ThinDevice { path: path.clone() });
    }
    expect_kind(spec, FileType::BlockDevice)?;
    // O_EXCL without O_CREAT: nobody mounts it or builds on it while we have it, and we do not get what is so used.
    let flags = access(spec) | OFlags::DIRECT | OFlags::EXCL;
    let fd = open_patiently(path, flags, late)?;
    let (stat, _) = claim(path, &fd, FileType::BlockDevice, false)?;
    let size = rustix::fs::seek(&fd, SeekFrom::End(0)).map_err(failed(path, "find its size"))?;
    let block_bytes = rustix::fs::ioctl_blksszget(&fd).map_err(failed(path, "find its logical block"))?;
    check_size(spec, size, block_bytes)?;
    let measured = Measured {
        path: path.clone(),
        kind: BackingKind::Block,
        size,
        block_bytes,
        directness: Directness::Direct(Proof::BlockDevice),
        may_wait: false,
        identity: identity::of_block_device(&stat),
        domain: identity::domain_of_block_device(&stat),
        write_cache: identity::write_cache(stat.st_rdev),
        thin: None,
        fenced: true,
    };
    Ok((fd, measured))
}

/// Opens a regular file, creating it if that was asked for; `late`, without its lock if a dead process has that.
fn file(spec: &BackingSpec, late: bool) -> Result<Opened, BackingError> {
    let path = &spec.path;
    if path.exists() {
        expect_kind(spec, FileType::RegularFile)?;
    } else if spec.create && spec.size.is_none() {
        return Err(BackingError::NoSize { path: path.clone() });
    }
    let (fd, (stat, fenced), direct) = open_directly(spec, late)?;
    let size = if stat.st_size == 0 { give_size(spec, &fd)? } else { length(&stat) };
    let (directness, block_bytes) = match direct {
        Ok(direct) => (Directness::Direct(direct.proof), direct.block_bytes),
        Err(why) => (Directness::Buffered(why), 512),
    };
    check_size(spec, size, block_bytes)?;
    let thin = spec.thin_limit.map(|limit| Thin::of_file(fd.as_fd(), size, limit)).transpose();
    let thin = thin.map_err(failed(path, "find what it has allocated"))?.map(Arc::new);
    let on = file_system(path, &fd)?;
    let measured = Measured {
        path: path.clone(),
        kind: BackingKind::File,
        size,
        block_bytes,
        directness,
        may_wait: on.may_wait(),
        identity: identity::of_file(fd.as_fd(), &stat, on),
        domain: DomainKey::File { device: stat.st_dev, inode: stat.st_ino },
        write_cache: identity::write_cache(stat.st_dev),
        thin,
        fenced,
    };
    Ok((fd, measured))
}

/// Its status and whether the lock is ours.
type Claimed = (Stat, bool);
type Direction = (OwnedFd, Claimed, Result<Direct, NotDirect>);

/// Opened, locked, and with its proof, or the reason why it is buffered and allowed to be.
fn open_directly(spec: &BackingSpec, late: bool) -> Result<Direction, BackingError> {
    let path = &spec.path;
    let create = if spec.create { OFlags::CREATE } else { OFlags::empty() };
    let why = match rustix::fs::open(path, access(spec) | create | OFlags::DIRECT, mode()) {
        Ok(fd) => {
            let claimed = claim(path, &fd, FileType::RegularFile, late)?;
            match prove(fd.as_fd(), file_system(path, &fd)?, length(&claimed.0)) {
                Ok(direct) => return Ok((fd, claimed, Ok(direct))),
                Err(why) => why,
            }
        }
        Err(Errno::INVAL) => NotDirect::Refused(file_system_at(path)?),
        Err(Errno::NOENT) if !spec.create => return Err(BackingError::Missing { path: path.clone() }),
        Err(error) => return Err(failed(path, "open it")(error)),
    };
    if !spec.buffered_allowed {
        return Err(BackingError::NotDirect { path: path.clone(), why });
    }
    let fd = rustix::fs::open(path, access(spec) | create, mode()).map_err(failed(path, "open it"))?;
    let claimed = claim(path, &fd, FileType::RegularFile, late)?;
    Ok((fd, claimed, Err(why)))
}

fn access(spec: &BackingSpec) -> OFlags {
    let access = if spec.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    access | OFlags::CLOEXEC
}

fn mode() -> Mode {
    Mode::RUSR | Mode::WUSR
}

/// Looks before it opens: opening a tape or a FIFO may have effects, or block.
fn expect_kind(spec: &BackingSpec, wanted: FileType) -> Result<(), BackingError> {
    let stat = rustix::fs::stat(&spec.path).map_err(failed(&spec.path, "look at it"))?;
    check_kind(&spec.path, &stat, wanted)
}

fn check_kind(path: &Path, stat: &Stat, wanted: FileType) -> Result<(), BackingError> {
    let found = FileType::from_raw_mode(stat.st_mode);
    if found == wanted {
        return Ok(());
    }
    Err(BackingError::Kind { path: path.to_owned(), found: kind_name(found), wanted: kind_name(wanted) })
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::BlockDevice => "a block device",
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        _ => "neither file nor block device",
    }
}

/// A killed daemon's exclusive claim goes as late as its lock does. With `late` it is waited for to the end, unless somebody
/// who lives is seen to have the device.
fn open_patiently(path: &Path, flags: OFlags, late: bool) -> Result<OwnedFd, BackingError> {
    loop {
        let patience = Patience::start();
        loop {
            match rustix::fs::open(path, flags, Mode::empty()) {
                Err(Errno::BUSY) if patience.wait() => {}
                Err(Errno::BUSY) => break,
                opened => return opened.map_err(failed(path, "open it")),
            }
        }
        let holder = claims::holder(path);
        if !late || holder.is_some() {
            return Err(BackingError::Busy { path: path.to_owned(), holder });
        }
    }
}

/// Locks the description. What was opened may by now be another thing than what was looked at.
fn claim(path: &Path, fd: &OwnedFd, wanted: FileType, late: bool) -> Result<Claimed, BackingError> {
    let started = std::time::Instant::now();
    let patience = if late { Patience::of(LATE) } else { Patience::start() };
    let fenced = patience.lock(fd).map_err(failed(path, "lock it"))?;
    // Of a process that lives it is not the operations in flight that are in the way.
    let alive =
        |holder: Option<i32>| holder.is_some_and(|pid| Path::new(&format!("/proc/{pid}/fd/0")).exists());
    if !fenced && (!late || alive(super::lock_holder(fd))) {
        let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        return Err(BackingError::Locked {
            path: path.to_owned(),
            holder: super::lock_holder(fd),
            waited_ms,
        });
    }
    let stat = rustix::fs::fstat(fd).map_err(failed(path, "look at it"))?;
    check_kind(path, &stat, wanted)?;
    Ok((stat, fenced))
}

/// An empty file gets its size, if it may: it was just created, here or by a daemon that ended before this.
fn give_size(spec: &BackingSpec, fd: &OwnedFd) -> Result<u64, BackingError> {
    let path = &spec.path;
    let size = spec.size.filter(|_| spec.create && !spec.read_only);
    let size = size.ok_or_else(|| BackingError::NoSize { path: path.clone() })?;
    rustix::fs::ftruncate(fd, size).map_err(failed(path, "give it its size"))?;
    rustix::fs::fsync(fd).map_err(failed(path, "sync it"))?;
    // The file's name is data, too: a volume that was flushed must be found after a power loss.
    let parent = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    let parent = parent.unwrap_or_else(|| PathBuf::from("/"));
    let synced = std::fs::File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(failed(path, "sync its directory"))?;
    Ok(size)
}

fn check_size(spec: &BackingSpec, size: u64, block_bytes: u32) -> Result<(), BackingError> {
    let path = spec.path.clone();
    if let Some(wanted_bytes) = spec.size.filter(|wanted| *wanted != size) {
        return Err(BackingError::Size { path, found_bytes: size, wanted_bytes });
    }
    if !(512..=4096).contains(&block_bytes) || !block_bytes.is_power_of_two() {
        return Err(BackingError::Block { path, block_bytes });
    }
    if size == 0 || !size.is_multiple_of(u64::from(block_bytes)) {
        return Err(BackingError::Ragged { path, bytes: size, block_bytes });
    }
    Ok(())
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).expect("a file has no negative size")
}

fn file_system(path: &Path, fd: &OwnedFd) -> Result<FileSystem, BackingError> {
    rustix::fs::fstatfs(fd).map(|found| FileSystem::of(&found)).map_err(failed(path, "find its file system"))
}

fn file_system_at(path: &Path) -> Result<FileSystem, BackingError> {
    // O_CREAT made the file before O_DIRECT was refused.
    rustix::fs::statfs(path).map(|found| FileSystem::of(&found)).map_err(failed(path, "find its file system"))
}

fn failed<E: Into<std::io::Error>>(path: &Path, doing: &'static str) -> impl FnOnce(E) -> BackingError {
    let path = path.to_owned();
    move |error| BackingError::Io { path, doing, source: error.into() }
}
