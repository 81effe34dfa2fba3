//! The words and entries in shared memory, whoever is to write them.

use std::ops::Range;
use std::sync::atomic::Ordering;

use holdfast_ringbuf::PeerFault;
use zerocopy::IntoBytes;

use crate::Scene;
use crate::raw_client::{CQ_HEAD, CQ_TAIL, ENTRIES, RawClient, SQ_TAIL, write};

const SQ_HEAD: u64 = 128;
const DAEMON_SLEEPING: u64 = 512;
const CLIENT_SLEEPING: u64 = 0;
const CLIENT_WAKE: u64 = 128;

/// Of a ring with 8 entries.
const DESCRIPTORS: Range<u64> = ENTRIES..ENTRIES + 8 * 64;
pub(crate) const COMPLETIONS: Range<u64> = DESCRIPTORS.end..DESCRIPTORS.end + 8 * 32;
const RECORDS: Range<u64> = COMPLETIONS.end..COMPLETIONS.end + 8 * 16;

/// Words of the session's page and of a ring that decide nothing, whatever is in them.
pub(crate) const PAGE_WORDS: [u64; 2] = [CLIENT_SLEEPING, CLIENT_WAKE];
pub(crate) const RING_WORDS: [u64; 3] = [SQ_HEAD, CQ_TAIL, DAEMON_SLEEPING];
/// Entries that are written over while a request is in flight.
pub(crate) const RING_ENTRIES: [Range<u64>; 3] = [DESCRIPTORS, COMPLETIONS, RECORDS];
/// Words that the client alone writes, and the daemon checks: what is beyond the ring.
pub(crate) const TAILS: [u32; 3] = [9, 1 << 31, u32::MAX];
pub(crate) const JUMPS: [u64; 2] = [SQ_TAIL, CQ_HEAD];

#[test]
fn what_the_daemon_writes_may_be_overwritten() {
    let scene = Scene::new();
    let client = scene.connect();
    let ring = RawClient::ring(0);
    client.put(client.reply.memory_bytes - 65536, &[6; 4096]);
    for value in [u32::MAX, 1, 0x8000_0000] {
        let words = RING_WORDS.map(|word| ring + word).into_iter().chain(PAGE_WORDS);
        words.for_each(|word| client.word(word).store(value, Ordering::Release));
        for entries in [COMPLETIONS, RECORDS] {
            client.put(ring + entries.start, &vec![0xff; entries.count()]);
        }
    }
    client.submit(0, &[write(0, 1)]);
    scene.daemon.eventually("the write", |disk| disk.bytes.lock().unwrap()[..4096] == [6; 4096]);
    scene.check(&[]);
}

/// A request was copied once: what its memory says from then on is nobody's business.
#[test]
fn what_is_in_flight_may_be_overwritten() {
    let scene = Scene::new();
    let client = scene.connect();
    let ring = RawClient::ring(0);
    client.put(client.reply.memory_bytes - 65536, &[7; 4096]);
    scene.daemon.disk.hold.store(true, Ordering::SeqCst);
    client.submit(0, &[write(0, 1)]);
    let taken = |_: &_| client.word(ring + SQ_HEAD).load(Ordering::Acquire) == 1;
    scene.daemon.eventually("it is taken", taken);
    for entries in RING_ENTRIES {
        client.put(ring + entries.start, &vec![0xff; entries.count()]);
    }
    scene.daemon.disk.hold.store(false, Ordering::SeqCst);
    let answered = |_: &_| client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 1;
    scene.daemon.eventually("an answer", answered);
    assert!(scene.daemon.disk.bytes.lock().unwrap()[..4096] == [7; 4096]);
    assert_eq!(client.word(ring + COMPLETIONS.start).load(Ordering::Acquire), 0, "the tag it had");
    assert_eq!(client.word(ring + COMPLETIONS.start + 4).load(Ordering::Acquire), 0, "it went well");
    scene.check(&[]);
}

#[test]
fn a_tail_that_jumps_ends_the_session() {
    for found in TAILS {
        let scene = Scene::new();
        let mut client = scene.connect();
        client.word(RawClient::ring(1) + SQ_TAIL).store(found, Ordering::Release);
        client.wake(1);
        assert!(client.is_thrown_out(), "{found}");
        scene.check(&[PeerFault::IndexJumped { ring: "submission", lowest: 0, highest: 8, found }]);
    }
}

/// The daemon looks at the completion ring's head only when it needs room: after 8 requests.
#[test]
fn a_completion_head_that_jumps_ends_the_session() {
    let scene = Scene::new();
    let mut client = scene.connect();
    client.submit(0, &[0, 1, 2, 3, 4, 5, 6, 7].map(|tag| write(tag, u64::from(tag) + 1)));
    let ring = RawClient::ring(0);
    scene.daemon.eventually("8 completions", |_| client.word(ring + CQ_TAIL).load(Ordering::Acquire) == 8);
    client.word(ring + CQ_HEAD).store(9, Ordering::Release);
    client.put(ring + ENTRIES, write(0, 9).as_bytes());
    client.word(ring + SQ_TAIL).store(9, Ordering::Release);
    client.wake(0);
    assert!(client.is_thrown_out());
    scene.check(&[PeerFault::IndexJumped { ring: "completion", lowest: 0, highest: 8, found: 9 }]);
}
