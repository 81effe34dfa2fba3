//! What users would pick instead: a file through the page cache, and past it with O_DIRECT and io_uring.
#![allow(unsafe_code, reason = "hands memory to the kernel, and gives the client windows on it")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;

use io_uring::{IoUring, opcode, types};
use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::load::{LoadError, Operation, Target};
use crate::window::Window;

/// Fruitless polls after which the core is offered to others: some 100 us.
const SPINS: u32 = 1 << 8;

/// A block of private, page-aligned memory for each tag.
#[derive(Debug)]
pub(crate) struct Buffers {
    map: MmapRaw,
    tags: usize,
    block: usize,
}

impl Buffers {
    pub(crate) fn new(depth: u32, block: u64) -> io::Result<Self> {
        let block = usize::try_from(block).map_err(io::Error::other)?;
        let tags = depth as usize;
        let map = MmapRaw::from(MmapOptions::new().len(tags * block.next_multiple_of(4096)).map_anon()?);
        map.advise(Advice::PopulateWrite)?;
        Ok(Self { map, tags, block })
    }

    fn start(&self, tag: u32) -> NonNull<u8> {
        assert!((tag as usize) < self.tags, "tag {tag}");
        // SAFETY: `new` made room for `tags` blocks, each rounded up to pages, and the tag is below that.
        let start = unsafe { self.map.as_mut_ptr().add(tag as usize * self.block.next_multiple_of(4096)) };
        NonNull::new(start).expect("a mapping is not at address 0")
    }

    pub(crate) fn window(&self, tag: u32) -> Window<'_> {
        // SAFETY: page-aligned, `block` bytes inside the mapping (`start`), which lives as long as `&self`.
        unsafe { Window::sized(self.start(tag), self.block) }
    }

    pub(crate) fn bytes(&mut self, tag: u32) -> &mut [u8] {
        // SAFETY: as in `window`; `&mut self` excludes windows, which borrow `self`, and no kernel request uses the
        // memory: those who call this give it to the kernel for the time of a system call only. `Direct` does not.
        unsafe { std::slice::from_raw_parts_mut(self.start(tag).as_ptr(), self.block) }
    }
}

/// `pwrite` and `pread` by one thread; each is carried out when it is submitted.
#[derive(Debug)]
pub struct PageCache {
    file: File,
    buffers: Buffers,
    done: Vec<u32>,
}

impl PageCache {
    /// # Errors
    /// If the file cannot be opened, or there is no memory.
    pub fn open(path: &Path, depth: u32, block: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let buffers = Buffers::new(depth, block)?;
        Ok(Self { file, buffers, done: Vec::with_capacity(depth as usize) })
    }
}

impl Target for PageCache {
    fn window(&self, tag: u32) -> Window<'_> {
        self.buffers.window(tag)
    }

    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        let bytes = self.buffers.bytes(tag);
        let wanted = bytes.len();
        let moved = match operation {
            Operation::Write => rustix::io::pwrite(&self.file, bytes, offset),
            Operation::Read => rustix::io::pread(&self.file, bytes, offset),
        };
        whole(moved.map_err(io::Error::from)?, wanted)?;
        self.done.push(tag);
        Ok(())
    }

    fn publish(&mut self) {}

    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        done.append(&mut self.done);
        Ok(())
    }
}

fn whole(moved: usize, wanted: usize) -> io::Result<()> {
    if moved == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{moved} bytes of {wanted} were moved: the file is too short or its disk full"
    )))
}

/// O_DIRECT through io_uring, with a registered file.
pub struct Direct {
    ring: IoUring,
    buffers: Buffers,
    in_flight: usize,
    fruitless: u32,
    /// Named by the ring; closed after it.
    _file: File,
}

impl Direct {
    /// # Errors
    /// If the file cannot be opened with O_DIRECT, or the kernel has no io_uring for us.
    pub fn open(path: &Path, depth: u32, block: u64) -> io::Result<Self> {
        let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(direct).open(path)?;
        let ring = IoUring::new(depth.next_power_of_two())?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let buffers = Buffers::new(depth, block)?;
        Ok(Self { ring, buffers, in_flight: 0, fruitless: 0, _file: file })
    }

    fn take(&mut self, mut each: impl FnMut(u32)) -> io::Result<usize> {
        let mut taken = 0;
        let mut outcome = Ok(());
        for completion in self.ring.completion() {
            taken += 1;
            let result = completion.result();
            let moved = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            outcome = outcome.and(moved.and_then(|moved| whole(moved, self.buffers.block)));
            each(u32::try_from(completion.user_data()).expect("a tag of ours"));
        }
        self.in_flight -= taken;
        outcome.map(|()| taken)
    }
}

impl Target for Direct {
    fn window(&self, tag: u32) -> Window<'_> {
        self.buffers.window(tag)
    }

    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        let start = self.buffers.start(tag).as_ptr();
        let length = u32::try_from(self.buffers.block).expect("at most 1 MiB");
        let entry = match operation {
            Operation::Write => opcode::Write::new(types::Fixed(0), start, length).offset(offset).build(),
            Operation::Read => opcode::Read::new(types::Fixed(0), start, length).offset(offset).build(),
        };
        // SAFETY: the tag's memory is its request's until it is done: the generator does not touch a window in flight,
        // and `drop` waits for what is left before the memory goes.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(u64::from(tag))) };
        pushed.map_err(io::Error::other)?;
        self.in_flight += 1;
        Ok(())
    }

    fn publish(&mut self) {}

    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        if !self.ring.submission().is_empty() {
            self.ring.submit()?;
        }
        if self.take(|tag| done.push(tag))? > 0 {
            self.fruitless = 0;
            return Ok(());
        }
        self.fruitless += 1;
        if self.fruitless == SPINS {
            self.fruitless = 0;
            std::thread::yield_now();
        }
        std::hint::spin_loop();
        Ok(())
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        while self.in_flight > 0 {
            // Interrupted: waits again. An answer with an error is an answer.
            let _ = self.ring.submit_and_wait(1);
            let _ = self.take(|_| ());
        }
    }
}

/// Makes what was written to the file durable.
///
/// # Errors
/// As the system tells.
pub fn make_durable(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_data()
}

/// A file of so many bytes, allocated.
///
/// # Errors
/// If there is no room.
pub fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create_new(path)?;
    Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
}
