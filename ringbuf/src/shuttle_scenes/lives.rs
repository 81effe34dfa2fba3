//! A daemon that dies between any two steps, and clients that go on with its successor: each write is carried out once (M9).
//!
//! Rings and records are the real ones. What the daemon has beside them is the least that the promise needs: which
//! generations were published, and those that an earlier life gave away and did not publish, so that none is given away
//! twice. Each of these slips was seen to end the scene: no record, a record after the publication, a generation given
//! away twice, the client's session without the record that it replays.

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicBool, AtomicU64};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::{ENTRIES, Ring, play};
use crate::index::{Consumer, Producer};
use crate::record::Record;
use crate::sync::Ordering;

const CLIENTS: usize = 2;
/// Of each client, one after another under two tags.
const WRITES: usize = 3;
/// Daemons, of which the last one lives.
const LIVES: usize = 3;
/// Steps of a life at most before it ends: about what two clients' writes take.
const STEPS: u64 = 60;

/// A write as a descriptor carries it; numbers of all kinds stay far below the width they have here.
#[derive(Clone, Copy, Debug)]
struct Write {
    tag: usize,
    sequence: u64,
    /// Which of the client's.
    name: usize,
    replay: u64,
}

impl Write {
    fn encode(self) -> u64 {
        (self.tag as u64) | (self.name as u64) << 8 | self.sequence << 16 | self.replay << 32
    }

    fn decode(word: u64) -> Write {
        let (tag, name) = ((word & 0xff) as usize, (word >> 8 & 0xff) as usize);
        Write { tag, sequence: word >> 16 & 0xffff, name, replay: word >> 32 }
    }
}

/// What a client shares with one daemon.
struct Session {
    submissions: Ring,
    completions: Ring,
    records: [[AtomicU64; 2]; ENTRIES as usize],
}

impl Session {
    fn new() -> Session {
        let record = || [AtomicU64::new(0), AtomicU64::new(0)];
        Session { submissions: Ring::new(), completions: Ring::new(), records: [record(), record()] }
    }

    fn record(&self, tag: usize) -> Record<'_> {
        let [of, generation] = &self.records[tag];
        Record { of, generation }
    }
}

/// What outlives every daemon.
#[derive(Default)]
struct Arena {
    /// The newest generation that was given away, and the newest that was published.
    taken: AtomicU64,
    published: AtomicU64,
    /// Generations that earlier lives gave away and did not publish: above the one, up to the other.
    unpublished: Mutex<Vec<(u64, u64)>>,
    /// How often each write of each client was published.
    carried_out: [[AtomicU64; WRITES]; CLIENTS],
}

impl Arena {
    /// A life begins.
    fn resume(&self) {
        let (published, taken) = (self.published.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        if published < taken {
            self.unpublished.lock().expect("no panic").push((published, taken));
        }
    }

    fn is_published(&self, generation: u64) -> bool {
        let gaps = self.unpublished.lock().expect("no panic");
        let gap = gaps.iter().any(|&(from, to)| from < generation && generation <= to);
        !gap && generation <= self.published.load(Ordering::Relaxed)
    }
}

struct World {
    arena: Arena,
    /// By life and client.
    sessions: Vec<Vec<Session>>,
    /// Lives whose last thread has ended.
    ended: Vec<AtomicBool>,
    /// Clients that have all their answers.
    content: AtomicU64,
}

impl World {
    fn new() -> Arc<World> {
        let sessions = || (0..CLIENTS).map(|_| Session::new()).collect();
        Arc::new(World {
            arena: Arena::default(),
            sessions: (0..LIVES).map(|_| sessions()).collect(),
            ended: (0..LIVES).map(|_| AtomicBool::new(false)).collect(),
            content: AtomicU64::new(0),
        })
    }

    fn all_lives(&self) {
        for life in 0..LIVES {
            let steps = if life + 1 < LIVES { thread_rng().gen_range(0..STEPS) } else { u64::MAX };
            self.arena.resume();
            let mut life_of = Life { world: self, sessions: &self.sessions[life], steps };
            let died = life_of.serve().is_none();
            self.ended[life].store(true, Ordering::Release);
            if !died {
                return;
            }
        }
    }
}

/// A daemon. What it does is `None` once it has died.
struct Life<'a> {
    world: &'a World,
    sessions: &'a [Session],
    steps: u64,
}

impl Life<'_> {
    fn step(&mut self) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        Some(())
    }

    fn serve(&mut self) -> Option<()> {
        let sessions = self.sessions;
        let mut ends: Vec<_> =
            sessions.iter().map(|_| (Consumer::new(ENTRIES), Producer::new(ENTRIES))).collect();
        while self.world.content.load(Ordering::Acquire) < CLIENTS as u64 {
            for (client, (consumer, producer)) in ends.iter_mut().enumerate() {
                let session = &sessions[client];
                self.step()?;
                let Some(word) = session.submissions.take(consumer) else { continue };
                let write = Write::decode(word);
                self.step()?;
                if write.replay == 0 || !self.world.arena.is_published(write.replay) {
                    self.carry_out(client, write)?;
                }
                self.step()?;
                assert!(session.completions.fill(producer, word), "room for each answer");
            }
            thread::yield_now();
        }
        Some(())
    }

    fn carry_out(&mut self, client: usize, write: Write) -> Option<()> {
        let arena = &self.world.arena;
        let generation = arena.taken.fetch_add(1, Ordering::Relaxed) + 1;
        self.step()?;
        self.sessions[client].record(write.tag).write(write.sequence, generation);
        self.step()?;
        // One store in a header; here it is two, and nobody dies between them.
        arena.carried_out[client][write.name].fetch_add(1, Ordering::Relaxed);
        arena.published.store(generation, Ordering::Relaxed);
        Some(())
    }
}

/// A client with its private half of a session.
struct Client<'a> {
    world: &'a World,
    number: usize,
    life: usize,
    producer: Producer,
    consumer: Consumer,
    sequence: u64,
    in_flight: [Option<Write>; ENTRIES as usize],
    answered: usize,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, number: usize) -> Client<'a> {
        let (producer, consumer) = (Producer::new(ENTRIES), Consumer::new(ENTRIES));
        let in_flight = [None; ENTRIES as usize];
        Client { world, number, life: 0, producer, consumer, sequence: 0, in_flight, answered: 0 }
    }

    fn session(&self) -> &'a Session {
        &self.world.sessions[self.life][self.number]
    }

    fn send(&mut self, tag: usize, name: usize, replay: u64) {
        self.sequence += 1;
        let (session, write) = (self.session(), Write { tag, sequence: self.sequence, name, replay });
        if replay != 0 {
            session.record(tag).write(self.sequence, replay);
        }
        self.in_flight[tag] = Some(write);
        assert!(session.submissions.fill(&mut self.producer, write.encode()), "room for each tag");
    }

    fn take_answers(&mut self) {
        while let Some(word) = self.session().completions.take(&mut self.consumer) {
            let tag = Write::decode(word).tag;
            let asked = self.in_flight[tag].take().expect("an answer to a request in flight");
            assert_eq!(asked.encode(), word, "an answer to another request");
            self.answered += 1;
        }
    }

    /// The daemon is gone, and all that it has said is said: with the next one, what was not answered, oldest first.
    fn go_on(&mut self) {
        self.take_answers();
        let old = self.session();
        self.life += 1;
        (self.producer, self.consumer) = (Producer::new(ENTRIES), Consumer::new(ENTRIES));
        let mut left: Vec<Write> = self.in_flight.iter().flatten().copied().collect();
        left.sort_by_key(|write| write.sequence);
        for write in left {
            self.send(write.tag, write.name, old.record(write.tag).read(write.sequence));
        }
    }

    fn write_all(&mut self) {
        let mut asked = 0;
        while self.answered < WRITES {
            let free = self.in_flight.iter().position(Option::is_none);
            if let Some(tag) = free.filter(|_| asked < WRITES) {
                self.send(tag, asked, 0);
                asked += 1;
                continue;
            }
            self.take_answers();
            if self.answered < WRITES && self.world.ended[self.life].load(Ordering::Acquire) {
                self.go_on();
            }
            thread::yield_now();
        }
        self.world.content.fetch_add(1, Ordering::Release);
    }
}

/// Nobody's write is lost, and nobody's is done again over what came after it, whenever its daemons die.
#[test]
fn each_write_is_carried_out_once_over_all_lives() {
    play(|| {
        let world = World::new();
        let daemon = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.all_lives())
        };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let world = Arc::clone(&world);
                thread::spawn(move || Client::new(&world, number).write_all())
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
        daemon.join().expect("no panic");
        for (client, writes) in world.arena.carried_out.iter().enumerate() {
            for (name, times) in writes.iter().enumerate() {
                let times = times.load(Ordering::Relaxed);
                assert_eq!(times, 1, "write {name} of client {client} was carried out {times} times");
            }
        }
    });
}
