//! Depth: the submit and poll API.
#![allow(missing_docs, clippy::cast_possible_truncation)]

mod ram_disk;

use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_ringbuf::client::{Client, Done, Error, Options, Queue};
use ram_disk::{RamDisk, STRIPE_BYTES, VOLUME_BYTES};

fn connect(daemon: &RamDisk, queue_depth: u32, request_bytes: u32) -> Queue {
    let options = Options { queue_depth, request_bytes, ..Options::default() };
    Queue::connect(&daemon.path, "ram", options).expect("a session")
}

fn drain(queue: &mut Queue, done: &mut Vec<Done>) {
    while queue.in_flight() > 0 {
        assert!(queue.wait(done).expect("a live session") > 0);
    }
}

#[test]
fn a_full_queue_writes_and_reads_back() {
    let daemon = RamDisk::start(3);
    let mut queue = connect(&daemon, 32, 4096);
    assert_eq!((queue.depth(), queue.window_bytes()), (32, 4096));
    let mut done = Vec::with_capacity(32);
    let blocks = VOLUME_BYTES / 4096;
    let mut next = 0;
    // Each finished tag takes the next block at once, as a benchmark would.
    let mut idle: Vec<u32> = (0..32).collect();
    while next < blocks || queue.in_flight() > 0 {
        for tag in idle.drain(..) {
            if next < blocks {
                queue.submit_write(tag, next * 4096, &[next as u8 | 1; 4096]).expect("room");
                next += 1;
            }
        }
        queue.wait(&mut done).expect("a live session");
        for Done { tag, result } in done.drain(..) {
            assert_eq!(result, Ok(()));
            idle.push(tag);
        }
    }
    for block in 0..blocks {
        assert!(
            daemon.disk.bytes.lock().unwrap()[block as usize * 4096..][..4096] == [block as u8 | 1; 4096]
        );
    }
    for tag in 0..32 {
        queue.submit_read(tag, u64::from(tag) * 4096, 4096).expect("room");
    }
    drain(&mut queue, &mut done);
    for tag in 0..32u32 {
        let mut back = [0; 4096];
        queue.take(tag, &mut back).expect("idle");
        assert!(back == [tag as u8 | 1; 4096]);
    }
    assert_eq!(done.len(), 32);
}

#[test]
fn a_request_over_a_stripe_border_is_one_request_with_one_window() {
    let daemon = RamDisk::start(3);
    let mut queue = connect(&daemon, 4, 128 << 10);
    let data: Vec<u8> = (0..65536u32).map(|at| (at >> 8) as u8 ^ at as u8).collect();
    let mut done = Vec::new();
    // Over the border from the last reactor to the first, too.
    for (tag, stripe) in [(0, 1), (1, 2), (2, 3)] {
        queue.submit_write(tag, stripe * STRIPE_BYTES - 1024, &data).expect("room");
    }
    drain(&mut queue, &mut done);
    assert_eq!(done.len(), 3, "{done:?}");
    assert_eq!(daemon.disk.seen.lock().unwrap().len(), 6, "two parts each");
    queue.submit_read(3, 3 * STRIPE_BYTES - 1024, data.len() as u32).expect("room");
    drain(&mut queue, &mut done);
    let mut back = vec![0; data.len()];
    queue.take(3, &mut back).expect("idle");
    assert!(back == data);
}

#[test]
fn every_kind_of_request_completes_under_its_tag() {
    let daemon = RamDisk::start(2);
    let mut queue = connect(&daemon, 8, 4096);
    let mut done = Vec::new();
    queue.fill(0, &[7; 4096]).expect("idle");
    queue.submit_filled(0, 0, 4096, true).expect("room");
    drain(&mut queue, &mut done);
    queue.submit_write_zeroes(1, 1024, 1024, true).expect("room");
    queue.submit_discard(2, STRIPE_BYTES, VOLUME_BYTES - STRIPE_BYTES).expect("room");
    queue.submit_flush(3).expect("room");
    drain(&mut queue, &mut done);
    let mut tags: Vec<u32> = done.iter().map(|done| done.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2, 3]);
    assert!(done.iter().all(|done| done.result == Ok(())));
    let bytes = daemon.disk.bytes.lock().unwrap();
    assert_eq!((bytes[1023], bytes[1024], bytes[2047], bytes[2048]), (7, 0, 0, 7));
}

#[test]
fn tags_are_checked() {
    let daemon = RamDisk::start(2);
    let mut queue = connect(&daemon, 2, 4096);
    let mut done = Vec::new();
    daemon.disk.hold.store(true, Ordering::SeqCst);
    queue.submit_flush(0).expect("room");
    assert_eq!(queue.submit_flush(0), Err(Error::TagInUse { tag: 0 }));
    assert_eq!(queue.fill(0, &[1]), Err(Error::TagInUse { tag: 0 }));
    assert_eq!(queue.submit_flush(2), Err(Error::Tag { tag: 2, depth: 2 }));
    assert_eq!(queue.submit_read(1, 0, 8192), Err(Error::Length { length: 8192, length_max: 4096 }));
    assert_eq!(queue.submit_read(1, 0, 0), Err(Error::Length { length: 0, length_max: VOLUME_BYTES }));
    assert_eq!(queue.poll(&mut done), Ok(0));
    daemon.disk.hold.store(false, Ordering::SeqCst);
    drain(&mut queue, &mut done);
    assert_eq!(done, [Done { tag: 0, result: Ok(()) }]);
    assert_eq!(queue.wait(&mut done), Ok(0), "nothing in flight: does not wait");
}

#[test]
fn a_queue_that_only_polls_notices_a_dead_daemon() {
    let mut daemon = RamDisk::start(1);
    // No successor comes; how long one is waited for is not the question.
    let options = Options { reconnect: Some(Duration::from_millis(500)), ..Options::default() };
    let client = Client::connect(&daemon.path, "ram", options).expect("a session");
    let mut queue = client.queue(4).expect("a second session");
    daemon.eventually("two sessions", |disk| disk.sessions_live.load(Ordering::SeqCst) == 2);
    assert_ne!(queue.session_id(), client.session_id());
    daemon.disk.hold.store(true, Ordering::SeqCst);
    queue.submit_flush(0).expect("room");
    let mut done = Vec::new();
    assert_eq!(queue.poll(&mut done), Ok(0));
    daemon.kill();
    let end = loop {
        match queue.poll(&mut done) {
            Ok(count) => assert_eq!(count, 0),
            Err(end) => break end,
        }
        std::thread::yield_now();
    };
    assert_eq!(end, Error::Disconnected);
}
