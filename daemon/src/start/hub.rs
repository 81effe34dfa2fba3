//! What the control threads share: the way to the reactors, and what operators see.

use super::map;
use super::reactors::Sheets;
use super::scribe::Book;
use super::views;
use super::volumes::Volume;
use crate::admin::{
    Answers, Backend, BackendError, DaemonView, EventsPage, ExplanationPage, FaultView, LossPage, Measures,
    Peer, ThinView, VolumeView,
};
use crate::config::{Settings, VolumeSettings};
use crate::device::{Faults, Sequence, Thin};
use crate::events::{Events, Kind, Notice};
use crate::reactor::{Clock, Link, Mail, Post, Word};
use holdfast_ctl::api::FaultOperation;
use holdfast_engine::{Answer, ByteRange, Command, Event, Instant, Token, VolumeId, VolumeStats};
use holdfast_policy::ClassSet;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What operators and clients are told of a volume, apart from what changes.
pub(super) struct Served {
    pub(super) id: VolumeId,
    pub(super) settings: VolumeSettings,
    pub(super) bytes: u64,
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
            bytes: volume.backing.size(),
            block_bytes: volume.backing.block_bytes(),
            direct: matches!(volume.backing.directness(), crate::device::Directness::Direct(_)),
            identity: volume.backing.identity().name.clone(),
            faults: volume.faults.clone(),
            thin: volume.backing.thin().cloned(),
        }
    }
}

/// What is known of the arena.
pub(super) struct ArenaFacts {
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
    pub(super) events: Events,
    pub(super) sheets: Sheets,
    pub(super) desk: Desk,
}

/// What is under way: it begins empty.
#[derive(Default)]
pub(super) struct Desk {
    tokens: AtomicU64,
    asked: Mutex<BTreeMap<u64, Asked>>,
    end: AtomicU8,
    stopping: AtomicBool,
}

impl Hub {
    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, Asked>> {
        self.desk.asked.lock().unwrap_or_else(PoisonError::into_inner)
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
        let reactors = self.links.len();
        let (sender, receiver) = mpsc::channel(reactors);
        let token = self.token();
        let undrained = matches!(command, Command::Drain).then_some(0);
        self.asked().insert(token.0, Asked { volume, undrained, sender, left: reactors });
        self.spread(token, volume, command);
        Ok(receiver)
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

    fn served(&self, volume: VolumeId) -> &Served {
        &self.volumes[usize::from(volume.0)]
    }

    fn faults_of(&self, volume: VolumeId) -> Result<&Arc<Faults>, BackendError> {
        self.served(volume).faults.as_ref().ok_or_else(|| BackendError::Refused {
            what: "fault injection is off".to_owned(),
            remedy: "set 'debug.fault_injection = true' and start the daemon again".to_owned(),
        })
    }

    fn audit(&self, by: Peer, verb: &str) {
        let pid = by.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        let who = format!("uid {}, gid {}, pid {pid}", by.uid, by.gid);
        tracing::info!(%who, %verb, "an operator's command");
        self.book.audit(who, verb.to_owned());
    }
}

impl Backend for Hub {
    fn daemon(&self) -> DaemonView {
        views::daemon(self)
    }

    fn volumes(&self) -> Vec<VolumeView> {
        (0..self.volumes.len()).map(|index| views::volume(self, index)).collect()
    }

    fn measures(&self) -> Measures {
        views::measures(self)
    }

    fn unix_ms(&self, at: Instant) -> u64 {
        self.clock.unix_ms(at)
    }

    fn command(&self, volume: VolumeId, command: Command, by: Peer) -> Result<Answers, BackendError> {
        if !matches!(command, Command::List { .. }) {
            self.audit(by, &format!("{command:?} on volume '{}'", self.served(volume).settings.name));
        }
        self.ask(volume, &command)
    }

    fn map(&self, volume: VolumeId, cell_bytes: u64) -> Vec<u8> {
        map::cells(&self.sheets[usize::from(volume.0)], cell_bytes)
    }

    fn recorded_losses(&self, volume: VolumeId, from: u64, limit: usize) -> LossPage {
        views::losses(self, volume, from, limit)
    }

    fn explain(&self, id: u64, from: u64, limit: usize) -> Option<ExplanationPage> {
        views::explain(self, id, from, limit)
    }

    fn events(&self, since: u64, limit: usize) -> EventsPage {
        views::events(self, since, limit)
    }

    fn faults(&self, volume: VolumeId) -> Result<Vec<FaultView>, BackendError> {
        Ok(self.faults_of(volume)?.list().iter().map(|status| views::fault(&status.spec)).collect())
    }

    fn set_fault(&self, volume: VolumeId, fault: FaultView, by: Peer) -> Result<(), BackendError> {
        let faults = self.faults_of(volume)?;
        let sequence: Sequence = fault.sequence.parse().map_err(|error| BackendError::Refused {
            what: format!("{error}"),
            remedy: "write a sequence such as 'xxwX'".to_owned(),
        })?;
        let operation = match fault.operation {
            FaultOperation::Read => crate::device::FaultOperation::Read,
            FaultOperation::Write => crate::device::FaultOperation::Write,
            FaultOperation::Flush => crate::device::FaultOperation::Flush,
        };
        let range = (operation != crate::device::FaultOperation::Flush).then_some(fault.range);
        faults.add(crate::device::FaultSpec { operation, errno: fault.errno, range, sequence });
        self.audit(by, &format!("fault {fault:?} on volume '{}'", self.served(volume).settings.name));
        Ok(())
    }

    fn clear_faults(&self, volume: VolumeId, by: Peer) -> Result<(), BackendError> {
        self.faults_of(volume)?.clear();
        for link in self.links.iter() {
            link.inbox.ring();
        }
        self.audit(by, &format!("fault clear on volume '{}'", self.served(volume).settings.name));
        Ok(())
    }

    fn grow_thin(&self, volume: VolumeId, add_bytes: u64, by: Peer) -> Result<ThinView, BackendError> {
        let served = self.served(volume);
        let name = &served.settings.name;
        let thin = served.thin.as_ref().ok_or_else(|| BackendError::Refused {
            what: format!("volume '{name}' has no thin limit"),
            remedy: "make room on its own file system or device".to_owned(),
        })?;
        let limit_bytes = thin.grow(add_bytes);
        self.audit(by, &format!("grow-thin by {add_bytes} on volume '{name}'"));
        Ok(ThinView { limit_bytes, allocated_bytes: thin.used() })
    }

    fn shutdown(&self, abandon: bool, by: Peer) {
        self.audit(by, if abandon { "drain --abandon" } else { "drain" });
        self.request_end(if abandon { End::Abandon } else { End::Drain });
    }
}
