//! The kernel: its page cache over a file system on a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use holdfast_ringbuf::FailureId;
use rustix::fs::{Advice, fadvise};

use super::answer::Answer;
use super::disk::{Disk, Refuse, words, write_blocks};
use super::kernel_log::KernelLog;
use super::patience::{Patience, undo};
use super::place::Place;
use super::scene::Scene;
use super::stamp::Stamp;
use super::system::{Listed, Session, System};

/// The file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    pub(super) fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }

    /// The least that its mkfs takes, about.
    fn bytes(self) -> u64 {
        match self {
            FileSystem::Ext4 => 64 << 20,
            FileSystem::Xfs => 320 << 20,
            FileSystem::Btrfs => 128 << 20,
        }
    }

    fn mkfs(self) -> &'static [&'static str] {
        match self {
            // All of it at once: nothing is written later that nobody asked for.
            FileSystem::Ext4 => &["-qF", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
            FileSystem::Xfs | FileSystem::Btrfs => &["-q", "-f"],
        }
    }

    /// Mount options: what is committed by a timer is committed within the scene's sleep.
    pub(super) fn options(self) -> &'static str {
        match self {
            FileSystem::Ext4 | FileSystem::Btrfs => "commit=1",
            FileSystem::Xfs => "defaults",
        }
    }
}

/// The kernel with one file on one file system. What is undone when it is dropped is in this order.
#[derive(Debug)]
pub(super) struct Kernel {
    mount: Option<Mount>,
    device: Option<Loop>,
    disk: Disk,
    file_system: FileSystem,
    /// Where A is that B will replace, where the file system overwrites in place.
    place: Option<u64>,
    log: KernelLog,
    patience: Patience,
}

impl Kernel {
    /// Makes the file system, and the file in it.
    ///
    /// # Errors
    /// If a program is missing or fails.
    pub(super) fn new(
        file_system: FileSystem,
        scene: Scene,
        run: u64,
        parent: &Path,
        patience: &Patience,
    ) -> anyhow::Result<Self> {
        let disk = Disk::new(parent, file_system.bytes())?;
        let image = disk.image();
        let mkfs = format!("mkfs.{}", file_system.name());
        patience.must(&mkfs, &[file_system.mkfs(), &[words(&image)?]].concat())?;
        std::fs::create_dir(disk.file("mounted"))?;
        let device = Loop::over(&image, false, patience)?;
        let mount = Mount::of(&device, &disk.file("mounted"), file_system, patience)?;
        let before = (0..scene.blocks_before()).map(|block| Stamp { letter: 'A', block, run });
        write_blocks(&disk.file("mounted/file"), before)?;
        mount.undo()?;
        device.undo()?;
        let log = KernelLog::from_now()?;
        let patience = patience.clone();
        let mut kernel = Self { mount: None, device: None, disk, file_system, place: None, log, patience };
        kernel.disk.serve(&kernel.patience)?;
        let a = Stamp { letter: 'A', block: scene.writes()[0].0, run };
        if file_system != FileSystem::Btrfs && scene.blocks_before() > a.block {
            kernel.place =
                Some(kernel.disk.find_stable(a)?.context("A is not on the disk that it was written to")?);
        }
        kernel.device = Some(Loop::over(&kernel.disk.served(), true, &kernel.patience)?);
        kernel.mount()?;
        ensure!(kernel.mount.is_some(), "{} on a disk that is well cannot be mounted", file_system.name());
        Ok(kernel)
    }

    fn directory(&self) -> PathBuf {
        self.disk.file("mounted")
    }

    fn mount(&mut self) -> anyhow::Result<Answer> {
        let device = self.device.as_ref().context("the loop device is gone")?;
        match Mount::of(device, &self.directory(), self.file_system, &self.patience) {
            Ok(mount) => {
                self.mount = Some(mount);
                Ok(Answer::Success)
            }
            // Who was interrupted was not refused.
            Err(error) => self.patience.check().map(|()| Answer::Words(format!("not mounted: {error}"))),
        }
    }
}

impl System for Kernel {
    fn disk(&self) -> &Disk {
        &self.disk
    }

    fn refusal_of(&self, stamp: Stamp) -> Refuse {
        self.place.map_or(Refuse::Data(stamp), Refuse::Place)
    }

    fn place(&self) -> Result<Place, Answer> {
        let mounted = self.mount.is_some();
        let file = mounted.then(|| Place::File(self.directory().join("file")));
        file.ok_or_else(|| Answer::Words("not mounted".to_owned()))
    }

    fn evict(&mut self) -> anyhow::Result<()> {
        // Of this file alone: others' pages on this machine are none of our business.
        if let Ok(Session::File(file)) = self.open(&self.patience)? {
            let told = self.patience.within(move || fadvise(&*file, 0, None, Advice::DontNeed))?;
            told.context("fadvise does not return")??;
        }
        Ok(())
    }

    fn restart(&mut self) -> anyhow::Result<Answer> {
        match self.mount.take().map(Mount::undo) {
            Some(Err(error)) => {
                self.patience.check().map(|()| Answer::Words(format!("not unmounted: {error}")))
            }
            _ => self.mount(),
        }
    }

    fn list(&mut self, _: Option<FailureId>) -> anyhow::Result<Listed> {
        let device = self.device.as_ref().context("the loop device is gone")?;
        let log = self.log.lines_about(&device.name()?)?;
        // There is no command that lists them; the log is what there is.
        let words = format!("no ranges; {} log lines", log.len());
        Ok(Listed { words, log, ..Listed::default() })
    }

    fn retry(&mut self) -> anyhow::Result<Answer> {
        if self.mount.is_none() {
            return Ok(Answer::Words(format!("mounted: {}", self.mount()?)));
        }
        let directory = self.directory();
        let synced = self.patience.run("sync", &["-f", words(&directory)?]);
        let why = match synced {
            Ok(said) if said.success => return Ok(Answer::Words("sync: ok".to_owned())),
            Ok(said) => last_part(&said.complaint()),
            Err(error) => self.patience.check().map(|()| error.to_string())?,
        };
        // As the kernel's log advises.
        Ok(Answer::Words(format!("sync: {why}; mounted anew: {}", self.restart()?)))
    }

    fn accept_loss(&mut self) -> anyhow::Result<Answer> {
        Ok(Answer::Words("nobody to tell".to_owned()))
    }

    fn end(&mut self, blocks: &[u64], run: u64) -> anyhow::Result<Answer> {
        if let Some(mount) = self.mount.take() {
            mount.undo()?;
        }
        self.device.take().context("the loop device is gone")?.undo()?;
        self.disk.unplug()?;
        // What a power cut now would leave, on a device that refuses nothing.
        self.device = Some(Loop::over(&self.disk.stable(), false, &self.patience)?);
        let mounted = self.mount()?;
        let session = match self.open(&self.patience)? {
            _ if self.mount.is_none() => return Ok(mounted),
            Ok(session) => session,
            Err(answer) => return Ok(answer),
        };
        let found = session.read(blocks, run, &self.patience)?;
        drop(session);
        self.mount.take().context("mounted")?.undo()?;
        self.device.take().context("the loop device is gone")?.undo()?;
        Ok(found)
    }
}

/// Of `program: what: why`, as many programs complain: the reason.
fn last_part(complaint: &str) -> String {
    complaint.rsplit(": ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// A loop device; detached when dropped.
#[derive(Debug)]
struct Loop(Option<String>);

impl Loop {
    fn over(file: &Path, direct: bool, patience: &Patience) -> anyhow::Result<Self> {
        let how: &[&str] = if direct { &["--direct-io=on"] } else { &[] };
        let device = patience.must("losetup", &[&["-f", "--show"], how, &[words(file)?]].concat())?;
        let device = Self(Some(device));
        // Being read-only stays with a loop device, whatever file it gets next.
        patience.must("blockdev", &["--setrw", device.words()?])?;
        Ok(device)
    }

    fn words(&self) -> anyhow::Result<&str> {
        self.0.as_deref().context("detached")
    }

    /// As the kernel's log has it.
    fn name(&self) -> anyhow::Result<String> {
        Ok(self.words()?.trim_start_matches("/dev/").to_owned())
    }

    fn undo(mut self) -> anyhow::Result<()> {
        self.detach().map_err(anyhow::Error::msg)
    }

    fn detach(&mut self) -> Result<(), String> {
        self.0.take().map_or(Ok(()), |device| undo("losetup", &["-d", &device]))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            eprintln!("left behind: {error}");
        }
    }
}

/// Something mounted; unmounted when dropped.
#[derive(Debug)]
struct Mount(Option<PathBuf>);

impl Mount {
    fn of(
        device: &Loop,
        directory: &Path,
        file_system: FileSystem,
        patience: &Patience,
    ) -> anyhow::Result<Self> {
        let (kind, options) = (file_system.name(), file_system.options());
        let said = patience.run("mount", &["-t", kind, "-o", options, device.words()?, words(directory)?])?;
        ensure!(said.success, "{}", said.err.lines().next().map_or_else(|| said.complaint(), last_part));
        Ok(Self(Some(directory.to_owned())))
    }

    fn undo(mut self) -> anyhow::Result<()> {
        self.unmount().map_err(anyhow::Error::msg)
    }

    fn unmount(&mut self) -> Result<(), String> {
        let Some(directory) = self.0.take() else { return Ok(()) };
        let directory = directory.to_string_lossy();
        undo("umount", &[&directory]).or_else(|why| {
            // Whoever has it open is stuck: the name goes, and the rest when that ends.
            undo("umount", &["-l", &directory]).and(Err(why))
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("left behind: {error}");
        }
    }
}

/// Whether the kernel knows a file system, or has a module that does.
pub(super) fn knows(file_system: FileSystem, patience: &Patience) -> bool {
    let known = || {
        let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines().any(|line| line.trim() == file_system.name())
    };
    known() || (patience.run("modprobe", &[file_system.name()]).is_ok() && known())
}

/// Whether loop devices can be had.
pub(super) fn has_loops() -> bool {
    File::open("/dev/loop-control").is_ok()
}
