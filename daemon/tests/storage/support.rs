//! What the tests stand on.

use crate::needs::{can_use, skip};
use holdfast_daemon::arena::{Arena, ArenaError, ArenaLayout, Shard};
use holdfast_daemon::device::{
    Backing, BackingKind, BackingSpec, Disk, DiskOptions, Fallback, Faults, Reaped,
};
use holdfast_engine::{Io, IoKind, OpId, Segment, SlotId, VolumeId};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const LINE: u32 = 4096;
pub(crate) const MIB: u64 = 1 << 20;

/// A directory on the disk that the build is on, or, where that is not ours to write to, on that of `/var/tmp`.
pub(crate) fn on_disk() -> TempDir {
    let build = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"));
    build.or_else(|_| TempDir::new_in("/var/tmp")).expect("there is a disk to write to")
}

/// A directory in memory.
pub(crate) fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").expect("/dev/shm is writable")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn layout(path: &Path) -> ArenaLayout {
    ArenaLayout {
        path: path.join("arena"),
        size_bytes: 2 * MIB,
        reactors: 2,
        line_bytes: LINE,
        stripe_bytes: MIB,
        prefault: true,
        lock_memory: false,
        discard_existing: false,
        volumes: Vec::new(),
    }
}

pub(crate) fn file_spec(path: &Path) -> BackingSpec {
    BackingSpec {
        kind: BackingKind::File,
        path: path.to_owned(),
        size: Some(MIB),
        create: true,
        buffered_allowed: true,
        thin_limit: None,
        read_only: false,
    }
}

/// A disk with its slots, and volumes numbered from 0.
pub(crate) struct Rig {
    pub(crate) shard: Shard,
    pub(crate) disk: Disk,
    pub(crate) fallbacks: Vec<Fallback>,
    next_op: u32,
    memory: Option<TempDir>,
}

pub(crate) const OPS: usize = 32;

impl Rig {
    pub(crate) fn new() -> Rig {
        let memory = in_memory();
        let mut arena = Arena::create(&layout(memory.path()), &mut |_, _| {}).expect("an arena in memory");
        let shard = arena.take_shards().remove(0);
        arena.remove().expect("its names can go, its memory stays");
        Rig::over(shard, memory)
    }

    /// Over a part of an arena, in a directory that goes with it.
    pub(crate) fn over(shard: Shard, memory: TempDir) -> Rig {
        let options = DiskOptions {
            ops_max: OPS,
            segments_max: 16,
            volumes_max: 4,
            watches_max: 4,
            workers_max: 8,
            reactor_cores: &[0],
        };
        let (disk, fallbacks) = Disk::new(&options, shard.slots.addresses()).expect("io_uring");
        Rig { shard, disk, fallbacks, next_op: 0, memory: Some(memory) }
    }

    pub(crate) fn attach(&mut self, volume: u16, backing: &Backing) -> Arc<Faults> {
        let faults = Faults::new();
        self.disk.attach(VolumeId(volume), backing, Some(Arc::clone(&faults))).expect("attached");
        faults
    }

    /// Removes the directory now; the memory stays.
    pub(crate) fn remove_directory(&mut self) {
        self.memory = None;
    }

    /// Fills a slot with one byte.
    pub(crate) fn fill(&mut self, slot: u32, byte: u8) {
        self.shard.slots.copy_in(SlotId(slot), 0, &[byte; LINE as usize]);
    }

    /// What a slot holds.
    pub(crate) fn slot(&self, slot: u32) -> Vec<u8> {
        let mut bytes = vec![0; LINE as usize];
        self.shard.slots.copy_out(SlotId(slot), 0, &mut bytes);
        bytes
    }

    /// Submits an operation over parts of slots (slot, at, length) and enters the kernel.
    pub(crate) fn start(
        &mut self,
        kind: IoKind,
        volume: u16,
        offset: u64,
        parts: &[(u32, u32, u32)],
    ) -> OpId {
        let segment = |&(slot, at, length): &(u32, u32, u32)| Segment { slot: SlotId(slot), at, length };
        let segments: Vec<Segment> = parts.iter().map(segment).collect();
        let length = segments.iter().map(|segment| u64::from(segment.length)).sum();
        self.start_range(kind, volume, offset, length, &segments)
    }

    /// The same for an operation without segments.
    pub(crate) fn start_range(
        &mut self,
        kind: IoKind,
        volume: u16,
        offset: u64,
        length: u64,
        segments: &[Segment],
    ) -> OpId {
        let op = OpId(self.next_op % OPS as u32);
        self.next_op += 1;
        let count = segments.len() as u32;
        let io = Io { op, volume: VolumeId(volume), kind, offset, length, first_segment: 0, segments: count };
        self.disk.submit(&io, segments);
        self.disk.enter().expect("the ring lives");
        op
    }

    /// Sleeps and reaps until there is something; panics if nothing comes.
    pub(crate) fn wait(&mut self) -> Vec<Reaped> {
        let mut found = Vec::new();
        for _ in 0..100 {
            self.disk.reap(|reaped| found.push(reaped));
            if !found.is_empty() {
                return found;
            }
            self.disk.sleep(Some(Duration::from_millis(100))).expect("the ring lives");
        }
        panic!("nothing in 10 s, with {} in flight", self.disk.in_flight());
    }

    /// Waits for the one operation in flight (and not hung).
    pub(crate) fn result_of(&mut self, op: OpId) -> i32 {
        match self.wait()[..] {
            [Reaped::Completed { op: ended, result }] if ended == op => result,
            ref other => panic!("{other:?} instead of the end of {op:?}"),
        }
    }

    pub(crate) fn write(&mut self, volume: u16, offset: u64, slot: u32) -> i32 {
        let op = self.start(IoKind::Write, volume, offset, &[(slot, 0, LINE)]);
        self.result_of(op)
    }

    pub(crate) fn read(&mut self, volume: u16, offset: u64, slot: u32) -> i32 {
        let op = self.start(IoKind::Read, volume, offset, &[(slot, 0, LINE)]);
        self.result_of(op)
    }

    pub(crate) fn range(&mut self, kind: IoKind, volume: u16, offset: u64, length: u64) -> i32 {
        let op = self.start_range(kind, volume, offset, length, &[]);
        self.result_of(op)
    }

    pub(crate) fn flush(&mut self, volume: u16) -> i32 {
        self.range(IoKind::Flush, volume, 0, 0)
    }
}

/// Runs a program; its output if it succeeded.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A loop device, gone when dropped.
pub(crate) struct Loop {
    pub(crate) path: String,
}

impl Loop {
    /// None, loudly, if this is not root or there is no losetup.
    pub(crate) fn over(file: &Path) -> Option<Loop> {
        let attach = || output_of("losetup", &["-f", "--show", file.to_str()?]);
        can_use(&["losetup"]).then(|| Loop { path: attach().expect("a loop device") })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Busy for some 40 ms after the last operation; the kernel detaches it when it is not any more.
        let _ = output_of("losetup", &["-d", &self.path]);
    }
}

/// nbdkit behind nbdfuse; unmounted when dropped.
pub(crate) struct Fuse {
    pub(crate) file: PathBuf,
    server: Child,
}

impl Fuse {
    /// Serves what nbdkit is told to; it must have 1 MiB. None, loudly, if there is no root, nbdfuse or nbdkit.
    pub(crate) fn start(directory: &Path, nbdkit: &[impl AsRef<OsStr>]) -> Option<Fuse> {
        let start = || Fuse::try_start(directory, nbdkit).expect("nbdfuse is mounted");
        can_use(&["nbdfuse", "nbdkit"]).then(start)
    }

    fn try_start(directory: &Path, nbdkit: &[impl AsRef<OsStr>]) -> Option<Fuse> {
        let file = directory.join("disk");
        std::fs::write(&file, "").expect("a place to mount on");
        let mut command = Command::new("nbdfuse");
        command.arg(&file).args(["--command", "nbdkit", "-s", "--exit-with-parent"]).args(nbdkit);
        let server = command.stdout(Stdio::null()).spawn().ok()?;
        let fuse = Fuse { file, server };
        for _ in 0..200 {
            if std::fs::metadata(&fuse.file).is_ok_and(|metadata| metadata.len() == MIB) {
                return Some(fuse);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _ = output_of("umount", &["-l", self.file.to_str().unwrap_or_default()]);
        let _ = self.server.wait();
    }
}

/// A hugetlbfs of our own; unmounted when dropped.
pub(crate) struct HugePages {
    pub(crate) mounted: PathBuf,
    _directory: TempDir,
}

impl HugePages {
    /// None, loudly, if this is not root.
    pub(crate) fn mount() -> Option<HugePages> {
        if !can_use(&["mount"]) {
            return None;
        }
        let directory = in_memory();
        let mounted = directory.path().join("huge");
        std::fs::create_dir(&mounted).expect("made");
        output_of("mount", &["-t", "hugetlbfs", "none", mounted.to_str()?]).expect("mounted");
        Some(HugePages { mounted, _directory: directory })
    }

    /// An arena on it; none, loudly, if there are too few free huge pages, whose error then says how to mend that.
    pub(crate) fn arena(&self, layout: &ArenaLayout) -> Option<Arena> {
        match Arena::create(layout, &mut |_, _| {}) {
            Ok(arena) => Some(arena),
            Err(ArenaError::HugePages { needed, free, total, mend, knob, .. }) => {
                skip("there are too few free huge pages to make an arena of them");
                assert!(free < needed && mend == total + needed - free && knob.ends_with("nr_hugepages"));
                None
            }
            Err(other) => panic!("{other}"),
        }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = output_of("umount", &["--lazy", self.mounted.to_str().unwrap_or_default()]);
    }
}
