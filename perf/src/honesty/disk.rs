//! The disk under everybody: nbdkit behind nbdfuse, a file of which O_DIRECT and loop devices believe that it is a disk.

use std::fs::{File, OpenOptions, Permissions, read_to_string, remove_file, write};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use tempfile::{Builder, TempDir};

use super::patience::{Patience, undo};
use super::stamp::{BLOCK, Stamp};

/// nbdkit's plugin.
const SCRIPT: &str = include_str!("disk.sh");
/// How much is looked at together when a stamp is searched.
const CHUNK: usize = 256 * BLOCK;

/// What it refuses from now on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refuse {
    /// Writes that touch the block at this byte of the disk.
    Place(u64),
    /// Writes that carry this version, wherever they go.
    Data(Stamp),
    /// Every write and every flush.
    Everything,
    /// Every flush; what was not flushed is lost.
    Flushes,
}

/// A disk. Unmounted and gone when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    folder: TempDir,
    server: Option<Child>,
}

/// How much it has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusals {
    pub(super) writes: usize,
    pub(super) flushes: usize,
}

impl Disk {
    /// An empty one, which nobody serves yet.
    ///
    /// # Errors
    /// If there is no room in `parent`.
    pub(super) fn new(parent: &Path, bytes: u64) -> anyhow::Result<Self> {
        let folder = Builder::new().prefix("holdfast-honesty-").tempdir_in(parent);
        let folder = folder.with_context(|| format!("a folder in {}", parent.display()))?;
        let disk = Self { folder, server: None };
        File::create(disk.image())?.set_len(bytes)?;
        write(disk.file("disk.sh"), SCRIPT)?;
        std::fs::set_permissions(disk.file("disk.sh"), Permissions::from_mode(0o700))?;
        for empty in ["fuse", "unflushed", "refusals"] {
            File::create(disk.file(empty))?;
        }
        Ok(disk)
    }

    /// A file beside it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its bytes, as whoever reads it now gets them.
    pub(super) fn image(&self) -> PathBuf {
        self.file("disk")
    }

    /// Its bytes, as they are after a power cut.
    pub(super) fn stable(&self) -> PathBuf {
        self.file("stable")
    }

    /// What behaves as a disk while it is served.
    pub(super) fn served(&self) -> PathBuf {
        self.file("fuse")
    }

    /// From now on it is a disk: what its image holds is stable.
    ///
    /// # Errors
    /// If nbdfuse does not come up.
    pub(super) fn serve(&mut self, patience: &Patience) -> anyhow::Result<()> {
        patience.must("cp", &["--sparse=always", words(&self.image())?, words(&self.stable())?])?;
        let mut command = Command::new("nbdfuse");
        command.arg(self.served()).args(["--command", "nbdkit", "-s", "--exit-with-parent", "sh"]);
        command.arg(self.file("disk.sh")).process_group(0);
        let log = File::create(self.file("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().context("starting nbdfuse")?);
        let bytes = self.image().metadata()?.len();
        let served = self.served();
        let up = patience.eventually(|| Ok((served.metadata()?.len() == bytes).then_some(())))?;
        up.with_context(|| format!("nbdfuse said: {}", read_to_string(self.file("log")).unwrap_or_default()))
    }

    /// Falls ill.
    ///
    /// # Errors
    /// If the disk's own files cannot be written.
    pub(super) fn refuse(&self, what: Refuse) -> anyhow::Result<()> {
        let (name, words) = match what {
            Refuse::Place(at) => ("refuse-place", format!("{at} {}\n", at + BLOCK as u64)),
            Refuse::Data(stamp) => ("refuse-stamp", stamp.words() + "\n"),
            Refuse::Everything => ("refuse-device", String::new()),
            Refuse::Flushes => ("refuse-flush", String::new()),
        };
        // At once, with all its words.
        write(self.file("fresh"), words)?;
        Ok(std::fs::rename(self.file("fresh"), self.file(name))?)
    }

    /// Is well again.
    ///
    /// # Errors
    /// If the disk's own files cannot be removed.
    pub(super) fn mend(&self) -> anyhow::Result<()> {
        for name in ["refuse-place", "refuse-stamp", "refuse-device", "refuse-flush"] {
            match remove_file(self.file(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// # Errors
    /// If its notes cannot be read.
    pub(super) fn refusals(&self) -> anyhow::Result<Refusals> {
        let notes = read_to_string(self.file("refusals"))?;
        let count = |what: &str| notes.lines().filter(|line| line.starts_with(what)).count();
        Ok(Refusals { writes: count("write"), flushes: count("flush") })
    }

    /// Where a version is, in what a power cut would leave.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub(super) fn find_stable(&self, stamp: Stamp) -> anyhow::Result<Option<u64>> {
        find(&File::open(self.stable())?, &stamp.bytes())
    }

    /// Takes it away: nobody uses it any more.
    ///
    /// # Errors
    /// If somebody does.
    pub(super) fn unplug(&mut self) -> anyhow::Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let unmounted = undo("umount", &[words(&self.served())?]);
        if let Err(why) = unmounted {
            // Whoever still uses it gets errors from now on, and does not wait for ever.
            _ = undo("umount", &["-l", words(&self.served())?]);
            _ = server.kill();
            _ = server.wait();
            bail!("{why}");
        }
        server.wait()?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unplug() {
            eprintln!("left behind: {error}");
        }
    }
}

/// A path of our own, as an argument.
///
/// # Errors
/// If it is not UTF-8.
pub(super) fn words(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The first block of a file that is this; holes are passed over.
fn find(file: &File, block: &[u8]) -> anyhow::Result<Option<u64>> {
    let bytes = file.metadata()?.len();
    let (mut at, mut chunk) = (0, vec![0; CHUNK]);
    while at < bytes {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data / BLOCK as u64 * BLOCK as u64,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let length = usize::try_from((bytes - at).min(CHUNK as u64)).expect("a chunk is short");
        file.read_exact_at(&mut chunk[..length], at)?;
        if let Some(index) = chunk[..length].chunks(BLOCK).position(|found| found == block) {
            return Ok(Some(at + (index * BLOCK) as u64));
        }
        at += length as u64;
    }
    Ok(None)
}

/// Writes blocks into a file that is not served.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_blocks(file: &Path, stamps: impl Iterator<Item = Stamp>) -> anyhow::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(file)?;
    for stamp in stamps {
        file.write_all_at(&stamp.bytes(), stamp.block * BLOCK as u64)?;
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_behind_holes_and_at_the_very_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let stamp = Stamp { letter: 'B', block: 700, run: 3 };
        write_blocks(&path, [Stamp { letter: 'A', ..stamp }].into_iter()).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(find(&file, &stamp.bytes()).unwrap(), None);
        write_blocks(&path, [stamp].into_iter()).unwrap();
        assert_eq!(find(&file, &stamp.bytes()).unwrap(), Some(700 * BLOCK as u64));
        file.set_len(1 << 30).unwrap();
        assert_eq!(find(&file, &Stamp { run: 4, ..stamp }.bytes()).unwrap(), None);
    }
}
