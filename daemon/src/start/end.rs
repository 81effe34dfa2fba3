//! The daemon's end: signals, the drain, and the threads in reverse order of their start.

use super::error::StartError;
use super::hub::{End, Hub};
use super::scribe::Book;
use crate::admin::BackendError;
use crate::config::Difference;
use crate::ledger::Stuck;
use crate::reactor::Mail;
use crate::service;
use holdfast_engine::{Answer, Command};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the main thread looks whether the daemon is to end.
const LOOK: Duration = Duration::from_millis(50);
/// How long one reactor may take to say that it can write no more: the timeouts of its device come first.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// How long a change may take that is under way when the daemon is to end: a removal waits for its device.
const CHANGE_MAX: Duration = Duration::from_secs(60);

/// SIGTERM and SIGINT, as a flag; SIGHUP, as another.
pub(super) struct Signals {
    end: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn install() -> Result<Signals, StartError> {
        let (end, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &end), (SIGINT, &end), (SIGHUP, &reload)] {
            signal_hook::flag::register(signal, Arc::clone(flag))
                .map_err(|source| StartError::Resource { what: "no signal handler", source })?;
        }
        Ok(Signals { end, reload })
    }

    /// Whether the daemon was told to end.
    pub(super) fn wants_end(&self) -> bool {
        self.end.load(Ordering::Acquire)
    }
}

/// Waits until the daemon is to end, and drains it. Returns the lines that are not on stable media and stay in the
/// arena; what was given up is not among them.
pub(super) fn wait(hub: &Hub, signals: &Signals, abandon: bool) -> u64 {
    loop {
        if signals.reload.swap(false, Ordering::AcqRel) {
            reload(hub);
        }
        if signals.end.swap(false, Ordering::AcqRel) {
            hub.request_end(if abandon { End::Abandon } else { End::Drain });
        }
        let end = hub.end();
        if end == End::None {
            std::thread::sleep(LOOK);
            continue;
        }
        hub.set_stopping(true);
        let _changing = last_change(hub);
        service::stopping("draining: writing back what is not on stable media");
        // What a client is told after the drain would be in no place: from here on no request is taken.
        for link in hub.links.iter() {
            hub.post(link, Mail::Quiet);
        }
        let mut left = drain(hub);
        // An operator may have lost patience meanwhile.
        if left > 0 && hub.end() == End::Abandon {
            give_up(hub);
            left = drain(hub);
        }
        if left > 0 {
            tracing::error!(
                lines = left,
                "not all data could be written: it stays in the arena '{}', from which the next daemon serves it, and \
                 the ledger lists it. To give it up, start with '--discard-arena'; it is then on record as lost. To end \
                 without a remainder, mend the device before, or 'serve --abandon'",
                hub.settings.arena.path.display()
            );
        }
        return left;
    }
}

/// Waits for a change that is under way: volumes do not come or go during the drain. From here on none begins.
fn last_change(hub: &Hub) -> Option<MutexGuard<'_, ()>> {
    let deadline = Instant::now() + CHANGE_MAX;
    loop {
        match hub.changing() {
            Ok(guard) => return Some(guard),
            Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(_) => return None,
        }
    }
}

/// Loads the configuration again, as `holdfastctl reload` does; nobody but the log is told.
fn reload(hub: &Hub) {
    match hub.reload_configuration(false) {
        Ok(reloaded) => {
            hub.book.audit("a signal to the daemon".to_owned(), "reload".to_owned());
            for Difference { key, before, after, .. } in &reloaded.differences {
                tracing::info!(key, before, after, "a setting changed");
            }
            let count = reloaded.differences.len();
            tracing::info!(config = reloaded.config, count, "the configuration is in force");
        }
        Err(error) => {
            let (BackendError::Senseless { what, remedy }
            | BackendError::Refused { what, remedy }
            | BackendError::Busy { what, remedy }) = error;
            tracing::error!("{} {remedy}", super::reload::in_a_line(&what));
        }
    }
}

/// Writes back what can be written, on all volumes at once. Returns the lines left.
fn drain(hub: &Hub) -> u64 {
    ask_all(hub, &Command::Drain, |answer| if let Answer::Drained { left } = answer { left } else { 0 })
}

/// Gives up what the devices refuse: everything that the drain before it left.
fn give_up(hub: &Hub) {
    let bytes = ask_all(hub, &Command::Abandon, |answer| match answer {
        Answer::Dropped { bytes } => bytes,
        _ => 0,
    });
    tracing::warn!(bytes, "gave up what could not be written; the ledger lists it as lost");
}

fn ask_all(hub: &Hub, command: &Command, count: impl Fn(Answer) -> u64) -> u64 {
    let asked: Vec<_> = hub.table().iter().filter_map(|volume| hub.ask(volume.id, command).ok()).collect();
    let deadline = Instant::now() + DRAIN_MAX;
    let mut total = 0;
    for mut answers in asked {
        let mut left = hub.links.len();
        while left > 0 && Instant::now() < deadline {
            match answers.try_recv() {
                Ok((_, answer)) => {
                    total += count(answer);
                    left -= 1;
                }
                Err(tokio::sync::mpsc::error::TryRecvError::Empty) => {
                    std::thread::sleep(Duration::from_millis(5))
                }
                Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        // A reactor that has not answered holds something that it cannot even try.
        total += u64::try_from(left).expect("few reactors");
    }
    total
}

/// The threads to end.
pub(super) struct Stop<'a> {
    pub(super) hub: &'a Hub,
    pub(super) stop: &'a AtomicBool,
    pub(super) keeper: JoinHandle<()>,
    pub(super) reactors: Vec<JoinHandle<()>>,
    pub(super) book: &'a Book,
    pub(super) scribe: JoinHandle<Option<Stuck>>,
}

impl Stop<'_> {
    /// Ends them. `left` lines are still not stable: their volumes keep the mark of that in the ledger. Whether the
    /// ledger has all of it.
    pub(super) fn run(self, left: u64) -> bool {
        for link in self.hub.links.iter() {
            self.hub.post(link, Mail::Stop);
        }
        for reactor in self.reactors {
            // A reactor that panics aborts the process; there is nothing to report here.
            let _ = reactor.join();
        }
        self.stop.store(true, Ordering::Release);
        self.hub.words.ring();
        let _ = self.keeper.join();
        if left == 0 {
            let mut ledger = self.book.ledger();
            for volume in self.hub.table().iter() {
                ledger.mark_drained(volume.id);
            }
        }
        self.book.stop();
        let Ok(Some(stuck)) = self.scribe.join() else { return true };
        let path = &self.hub.settings.daemon.state_dir;
        tracing::error!(
            "the ledger in '{}' cannot be written: {}. It may still list as held what has been written since, and the \
             next start then reports that as lost. Make room there before it",
            path.display(),
            stuck.text
        );
        false
    }
}
