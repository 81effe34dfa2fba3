//! libblkio's vhost-user driver: a guest's disk without a guest.
#![allow(unsafe_code, reason = "libblkio's interface is one of raw pointers")]

use blkio::{Blkio, BlkioStartOutcome, Blkioq, Completion, MemoryRegion, ReqFlags};
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

const FLAGS: ReqFlags = ReqFlags::empty();
/// Longer than anything takes that will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk with its queues, and memory for data that the daemon sees.
pub(crate) struct BlkioDisk {
    queues: Vec<Blkioq>,
    driver: Blkio,
    region: MemoryRegion,
}

impl BlkioDisk {
    /// Connects, with this many queues and bytes of memory.
    pub(crate) fn connect(socket: &Path, queues: i32, bytes: usize) -> BlkioDisk {
        let mut driver = Blkio::new("virtio-blk-vhost-user").expect("the driver");
        driver.set_str("path", socket.to_str().expect("plain")).expect("a path");
        driver.connect().unwrap_or_else(|error| panic!("connect: {error}"));
        driver.set_i32("num-queues", queues).expect("as many queues");
        let BlkioStartOutcome { queues, .. } =
            driver.start().unwrap_or_else(|error| panic!("start: {error}"));
        let region = driver.alloc_mem_region(bytes).expect("memory");
        driver.map_mem_region(&region).unwrap_or_else(|error| panic!("map: {error}"));
        BlkioDisk { queues, driver, region }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.driver.get_u64("capacity").expect("a size")
    }

    /// Puts data into the shared memory.
    pub(crate) fn put(&mut self, at: usize, data: &[u8]) {
        assert!(at + data.len() <= self.region.len);
        // SAFETY: inside the region, which is mapped as long as `self`; no request for these bytes is in flight.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.at(at), data.len()) };
    }

    /// What is in the shared memory.
    pub(crate) fn get(&self, at: usize, length: usize) -> Vec<u8> {
        assert!(at + length <= self.region.len);
        let mut data = vec![0; length];
        // SAFETY: as in `put`.
        unsafe { std::ptr::copy_nonoverlapping(self.at(at), data.as_mut_ptr(), length) };
        data
    }

    fn at(&self, at: usize) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.region.addr + at)
    }

    /// Starts a request by this name.
    pub(crate) fn start(&mut self, queue: usize, name: usize, ask: Ask) {
        let (address, queue) = (|at: usize| self.at(at), queue);
        match ask {
            Ask::Read { offset, at, length } => {
                let buffer = address(at);
                self.queues[queue].read(offset, buffer, length, name, FLAGS);
            }
            Ask::Write { offset, at, length } => {
                let buffer = address(at);
                self.queues[queue].write(offset, buffer, length, name, FLAGS);
            }
            Ask::Flush => self.queues[queue].flush(name, FLAGS),
            Ask::Discard { offset, length } => self.queues[queue].discard(offset, length, name, FLAGS),
            Ask::Zero { offset, length } => self.queues[queue].write_zeroes(offset, length, name, FLAGS),
        }
    }

    /// Waits for `count` answers: names, each with 0 or a negative errno.
    pub(crate) fn finish(&mut self, queue: usize, count: usize) -> Vec<(usize, i32)> {
        let mut found: Vec<MaybeUninit<Completion>> = (0..count).map(|_| MaybeUninit::uninit()).collect();
        let done = self.queues[queue]
            .do_io(&mut found, count, Some(&mut PATIENCE.clone()), None)
            .unwrap_or_else(|error| panic!("{count} answers: {error}"));
        assert_eq!(done, count, "answers in time");
        // SAFETY: `do_io` has filled the first `done`.
        found.iter().map(|one| unsafe { one.assume_init_ref() }).map(|one| (one.user_data, one.ret)).collect()
    }

    /// One request that must succeed.
    pub(crate) fn must(&mut self, ask: Ask) {
        assert_eq!(self.tried(ask), 0, "{ask:?}");
    }

    /// One request: 0 or a negative errno.
    pub(crate) fn tried(&mut self, ask: Ask) -> i32 {
        self.start(0, 7, ask);
        let answers = self.finish(0, 1);
        assert_eq!(answers[0].0, 7);
        answers[0].1
    }
}

/// A request; `at` is a place in the shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Read { offset: u64, at: usize, length: usize },
    Write { offset: u64, at: usize, length: usize },
    Flush,
    Discard { offset: u64, length: u64 },
    Zero { offset: u64, length: u64 },
}
