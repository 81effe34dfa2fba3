//! Telling somebody: a program that is run, or a webhook that is posted to, when a volume's state changes for worse or for
//! better.
//!
//! ```text
//! boards -> Watch (what is news?) -> Events (counts, queues, never waits) -> Hook, a thread of its own -> the world
//! ```
//! No reactor knows of any of this. What looks, looks at what the reactors publish anyhow; the queue is bounded, and what
//! finds it full is dropped, counted and said. `holdfastctl events` and the ledger have the whole story, in any case.

mod hook;
mod notice;
mod post;
mod run;
mod watch;

pub use hook::Hook;
pub use notice::Notice;
pub use watch::Watch;

use crate::config::EventSettings;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Notices that wait for the hook at most: each of 256 volumes can have one.
pub const QUEUE_MAX: usize = 256;

/// What somebody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A volume that was well has had a write or a flush refused.
    FirstFailure = 0,
    /// Acknowledged data of a volume was given up, and nothing of it was lost before.
    Lost = 1,
    /// A volume holds nothing that was refused, has lost nothing, and its device takes what it gets.
    Healed = 2,
    /// Data that is not on stable media takes 80% of a volume's budget.
    Budget = 3,
    /// All of a volume is on stable media, because somebody asked for that.
    Drained = 4,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Kind; 5] = [Kind::FirstFailure, Kind::Lost, Kind::Healed, Kind::Budget, Kind::Drained];

    /// The stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::FirstFailure => "first_failure",
            Kind::Lost => "lost",
            Kind::Healed => "healed",
            Kind::Budget => "budget",
            Kind::Drained => "drained",
        }
    }
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended well, or the webhook took it.
    Delivered = 0,
    /// It did not, however often it was tried.
    Failed = 1,
    /// It was never tried: too many waited, or the daemon ended.
    Dropped = 2,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Outcome; 3] = [Outcome::Delivered, Outcome::Failed, Outcome::Dropped];

    /// The stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Failed => "failed",
            Outcome::Dropped => "dropped",
        }
    }
}

/// What was counted since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// By [`Kind`], whether anybody was to be told or not.
    pub seen: [u64; Kind::ALL.len()],
    /// By [`Outcome`].
    pub ended: [u64; Outcome::ALL.len()],
}

#[derive(Debug, Default)]
struct Counters {
    seen: [AtomicU64; Kind::ALL.len()],
    ended: [AtomicU64; Outcome::ALL.len()],
}

impl Counters {
    fn end(&self, outcome: Outcome) {
        self.ended[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Where everybody who has news leaves it. Never waits for anything.
#[derive(Debug)]
pub struct Events {
    counters: Arc<Counters>,
    /// The way to the hook; none if nobody is to be told, or no more.
    queue: Mutex<Option<SyncSender<Notice>>>,
}

impl Events {
    /// Begins to tell what `settings` say, if they name anybody.
    ///
    /// # Errors
    /// The kernel has no thread for the hook.
    pub fn start(settings: &EventSettings) -> io::Result<(Events, Option<Hook>)> {
        let counters = Arc::new(Counters::default());
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let hook = Hook::start(settings, waiting, Arc::clone(&counters))?;
        let queue = hook.is_some().then_some(queue);
        Ok((Events { counters, queue: Mutex::new(queue) }, hook))
    }

    /// Tells of `notice`, or counts that it was dropped because too many wait.
    pub fn tell(&self, notice: Notice) {
        self.counters.seen[notice.kind as usize].fetch_add(1, Ordering::Relaxed);
        let event = notice.kind.name();
        tracing::info!(event, volume = notice.volume, "{}", notice.message);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = queue.try_send(notice) {
            self.counters.end(Outcome::Dropped);
            tracing::warn!(
                event,
                volume = lost.volume,
                "nobody is told of this: {QUEUE_MAX} events wait for '[events]' already"
            );
        }
    }

    /// Takes no more news: the hook ends when it has told what waits.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What was counted.
    pub fn counts(&self) -> EventCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EventCounts {
            seen: std::array::from_fn(|at| read(&self.counters.seen[at])),
            ended: std::array::from_fn(|at| read(&self.counters.ended[at])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_engine::VolumeStats;
    use std::time::Duration;

    fn notice(kind: Kind) -> Notice {
        Notice::new(kind, "vm1", 1, &VolumeStats::default(), 4096)
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let exec = ["/bin/sleep", "60"].map(str::to_owned).to_vec();
        let (events, hook) =
            Events::start(&EventSettings { exec, ..EventSettings::default() }).expect("a thread");
        // The hook may have taken one out of the queue, and not more: it waits for its program.
        let told = QUEUE_MAX + 10;
        (0..told).for_each(|_| events.tell(notice(Kind::Lost)));
        let counts = events.counts();
        assert_eq!(counts.seen[Kind::Lost as usize], told as u64);
        assert!((9..=10).contains(&counts.ended[Outcome::Dropped as usize]), "{counts:?}");
        events.close();
        hook.expect("somebody is told").finish(Duration::ZERO);
    }

    #[test]
    fn without_anybody_to_tell_events_are_counted_all_the_same() {
        let (events, hook) = Events::start(&EventSettings::default()).expect("nothing to start");
        assert!(hook.is_none());
        events.tell(notice(Kind::Healed));
        let mut expected = EventCounts::default();
        expected.seen[Kind::Healed as usize] = 1;
        assert_eq!(events.counts(), expected);
    }
}
