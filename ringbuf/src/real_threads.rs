//! The rings' core on real threads, over plain memory: what ThreadSanitizer watches (`cargo xtask tsan`), and an ordinary
//! test otherwise.
//!
//! Nothing here is shared but through the rings. Entries and payloads are plain cells, so that an ordering that is missing
//! is a data race on them; sleepers look at a word by relaxed loads, so that a wake-up orders nothing either. The standard
//! library's locks and channels are not used: they are not instrumented, and what they order ThreadSanitizer does not see
//! (a `Producer` that goes from thread to thread behind a contended `Mutex`, as in [`crate::client::Client`], is called a
//! race in `Producer::publish` that is none). Of its own, only spawning and joining are used, which ThreadSanitizer knows.
//! It knows no fences, either; it needs none: the doorbell's order only flags, which are atomics.
//!
//! It can fail. `PublishedRelaxed` makes `Producer::publish` a relaxed store, `ReleasedRelaxed` does the same to
//! `Consumer::release`, and `cargo xtask tsan` demands that ThreadSanitizer reports a race for each.
#![allow(unsafe_code, reason = "plain cells that the index protocol gives to one thread at a time")]

use std::cell::UnsafeCell;
use std::thread;

use crate::doorbell;
use crate::index::{Consumer, Producer};
use crate::sync::{AtomicU32, Ordering};

const ENTRIES: u32 = 4;
const REQUESTS: u64 = 20_000;
const CLIENTS: usize = 2;

/// A cell that whoever may use it alone says so.
#[derive(Default)]
struct Cell(UnsafeCell<u64>);

// SAFETY: all access is by `put` and `get`, whose callers promise that it is theirs alone.
unsafe impl Sync for Cell {}

impl Cell {
    /// # Safety
    /// The index protocol gives the cell to this thread.
    unsafe fn put(&self, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() = value };
    }

    /// # Safety
    /// As [`Cell::put`].
    unsafe fn get(&self) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() }
    }
}

/// One direction of a session.
struct Ring {
    tail: AtomicU32,
    head: AtomicU32,
    entries: [Cell; ENTRIES as usize],
}

impl Ring {
    fn new() -> Ring {
        Ring { tail: AtomicU32::new(0), head: AtomicU32::new(0), entries: Default::default() }
    }

    fn fill(&self, producer: &mut Producer, value: u64) -> bool {
        let Some(place) = producer.claim(&self.head).expect("an honest peer") else { return false };
        // SAFETY: the entry was claimed and is not published.
        unsafe { self.entries[place as usize].put(value) };
        producer.publish(&self.tail)
    }

    fn take(&self, consumer: &mut Consumer) -> Option<u64> {
        let place = consumer.next(&self.tail).expect("an honest peer")?;
        // SAFETY: the entry was published and is not released.
        let value = unsafe { self.entries[place as usize].get() };
        consumer.release(&self.head);
        Some(value)
    }
}

/// Where a side sleeps: its flag, and the word that a wake-up changes.
struct Bed {
    sleeping: AtomicU32,
    woken: AtomicU32,
}

impl Bed {
    fn new() -> Bed {
        Bed { sleeping: AtomicU32::new(0), woken: AtomicU32::new(0) }
    }

    fn ring(&self) {
        if doorbell::ring(&self.sleeping) {
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sleeps unless `busy`, which is the last look.
    fn sleep(&self, busy: impl FnOnce() -> bool) {
        let woken = self.woken.load(Ordering::Relaxed);
        doorbell::arm(&self.sleeping);
        if !busy() {
            while self.woken.load(Ordering::Relaxed) == woken {
                thread::yield_now();
            }
        }
        doorbell::disarm(&self.sleeping);
    }
}

/// A session: rings in both directions, and a payload for each tag, which goes with the request and comes back with it.
struct Session {
    submissions: Ring,
    completions: Ring,
    payload: [Cell; ENTRIES as usize],
    client: Bed,
}

impl Session {
    fn new() -> Session {
        Session {
            submissions: Ring::new(),
            completions: Ring::new(),
            payload: Default::default(),
            client: Bed::new(),
        }
    }

    /// Has up to a ring of requests in flight, and checks what comes back under each tag.
    fn ask(&self, reactor: &Bed) {
        let (mut producer, mut consumer) = (Producer::new(ENTRIES), Consumer::new(ENTRIES));
        let mut free: Vec<u32> = (0..ENTRIES).collect();
        let (mut sent, mut back) = (0, 0);
        let mut expected = [0; ENTRIES as usize];
        while back < REQUESTS {
            if sent < REQUESTS
                && let Some(tag) = free.pop()
            {
                sent += 1;
                expected[tag as usize] = sent + 1;
                // SAFETY: no request of this tag is in flight.
                unsafe { self.payload[tag as usize].put(sent) };
                assert!(self.submissions.fill(&mut producer, u64::from(tag)), "a free tag has a free entry");
                reactor.ring();
                continue;
            }
            if let Some(tag) = self.completions.take(&mut consumer) {
                let place = usize::try_from(tag).expect("small");
                // SAFETY: the request of this tag is answered.
                assert_eq!(unsafe { self.payload[place].get() }, expected[place]);
                free.push(u32::try_from(tag).expect("small"));
                back += 1;
                continue;
            }
            self.client.sleep(|| consumer.pending(&self.completions.tail).expect("an honest peer"));
        }
    }
}

/// Answers every request of all sessions with the payload's number, plus one.
fn react(sessions: &[Session], bed: &Bed) {
    let new = |_: &Session| (Consumer::new(ENTRIES), Producer::new(ENTRIES));
    let mut ends: Vec<(Consumer, Producer)> = sessions.iter().map(new).collect();
    let mut left = REQUESTS * sessions.len() as u64;
    while left > 0 {
        let before = left;
        for (session, (consumer, producer)) in sessions.iter().zip(&mut ends) {
            let Some(tag) = session.submissions.take(consumer) else { continue };
            let payload = &session.payload[usize::try_from(tag).expect("small")];
            // SAFETY: the request of this tag is with this thread until it is answered.
            unsafe {
                payload.put(payload.get() + 1);
            }
            assert!(
                session.completions.fill(producer, tag),
                "each request in flight has room for its answer"
            );
            session.client.ring();
            left -= 1;
        }
        if left == before {
            bed.sleep(|| {
                let waits = |(session, (consumer, _)): (&Session, &mut (Consumer, Producer))| {
                    consumer.pending(&session.submissions.tail).expect("an honest peer")
                };
                sessions.iter().zip(&mut ends).any(waits)
            });
        }
    }
}

#[test]
fn entries_and_payloads_go_from_core_to_core_and_back() {
    let (sessions, bed) = ([(); CLIENTS].map(|()| Session::new()), Bed::new());
    thread::scope(|threads| {
        let clients: Vec<_> = sessions.iter().map(|session| threads.spawn(|| session.ask(&bed))).collect();
        react(&sessions, &bed);
        clients.into_iter().for_each(|client| client.join().expect("its assertions hold"));
    });
}

/// In a session an entry is filled anew only after an answer, which orders the two already. Here only heads come back.
#[test]
fn entries_go_one_way() {
    const VALUES: u64 = 100_000;
    let ring = Ring::new();
    thread::scope(|threads| {
        let consumer = threads.spawn(|| {
            let mut consumer = Consumer::new(ENTRIES);
            for value in 0..VALUES {
                let taken = loop {
                    match ring.take(&mut consumer) {
                        Some(taken) => break taken,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(taken, value);
            }
        });
        let mut producer = Producer::new(ENTRIES);
        for value in 0..VALUES {
            while !ring.fill(&mut producer, value) {
                thread::yield_now();
            }
        }
        consumer.join().expect("its assertions hold");
    });
}
