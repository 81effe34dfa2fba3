//! Where it is played: private folders for the cache's memory, the sockets, the ledger and the volumes' files.

use super::error::Error;
use crate::device::{Backing, BackingKind, BackingSpec, Directness};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Bytes of the cache. Containers often have no more than 64 MiB in `/dev/shm`.
pub(super) const ARENA_BYTES: u64 = 16 << 20;

/// The only tmpfs that every Linux lets every user write to.
const MEMORY: &str = "/dev/shm";

/// Two folders that only this user may enter, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    memory: TempDir,
    files: TempDir,
    /// Why the files' folder is page cache, if it is.
    pub(super) buffered: Option<String>,
}

impl Place {
    /// Makes the folders.
    ///
    /// # Errors
    /// If there is no tmpfs with room, or no folder to write to.
    pub(super) fn make() -> Result<Place, Error> {
        let memory = memory()?;
        let (files, buffered) = files()?;
        Ok(Place { memory, files, buffered })
    }

    /// The folder of the cache's memory, not yet there.
    pub(super) fn arena(&self) -> PathBuf {
        self.memory.path().join("arena")
    }

    /// The clients' socket: beside the memory, because a path of TMPDIR may be longer than a socket's may.
    pub(super) fn socket(&self) -> PathBuf {
        self.memory.path().join("holdfast.sock")
    }

    /// The operators' socket.
    pub(super) fn admin_socket(&self) -> PathBuf {
        self.memory.path().join("admin.sock")
    }

    /// The folder of the ledger.
    pub(super) fn state(&self) -> PathBuf {
        self.files.path().join("state")
    }

    /// What the daemon says.
    pub(super) fn log(&self) -> PathBuf {
        self.files.path().join("holdfastd.log")
    }

    /// The daemon's configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.files.path().join("quickstart.toml")
    }

    /// The file of a volume.
    pub(super) fn image(&self, volume: &str) -> PathBuf {
        self.files.path().join(format!("{volume}.img"))
    }

    /// The folder that the files are in.
    pub(super) fn files(&self) -> &Path {
        self.files.path()
    }

    /// Lets the folder of the files stay when this is dropped.
    pub(super) fn keep_files(&mut self) {
        self.files.disable_cleanup(true);
    }
}

fn memory() -> Result<TempDir, Error> {
    // The cache and the daemon's own small change beside it.
    let needed = ARENA_BYTES + (4 << 20);
    let problem = |problem: String, remedy| Error::Memory { needed, problem, remedy };
    let found = rustix::fs::statvfs(MEMORY).map_err(|error| {
        problem(format!("cannot be used ({error})"), "mount it (`mount -t tmpfs tmpfs /dev/shm`)")
    })?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if found.f_blocks != 0 && free < needed {
        let remedy =
            "make it larger (`mount -o remount,size=64m /dev/shm`; for a container, `--shm-size 64m`)";
        return Err(problem(format!("has {free} bytes left"), remedy));
    }
    folder(Path::new(MEMORY))
        .map_err(|error| problem(format!("cannot be written to ({error})"), "give it mode 1777"))
}

fn folder(parent: &Path) -> std::io::Result<TempDir> {
    // Mode 0700 is what tempfile gives.
    tempfile::Builder::new().prefix("holdfast-quickstart-").tempdir_in(parent)
}

/// The first folder whose files bypass the page cache, else the first that can be written to, and why it does not.
fn files() -> Result<(TempDir, Option<String>), Error> {
    let candidates = [std::env::temp_dir(), "/var/tmp".into(), std::env::current_dir().unwrap_or_default()];
    let (mut second_best, mut problems) = (None, Vec::new());
    for parent in candidates {
        let made = folder(&parent).map_err(|error| error.to_string());
        match made.and_then(|made| Ok((look(made.path())?, made))) {
            Ok((None, made)) => return Ok((made, None)),
            Ok((why, made)) => second_best = second_best.or(Some((made, why))),
            Err(problem) => problems.push(format!("{} ({problem})", parent.display())),
        }
    }
    second_best.ok_or_else(|| Error::NoFolder(problems.join(", ")))
}

/// Why files in this folder go through the page cache, if they do: found by the way in which the daemon will open them.
fn look(folder: &Path) -> Result<Option<String>, String> {
    let path = folder.join("probe");
    let spec = BackingSpec {
        kind: BackingKind::File,
        path: path.clone(),
        size: Some(1 << 20),
        create: true,
        buffered_allowed: true,
        thin_limit: None,
        read_only: false,
    };
    let directness = Backing::open(&spec).map(|backing| backing.directness());
    _ = std::fs::remove_file(path);
    match directness.map_err(|error| error.to_string())? {
        Directness::Direct(_) => Ok(None),
        Directness::Buffered(why) => Ok(Some(why.to_string())),
    }
}
