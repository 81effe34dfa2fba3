//! The thread that keeps the ledger.

use crate::ledger::{CommitOutcome, Health, Ledger, Now, Stuck, step, told};
use crate::reactor::{Clock, Entry, Link, Mail, Post};
use holdfast_engine::{Event, VolumeId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries of one commit at most.
const BATCH_MAX: usize = 8192;
/// How long the end of the daemon waits for a ledger that cannot be written: less than service managers wait for a stop.
const CLOSE_MAX: Duration = Duration::from_secs(30);
/// A commit takes milliseconds; operators are told of one that takes so long.
const HANGS_MS: u64 = 5_000;

/// The ledger, shared with those who ask; and how it was at its last commit, for those who must not wait for its disk.
#[derive(Clone)]
pub(super) struct Book {
    ledger: Arc<Mutex<Ledger>>,
    health: Arc<Mutex<Health>>,
    entries: Arc<Post<Entry>>,
    /// What operators did, and when: on its way into the ledger.
    audits: Arc<Mutex<Vec<Audit>>>,
    clock: Clock,
    /// When the commit that is under way began, in nanoseconds of the clock and one; 0 if none is.
    commits_since: Arc<AtomicU64>,
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
            commits_since: Arc::new(AtomicU64::new(0)),
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

    /// Entries that wait to be applied; how many of the others wait to be durable, its health says.
    pub(super) fn waiting(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Since when the ledger's disk has not answered, in milliseconds of the wall clock, if that is too long.
    pub(super) fn hangs_since(&self) -> Option<u64> {
        let since = self.commits_since.load(Ordering::Relaxed).checked_sub(1)?;
        let since = holdfast_engine::Instant(since);
        (self.clock.now().since_ms(since) >= HANGS_MS).then(|| self.clock.unix_ms(since))
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

    /// Makes all that is known durable, and tells the reactors what became durable with it. May wait for a commit that is
    /// under way, and for the ledger's disk; the trouble, if it is stuck.
    pub(super) fn commit(&self, links: &[Link]) -> Option<Stuck> {
        let mut ledger = self.ledger();
        let outcome = ledger.commit_all(self.now());
        let mut events = Vec::new();
        let stuck = told(outcome, &mut events);
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = ledger.health();
        drop(ledger);
        events.drain(..).for_each(|(reactor, event)| self.deliver(&links[reactor as usize], event));
        stuck
    }

    /// Starts the thread. It ends after [`Book::stop`], with the ledger's trouble if the last of it is not durable.
    pub(super) fn start(&self, links: Arc<[Link]>) -> std::io::Result<JoinHandle<Option<Stuck>>> {
        let book = self.clone();
        std::thread::Builder::new().name("holdfast-ledger".to_owned()).spawn(move || {
            book.keep(&links);
            book.close()
        })
    }

    /// Has the thread record what has come until now, and end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.entries.ring();
    }

    /// Takes what has come, commits it together, and tells the reactors.
    fn keep(&self, links: &[Link]) {
        let mut events = Vec::new();
        loop {
            // Looked at before the box is: what was put in before the stop is taken out, however much it is.
            let ends = self.stop.load(Ordering::Acquire);
            let batch: Vec<_> = std::iter::from_fn(|| self.entries.pop())
                .take(BATCH_MAX)
                .map(|Entry { reactor, seq, entry }| (reactor, seq, entry))
                .collect();
            let idle = batch.is_empty();
            let stuck = self.record(batch, &mut events);
            for (reactor, event) in events.drain(..) {
                self.deliver(&links[reactor as usize], event);
            }
            match stuck {
                _ if ends && idle => return,
                _ if ends => {}
                // More may come meanwhile; it is taken in and waits in memory.
                Some(_) => std::thread::sleep(Duration::from_millis(50)),
                None if idle => self.entries.wait(Duration::from_secs(1)),
                None => {}
            }
        }
    }

    fn record(&self, batch: Vec<crate::ledger::Entry>, events: &mut Vec<(u32, Event)>) -> Option<Stuck> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).waiting += batch.len() as u64;
        self.commits_since.store(self.clock.now().0 + 1, Ordering::Relaxed);
        let mut ledger = self.ledger();
        let audits = std::mem::take(&mut *self.audits.lock().unwrap_or_else(PoisonError::into_inner));
        for audit in audits {
            ledger.audit(audit.now, &audit.who, &audit.verb);
        }
        let stuck = step(&mut ledger, self.now(), batch, events);
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = ledger.health();
        self.commits_since.store(0, Ordering::Relaxed);
        stuck
    }

    /// Writes all of it, for the last time: the next daemon takes what it says to be held for lost. Tries for
    /// [`CLOSE_MAX`], as somebody may be making room.
    fn close(&self) -> Option<Stuck> {
        let began = Instant::now();
        loop {
            let outcome = self.ledger().commit_all(self.now());
            let CommitOutcome::Stuck(stuck) = outcome else { return None };
            if began.elapsed() >= CLOSE_MAX {
                return Some(stuck);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_engine::{ByteRange, Extent, LedgerEntry, LedgerSeq, ListState, VolumeId};

    const VOLUME: VolumeId = VolumeId(0);

    fn open(directory: &std::path::Path, clock: Clock) -> Ledger {
        let instant = clock.now();
        let now = Now { instant, wall_ms: clock.unix_ms(instant) };
        let mut ledger = Ledger::open(directory, now).expect("a ledger");
        ledger.register_volume(VOLUME, "vm", "disk 1", 1 << 20).expect("registered");
        ledger
    }

    fn held(seq: u64) -> Entry {
        let instant = holdfast_engine::Instant(1);
        let extent = Extent {
            range: ByteRange { offset: seq * 8192, length: 4096 },
            state: ListState::Failed,
            class: 1,
            errno: 5,
            attempts: 1,
            first: instant,
            last: instant,
        };
        Entry { reactor: 0, seq: LedgerSeq(seq), entry: LedgerEntry::NotStable { volume: VOLUME, extent } }
    }

    /// A reactor that was stopped while the box was full dropped what it still had to say. In the ledger, ranges that had been
    /// healed were held, and what had been lost was not known.
    #[test]
    fn what_did_not_fit_into_the_box_at_the_stop_is_on_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::start();
        let entries = Arc::new(Post::new(4).expect("an eventfd"));
        let book = Book::new(open(directory.path(), clock), Arc::clone(&entries), clock);
        let links: Arc<[Link]> = Arc::new([Link::new(1).expect("an eventfd")]);
        let mut late: std::collections::VecDeque<Entry> = (1..=100).map(held).collect();
        assert!(!entries.push_all(&mut late) && late.len() == 96, "the box is full");
        let thread = book.start(links).expect("a thread");
        assert!(entries.push_all_within(&mut late, Duration::from_secs(60)), "its reader takes them");
        book.stop();
        assert_eq!(thread.join().expect("it ends"), None, "all is durable");
        drop(book);
        assert_eq!(open(directory.path(), clock).not_stable(VOLUME).len(), 100);
    }

    /// The reactors' last words came while the thread was in a commit, and it ended without looking into its box again:
    /// what they had healed was on record as held, and the next daemon took it for lost.
    #[test]
    fn what_was_said_before_the_stop_is_on_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::start();
        let entries = Arc::new(Post::new(16).expect("an eventfd"));
        let book = Book::new(open(directory.path(), clock), Arc::clone(&entries), clock);
        for seq in 1..=3 {
            entries.push(held(seq)).expect("room");
        }
        book.stop();
        let links: Arc<[Link]> = Arc::new([Link::new(1).expect("an eventfd")]);
        let ended = book.start(links).expect("a thread").join().expect("it ends");
        assert_eq!(ended, None, "all is durable");
        drop(book);
        let read = open(directory.path(), clock);
        assert_eq!(read.not_stable(VOLUME).len(), 3);
    }
}
