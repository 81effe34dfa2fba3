//! The ways for a disk to be ill: real ones, which are broken and mended on demand.

use super::eventually;
use crate::pattern::{EIO, ENOSPC};
use crate::place::{KIB, LINE, MIB};
use crate::running::Daemon;
use crate::world::{FullDisk, Fuse, Loop, Mount, run};
use rustix::io::Errno;
use rustix::process::Signal;
use std::any::Any;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// What an ill disk does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refuses {
    Writes,
    /// Writes of [`BAD`] only.
    SomeWrites,
    Reads,
    Flushes,
    /// It answers nothing at all.
    Everything,
}

/// One way to be ill.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) refuses: Refuses,
    /// What the operator is told that the disk said.
    pub(super) errno: &'static str,
    /// What a flush answers that tells.
    pub(super) flush: i32,
    /// What `health` shows.
    pub(super) code: &'static str,
    pub(super) make: fn(&Path) -> Disk,
}

impl Kind {
    /// Whether a refusal speaks of the whole disk: only a probe goes out then.
    pub(super) fn gates(&self) -> bool {
        self.errno != "EIO"
    }

    /// What a client is told whose write waited for such a disk.
    pub(super) fn number(&self) -> i32 {
        match self.errno {
            "ENOSPC" => ENOSPC,
            "EROFS" => Errno::ROFS.raw_os_error(),
            "EPERM" => Errno::PERM.raw_os_error(),
            "ENODEV" => Errno::NODEV.raw_os_error(),
            _ => EIO,
        }
    }
}

type Step = Box<dyn Fn(&Daemon<'_>, &str) + Send + Sync>;

/// A disk that can be made ill and be mended.
pub(super) struct Disk {
    /// As a configuration has it.
    pub(super) backing: String,
    /// Where its bytes can be looked at in the end.
    pub(super) bytes: PathBuf,
    pub(super) fall_ill: Step,
    /// What an operator does outside of the daemon, and by the daemon's verbs where it needs them.
    pub(super) mend: Step,
    _keep: Box<dyn Any + Send + Sync>,
}

/// Bytes of each disk.
pub(super) const BYTES: u64 = 8 * MIB;
/// What is written before the disk is ill.
pub(super) const WELL: (u64, u64) = (0, 64 * KIB);
/// What is written while it is: around the border of two reactors, where a full disk has nothing allocated.
pub(super) const AT: (u64, u64) = (2 * MIB - 32 * KIB, 64 * KIB);
/// The part of it that a disk refuses that refuses some.
pub(super) const BAD: (u64, u64) = (2 * MIB - 2 * LINE, 4 * LINE);
/// What nobody has written.
pub(super) const UNTOUCHED: (u64, u64) = (6 * MIB, LINE);

pub(super) const KINDS: &[Kind] = &[
    kind("full-ext4", Refuses::Writes, "ENOSPC", "HF_FAILED_EXTENTS", full_ext4),
    kind("full-block", Refuses::Writes, "ENOSPC", "HF_FAILED_EXTENTS", full_block),
    kind("full-thin", Refuses::Writes, "ENOSPC", "HF_FAILED_EXTENTS", full_thin),
    kind("bad-range", Refuses::SomeWrites, "EIO", "HF_FAILED_EXTENTS", bad_range),
    kind("bad-writes", Refuses::Writes, "EIO", "HF_FAILED_EXTENTS", |path| failing(path, "pwrite")),
    kind("bad-reads", Refuses::Reads, "EIO", "", |path| failing(path, "pread")),
    kind("bad-flushes", Refuses::Flushes, "EIO", "HF_DEVICE_REFUSES", bad_flushes),
    kind("hangs", Refuses::Everything, "", "HF_DEVICE_HANGS", hangs),
    kind("goes-away", Refuses::Writes, "ENODEV", "HF_DEVICE_GONE", goes_away),
    kind("comes-elsewhere", Refuses::Writes, "ENODEV", "HF_DEVICE_GONE", comes_elsewhere),
    kind("read-only-ext4", Refuses::Writes, "EROFS", "HF_DEVICE_GONE", read_only_ext4),
    kind("read-only-block", Refuses::Writes, "EPERM", "HF_DEVICE_GONE", read_only_block),
];

const fn kind(
    name: &'static str,
    refuses: Refuses,
    errno: &'static str,
    code: &'static str,
    make: fn(&Path) -> Disk,
) -> Kind {
    let flush = if errno.len() == 6 && errno.as_bytes()[2] == b'O' && errno.as_bytes()[3] == b'S' {
        ENOSPC
    } else {
        EIO
    };
    Kind { name, refuses, errno, flush, code, make }
}

fn block(device: &Path) -> String {
    format!(r#"{{ kind = "block", path = "{}" }}"#, device.display())
}

fn file(path: &Path) -> String {
    format!(r#"{{ kind = "file", path = "{}" }}"#, path.display())
}

fn directory(path: &Path) {
    std::fs::create_dir_all(path).expect("a directory of our own");
}

fn sparse(path: &Path, bytes: u64) {
    File::create(path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
}

fn words(path: &Path) -> &str {
    path.to_str().expect("plain")
}

fn nothing() -> Step {
    Box::new(|_, _| ())
}

fn full(disk: FullDisk) -> Disk {
    let backing = if disk.is_block { block(&disk.backing) } else { file(&disk.backing) };
    let disk = std::sync::Arc::new(disk);
    let mended = std::sync::Arc::clone(&disk);
    let mend: Step = Box::new(move |_, _| mended.make_room());
    Disk { backing, bytes: disk.backing.clone(), fall_ill: nothing(), mend, _keep: Box::new(disk) }
}

fn full_ext4(path: &Path) -> Disk {
    directory(path);
    full(FullDisk::file_system("ext4", path))
}

fn full_block(path: &Path) -> Disk {
    directory(path);
    full(FullDisk::block(path))
}

fn full_thin(path: &Path) -> Disk {
    directory(path);
    let bytes = path.join("backing");
    let backing = format!(
        r#"{{ kind = "file", path = "{}", size = "8MiB", create = true, thin_limit = "64KiB", buffered = true }}"#,
        bytes.display()
    );
    let mend: Step = Box::new(|daemon, name| drop(daemon.must(&["volume", "grow-thin", name, "8MiB"])));
    Disk { backing, bytes, fall_ill: nothing(), mend, _keep: Box::new(()) }
}

/// A disk behind FUSE that is ill as long as a file is there.
fn by_file(path: &Path, bytes: PathBuf, fuse: Fuse) -> Disk {
    let inject = path.join("inject");
    let backing = file(&fuse.file);
    let there = inject.clone();
    let fall_ill: Step = Box::new(move |_, _| std::fs::write(&there, "").expect("ours"));
    let mend: Step = Box::new(move |_, _| std::fs::remove_file(&inject).expect("ours"));
    Disk { backing, bytes, fall_ill, mend, _keep: Box::new(fuse) }
}

fn failing(path: &Path, what: &str) -> Disk {
    directory(path);
    let (bytes, inject) = (path.join("disk"), path.join("inject"));
    sparse(&bytes, BYTES);
    let (rate, inject) = (format!("error-{what}-rate=100%"), format!("error-file={}", inject.display()));
    let nbdkit = ["--filter=error", "file", words(&bytes), "error=EIO", &rate, &inject];
    let fuse = Fuse::start(path, BYTES, &nbdkit);
    by_file(path, bytes, fuse)
}

/// A disk over a file by shell commands, some of which fail while the file `inject` is there.
fn by_shell(path: &Path, write: &str, flush: &str) -> Disk {
    directory(path);
    let bytes = path.join("disk");
    sparse(&bytes, BYTES);
    let (disk, inject) = (bytes.display(), path.join("inject"));
    let refuse = |when: &str| {
        format!("if [ -f {} ] && {when}; then echo EIO refused >&2; exit 1; fi", inject.display())
    };
    let size = format!("get_size=echo {BYTES}");
    let read = format!("pread=dd if={disk} skip=$4 count=$3 iflag=count_bytes,skip_bytes status=none");
    let write =
        format!("pwrite={}; dd of={disk} seek=$4 conv=notrunc oflag=seek_bytes status=none", refuse(write));
    let flush = format!("flush={}", refuse(flush));
    let nbdkit = ["eval", &size, &read, &write, &flush, "can_write=exit 0", "can_flush=exit 0"];
    let fuse = Fuse::start(path, BYTES, &nbdkit);
    by_file(path, bytes, fuse)
}

fn bad_range(path: &Path) -> Disk {
    by_shell(path, &format!("[ $4 -lt {} ] && [ $(($4 + $3)) -gt {} ]", BAD.0 + BAD.1, BAD.0), "false")
}

fn bad_flushes(path: &Path) -> Disk {
    by_shell(path, "false", "true")
}

/// Goes on in the end, whatever became of the test: a file system whose server is stopped cannot be unmounted.
struct Stopped(std::sync::Arc<Fuse>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

fn hangs(path: &Path) -> Disk {
    directory(path);
    let bytes = path.join("disk");
    sparse(&bytes, BYTES);
    let fuse = std::sync::Arc::new(Fuse::start(path, BYTES, &["file", words(&bytes)]));
    let backing = file(&fuse.file);
    let (stopped, continued) = (std::sync::Arc::clone(&fuse), std::sync::Arc::clone(&fuse));
    let fall_ill: Step = Box::new(move |_, _| stopped.signal(Signal::STOP));
    let mend: Step = Box::new(move |_, _| continued.signal(Signal::CONT));
    Disk { backing, bytes, fall_ill, mend, _keep: Box::new(Stopped(fuse)) }
}

/// Makes a loop device end after `sectors`, or, with 0, where its file does: as a disk that is unplugged has no bytes left for
/// whoever has it open.
pub(crate) fn limit(device: &Path, sectors: u64) {
    const LOOP_SET_STATUS64: libc::Ioctl = 0x4c04;
    const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
    /// Of `struct loop_info64`, and where in it `lo_sizelimit` is.
    const INFO_BYTES: usize = 232;
    const LIMIT_AT: usize = 32;
    let file = File::open(device).expect("a loop device");
    let mut info = [0u8; INFO_BYTES];
    // SAFETY: the kernel fills a `struct loop_info64`, which has as many bytes.
    let got = unsafe { libc::ioctl(file.as_raw_fd(), LOOP_GET_STATUS64, info.as_mut_ptr()) };
    assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
    info[LIMIT_AT..LIMIT_AT + 8].copy_from_slice(&(sectors * 512).to_ne_bytes());
    // SAFETY: as above; the kernel reads it.
    let set = unsafe { libc::ioctl(file.as_raw_fd(), LOOP_SET_STATUS64, info.as_ptr()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A loop device over a file, and the file.
fn looped(path: &Path) -> (Loop, PathBuf) {
    directory(path);
    let bytes = path.join("disk");
    sparse(&bytes, BYTES);
    (Loop::over(&bytes), bytes)
}

fn goes_away(path: &Path) -> Disk {
    let (device, bytes) = looped(path);
    let (away, back) = (device.device.clone(), device.device.clone());
    let fall_ill: Step = Box::new(move |_, _| limit(&away, 1));
    let mend: Step = Box::new(move |_, _| limit(&back, 0));
    Disk { backing: block(&device.device), bytes, fall_ill, mend, _keep: Box::new(device) }
}

/// The old device stays as it is, as one does that somebody has open; the same disk is there under another name.
fn comes_elsewhere(path: &Path) -> Disk {
    let (device, bytes) = looped(path);
    let away = device.device.clone();
    let fall_ill: Step = Box::new(move |_, _| limit(&away, 1));
    let elsewhere = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (place, disk) = (std::sync::Arc::clone(&elsewhere), bytes.clone());
    let mend: Step = Box::new(move |daemon, name| {
        let device = Loop::over(&disk);
        daemon.must(&["volume", "reopen", name, "--path", words(&device.device), "--dry-run"]);
        let told = daemon.must(&["volume", "reopen", name, "--path", words(&device.device)]);
        assert_eq!((&told["path"], &told["moved"]), (&words(&device.device).into(), &true.into()));
        *place.lock().expect("ours") = Some(device);
    });
    Disk { backing: block(&device.device), bytes, fall_ill, mend, _keep: Box::new((device, elsewhere)) }
}

/// Being read-only stays with the loop device, whatever file it gets next.
struct ReadOnly(Loop);

impl Drop for ReadOnly {
    fn drop(&mut self) {
        run("blockdev", &["--setrw", words(&self.0.device)]);
    }
}

fn read_only_block(path: &Path) -> Disk {
    let (device, bytes) = looped(path);
    let (one, other) = (device.device.clone(), device.device.clone());
    let fall_ill: Step = Box::new(move |_, _| drop(run("blockdev", &["--setro", words(&one)])));
    let mend: Step = Box::new(move |_, _| drop(run("blockdev", &["--setrw", words(&other)])));
    Disk { backing: block(&device.device), bytes, fall_ill, mend, _keep: Box::new(ReadOnly(device)) }
}

/// An ext4 that gives up, as after an error of its journal: it can only be unmounted, checked and mounted again.
fn read_only_ext4(path: &Path) -> Disk {
    directory(path);
    let (image, mounted) = (path.join("image"), path.join("mounted"));
    sparse(&image, 32 * MIB);
    directory(&mounted);
    let device = Loop::over(&image);
    run("mkfs.ext4", &["-qF", words(&device.device)]);
    run("mount", &[words(&device.device), words(&mounted)]);
    let bytes = mounted.join("backing");
    sparse(&bytes, BYTES);
    let (below, above) = (device.device.clone(), mounted.clone());
    let aborted = mounted.clone();
    let fall_ill: Step = Box::new(move |_, _| drop(run("mount", &["-o", "remount,abort", words(&aborted)])));
    let mend: Step = Box::new(move |daemon, name| {
        daemon.must(&["volume", "release", name]);
        assert!(daemon.ctl(&["health"]).json.to_string().contains("HF_DEVICE_GONE"), "{name} is closed");
        eventually("nobody has it open", || {
            let output = std::process::Command::new("umount").arg(&above).output().expect("umount");
            output.status.success().then_some(())
        });
        // It exits with 1 when it has mended something.
        let checked =
            std::process::Command::new("e2fsck").args(["-p", words(&below)]).output().expect("e2fsck");
        assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
        run("mount", &[words(&below), words(&above)]);
        daemon.must(&["volume", "reopen", name]);
    });
    Disk { backing: file(&bytes), bytes, fall_ill, mend, _keep: Box::new((Mount(mounted), device)) }
}
