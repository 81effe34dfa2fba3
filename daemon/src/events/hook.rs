//! The thread that tells: it may wait for the world, and nobody waits for it.

use super::{Counters, Notice, Outcome, post, run};
use crate::config::{EventSettings, Webhook};
use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Whom it tells.
enum Target {
    Program(Vec<String>),
    Webhook { webhook: Webhook, attempts: u32, runtime: Runtime },
}

/// The running hook.
#[derive(Debug)]
pub struct Hook {
    thread: JoinHandle<()>,
    end: Arc<Mutex<Option<Instant>>>,
}

struct Teller {
    target: Target,
    timeout: Duration,
    counters: Arc<Counters>,
    /// When it must have ended; none while the daemon runs.
    end: Arc<Mutex<Option<Instant>>>,
}

impl Hook {
    /// Starts the thread, if the settings name anybody to tell. It ends when the queue does.
    ///
    /// # Errors
    /// The kernel has no thread, or no epoll instance.
    pub(super) fn start(
        settings: &EventSettings,
        queue: Receiver<Notice>,
        counters: Arc<Counters>,
    ) -> io::Result<Option<Hook>> {
        let target = match (&settings.webhook, settings.exec.is_empty()) {
            (Some(webhook), _) => Target::Webhook {
                webhook: webhook.clone(),
                attempts: settings.attempts,
                runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            },
            (None, false) => Target::Program(settings.exec.clone()),
            (None, true) => return Ok(None),
        };
        let (end, timeout) = (Arc::default(), Duration::from_millis(settings.timeout_ms));
        let teller = Teller { target, timeout, counters, end: Arc::clone(&end) };
        let thread = std::thread::Builder::new()
            .name("holdfast-hook".to_owned())
            .spawn(move || queue.iter().for_each(|notice| teller.tell(&notice)))?;
        Ok(Some(Hook { thread, end }))
    }

    /// Waits until all that waits is told, or `within` is over: the rest is dropped then, and a program that runs is
    /// killed. The queue must be closed.
    pub fn finish(self, within: Duration) {
        let end = Instant::now() + within;
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        while !self.thread.is_finished() {
            if Instant::now() > end + within {
                return tracing::warn!("the daemon ends before all events of '[events]' are told");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.join().is_err() {
            tracing::error!("the thread of '[events]' had panicked");
        }
    }
}

impl Teller {
    fn tell(&self, notice: &Notice) {
        let (event, volume) = (notice.kind.name(), &notice.volume);
        if self.left(None).is_zero() {
            self.counters.end(Outcome::Dropped);
            return tracing::warn!(event, volume, "nobody is told of this: the daemon ends");
        }
        match self.deliver(&notice.json().to_string()) {
            Ok(()) => self.counters.end(Outcome::Delivered),
            Err(why) => {
                self.counters.end(Outcome::Failed);
                tracing::warn!(event, volume, "{} was not told: {why}", self.target);
            }
        }
    }

    /// The time until `deadline`, or until the daemon's end if that comes first.
    fn left(&self, deadline: Option<Instant>) -> Duration {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let first = [deadline, end].into_iter().flatten().min();
        first.map_or(Duration::MAX, |first| first.saturating_duration_since(Instant::now()))
    }

    fn deliver(&self, json: &str) -> Result<(), String> {
        match &self.target {
            Target::Program(words) => {
                let deadline = Instant::now() + self.timeout;
                run::run(words, json, || self.left(Some(deadline)))
            }
            Target::Webhook { webhook, attempts, runtime } => {
                runtime.block_on(post::post(webhook, json, *attempts, self.timeout, || self.left(None)))
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Program(words) => write!(f, "'{}'", words[0]),
            Target::Webhook { webhook, .. } => write!(f, "{webhook}"),
        }
    }
}
