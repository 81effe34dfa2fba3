//! Disks that really fail: small file systems, loop devices, nbdkit. All of it gone when dropped.

use crate::place::MIB;
use crate::running::eventually;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs a program that must succeed; what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {err}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Tries to undo something until it works: for some 40 ms after a kill, everything is busy.
fn undo(program: &str, arguments: &[&str]) {
    for _ in 0..100 {
        let output = Command::new(program).args(arguments).output();
        if output.is_ok_and(|output| output.status.success()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("left behind: {program} {arguments:?} does not succeed");
}

/// Fills a file until its file system is full.
pub(crate) fn fill_up(path: &Path) {
    let mut filler = File::create(path).expect("a filler");
    for bytes in [MIB, 4096, 512] {
        let block = vec![0x5a; usize::try_from(bytes).expect("small")];
        // Not before what is delayed is allocated is the file system really full.
        while filler
            .write_all(&block)
            .and_then(|()| if bytes == MIB { Ok(()) } else { filler.sync_data() })
            .is_ok()
        {}
        let _ = filler.sync_all();
    }
}

/// A loop device over a file.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
}

impl Loop {
    pub(crate) fn over(file: &Path) -> Loop {
        Loop::with(file, &["-f", "--show"])
    }

    /// One that goes past the page cache of what it is over.
    pub(crate) fn direct(file: &Path) -> Loop {
        Loop::with(file, &["-f", "--show", "--direct-io=on"])
    }

    /// One whose smallest read or write is of so many bytes.
    pub(crate) fn of_blocks(file: &Path, bytes: u64) -> Loop {
        Loop::with(file, &["-f", "--show", "--sector-size", &bytes.to_string()])
    }

    fn with(file: &Path, arguments: &[&str]) -> Loop {
        let device = run("losetup", &[arguments, &[file.to_str().expect("plain")]].concat());
        // Being read-only stays with a loop device, whatever file it gets: a test that was killed may have left that.
        run("blockdev", &["--setrw", &device]);
        Loop { device: device.into() }
    }

    pub(crate) fn words(&self) -> &str {
        self.device.to_str().expect("plain")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        undo("losetup", &["-d", self.words()]);
    }
}

/// Something that is mounted.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    /// What is on a device, to be seen in a directory.
    pub(crate) fn of(device: &str, directory: &Path) -> Mount {
        run("mount", &[device, directory.to_str().expect("plain")]);
        Mount(directory.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        undo("umount", &[self.0.to_str().expect("plain")]);
    }
}

/// Makes a file system.
pub(crate) fn make_file_system(kind: &str, on: &Loop) {
    let quiet = if kind == "xfs" { "-q" } else { "-qF" };
    run(&format!("mkfs.{kind}"), &[quiet, on.words()]);
}

/// A small disk that has run full: the first MiB of the backing and the one from 4 MiB on are allocated, the rest is a
/// hole that nothing can fill before [`FullDisk::make_room`].
pub(crate) struct FullDisk {
    /// What a volume can be put on.
    pub(crate) backing: PathBuf,
    pub(crate) is_block: bool,
    room: Room,
    // In the order in which they must go.
    _block: Option<Loop>,
    _mount: Mount,
    _lower: Option<Loop>,
}

enum Room {
    Filler(PathBuf),
    Grow(PathBuf),
}

/// Bytes of the backing.
pub(crate) const FULL_BYTES: u64 = 8 * MIB;

impl FullDisk {
    /// A sparse file on a file system of its own, made with `mkfs`.
    pub(crate) fn file_system(kind: &str, directory: &Path) -> FullDisk {
        let (image, mounted) = (directory.join("image"), directory.join("mounted"));
        let bytes = if kind == "xfs" { 300 * MIB } else { 32 * MIB };
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image");
        std::fs::create_dir(&mounted).expect("a place to mount on");
        let lower = Loop::over(&image);
        make_file_system(kind, &lower);
        let mount = Mount::of(lower.words(), &mounted);
        let backing = mounted.join("backing");
        write_allocated(&backing);
        let filler = mounted.join("filler");
        fill_up(&filler);
        let room = Room::Filler(filler);
        FullDisk { backing, is_block: false, room, _block: None, _mount: mount, _lower: Some(lower) }
    }

    /// A block device: a loop device over a sparse file on a tmpfs that is full.
    pub(crate) fn block(directory: &Path) -> FullDisk {
        let mounted = directory.join("mounted");
        std::fs::create_dir(&mounted).expect("a place to mount on");
        run("mount", &["-t", "tmpfs", "-o", "size=4m", "none", mounted.to_str().expect("plain")]);
        let mount = Mount(mounted.clone());
        let file = mounted.join("backing");
        write_allocated(&file);
        fill_up(&mounted.join("filler"));
        let block = Loop::over(&file);
        FullDisk {
            backing: block.device.clone(),
            is_block: true,
            room: Room::Grow(mounted),
            _block: Some(block),
            _mount: mount,
            _lower: None,
        }
    }

    /// What an operator does.
    pub(crate) fn make_room(&self) {
        match &self.room {
            Room::Filler(filler) => {
                std::fs::remove_file(filler).expect("removed");
                run("sync", &["-f", self.backing.to_str().expect("plain")]);
            }
            Room::Grow(mounted) => {
                run("mount", &["-o", "remount,size=32m", mounted.to_str().expect("plain")]);
            }
        }
    }
}

/// The places of a [`FullDisk`] that are allocated, with pattern 1.
pub(crate) const ALLOCATED: [u64; 2] = [0, 4 * MIB];

fn write_allocated(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = File::create(path).expect("a backing");
    file.set_len(FULL_BYTES).expect("sparse");
    for offset in ALLOCATED {
        file.write_all_at(&crate::pattern::pattern(1, offset, MIB), offset).expect("room for that");
    }
    file.sync_all().expect("synced");
}

/// nbdkit behind nbdfuse.
pub(crate) struct Fuse {
    pub(crate) file: PathBuf,
    server: Child,
}

impl Fuse {
    /// Serves `bytes` as nbdkit is told to.
    pub(crate) fn start(directory: &Path, bytes: u64, nbdkit: &[&str]) -> Fuse {
        let file = directory.join("fuse");
        std::fs::write(&file, "").expect("a place to mount on");
        let mut command = Command::new("nbdfuse");
        command.arg(&file).args(["--command", "nbdkit", "-s", "--exit-with-parent"]).args(nbdkit);
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nbdfuse");
        let fuse = Fuse { file, server };
        eventually("nbdfuse is mounted", || {
            std::fs::metadata(&fuse.file).ok().filter(|metadata| metadata.len() == bytes)
        });
        fuse
    }
}

impl Fuse {
    /// Sends a signal to the process that answers the kernel.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, signal).expect("it lives");
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        undo("umount", &[self.file.to_str().expect("plain")]);
        // It has ended, unless somebody still uses the file: then the test has failed, and shall end.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
