//! A reactor's way to its disks: operations in, completions out.
#![allow(unsafe_code, reason = "pushes io_uring entries that name memory and descriptors")]

use super::attached::{Attached, LaneOptions};
use super::bell::Bells;
use super::faults::FaultVerdict;
use super::lane::Results;
use super::ring::{self, Buffers};
use super::target::Vectors;
use super::thin::Reservation;
use super::watch::Watches;
use super::{DiskError, Fallback};
use crate::arena::SlotAddresses;
use holdfast_engine::{Io, IoKind, OpId, Segment, VolumeId};
use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, types};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// What bounds a [`Disk`].
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions<'a> {
    /// Operations in flight at most; every [`OpId`] is below it.
    pub ops_max: usize,
    /// Segments of one operation at most.
    pub segments_max: usize,
    /// Every [`VolumeId`] is below it.
    pub volumes_max: usize,
    /// Descriptors watched at most.
    pub watches_max: usize,
    /// Threads that carry out the operations of one volume that may wait, at most; and worker threads of the kernel's.
    pub workers_max: u32,
    /// The cores that those threads keep off.
    pub reactor_cores: &'a [usize],
}

/// Something that [`Disk::reap`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// An operation ended.
    Completed {
        /// Which.
        op: OpId,
        /// Bytes done (0 for flush, zeroes and discard), or a negative errno.
        result: i32,
    },
    /// A watched descriptor has something to read, or an end or error to tell. Comes once for each change: read until
    /// there is nothing left.
    Wake {
        /// What [`Disk::watch`] was given.
        key: u64,
    },
}

/// An operation that was submitted and not yet reaped.
pub(super) struct Op {
    pub(super) volume: VolumeId,
    pub(super) kind: IoKind,
    pub(super) offset: u64,
    pub(super) length: u64,
    reserved: Option<Reservation>,
    /// The description that it was given to the ring with, which is not closed before it has ended: its number names it there.
    /// None in a lane, and before.
    pub(super) in_ring: Option<Arc<OwnedFd>>,
}

/// An operation that a fault rule keeps back.
struct Hung {
    rule: u32,
    volume: VolumeId,
    op: OpId,
}

/// One reactor's io_uring. To be made, used and dropped on that reactor's thread: the kernel takes entries from no
/// other. In a turn:
///
/// ```text
/// disk.reap(|reaped| ...);     // no system call
/// disk.submit(&io, segments);  // for each operation; no system call
/// disk.enter()?;               // one system call if anything was queued or the kernel asks for it, else none
/// ```
/// and `disk.sleep(timeout)` instead of the last, when there is nothing to do.
///
/// Dropping it with operations in flight is no harm to memory, as slots are never unmapped; the kernel ends them in its
/// own time, and until then the backings stay locked.
pub struct Disk {
    pub(super) ring: IoUring,
    addresses: SlotAddresses,
    buffers: Buffers,
    pub(super) vectors: Vectors,
    pub(super) ops: Box<[Option<Op>]>,
    pub(super) volumes: Box<[Option<Attached>]>,
    /// What lanes have done.
    pub(super) results: Arc<Results>,
    pub(super) lanes: LaneOptions,
    /// Volumes whose lanes were not told of all that they have.
    pub(super) uncalled: Vec<VolumeId>,
    pub(super) watches: Watches,
    pub(super) bells: Bells,
    /// Entries that found the submission queue full.
    waiting: VecDeque<Entry>,
    /// Operations that ended without the device.
    ended: VecDeque<(OpId, i32)>,
    hung: Vec<Hung>,
    in_flight: usize,
}

/// What an entry's user data means, in its upper byte.
pub(super) const KIND_SHIFT: u32 = 56;
const KIND_OP: u64 = 0;
pub(super) const KIND_WATCH: u64 = 1;
pub(super) const KIND_IGNORED: u64 = 2;
pub(super) const KIND_BELL: u64 = 3;
/// The watch of the results' bell; a caller's keys are others.
pub(super) const RESULTS_KEY: u64 = u64::MAX - 1;
impl Disk {
    /// Sets a ring up over the slots' memory. Must be called on the thread that will use it.
    ///
    /// # Errors
    /// [`DiskError::Setup`]. What is only slower comes as a list of [`Fallback`]s.
    ///
    /// # Panics
    /// If a bound is 0 or absurd.
    pub fn new(options: &DiskOptions<'_>, slots: &SlotAddresses) -> Result<(Disk, Vec<Fallback>), DiskError> {
        let (mut disk, mut fallbacks) = Disk::unregistered(options, slots)?;
        fallbacks.extend(disk.register_memory());
        Ok((disk, fallbacks))
    }

    /// Registers the slots' memory, if that was not done: it costs 8 ms for each GiB, or 1 s where the page tables are empty.
    /// Operations in flight go on as they are. Returns what is slower for want of it.
    pub fn register_memory(&mut self) -> Vec<Fallback> {
        let mut fallbacks = Vec::new();
        if self.buffers == Buffers::Plain {
            self.buffers = ring::register_buffers(&self.ring, &self.addresses, &mut fallbacks);
        }
        fallbacks
    }

    /// [`Disk::new`] without registering the slots' memory, which can come later.
    ///
    /// # Errors
    /// As [`Disk::new`].
    ///
    /// # Panics
    /// As [`Disk::new`].
    pub fn unregistered(
        options: &DiskOptions<'_>,
        slots: &SlotAddresses,
    ) -> Result<(Disk, Vec<Fallback>), DiskError> {
        let &DiskOptions { ops_max, segments_max, volumes_max, watches_max, workers_max, reactor_cores } =
            options;
        assert!(
            (1..=16_384).contains(&ops_max),
            "{ops_max} operations: io_uring's queues end at 32,768 entries"
        );
        assert!(
            (1..=1024).contains(&segments_max) && volumes_max > 0,
            "{segments_max} segments, {volumes_max} volumes"
        );
        let entries = u32::try_from(ops_max + 2 * watches_max).expect("bounded").next_power_of_two();
        let mut fallbacks = Vec::new();
        let ring = ring::build(entries, &mut fallbacks)?;
        let setup = |source| DiskError::Setup { source };
        ring::tame_workers(&ring, workers_max, reactor_cores, &mut fallbacks);
        let results = Arc::new(Results::new(ops_max).map_err(setup)?);
        let lanes = LaneOptions {
            operations: ops_max,
            threads_max: workers_max,
            cores: ring::free_cores(reactor_cores),
        };
        let mut disk = Disk {
            ring,
            addresses: slots.clone(),
            buffers: Buffers::Plain,
            vectors: Vectors::new(ops_max, segments_max),
            ops: (0..ops_max).map(|_| None).collect(),
            volumes: (0..volumes_max).map(|_| None).collect(),
            results,
            lanes,
            uncalled: Vec::with_capacity(volumes_max),
            watches: Watches::new(watches_max + 1),
            bells: Bells::default(),
            waiting: VecDeque::with_capacity(ops_max + 2 * watches_max),
            ended: VecDeque::with_capacity(ops_max),
            hung: Vec::with_capacity(ops_max),
            in_flight: 0,
        };
        let results = Arc::clone(&disk.results);
        disk.watch(results.bell(), RESULTS_KEY)?;
        Ok((disk, fallbacks))
    }

    /// Queues an operation. It is the device's from the next [`Disk::enter`] on.
    ///
    /// # Panics
    /// If its id is in flight or its volume not attached, or its segments do not add up: our bugs.
    pub fn submit(&mut self, io: &Io, segments: &[Segment]) {
        let place = &mut self.ops[io.op.0 as usize];
        assert!(place.is_none(), "operation {} is in flight", io.op.0);
        let volume = self.volumes[usize::from(io.volume.0)].as_mut().expect("the volume is attached");
        self.in_flight += 1;
        *place = Some(Op {
            volume: io.volume,
            kind: io.kind,
            offset: io.offset,
            length: io.length,
            reserved: None,
            in_ring: None,
        });
        let verdict = volume.faults.as_mut().map_or(FaultVerdict::Pass, |faults| faults.judge(io));
        let gone = volume.backing.is_none().then_some(-Errno::NODEV.raw_os_error());
        let failed = if let FaultVerdict::Fail(result) = verdict { Some(result) } else { gone };
        if let Some(result) = failed {
            self.ended.push_back((io.op, result));
            return;
        }
        if let (Some(thin), IoKind::Write) = (&volume.thin, io.kind) {
            let reserved = thin.reserve(io.offset, io.length);
            if reserved.is_none() {
                self.ended.push_back((io.op, -Errno::NOSPC.raw_os_error()));
                return;
            }
            place.as_mut().expect("filled above").reserved = reserved;
        }
        self.vectors.note(io, segments, &self.addresses);
        match verdict {
            FaultVerdict::Hang(rule) => self.hung.push(Hung { rule, volume: io.volume, op: io.op }),
            _ => self.go(io.op),
        }
    }

    /// Gives an operation to its device: through the ring, if the kernel need not wait for it, else round it.
    fn go(&mut self, op: OpId) {
        let asked = self.ops[op.0 as usize].as_mut().expect("it is in flight");
        let volume = self.volumes[usize::from(asked.volume.0)].as_mut().expect("it was attached at submit");
        let Some(file) = volume.file_for_ring(asked.kind) else { return self.detour(op) };
        let number = types::Fd(file.as_raw_fd());
        asked.in_ring = Some(file);
        let entry = self.vectors.entry(op, asked.kind, asked.offset, self.buffers, number);
        self.queue(entry.user_data(KIND_OP << KIND_SHIFT | u64::from(op.0)));
    }

    /// Gives what is queued to the kernel, and lets it post completions if it asks for that. No system call if there
    /// is neither.
    ///
    /// # Errors
    /// [`DiskError::Enter`]: the ring is of no more use.
    pub fn enter(&mut self) -> Result<(), DiskError> {
        if !self.hung.is_empty() {
            self.release_hung();
        }
        if !self.uncalled.is_empty() {
            self.call_lanes();
        }
        loop {
            self.queue_waiting();
            let queue = self.ring.submission();
            let needed = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
            drop(queue);
            if !needed {
                return Ok(());
            }
            entered(self.ring.submit())?;
            // What did not fit goes now, unless the kernel has taken nothing.
            if self.waiting.is_empty() || self.ring.submission().is_full() {
                return Ok(());
            }
        }
    }

    /// The same, then sleeps until there is something to reap, or for `timeout`; without one, for ever. Returns at once
    /// if there is something already.
    ///
    /// # Errors
    /// As [`Disk::enter`].
    pub fn sleep(&mut self, timeout: Option<Duration>) -> Result<(), DiskError> {
        self.enter()?;
        let results = !self.ended.is_empty() || !self.results.is_empty();
        if results || !self.waiting.is_empty() || !self.ring.completion().is_empty() {
            return Ok(());
        }
        let span = timeout.map(types::Timespec::from);
        let slept = match &span {
            Some(span) => self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(span)),
            None => self.ring.submitter().submit_and_wait(1),
        };
        entered(slept)
    }

    /// Hands out what has ended or woken since the last time; returns how much. No system call.
    pub fn reap(&mut self, mut each: impl FnMut(Reaped)) -> usize {
        let mut count = self.ended.len();
        while let Some((op, result)) = self.ended.pop_front() {
            self.settle(op, result);
            each(Reaped::Completed { op, result });
        }
        while let Some((op, result)) = self.results.take() {
            let result = if result < 0 { self.refused(op, result) } else { result };
            self.settle(op, result);
            each(Reaped::Completed { op, result });
            count += 1;
        }
        // One by one: what a completion leads to needs the whole disk.
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else { return count };
            if let Some(reaped) = self.completed(&entry) {
                each(reaped);
                count += 1;
            }
        }
    }

    /// Operations submitted and not yet reaped, hung ones included.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// An operation ends without its device.
    pub(super) fn end(&mut self, op: OpId, result: i32) {
        self.ended.push_back((op, result));
    }

    /// Operations that a fault rule keeps back.
    pub fn hung(&self) -> usize {
        self.hung.len()
    }

    /// What a completion means to the caller; nothing if it is about a watch that is no more.
    fn completed(&mut self, entry: &cqueue::Entry) -> Option<Reaped> {
        let (kind, name) = (entry.user_data() >> KIND_SHIFT, entry.user_data() & ((1 << KIND_SHIFT) - 1));
        match kind {
            KIND_OP => {
                let op = OpId(u32::try_from(name).expect("the id that was submitted"));
                if self.would_wait(op, entry.result()) {
                    self.detour(op);
                    return None;
                }
                let result =
                    if entry.result() < 0 { self.refused(op, entry.result()) } else { entry.result() };
                self.settle(op, result);
                Some(Reaped::Completed { op, result })
            }
            KIND_WATCH => self.woken(name, entry),
            KIND_BELL => {
                self.rung(name);
                None
            }
            _ => None,
        }
    }

    /// What a refusal means. A block device that was taken away has no bytes left, and the kernel answers writes behind its
    /// end with ENOSPC: nobody would find room for that.
    #[cold]
    fn refused(&self, op: OpId, result: i32) -> i32 {
        let Some(Op { volume, offset, length, .. }) = &self.ops[op.0 as usize] else { return result };
        let backing = self.volumes[usize::from(volume.0)].as_ref().and_then(|volume| volume.backing.as_ref());
        let gone = result == -Errno::NOSPC.raw_os_error()
            && backing.is_some_and(|backing| backing.ends_before(offset.saturating_add(*length)));
        if gone { -Errno::NODEV.raw_os_error() } else { result }
    }

    /// The paperwork of an operation that ended.
    fn settle(&mut self, op: OpId, result: i32) {
        let ended = self.ops[op.0 as usize].take().expect("only what was submitted completes, once");
        self.in_flight -= 1;
        let volume = self.volumes[usize::from(ended.volume.0)].as_ref().expect("it was attached at submit");
        let Some(thin) = &volume.thin else { return };
        match (ended.kind, &ended.reserved) {
            (IoKind::Write, Some(reserved)) => thin.settle(reserved, ended.offset, result),
            (IoKind::Zero | IoKind::Discard, _) if result == 0 => thin.free(ended.offset, ended.length),
            _ => {}
        }
    }

    /// Operations whose rule is gone are carried out now.
    #[cold]
    fn release_hung(&mut self) {
        let mut at = 0;
        while at < self.hung.len() {
            let Hung { rule, volume, .. } = self.hung[at];
            let volume = self.volumes[usize::from(volume.0)].as_mut().expect("it was attached at submit");
            if volume.faults.as_mut().is_some_and(|faults| faults.still_hangs(rule)) {
                at += 1;
            } else {
                let released = self.hung.remove(at);
                self.go(released.op);
            }
        }
    }

    pub(super) fn queue(&mut self, entry: Entry) {
        if !self.waiting.is_empty() || !self.push(&entry) {
            self.waiting.push_back(entry);
        }
    }

    fn queue_waiting(&mut self) {
        while let Some(entry) = self.waiting.front().cloned() {
            if !self.push(&entry) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    fn push(&mut self, entry: &Entry) -> bool {
        // SAFETY: what the entry names outlives the operation. Slot memory is never unmapped. An operation's vectors
        // have a place of their own in `self.vectors`, on the heap, which is not written again while the operation is
        // in flight (asserted in `submit`); the kernel copies them when it takes the entry (SUBMIT_STABLE, Linux 5.5),
        // and entries that it never takes are never looked at. Files are descriptors that an operation keeps open (`in_ring`), or a watched one,
        // which the kernel references when it takes the entry, in the same call of `watch`,
        // or a bell's, which stays open until its write is over, and the bytes that it writes are static.
        unsafe { self.ring.submission().push(entry).is_ok() }
    }
}

/// A signal, a timeout, and a kernel that is short of something are no errors: the next turn tries again.
fn entered(result: io::Result<usize>) -> Result<(), DiskError> {
    match result {
        Ok(_) => Ok(()),
        Err(source) => match Errno::from_io_error(&source) {
            Some(Errno::INTR | Errno::TIME | Errno::AGAIN | Errno::BUSY) => Ok(()),
            _ => Err(DiskError::Enter { source }),
        },
    }
}
