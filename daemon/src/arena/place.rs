//! The arena's directory: what it is on, who has it, and whether there is memory enough.

use super::layout::Plan;
use super::{ArenaError, ArenaLayout};
use crate::device::{FileSystem, lock_unless_alive};
use rustix::fs::{Mode, OFlags};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// An open directory on a file system that can hold an arena.
pub(super) struct Place {
    pub(super) path: PathBuf,
    directory: OwnedFd,
    /// 0 on tmpfs.
    huge_page_bytes: u64,
    created: bool,
}

impl Place {
    /// Opens the directory, creating it if need be, after a look at what it is on.
    pub(super) fn enter(layout: &ArenaLayout) -> Result<Place, ArenaError> {
        let path = std::path::absolute(&layout.path).map_err(failed("find", &layout.path))?;
        let existed = path.exists();
        let looked_at = if existed { path.as_path() } else { path.parent().unwrap_or(&path) };
        let huge_page_bytes = suitable(looked_at, &path)?;
        if !existed {
            DirBuilder::new().mode(0o700).create(&path).map_err(failed("create", &path))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("open", &path))?;
        Ok(Place { path, directory, huge_page_bytes, created: !existed })
    }

    /// Opens the directory to look at it, if it is there.
    pub(super) fn enter_existing(path: &Path) -> Result<Place, ArenaError> {
        let huge_page_bytes = suitable(path, path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open", path))?;
        Ok(Place { path: path.to_owned(), directory, huge_page_bytes, created: false })
    }

    /// Takes the directory for this process, or says who has it. Held as long as the place is.
    ///
    /// The lock is on the directory and not on a file in it, so that files can be replaced under it.
    pub(super) fn claim(&self) -> Result<(), ArenaError> {
        if lock_unless_alive(&self.directory).map_err(failed("lock", &self.path))? {
            return Ok(());
        }
        Err(ArenaError::InUse {
            path: self.path.clone(),
            holder: crate::device::lock_holder(&self.directory),
        })
    }

    /// Whether it is on huge pages.
    pub(super) fn is_huge(&self) -> bool {
        self.huge_page_bytes != 0
    }

    /// Bytes of a page of its file system.
    pub(super) fn page_bytes(&self) -> u64 {
        if self.is_huge() { self.huge_page_bytes } else { rustix::param::page_size() as u64 }
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates a file of zeroes that nobody else may open.
    pub(super) fn create_file(&self, name: &str, bytes: u64) -> Result<File, ArenaError> {
        let path = self.file(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened =
            rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed("create", &path))?;
        let file = File::from(opened);
        file.set_len(bytes).map_err(failed("size", &path))?;
        Ok(file)
    }

    /// Removes the directory if [`Place::enter`] made it and it is empty.
    pub(super) fn remove_if_ours(&self) {
        if self.created {
            // Whatever else somebody put there is theirs to remove, and an empty directory harms nobody.
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Refuses what the host has no memory for, before any of it is taken.
    pub(super) fn check_room(&self, plan: &Plan) -> Result<(), ArenaError> {
        if self.is_huge() { self.check_huge_pages(plan) } else { self.check_memory(plan) }
    }

    fn check_huge_pages(&self, plan: &Plan) -> Result<(), ArenaError> {
        let needed = plan.total_bytes() / self.huge_page_bytes;
        let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", self.huge_page_bytes >> 10);
        let number = |name: &str| read_number(&format!("{pool}/{name}"));
        let (total, free) =
            (number("nr_hugepages"), number("free_hugepages").saturating_sub(number("resv_hugepages")));
        if free >= needed {
            return Ok(());
        }
        let knob = if self.huge_page_bytes == default_huge_page_bytes() {
            "/proc/sys/vm/nr_hugepages".to_owned()
        } else {
            format!("{pool}/nr_hugepages")
        };
        Err(ArenaError::HugePages {
            path: self.path.clone(),
            page_bytes: self.huge_page_bytes,
            needed,
            free,
            total,
            mend: total + needed - free,
            knob,
        })
    }

    fn check_memory(&self, plan: &Plan) -> Result<(), ArenaError> {
        let needed_bytes = plan.total_bytes();
        let short = |available_bytes, hint| {
            Err(ArenaError::Memory { path: self.path.clone(), needed_bytes, available_bytes, hint })
        };
        let system = rustix::fs::fstatvfs(&self.directory).map_err(failed("look at", &self.path))?;
        // 0 blocks in all: a tmpfs without a limit.
        let left = system.f_bavail.saturating_mul(system.f_frsize);
        if system.f_blocks != 0 && left < needed_bytes {
            return short(left, " on that file system");
        }
        let available = meminfo("MemAvailable:");
        if available.is_some_and(|bytes| bytes < needed_bytes) {
            return short(available.unwrap_or(0), " in this host's memory");
        }
        Ok(())
    }
}

/// An error of `doing` something with `path`.
pub(super) fn failed<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> ArenaError {
    let path = path.to_owned();
    move |source| ArenaError::Io { doing, path, source: source.into() }
}

/// Huge page bytes, 0 for tmpfs.
fn suitable(looked_at: &Path, path: &Path) -> Result<u64, ArenaError> {
    let found = rustix::fs::statfs(looked_at).map_err(failed("look at", looked_at))?;
    match FileSystem::of(&found) {
        FileSystem::HugeTlb => Ok(u64::try_from(found.f_bsize).expect("a page has a size")),
        FileSystem::Tmpfs => Ok(0),
        other => Err(ArenaError::FileSystem { path: path.to_owned(), found: other.to_string() }),
    }
}

fn read_number(path: &str) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

fn default_huge_page_bytes() -> u64 {
    meminfo("Hugepagesize:").unwrap_or(0)
}

/// Where a directory entry is gone already, that is as good as removed.
pub(super) fn remove_file(path: &Path) -> Result<(), ArenaError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The length of a regular file, `None` if there is none.
pub(super) fn length_of(path: &Path) -> Result<Option<u64>, ArenaError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.size())),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}
