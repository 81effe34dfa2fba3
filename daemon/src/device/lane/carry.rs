//! What a lane's threads do.
#![allow(unsafe_code, reason = "system calls on slot memory, and on descriptors of this thread's own table")]

use super::{Job, Shared, builder};
use holdfast_engine::IoKind;
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The descriptors that a lane has, by their numbers in its own table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here {
    pub(super) device: RawFd,
    pub(super) call: RawFd,
    pub(super) bell: RawFd,
}

/// On a file it deallocates, on a block device it zeroes without writing or says EOPNOTSUPP; in both cases success means
/// zeroes.
const PUNCH_HOLE: i32 = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE;

// SAFETY: the memory that a job names is a reactor's, which leaves it as it is until it has the result; nothing here looks at it,
// the kernel does.
unsafe impl Send for Job {}

/// The first thread, which ends last and lets go of the device.
pub(super) fn first(shared: &Arc<Shared>, here: Here) {
    serve(shared, here);
    loop {
        let others = std::mem::take(&mut *shared.others());
        if others.is_empty() {
            break;
        }
        // A thread that panicked has aborted the process.
        others.into_iter().for_each(|other| drop(other.join()));
    }
    // SAFETY: the number is this table's own copy, and nobody uses it any more. The table would be given up by itself, but
    // after those who wait for this thread have gone on.
    unsafe { libc::close(here.device) };
}

fn serve(shared: &Arc<Shared>, here: Here) {
    loop {
        while let Some(job) = shared.jobs.pop() {
            have_another(shared, here);
            let result = carry_out(&job, here.device);
            let told = shared.results.queue.push((job.op, result));
            assert!(told.is_ok(), "there is room for the results of all operations in flight");
            ring(here.bell);
        }
        if shared.over.load(Ordering::Acquire) && shared.jobs.is_empty() {
            // The next one hears of it, too.
            return ring(here.call);
        }
        shared.idle.fetch_add(1, Ordering::SeqCst);
        wait_for_a_call(here.call);
        shared.idle.fetch_sub(1, Ordering::SeqCst);
    }
}

/// This thread may wait long: somebody else must be there for what comes meanwhile, and for what is there already.
fn have_another(shared: &Arc<Shared>, here: Here) {
    let room = |threads: u32| (threads < shared.threads_max).then_some(threads + 1);
    // Who counts as idle looks for jobs once more before it waits, or is waiting, so that a call is heard.
    if shared.idle.load(Ordering::SeqCst) > 0 {
        if !shared.jobs.is_empty() {
            ring(here.call);
        }
        return;
    }
    if shared.threads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).is_err() {
        return;
    }
    let its_own = Arc::clone(shared);
    // It shares this thread's table, as all that a thread starts.
    match builder().spawn(move || serve(&its_own, here)) {
        Ok(other) => shared.others().push(other),
        // Those that there are have to do.
        Err(_) => drop(shared.threads.fetch_sub(1, Ordering::SeqCst)),
    }
}

/// Bytes done (0 for flush, zeroes, discard), or a negative errno.
fn carry_out(job: &Job, device: RawFd) -> i32 {
    loop {
        match attempt(job, device) {
            result if result == -Errno::INTR.raw_os_error() => {}
            result => return result,
        }
    }
}

fn attempt(job: &Job, device: RawFd) -> i32 {
    let (offset, length) = (of_file(job.offset), of_file(job.length));
    let parts = i32::try_from(job.parts).expect("a run has few parts");
    // SAFETY: plain system calls on the device of this table. The vector and the slots that it names stay as they are until
    // the reactor has the result ([`Job`]); slots are never unmapped.
    let result = unsafe {
        match job.kind {
            IoKind::Flush => libc::fdatasync(device) as isize,
            IoKind::Zero | IoKind::Discard => libc::fallocate(device, PUNCH_HOLE, offset, length) as isize,
            IoKind::Read => libc::preadv(device, job.vector, parts, offset),
            IoKind::Write => libc::pwritev(device, job.vector, parts, offset),
        }
    };
    if result < 0 {
        return -std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    }
    i32::try_from(result).expect("a run is no longer than 1 MiB")
}

fn of_file(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("inside a volume")
}

fn wait_for_a_call(call: RawFd) {
    // SAFETY: open in this table for as long as its threads run.
    let call = unsafe { BorrowedFd::borrow_raw(call) };
    // An interruption is a call without a reason, which does no harm.
    let _ = rustix::io::read(call, &mut [0; 8]);
}

fn ring(bell: RawFd) {
    // SAFETY: as above.
    let bell = unsafe { BorrowedFd::borrow_raw(bell) };
    // It fails only if its counter is full, and then whoever waits for it is awake.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}
