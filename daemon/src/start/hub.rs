//! What the control threads share: the way to the reactors, and what operators see.

use super::registry::Registry;
use super::scribe::Book;
use super::table::{Served, Table};
use super::views;
use crate::admin::{Answers, BackendError};
use crate::arena::VolumeTable;
use crate::config::{Settings, VolumeSettings};
use crate::device::DomainKey;
use crate::events::{Events, Kind, Notice};
use crate::reactor::{Clock, Link, Mail, Post, Word};
use holdfast_engine::{Answer, ByteRange, Command, Event, Token, VolumeId, VolumeStats};
use holdfast_policy::ClassSet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What is known of the arena.
pub(super) struct ArenaFacts {
    pub(super) id: u64,
    pub(super) bytes: u64,
    pub(super) huge: bool,
    pub(super) boot: u128,
    pub(super) volumes: VolumeTable,
}

/// A command that waits for its reactors' answers.
struct Asked {
    volume: VolumeId,
    /// Lines that a drain has left so far; none if it is no drain.
    undrained: Option<u64>,
    sender: mpsc::Sender<(u32, Answer)>,
    left: usize,
}

/// How the daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    /// Not at all.
    None = 0,
    /// Drain, and go if nothing is held.
    Drain = 1,
    /// Drain, give up what is held, and go.
    Abandon = 2,
}

/// What a hub is made of at the start.
pub(super) struct Parts {
    pub(super) settings: Settings,
    pub(super) table: Table,
    pub(super) domains: Vec<DomainKey>,
    pub(super) links: Arc<[Link]>,
    pub(super) words: Arc<Post<Word>>,
    pub(super) book: Book,
    pub(super) clock: Clock,
    pub(super) incarnation: u64,
    pub(super) arena: ArenaFacts,
    pub(super) warnings: Vec<String>,
    pub(super) config: Option<PathBuf>,
    pub(super) events: Events,
}

/// The middle of the control threads.
pub(super) struct Hub {
    pub(super) settings: Settings,
    table: Mutex<Arc<Table>>,
    /// Flush domains by their numbers.
    pub(super) domains: Mutex<Vec<DomainKey>>,
    pub(super) links: Arc<[Link]>,
    pub(super) words: Arc<Post<Word>>,
    pub(super) book: Book,
    pub(super) clock: Clock,
    pub(super) incarnation: u64,
    pub(super) arena: ArenaFacts,
    /// What was found at the start; what the settings are warned of is not among it.
    pub(super) warnings: Vec<String>,
    /// The file that the settings came from.
    pub(super) config: Option<PathBuf>,
    /// The settings as they are now; volumes are in any order.
    in_force: Mutex<Arc<Settings>>,
    pub(super) sessions: Registry,
    pub(super) events: Events,
    pub(super) desk: Desk,
}

/// What is under way: it begins empty.
#[derive(Default)]
pub(super) struct Desk {
    /// Held while settings or volumes change: one change at a time.
    changing: Mutex<()>,
    tokens: AtomicU64,
    asked: Mutex<BTreeMap<u64, Asked>>,
    end: AtomicU8,
    stopping: AtomicBool,
}

impl Hub {
    pub(super) fn new(parts: Parts) -> Hub {
        let Parts { settings, table, domains, links, words, book, clock, incarnation, arena, .. } = parts;
        Hub {
            in_force: Mutex::new(Arc::new(settings.clone())),
            settings,
            table: Mutex::new(Arc::new(table)),
            domains: Mutex::new(domains),
            links,
            words,
            book,
            clock,
            incarnation,
            arena,
            warnings: parts.warnings,
            config: parts.config,
            sessions: Registry::default(),
            events: parts.events,
            desk: Desk::default(),
        }
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, Asked>> {
        self.desk.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings as they are now.
    pub(super) fn in_force(&self) -> Arc<Settings> {
        Arc::clone(&self.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put_in_force(&self, settings: Settings) {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Keeps others from changing settings or volumes until it is dropped. A removal waits for a device with it in hand:
    /// nobody waits for this.
    pub(super) fn changing(&self) -> Result<MutexGuard<'_, ()>, BackendError> {
        match self.desk.changing.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(BackendError::Busy {
                what: "Another change of the configuration is under way.".to_owned(),
                remedy: "Nothing was changed. Do it again when that is done.".to_owned(),
            }),
        }
    }

    /// The same for whoever has begun what cannot be taken back: waits for the others.
    pub(super) fn changing_at_last(&self) -> MutexGuard<'_, ()> {
        self.desk.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volumes as they are now.
    pub(super) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put_table(&self, table: Table) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// What holds for a volume now.
    pub(super) fn settings_of(&self, served: &Served) -> VolumeSettings {
        let settings = self.in_force();
        let found = settings.volumes.iter().find(|volume| volume.name == served.name());
        found.unwrap_or(&served.settings).clone()
    }

    /// Puts a letter in a reactor's box, waiting while it is full: the reactor empties it every turn.
    pub(super) fn post(&self, link: &Link, mut mail: Mail) {
        while let Err(back) = link.inbox.push(mail) {
            mail = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A reactor has answered an operator.
    pub(super) fn answered(&self, token: Token, reactor: u32, answer: Answer) {
        let mut asked = self.asked();
        let Some(waiting) = asked.get_mut(&token.0) else { return };
        waiting.left -= 1;
        if let (Some(undrained), Answer::Drained { left }) = (&mut waiting.undrained, &answer) {
            *undrained += left;
        }
        // One place for each reactor: it only fails if nobody waits any more.
        let _ = waiting.sender.try_send((reactor, answer));
        if waiting.left > 0 {
            return;
        }
        let (volume, undrained) = (waiting.volume, waiting.undrained);
        asked.remove(&token.0);
        drop(asked);
        if let (Some(0), Some(served)) = (undrained, self.table().get(volume)) {
            self.tell(Kind::Drained, served, &self.stats(volume));
        }
    }

    /// Asks all reactors to do something to a volume. What a drain leaves has been tried since it was asked for: a retry
    /// goes before it, whose answer nobody waits for.
    pub(super) fn ask(&self, volume: VolumeId, command: &Command) -> Result<Answers, BackendError> {
        if matches!(command, Command::Drain) {
            self.spread(
                self.token(),
                volume,
                &Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY },
            );
        }
        let undrained = matches!(command, Command::Drain).then_some(0);
        let (token, answers) = self.expect_answers(volume, undrained);
        self.spread(token, volume, command);
        Ok(answers)
    }

    /// A token under which every reactor is about to answer.
    fn expect_answers(&self, volume: VolumeId, undrained: Option<u64>) -> (Token, Answers) {
        let reactors = self.links.len();
        let (sender, receiver) = mpsc::channel(reactors);
        let token = self.token();
        self.asked().insert(token.0, Asked { volume, undrained, sender, left: reactors });
        (token, receiver)
    }

    /// Sends each reactor a letter of its own, which it answers.
    pub(super) fn ask_each(&self, volume: VolumeId, mut letter: impl FnMut(Token, usize) -> Mail) -> Answers {
        let (token, answers) = self.expect_answers(volume, None);
        for (reactor, link) in self.links.iter().enumerate() {
            self.post(link, letter(token, reactor));
        }
        answers
    }

    /// Every reactor's answer, or none if one has not come in time.
    pub(super) fn collect(&self, mut answers: Answers, deadline: Instant) -> Option<Vec<Answer>> {
        let mut collected = Vec::new();
        while collected.len() < self.links.len() {
            match answers.try_recv() {
                Ok((_, answer)) => collected.push(answer),
                Err(mpsc::error::TryRecvError::Empty) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(_) => return None,
            }
        }
        Some(collected)
    }

    fn token(&self) -> Token {
        Token(self.desk.tokens.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The counters of a volume, summed over reactors, as they were published last.
    pub(super) fn stats(&self, volume: VolumeId) -> VolumeStats {
        views::stats(self, volume)
    }

    /// Tells whoever is to be told of such things.
    pub(super) fn tell(&self, kind: Kind, served: &Served, stats: &VolumeStats) {
        let name = served.name();
        let unix_ms = self.clock.unix_ms(self.clock.now());
        self.events.tell(Notice::new(kind, name, unix_ms, stats, self.settings.arena.line_bytes));
    }

    fn spread(&self, token: Token, volume: VolumeId, command: &Command) {
        for link in self.links.iter() {
            let event = Event::Operator { token, volume, command: command.clone() };
            self.post(link, Mail::Event(event));
        }
    }

    /// How things are, for `systemctl status`.
    pub(super) fn in_a_line(&self) -> String {
        let (mut failed, mut lost) = (0, 0);
        let table = self.table();
        for served in table.iter() {
            let stats = self.stats(served.id);
            (failed, lost) = (failed + stats.failed, lost + stats.lost);
        }
        let volumes = table.len();
        match (failed, lost) {
            (0, 0) => format!("serving {volumes} volumes"),
            _ => format!(
                "serving {volumes} volumes; {failed} lines failed and held, {lost} lost: see 'holdfastctl status'"
            ),
        }
    }

    /// How the daemon is to end, if somebody said so.
    pub(super) fn end(&self) -> End {
        match self.desk.end.load(Ordering::Acquire) {
            1 => End::Drain,
            2 => End::Abandon,
            _ => End::None,
        }
    }

    pub(super) fn request_end(&self, end: End) {
        self.desk.end.fetch_max(end as u8, Ordering::AcqRel);
    }

    /// Whether new sessions are refused.
    pub(super) fn stopping(&self) -> bool {
        self.desk.stopping.load(Ordering::Acquire)
    }

    pub(super) fn set_stopping(&self, stopping: bool) {
        self.desk.stopping.store(stopping, Ordering::Release);
    }
}
