//! The ring between two threads, and its server's loop.

use super::*;
use crate::floor::{Phase, serve};
use crate::offsets::BLOCK_BYTES;
use crate::window::{stamp, sum_of};

const BLOCKS: u64 = 64;

fn wait_for(client: &mut Client<'_>, done: &mut Vec<u32>, count: usize) {
    while done.len() < count {
        client.poll(done);
        std::thread::yield_now();
    }
}

/// Lets the server return even if the script panics: the scope waits for it.
struct Quit<'memory>(&'memory Shared);

impl Drop for Quit<'_> {
    fn drop(&mut self) {
        self.0.ring().phase.store(Phase::Quit as u32, Release);
    }
}

/// Runs `script` against a server in another thread.
fn with_server(script: impl FnOnce(&Shared, &mut Client<'_>)) {
    let (shared, _file) = Shared::create().expect("memory");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut span = Span::new(BLOCKS * BLOCK_BYTES).expect("memory");
            serve(&shared, &mut span, || false);
        });
        let _quit = Quit(&shared);
        shared.ring().phase.store(Phase::Ring as u32, Release);
        script(&shared, &mut Client::new(&shared));
    });
}

#[test]
fn what_is_written_is_read_back_from_its_own_block() {
    with_server(|shared, client| {
        let mut done = Vec::new();
        for (block, tag) in (0..BLOCKS).zip(0u32..) {
            shared.window(tag).fill(stamp(block * BLOCK_BYTES, 1));
            client.submit(tag, Operation::Write, block * BLOCK_BYTES);
        }
        client.publish();
        wait_for(client, &mut done, 64);
        assert!(done.iter().copied().eq(0..64), "in order: {done:?}");
        // In the opposite order, into other windows, so that neither tags nor windows keep what was written.
        done.clear();
        for (block, tag) in (0..BLOCKS).rev().zip(64u32..) {
            client.submit(tag, Operation::Read, block * BLOCK_BYTES);
        }
        client.publish();
        wait_for(client, &mut done, 64);
        for (block, tag) in (0..BLOCKS).rev().zip(64u32..) {
            assert_eq!(shared.window(tag).sum(), sum_of(stamp(block * BLOCK_BYTES, 1)), "block {block}");
        }
    });
}

#[test]
fn indices_go_round_the_ring_many_times_at_every_depth() {
    with_server(|shared, client| {
        let mut done = Vec::new();
        for depth in [1, 3, 32, DEPTH_MAX] {
            for round in 0..200 {
                for tag in 0..depth {
                    let offset = u64::from((tag + round) % 64) * BLOCK_BYTES;
                    shared.window(tag).fill(u64::from(round));
                    client.submit(tag, Operation::Write, offset);
                    client.publish();
                }
                done.clear();
                wait_for(client, &mut done, depth as usize);
                assert!(done.iter().copied().eq(0..depth));
            }
        }
    });
}

#[test]
fn nothing_is_done_before_it_is_published() {
    let (shared, _file) = Shared::create().expect("memory");
    let mut span = Span::new(BLOCK_BYTES).expect("memory");
    let (mut client, mut server) = (Client::new(&shared), Server::new(&shared));
    client.submit(0, Operation::Write, 0);
    assert_eq!(server.turn(&mut span), 0);
    client.publish();
    assert_eq!(server.turn(&mut span), 1);
    assert_eq!(server.turn(&mut span), 0);
}

#[test]
fn a_batch_is_answered_in_pieces() {
    let (shared, _file) = Shared::create().expect("memory");
    let mut span = Span::new(BLOCK_BYTES).expect("memory");
    let (mut client, mut server) = (Client::new(&shared), Server::new(&shared));
    (0..PUBLISH_MAX + 1).for_each(|tag| client.submit(tag, Operation::Write, 0));
    client.publish();
    assert_eq!([server.turn(&mut span), server.turn(&mut span)], [PUBLISH_MAX, 1]);
    let mut done = Vec::new();
    client.poll(&mut done);
    assert!(done.into_iter().eq(0..PUBLISH_MAX + 1));
}

#[test]
#[should_panic(expected = "the ring is full")]
fn more_than_the_depth_is_a_bug() {
    let (shared, _file) = Shared::create().expect("memory");
    let mut client = Client::new(&shared);
    (0..=DEPTH_MAX).for_each(|tag| client.submit(tag % DEPTH_MAX, Operation::Write, 0));
}

#[test]
#[should_panic(expected = "in flight")]
fn a_second_client_may_not_begin_while_requests_are_in_flight() {
    let (shared, _file) = Shared::create().expect("memory");
    let mut client = Client::new(&shared);
    client.submit(0, Operation::Write, 0);
    client.publish();
    let _ = Client::new(&shared);
}

#[test]
fn a_server_whose_client_is_gone_returns() {
    let (shared, _file) = Shared::create().expect("memory");
    let mut span = Span::new(BLOCK_BYTES).expect("memory");
    shared.ring().phase.store(Phase::Ring as u32, Release);
    let looks = core::cell::Cell::new(0);
    serve(&shared, &mut span, || looks.replace(looks.get() + 1) == 3);
    assert_eq!(looks.get(), 4, "it went on as long as there was a client");
}
