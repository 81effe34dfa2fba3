//! Larger scenes than loom can exhaust, under shuttle: several clients, reactors with their dirty index, sleep and wake-up,
//! in thousands of random schedules. Shuttle knows sequential consistency only: orderings are loom's to check.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release -p holdfast-ringbuf --lib`, longer with `HOLDFAST_SHUTTLE_SCHEDULES`.
//! A wake-up that is lost ends as a deadlock, which shuttle reports with a schedule to replay. They can fail: each of the
//! mutants `WakeUpIsLost` and `EntryIsEarly` (`--cfg mutants`, `HOLDFAST_MUTANT`) ends all three of this file.

mod lives;

use holdfast_policy::{AtomicU64 as IndexWord, Plane, PlaneWriter};
use shuttle::sync::atomic::AtomicU64;
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::doorbell;
use crate::index::{Consumer, Producer};
use crate::sync::{AtomicU32, Ordering};

/// Schedules of each kind for each scene.
const SCHEDULES: usize = 1_000;
const ENTRIES: u32 = 2;
/// Of each reactor's index: two words and a summary.
const LINES: u64 = 128;

/// Random schedules, and such that differ in few preemptions.
fn play(scene: fn()) {
    let told = std::env::var("HOLDFAST_SHUTTLE_SCHEDULES");
    let schedules = told.map_or(SCHEDULES, |count| count.parse().expect("a number of schedules"));
    shuttle::check_random(scene, schedules);
    shuttle::check_pct(scene, schedules, 3);
}

/// One direction. An entry that was not filled holds 0, and a value is never 0.
struct Ring {
    tail: AtomicU32,
    head: AtomicU32,
    entries: [AtomicU64; ENTRIES as usize],
}

impl Ring {
    fn new() -> Ring {
        let entries = [AtomicU64::new(0), AtomicU64::new(0)];
        Ring { tail: AtomicU32::new(0), head: AtomicU32::new(0), entries }
    }

    fn fill(&self, producer: &mut Producer, value: u64) -> bool {
        let Some(place) = producer.claim(&self.head).expect("an honest peer") else { return false };
        let before = self.entries[place as usize].swap(value, Ordering::Relaxed);
        assert_eq!(before, 0, "an entry is filled that nobody has taken");
        producer.publish(&self.tail)
    }

    fn take(&self, consumer: &mut Consumer) -> Option<u64> {
        if !consumer.pending(&self.tail).expect("an honest peer") {
            return None;
        }
        let peeked = consumer.peek(0);
        let place = consumer.next(&self.tail).expect("an honest peer")?;
        assert_eq!(peeked, Some(place), "what was peeked at is what is taken");
        let value = self.entries[place as usize].swap(0, Ordering::Relaxed);
        assert_ne!(value, 0, "an entry is taken that nobody has filled");
        consumer.release(&self.head);
        Some(value)
    }
}

/// Where a side sleeps. The kernel's part is a lock and a queue: a reactor's byte waits in its socket, a client's futex
/// compares its word.
struct Bed {
    sleeping: AtomicU32,
    word: AtomicU32,
    kernel: Mutex<u32>,
    queue: Condvar,
}

impl Bed {
    fn new() -> Bed {
        let (sleeping, word) = (AtomicU32::new(0), AtomicU32::new(0));
        Bed { sleeping, word, kernel: Mutex::new(0), queue: Condvar::new() }
    }

    fn ring(&self) {
        if doorbell::ring(&self.sleeping) {
            self.word.fetch_add(1, Ordering::Release);
            *self.kernel.lock().expect("no panic") += 1;
            self.queue.notify_one();
        }
    }

    /// As a reactor: until there is a byte, all of which are read.
    fn poll(&self, busy: impl FnOnce() -> bool) {
        doorbell::arm(&self.sleeping);
        if !busy() {
            let mut bytes = self.kernel.lock().expect("no panic");
            while *bytes == 0 {
                bytes = self.queue.wait(bytes).expect("no panic");
            }
            *bytes = 0;
        }
        doorbell::disarm(&self.sleeping);
    }

    /// As a client: until the word is not what it was before the last look.
    fn wait(&self, busy: impl FnOnce() -> bool) {
        let before = self.word.load(Ordering::Acquire);
        doorbell::arm(&self.sleeping);
        if !busy() {
            let mut kernel = self.kernel.lock().expect("no panic");
            while self.word.load(Ordering::Relaxed) == before {
                kernel = self.queue.wait(kernel).expect("no panic");
            }
        }
        doorbell::disarm(&self.sleeping);
    }
}

/// One client's rings at one reactor.
struct Pair {
    submissions: Ring,
    completions: Ring,
}

/// What a client asks for: a line to mark, or to clear.
#[derive(Clone, Copy)]
enum Ask {
    Mark(u64),
    Clear(u64),
}

impl Ask {
    fn encode(self) -> u64 {
        match self {
            Ask::Mark(line) => line << 1 | 1 << 32,
            Ask::Clear(line) => line << 1 | 1 << 32 | 1,
        }
    }

    fn decode(value: u64) -> Ask {
        let line = (value & u64::from(u32::MAX)) >> 1;
        if value & 1 == 0 { Ask::Mark(line) } else { Ask::Clear(line) }
    }
}

/// A daemon of some reactors, each with an index of its own, and clients with a ring pair at each.
struct World {
    pairs: Vec<Vec<Pair>>,
    indices: Vec<Vec<IndexWord>>,
    reactors: Vec<Bed>,
    clients: Vec<Bed>,
}

impl World {
    fn new(clients: usize, reactors: usize) -> Arc<World> {
        let pair = || Pair { submissions: Ring::new(), completions: Ring::new() };
        let words = || (0..Plane::words_needed(LINES)).map(|_| IndexWord::new(0)).collect();
        Arc::new(World {
            pairs: (0..clients).map(|_| (0..reactors).map(|_| pair()).collect()).collect(),
            indices: (0..reactors).map(|_| words()).collect(),
            reactors: (0..reactors).map(|_| Bed::new()).collect(),
            clients: (0..clients).map(|_| Bed::new()).collect(),
        })
    }

    fn plane(&self, reactor: usize) -> Plane<'_> {
        Plane::new(LINES, &self.indices[reactor])
    }

    /// Serves so many requests of all clients, sleeping when there are none. Returns the lines that are marked then.
    fn react(&self, reactor: usize, mut left: usize) -> Vec<u64> {
        let mut index = PlaneWriter::new(LINES, &self.indices[reactor]);
        let new = |_: &Bed| (Consumer::new(ENTRIES), Producer::new(ENTRIES));
        let mut ends: Vec<_> = self.clients.iter().map(new).collect();
        while left > 0 {
            let before = left;
            for (client, (consumer, producer)) in ends.iter_mut().enumerate() {
                let pair = &self.pairs[client][reactor];
                let Some(value) = pair.submissions.take(consumer) else { continue };
                match Ask::decode(value) {
                    Ask::Mark(line) => index.set(line),
                    Ask::Clear(line) => index.clear(line),
                };
                assert!(pair.completions.fill(producer, value), "room for each answer");
                self.clients[client].ring();
                left -= 1;
            }
            if left == before {
                self.reactors[reactor].poll(|| {
                    ends.iter_mut().enumerate().any(|(client, (consumer, _))| {
                        let tail = &self.pairs[client][reactor].submissions.tail;
                        consumer.pending(tail).expect("an honest peer")
                    })
                });
            }
        }
        index.iter().collect()
    }
}

/// A client's private half of its rings at one reactor.
struct Ends {
    producer: Producer,
    consumer: Consumer,
    in_flight: u32,
}

impl Ends {
    fn new() -> Ends {
        Ends { producer: Producer::new(ENTRIES), consumer: Consumer::new(ENTRIES), in_flight: 0 }
    }

    fn submit(&mut self, world: &World, client: usize, reactor: usize, ask: Ask) -> bool {
        if self.in_flight == ENTRIES {
            return false;
        }
        let filled = world.pairs[client][reactor].submissions.fill(&mut self.producer, ask.encode());
        assert!(filled, "who sees a completion may count on the room of its submission");
        self.in_flight += 1;
        world.reactors[reactor].ring();
        true
    }

    fn poll(&mut self, world: &World, client: usize, reactor: usize) -> Option<Ask> {
        let value = world.pairs[client][reactor].completions.take(&mut self.consumer)?;
        self.in_flight -= 1;
        Some(Ask::decode(value))
    }

    /// Client 0 asks reactor 0 for one thing, and sleeps until it is done.
    fn ask(&mut self, world: &World, ask: Ask) {
        assert!(self.submit(world, 0, 0, ask));
        while self.poll(world, 0, 0).is_none() {
            let tail = &world.pairs[0][0].completions.tail;
            world.clients[0].wait(|| self.consumer.pending(tail).expect("an honest peer"));
        }
    }
}

/// Sends each reactor its own asks, as deep as the rings are, and looks after each answer whether it is so.
fn ask_all(world: &World, client: usize, asks: &[Vec<Ask>]) {
    let mut ends: Vec<Ends> = asks.iter().map(|_| Ends::new()).collect();
    let mut sent = vec![0; asks.len()];
    let mut left: usize = asks.iter().map(Vec::len).sum();
    while left > 0 {
        for (reactor, ends) in ends.iter_mut().enumerate() {
            while let Some(&ask) = asks[reactor].get(sent[reactor])
                && ends.submit(world, client, reactor, ask)
            {
                sent[reactor] += 1;
            }
        }
        let before = left;
        for (reactor, ends) in ends.iter_mut().enumerate() {
            while let Some(answered) = ends.poll(world, client, reactor) {
                left -= 1;
                if let Ask::Mark(line) = answered {
                    assert!(world.plane(reactor).get(line), "line {line} was acknowledged and is not marked");
                }
            }
        }
        if left == before {
            world.clients[client].wait(|| {
                ends.iter_mut().enumerate().any(|(reactor, ends)| {
                    let tail = &world.pairs[client][reactor].completions.tail;
                    ends.consumer.pending(tail).expect("an honest peer")
                })
            });
        }
    }
    for (reactor, ends) in ends.iter_mut().enumerate() {
        ends.producer.look(&world.pairs[client][reactor].submissions.head).expect("an honest peer");
        assert_eq!(ends.producer.head_seen() as usize, asks[reactor].len(), "each was taken once");
    }
}

/// Two clients at two reactors, and a listing beside them.
#[test]
fn each_client_sleeps_and_is_woken_by_each_reactor() {
    play(|| {
        let world = World::new(2, 2);
        let lines = |client: u64| (0..3).map(move |step| Ask::Mark(client + 40 * step)).collect::<Vec<Ask>>();
        let reactors: Vec<_> = (0..2)
            .map(|reactor| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.react(reactor, 6))
            })
            .collect();
        let clients: Vec<_> = (0..2)
            .map(|client| {
                let world = Arc::clone(&world);
                let asks = vec![lines(client as u64), lines(client as u64)];
                thread::spawn(move || ask_all(&world, client, &asks))
            })
            .collect();
        let listed: Vec<u64> = world.plane(0).iter().collect();
        assert!(listed.is_sorted() && listed.iter().all(|line| line % 40 < 2), "{listed:?}");
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
        for reactor in reactors {
            assert_eq!(reactor.join().expect("no panic"), [0, 1, 40, 41, 80, 81]);
        }
    });
}

/// One client marks, one clears (as write-back does), and a third thread lists: what stays is in every list.
#[test]
fn a_line_that_stays_is_listed_while_others_come_and_go() {
    play(|| {
        let world = World::new(2, 1);
        let reactor = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.react(0, 8))
        };
        let mut ends = Ends::new();
        ends.ask(&world, Ask::Mark(70));
        let asks = [
            vec![Ask::Mark(3), Ask::Mark(71), Ask::Mark(100)],
            vec![Ask::Clear(71), Ask::Clear(3), Ask::Clear(69), Ask::Clear(100)],
        ];
        let clear = {
            let (world, asks) = (Arc::clone(&world), asks[1].clone());
            thread::spawn(move || ask_all(&world, 1, &[asks]))
        };
        let lister = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                for _ in 0..2 {
                    let seen: Vec<u64> = world.plane(0).iter().collect();
                    assert!(seen.is_sorted() && seen.contains(&70), "{seen:?}");
                    assert!(seen.iter().all(|line| [3, 70, 71, 100].contains(line)), "{seen:?}");
                }
            })
        };
        // Not `ask_all`, which would look for lines that the other client may have cleared by then.
        asks[0].iter().for_each(|&ask| ends.ask(&world, ask));
        [clear, lister].into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(reactor.join().expect("no panic").contains(&70));
    });
}

/// Submitting and waiting are on two threads, with the queue behind a lock that who waits does not hold
/// (`client::Waiter`).
#[test]
fn a_waiter_beside_the_submitter_is_woken() {
    play(|| {
        const REQUESTS: usize = 4;
        let world = World::new(1, 1);
        let queue = Arc::new(Mutex::new(Ends::new()));
        let reactor = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.react(0, REQUESTS))
        };
        let waiter = {
            let (world, queue) = (Arc::clone(&world), Arc::clone(&queue));
            thread::spawn(move || {
                let mut back = 0;
                while back < REQUESTS {
                    let pair = &world.pairs[0][0];
                    let waits = || {
                        let head = pair.completions.head.load(Ordering::Relaxed);
                        pair.completions.tail.load(Ordering::Acquire) != head
                    };
                    world.clients[0].wait(waits);
                    let mut queue = queue.lock().expect("no panic");
                    while queue.poll(&world, 0, 0).is_some() {
                        back += 1;
                    }
                }
            })
        };
        for line in 0..REQUESTS as u64 {
            while !queue.lock().expect("no panic").submit(&world, 0, 0, Ask::Mark(line)) {
                thread::yield_now();
            }
        }
        waiter.join().expect("no panic");
        assert_eq!(reactor.join().expect("no panic").len(), REQUESTS);
    });
}
