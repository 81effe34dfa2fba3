//! The thread that keeps the ledger.

use crate::ledger::{Health, Ledger, Now, step};
use crate::reactor::{Clock, Entry, Link, Mail, Post};
use holdfast_engine::{Event, VolumeId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Entries of one commit at most.
const BATCH_MAX: usize = 8192;

/// The ledger, shared with those who ask; and how it was at its last commit, for those who must not wait for its disk.
#[derive(Clone)]
pub(super) struct Book {
    ledger: Arc<Mutex<Ledger>>,
    health: Arc<Mutex<Health>>,
    entries: Arc<Post<Entry>>,
    /// What operators did, and when: on its way into the ledger.
    audits: Arc<Mutex<Vec<Audit>>>,
    clock: Clock,
    stop: Arc<AtomicBool>,
}

/// What an operator did.
struct Audit {
    now: Now,
    who: String,
    verb: String,
}

impl Book {
    pub(super) fn new(ledger: Ledger, entries: Arc<Post<Entry>>, clock: Clock) -> Book {
        let health = ledger.health();
        Book {
            ledger: Arc::new(Mutex::new(ledger)),
            health: Arc::new(Mutex::new(health)),
            entries,
            audits: Arc::new(Mutex::new(Vec::new())),
            clock,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The ledger. May wait for a commit that is under way.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it was last; never waits for a disk.
    pub(super) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Entries that wait to be applied.
    pub(super) fn waiting(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Has it recorded who did what. Never waits for a disk: operators act when disks hang.
    pub(super) fn audit(&self, who: String, verb: String) {
        let audit = Audit { now: self.now(), who, verb };
        self.audits.lock().unwrap_or_else(PoisonError::into_inner).push(audit);
        self.entries.ring();
    }

    pub(super) fn now(&self) -> Now {
        let instant = self.clock.now();
        Now { instant, wall_ms: self.clock.unix_ms(instant) }
    }

    /// Has it take records behind a volume's old end. Need not be durable: a later start finds the size by itself. May wait
    /// for a commit that is under way.
    pub(super) fn resize(&self, volume: VolumeId, bytes: u64) {
        self.ledger().resize(volume, bytes);
        self.entries.ring();
    }

    /// Starts the thread. It ends with [`Book::stop`].
    pub(super) fn start(&self, links: Arc<[Link]>) -> std::io::Result<JoinHandle<()>> {
        let book = self.clone();
        std::thread::Builder::new().name("holdfast-ledger".to_owned()).spawn(move || book.keep(&links))
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.entries.ring();
    }

    /// Takes what has come, commits it together, and tells the reactors.
    fn keep(&self, links: &[Link]) {
        let mut events = Vec::new();
        while !self.stop.load(Ordering::Acquire) {
            let batch: Vec<_> = std::iter::from_fn(|| self.entries.pop())
                .take(BATCH_MAX)
                .map(|Entry { reactor, seq, entry }| (reactor, seq, entry))
                .collect();
            let idle = batch.is_empty();
            let stuck = {
                let mut ledger = self.ledger();
                let audits = std::mem::take(&mut *self.audits.lock().unwrap_or_else(PoisonError::into_inner));
                for audit in audits {
                    ledger.audit(audit.now, &audit.who, &audit.verb);
                }
                let stuck = step(&mut ledger, self.now(), batch, &mut events);
                *self.health.lock().unwrap_or_else(PoisonError::into_inner) = ledger.health();
                stuck
            };
            for (reactor, event) in events.drain(..) {
                self.deliver(&links[reactor as usize], event);
            }
            match stuck {
                // More may come meanwhile; it is taken in and waits in memory.
                Some(_) => std::thread::sleep(Duration::from_millis(50)),
                None if idle => self.entries.wait(Duration::from_secs(1)),
                None => {}
            }
        }
        self.ledger().commit_all(self.now());
    }

    /// A full inbox is emptied soon: its reactor polls.
    fn deliver(&self, link: &Link, event: Event) {
        let mut mail = Mail::Event(event);
        while let Err(back) = link.inbox.push(mail) {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            mail = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
