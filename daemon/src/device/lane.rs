//! Operations that may wait in the kernel: flushes, zeroes and discards everywhere, reads and writes where a ring cannot promise
//! not to wait. Threads carry them out, which share the daemon's memory and none of its descriptors.
//!
//! A thread that hangs in the kernel outlives the daemon that was killed, and with it the table of descriptors that it shares:
//! locks, listening sockets, connections, other volumes' devices. The worker threads of an io_uring share the table of whoever
//! submits, and that one does not even end before they have (`io_wq_exit_workers`, io_uring/io-wq.c). So a reactor's ring
//! gets only what does not wait, and a volume's lane has a table of its own, in which nothing but the volume's device is: that
//! stays locked until the last operation has ended (mechanism M1), and nothing else does.
//!
//! ```text
//! reactor -> jobs, a word -> a thread of the lane: one system call -> results, a word -> reactor
//! ```
//! Each reactor has a lane of its own for each volume, so that both queues have one end there; a lane begins with one thread,
//! and another one comes when all of them wait and there is more to do.

mod carry;
#[cfg(test)]
mod tests;

use super::apart;
use crossbeam::queue::ArrayQueue;
use holdfast_engine::{IoKind, OpId};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Bytes of a thread's stack: it makes system calls, and nothing deep.
const STACK_BYTES: usize = 128 << 10;

/// An operation to be carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) op: OpId,
    pub(super) kind: IoKind,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Of a read or write: where its bytes are. Stays as it is until the result was taken.
    pub(super) vector: *const libc::iovec,
    pub(super) parts: u32,
}

/// Where a reactor's lanes leave their results.
#[derive(Debug)]
pub(super) struct Results {
    queue: ArrayQueue<(OpId, i32)>,
    bell: OwnedFd,
}

impl Results {
    /// For so many operations in flight.
    pub(super) fn new(operations: usize) -> io::Result<Results> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Results { queue: ArrayQueue::new(operations), bell })
    }

    /// The next one; no system call, and where there is none, no fence, with which `pop` would begin: it waits for what the
    /// last turn showed to clients.
    #[inline]
    pub(super) fn take(&self) -> Option<(OpId, i32)> {
        if self.queue.is_empty() { None } else { self.queue.pop() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What a reactor that sleeps is woken by.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes back what has been rung so far.
    pub(super) fn hush(&self) {
        // Nothing to take back is no error.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

/// What the threads of a lane share with their reactor.
#[derive(Debug)]
struct Shared {
    jobs: ArrayQueue<Job>,
    results: Arc<Results>,
    /// Counts calls to come, as a semaphore: each wakes one thread.
    call: OwnedFd,
    threads_max: u32,
    threads: AtomicU32,
    /// Threads that wait for a call, or are about to.
    idle: AtomicU32,
    over: AtomicBool,
    /// All threads but the first.
    others: Mutex<Vec<JoinHandle<()>>>,
}

/// A reactor's way to the operations of one volume that may wait.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    first: JoinHandle<()>,
}

impl Lane {
    /// Starts a lane for a device, of which it keeps the description until it has ended. Its threads run on `cores`, or
    /// anywhere if there are none.
    ///
    /// # Errors
    /// The kernel gives no thread, no eventfd, or no table of its own (`close_range`, Linux 5.11).
    pub(super) fn start(
        device: &OwnedFd,
        results: &Arc<Results>,
        operations: usize,
        threads_max: u32,
        cores: &[usize],
    ) -> io::Result<Lane> {
        let call = eventfd(0, EventfdFlags::SEMAPHORE | EventfdFlags::CLOEXEC)?;
        let shared = Arc::new(Shared {
            jobs: ArrayQueue::new(operations),
            results: Arc::clone(results),
            call,
            threads_max,
            threads: AtomicU32::new(1),
            idle: AtomicU32::new(0),
            over: AtomicBool::new(false),
            others: Mutex::new(Vec::new()),
        });
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let here = carry::Here {
            device: device.as_raw_fd(),
            call: shared.call.as_raw_fd(),
            bell: results.bell.as_raw_fd(),
        };
        let (cores, its_own) = (cores.to_vec(), Arc::clone(&shared));
        let first = builder().spawn(move || {
            let apart = apart::from_the_rest(&[here.device, here.call, here.bell], &cores);
            let goes_on = apart.is_ok();
            // Whoever started it waits for that.
            let _ = ready.send(apart);
            if goes_on {
                carry::first(&its_own, here);
            }
        })?;
        is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has died")))?;
        Ok(Lane { shared, first })
    }

    /// Leaves an operation with it. Nobody hears of it before [`Lane::call`].
    ///
    /// # Panics
    /// If more are in flight than it was made for.
    pub(super) fn push(&self, job: Job) {
        assert!(self.shared.jobs.push(job).is_ok(), "a lane has room for all operations of its reactor");
    }

    /// Says that there is something to do, once for any number of operations. Never waits.
    pub(super) fn call(&self) {
        self.shared.ring();
    }

    /// Ends it: at once if nothing is in flight, else when that is over. Nobody waits.
    pub(super) fn end(&self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.ring();
    }

    /// Ends it and waits until its device is let go of. Nothing may be in flight.
    pub(super) fn close(self) {
        self.end();
        // A thread that panicked has aborted the process.
        let _ = self.first.join();
    }
}

impl Shared {
    fn ring(&self) {
        // It only fails if 2^64 - 2 calls wait.
        let _ = rustix::io::write(&self.call, &1u64.to_ne_bytes());
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder() -> std::thread::Builder {
    std::thread::Builder::new().name("holdfast-io".to_owned()).stack_size(STACK_BYTES)
}
