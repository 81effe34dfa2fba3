//! What the control threads share: the way to the reactors, and what operators see.

use super::reactors::Sheets;
use super::registry::Registry;
use super::scribe::Book;
use super::views;
use super::volumes::Volume;
use crate::admin::{Answers, BackendError};
use crate::config::{Settings, VolumeSettings};
use crate::device::{Backing, Faults, Thin};
use crate::events::{Events, Kind, Notice};
use crate::reactor::{Clock, Link, Mail, Post, Word};
use holdfast_engine::{Answer, ByteRange, Command, DomainId, Event, Token, VolumeId, VolumeStats};
use holdfast_policy::ClassSet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What operators and clients are told of a volume, apart from what changes.
pub(super) struct Served {
    pub(super) id: VolumeId,
    /// As they were at the start: what of them can change is in [`Hub::in_force`].
    pub(super) settings: VolumeSettings,
    /// None while its device is let go of.
    backing: Mutex<Option<Arc<Backing>>>,
    /// Held while it grows or its device is opened again, however long its disk takes.
    changing: Mutex<()>,
    pub(super) domain: DomainId,
    pub(super) domain_owner: u32,
    pub(super) bytes: Arc<AtomicU64>,
    /// What it can grow to while the daemon runs.
    pub(super) bytes_max: u64,
    pub(super) block_bytes: u32,
    pub(super) direct: bool,
    pub(super) identity: String,
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) thin: Option<Arc<Thin>>,
}

impl Served {
    pub(super) fn new(volume: &Volume) -> Served {
        Served {
            id: volume.id,
            settings: volume.settings.clone(),
            backing: Mutex::new(Some(Arc::clone(&volume.backing))),
            changing: Mutex::new(()),
            domain: volume.domain,
            domain_owner: volume.domain_owner,
            bytes: Arc::new(AtomicU64::new(volume.backing.size())),
            bytes_max: volume.bytes_max(),
            block_bytes: volume.backing.block_bytes(),
            direct: matches!(volume.backing.directness(), crate::device::Directness::Direct(_)),
            identity: volume.backing.identity().name.clone(),
            faults: volume.faults.clone(),
            thin: volume.backing.thin().cloned(),
        }
    }

    /// Keeps others from changing its device until it is dropped.
    pub(super) fn change_device(&self) -> Result<MutexGuard<'_, ()>, BackendError> {
        self.changing.try_lock().map_err(|_| BackendError::Busy {
            what: format!("Volume '{}' is growing, or its device is being opened.", self.settings.name),
            remedy: "Nothing was changed. Do it again when that is done.".to_owned(),
        })
    }

    /// Its device, unless it is let go of.
    pub(super) fn backing(&self) -> Option<Arc<Backing>> {
        self.backing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another description of its device in the place of the one that it had, which is closed here, not on a reactor.
    pub(super) fn put_backing(&self, backing: Option<Arc<Backing>>) {
        let before =
            std::mem::replace(&mut *self.backing.lock().unwrap_or_else(PoisonError::into_inner), backing);
        drop(before);
    }
}

/// What is known of the arena.
pub(super) struct ArenaFacts {
    pub(super) id: u64,
    pub(super) bytes: u64,
    pub(super) huge: bool,
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

/// The middle of the control threads.
pub(super) struct Hub {
    pub(super) settings: Settings,
    pub(super) volumes: Vec<Served>,
    pub(super) links: Arc<[Link]>,
    pub(super) words: Arc<Post<Word>>,
    pub(super) book: Book,
    pub(super) clock: Clock,
    pub(super) incarnation: u64,
    pub(super) arena: ArenaFacts,
    pub(super) warnings: Vec<String>,
    /// The file that the settings came from.
    pub(super) config: Option<PathBuf>,
    /// The settings as they are now; volumes are in the order of their numbers.
    pub(super) in_force: Mutex<Arc<Settings>>,
    pub(super) sessions: Registry,
    pub(super) events: Events,
    pub(super) sheets: Sheets,
    pub(super) desk: Desk,
}

/// What is under way: it begins empty.
#[derive(Default)]
pub(super) struct Desk {
    /// Held while settings change: one change at a time. Nobody waits for a disk with it in hand.
    changing: Mutex<()>,
    tokens: AtomicU64,
    asked: Mutex<BTreeMap<u64, Asked>>,
    end: AtomicU8,
    stopping: AtomicBool,
}

impl Hub {
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

    /// Keeps others from changing settings until it is dropped.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.desk.changing.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (volume, undrained) = (usize::from(waiting.volume.0), waiting.undrained);
        asked.remove(&token.0);
        if undrained == Some(0) {
            self.tell(Kind::Drained, volume, &self.stats(volume));
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
        let mail = |token| Mail::Event(Event::Operator { token, volume, command: command.clone() });
        Ok(self.ask_with(volume, undrained, mail))
    }

    /// Sends each reactor a letter about a volume that it answers.
    pub(super) fn ask_with(
        &self,
        volume: VolumeId,
        undrained: Option<u64>,
        mail: impl Fn(Token) -> Mail,
    ) -> Answers {
        let reactors = self.links.len();
        let (sender, receiver) = mpsc::channel(reactors);
        let token = self.token();
        self.asked().insert(token.0, Asked { volume, undrained, sender, left: reactors });
        for link in self.links.iter() {
            self.post(link, mail(token));
        }
        receiver
    }

    fn token(&self) -> Token {
        Token(self.desk.tokens.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The counters of a volume, summed over reactors, as they were published last.
    pub(super) fn stats(&self, volume: usize) -> VolumeStats {
        views::stats(self, volume)
    }

    /// Tells whoever is to be told of such things.
    pub(super) fn tell(&self, kind: Kind, volume: usize, stats: &VolumeStats) {
        let name = &self.volumes[volume].settings.name;
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
        for volume in 0..self.volumes.len() {
            let stats = self.links.iter().map(|link| link.board.volume(volume));
            (failed, lost) =
                stats.fold((failed, lost), |sum, stats| (sum.0 + stats.failed, sum.1 + stats.lost));
        }
        let volumes = self.volumes.len();
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
