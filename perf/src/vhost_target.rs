//! A volume or a file behind a vhost-user-blk server, as a target: what a virtual machine's driver would do, without the machine
//! (libblkio's driver). It polls, and kicks the server only when that asks for it.
#![allow(unsafe_code, reason = "libblkio's interface is one of raw pointers")]

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::NonNull;

use anyhow::{Context, ensure};
use blkio::{Blkio, BlkioStartOutcome, Blkioq, Completion, MemoryRegion, ReqFlags};

use crate::load::{LoadError, Operation, Target};
use crate::window::Window;

/// Fruitless polls after which the core is offered to others: some 100 us.
const SPINS: u32 = 1 << 12;

/// A driver with one virtqueue, which is the only one of its server.
pub struct VhostUser {
    queue: Blkioq,
    /// Keeps the queue's device and its memory.
    _driver: Blkio,
    region: MemoryRegion,
    block: usize,
    answers: Vec<MaybeUninit<Completion>>,
    fruitless: u32,
}

impl std::fmt::Debug for VhostUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VhostUser").field("block", &self.block).finish_non_exhaustive()
    }
}

impl VhostUser {
    /// Becomes the server's driver, with memory for `depth` requests of `block` bytes.
    ///
    /// # Errors
    /// If nobody listens, another driver is there, or the device is shorter than `span_bytes`.
    pub fn connect(socket: &Path, depth: u32, span_bytes: u64, block: u64) -> anyhow::Result<Self> {
        let place = || socket.display().to_string();
        let mut driver = Blkio::new("virtio-blk-vhost-user")?;
        driver.set_str("path", socket.to_str().context("a socket's path that is not UTF-8")?)?;
        driver.connect().with_context(place)?;
        driver.set_i32("num-queues", 1)?;
        let BlkioStartOutcome { mut queues, .. } = driver.start().with_context(place)?;
        let capacity = driver.get_u64("capacity")?;
        ensure!(
            span_bytes <= capacity,
            "the disk at {} has {capacity} bytes: {span_bytes} do not fit",
            place()
        );
        let block = usize::try_from(block)?;
        let bytes = (depth as usize * block)
            .next_multiple_of(usize::try_from(driver.get_u64("mem-region-alignment")?)?);
        let region = driver.alloc_mem_region(bytes).context("memory for requests")?;
        driver.map_mem_region(&region).context("memory that the server sees")?;
        let answers = (0..depth).map(|_| MaybeUninit::uninit()).collect();
        let queue = queues.pop().context("a virtqueue")?;
        Ok(Self { queue, _driver: driver, region, block, answers, fruitless: 0 })
    }

    /// Makes what was written durable, as far as the server does; nothing may be in flight.
    ///
    /// # Errors
    /// If it refuses, or is gone.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        self.queue.flush(0, ReqFlags::empty());
        let mut done = Vec::new();
        while done.is_empty() {
            self.poll(&mut done)?;
        }
        Ok(())
    }

    fn buffer(&self, tag: u32) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.region.addr + tag as usize * self.block)
    }
}

impl Target for VhostUser {
    fn window(&self, tag: u32) -> Window<'_> {
        let start = NonNull::new(self.buffer(tag)).expect("mapped memory");
        // SAFETY: the region has room for `block` bytes for each tag, is page-aligned, and lives as long as the driver, which
        // `&self` keeps alive.
        unsafe { Window::sized(start, self.block) }
    }

    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        let (buffer, name) = (self.buffer(tag), tag as usize);
        match operation {
            Operation::Read => self.queue.read(offset, buffer, self.block, name, ReqFlags::empty()),
            Operation::Write => self.queue.write(offset, buffer, self.block, name, ReqFlags::empty()),
        }
        Ok(())
    }

    /// The driver has no step of its own for it: what is queued goes with the next look for answers.
    fn publish(&mut self) {}

    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        let found = self.queue.do_io(&mut self.answers, 0, None, None);
        let found = found.map_err(|error| LoadError::File(std::io::Error::other(error)))?;
        for answer in &self.answers[..found] {
            // SAFETY: `do_io` has filled the first `found`.
            let answer = unsafe { answer.assume_init_ref() };
            if answer.ret != 0 {
                return Err(LoadError::Refused { errno: answer.ret.saturating_neg() });
            }
            done.push(u32::try_from(answer.user_data).expect("a tag of ours"));
        }
        self.fruitless = if found > 0 { 0 } else { self.fruitless + 1 };
        if self.fruitless == SPINS {
            self.fruitless = 0;
            std::thread::yield_now();
        }
        Ok(())
    }
}
