//! The rings' core under loom, which runs every interleaving that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --profile proof -p holdfast-ringbuf --lib`

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::doorbell;
use crate::index::{Consumer, Producer};
use crate::record::Record;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

const CAPACITY: u32 = 2;

/// Every interleaving with at most three preemptions, which is where such bugs show; without the bound it is hours.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// The shared memory of a ring. The entries are plain cells: loom fails the test if an access is not ordered.
struct Shared {
    tail: AtomicU32,
    head: AtomicU32,
    entries: [UnsafeCell<u32>; CAPACITY as usize],
    sleeping: AtomicU32,
    /// What the kernel does for a sleeper. A wake-up that is lost leaves it there, which loom reports as a deadlock.
    bytes_in_socket: Mutex<u32>,
    futex_word: AtomicU32,
    kernel_queue: Condvar,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tail: AtomicU32::new(0),
            head: AtomicU32::new(0),
            entries: [UnsafeCell::new(0), UnsafeCell::new(0)],
            sleeping: AtomicU32::new(0),
            bytes_in_socket: Mutex::new(0),
            futex_word: AtomicU32::new(0),
            kernel_queue: Condvar::new(),
        })
    }

    fn fill(&self, producer: &mut Producer, value: u32) -> bool {
        let Some(place) = producer.claim(&self.head).expect("an honest peer") else { return false };
        self.entries[place as usize].with_mut(|entry| {
            // SAFETY: the index protocol gives this entry to the producer alone; loom checks just that.
            #[allow(unsafe_code, reason = "loom's cells hand out raw pointers")]
            unsafe {
                *entry = value;
            }
        });
        producer.publish(&self.tail);
        true
    }

    fn send_byte(&self) {
        *self.bytes_in_socket.lock().expect("no panic") += 1;
        self.kernel_queue.notify_one();
    }

    fn poll_and_drain(&self) {
        let mut bytes = self.bytes_in_socket.lock().expect("no panic");
        while *bytes == 0 {
            bytes = self.kernel_queue.wait(bytes).expect("no panic");
        }
        *bytes = 0;
    }

    fn futex_wake(&self) {
        drop(self.bytes_in_socket.lock().expect("no panic"));
        self.kernel_queue.notify_one();
    }

    /// The kernel compares the word and joins the queue in one step, under the lock that a wake-up takes.
    fn futex_wait(&self, generation: u32) {
        let guard = self.bytes_in_socket.lock().expect("no panic");
        if self.futex_word.load(Ordering::Relaxed) == generation {
            drop(self.kernel_queue.wait(guard).expect("no panic"));
        }
    }

    fn take(&self, consumer: &mut Consumer) -> Option<u32> {
        if !consumer.pending(&self.tail).expect("an honest peer") {
            return None;
        }
        let peeked = consumer.peek(0);
        let place = consumer.next(&self.tail).expect("an honest peer")?;
        assert_eq!(peeked, Some(place), "what was peeked at is what is taken");
        let value = self.entries[place as usize].with(|entry| {
            // SAFETY: the index protocol gives this entry to the consumer alone; loom checks just that.
            #[allow(unsafe_code, reason = "loom's cells hand out raw pointers")]
            unsafe {
                *entry
            }
        });
        consumer.release(&self.head);
        Some(value)
    }
}

/// Every value arrives once and in order, through a ring that wraps, and no entry is touched by both ends at once.
#[test]
fn entries_arrive_whole_once_and_in_order() {
    explore(|| {
        let shared = Shared::new();
        let theirs = Arc::clone(&shared);
        let producer = thread::spawn(move || {
            let mut producer = Producer::new(CAPACITY);
            for value in 1..=3 {
                while !theirs.fill(&mut producer, value) {
                    thread::yield_now();
                }
            }
            producer.look(&theirs.head).expect("an honest peer");
            producer.head_seen()
        });
        let mut consumer = Consumer::new(CAPACITY);
        for value in 1..=3 {
            let taken = loop {
                match shared.take(&mut consumer) {
                    Some(taken) => break taken,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(taken, value);
        }
        assert!(producer.join().expect("no panic") <= 3);
    });
}

/// The reactor's sleep, for which the wake-up is a byte in a socket: it stays there until it is read.
#[test]
fn a_sleeping_consumer_is_woken() {
    explore(|| {
        let shared = Shared::new();
        let theirs = Arc::clone(&shared);
        let producer = thread::spawn(move || {
            let mut producer = Producer::new(CAPACITY);
            for value in 1..=2 {
                assert!(theirs.fill(&mut producer, value));
                if doorbell::ring(&theirs.sleeping) {
                    theirs.send_byte();
                }
            }
        });
        let mut consumer = Consumer::new(CAPACITY);
        let mut taken = 0;
        while taken < 2 {
            if shared.take(&mut consumer).is_some() {
                taken += 1;
                continue;
            }
            doorbell::arm(&shared.sleeping);
            if !consumer.pending(&shared.tail).expect("an honest peer") {
                shared.poll_and_drain();
            }
            doorbell::disarm(&shared.sleeping);
        }
        producer.join().expect("no panic");
    });
}

/// The client's sleep: a futex, which does not begin if the word has changed since it was read, and which two reactors
/// may ring, of which one may come late, with an arming that it saw long ago.
#[test]
fn a_client_asleep_on_the_word_is_woken_by_either_of_two_reactors() {
    explore(|| {
        let shared = Shared::new();
        let published: [Arc<AtomicU32>; 2] = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
        let reactors: Vec<_> = published
            .iter()
            .map(|published| {
                let (theirs, published) = (Arc::clone(&shared), Arc::clone(published));
                thread::spawn(move || {
                    published.store(1, Ordering::Release);
                    if doorbell::ring(&theirs.sleeping) {
                        theirs.futex_word.fetch_add(1, Ordering::Release);
                        theirs.futex_wake();
                    }
                })
            })
            .collect();
        let count = || published.iter().map(|word| word.load(Ordering::Acquire)).sum::<u32>();
        let mut seen = 0;
        while seen < 2 {
            let generation = shared.futex_word.load(Ordering::Acquire);
            doorbell::arm(&shared.sleeping);
            if count() == seen {
                shared.futex_wait(generation);
            }
            doorbell::disarm(&shared.sleeping);
            seen = count();
        }
        for reactor in reactors {
            reactor.join().expect("no panic");
        }
    });
}

/// A client that looks while, or after, a daemon says under which generation it takes a tag's next write in: it hears nothing
/// of it, or that. The tag's write before has a record, too, which must not be taken for it.
#[test]
fn a_record_is_whole_or_of_the_write_before() {
    explore(|| {
        let words = Arc::new([AtomicU64::new(4), AtomicU64::new(40)]);
        let theirs = Arc::clone(&words);
        let daemon = thread::spawn(move || {
            let [of, generation] = &*theirs;
            Record { of, generation }.write(5, 50);
        });
        let [of, generation] = &*words;
        let record = Record { of, generation };
        let said = record.read(5);
        assert!([0, 50].contains(&said), "{said} was said of write 5");
        daemon.join().expect("no panic");
        assert_eq!((record.read(5), record.read(4)), (50, 0));
    });
}
