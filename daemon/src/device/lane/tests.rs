//! What a lane keeps, and what it does.

use super::{Job, Lane, Results};
use holdfast_engine::{IoKind, OpId};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

const OPERATIONS: usize = 8;

fn lane(device: &OwnedFd, threads_max: u32) -> (Lane, Arc<Results>) {
    let results = Arc::new(Results::new(OPERATIONS).expect("an eventfd"));
    let lane = Lane::start(device, &results, OPERATIONS, threads_max, &[]).expect("a thread");
    (lane, results)
}

fn device(path: &Path) -> OwnedFd {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    file.expect("a file").into()
}

fn job(op: u32, kind: IoKind, vector: &libc::iovec) -> Job {
    let length = if matches!(kind, IoKind::Flush) { 0 } else { 4096 };
    Job { op: OpId(op), kind, offset: 4096, length, vector: std::ptr::from_ref(vector), parts: 1 }
}

fn next(results: &Results) -> (OpId, i32) {
    let begun = std::time::Instant::now();
    loop {
        if let Some(result) = results.take() {
            return result;
        }
        assert!(begun.elapsed().as_secs() < 60, "no result");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A daemon's descriptors do not live on in it: whoever waits for their end sees it while the lane is there.
#[test]
fn a_lane_keeps_its_device_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a directory");
    let device = device(&folder.path().join("device"));
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
    let (lane, _) = lane(&device, 1);
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Err(Errno::AGAIN), "ours is open");
    drop(write);
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0), "somebody else has the other end");
    lane.close();
}

/// The lock of a device is kept as long as there is something that may use it, and not longer.
#[test]
fn a_device_is_locked_until_its_lane_has_ended() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("device");
    let ours = device(&path);
    let lock = FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&ours, lock).expect("nobody has it");
    let (lane, _) = lane(&ours, 1);
    drop(ours);
    let next = device(&path);
    assert_eq!(rustix::fs::flock(&next, lock), Err(Errno::WOULDBLOCK), "the lane may still write");
    lane.close();
    assert_eq!(rustix::fs::flock(&next, lock), Ok(()));
}

/// Everything that it takes is carried out, by however many threads it may have, and the results say whose they are.
#[test]
fn what_is_left_with_a_lane_is_carried_out() {
    let folder = tempfile::tempdir().expect("a directory");
    let device = device(&folder.path().join("device"));
    rustix::fs::ftruncate(&device, 16 << 10).expect("room");
    for threads_max in [1, 4] {
        let (lane, results) = lane(&device, threads_max);
        let (mut written, mut read) = ([0x5a_u8; 4096], [0_u8; 4096]);
        let memory =
            |bytes: &mut [u8; 4096]| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 4096 };
        let (from, to) = (memory(&mut written), memory(&mut read));
        let carry_out = |kinds: &[IoKind]| {
            for (op, &kind) in (0..).zip(kinds) {
                lane.push(job(op, kind, if kind == IoKind::Read { &to } else { &from }));
            }
            lane.call();
            let mut found: Vec<_> =
                kinds.iter().map(|_| next(&results)).map(|(op, result)| (op.0, result)).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(carry_out(&[IoKind::Write]), [(0, 4096)]);
        assert_eq!(carry_out(&[IoKind::Flush, IoKind::Read, IoKind::Flush]), [(0, 0), (1, 4096), (2, 0)]);
        assert_eq!(read, [0x5a; 4096]);
        assert_eq!(carry_out(&[IoKind::Discard]), [(0, 0)]);
        let expected: Vec<(u32, i32)> = (0..).zip([4096; OPERATIONS]).collect();
        assert_eq!(carry_out(&[IoKind::Read; OPERATIONS]), expected);
        assert_eq!(read, [0; 4096], "zeroes after a discard");
        lane.close();
        assert!(results.is_empty());
    }
}

/// What a device says is passed on.
#[test]
fn a_refusal_comes_as_its_errno() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("device");
    drop(device(&path));
    let (lane, results) = lane(&File::open(&path).expect("for reading").into(), 2);
    let bytes = [0_u8; 4096];
    let memory = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: 4096 };
    lane.push(job(3, IoKind::Write, &memory));
    lane.call();
    assert_eq!(next(&results), (OpId(3), -Errno::BADF.raw_os_error()));
    lane.close();
}
