//! What the service manager is told: sd_notify(3). Without a manager nothing is told to anybody.
//!
//! The watchdog is fed by the reactors, not by the thread that sends the word: only if each of them has turned since the
//! last feeding. A reactor that sleeps is woken for it. So a daemon with one hung core is ended (SIGABRT) and started
//! again, and one whose disk or ledger hangs is not: there the reactors go on.

use crate::reactor::Link;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Feedings in the time that the manager waits for one: a late one is not the end.
const FEEDINGS: u32 = 4;
/// How often the manager is told how things are, if it has no watchdog.
const TELL: Duration = Duration::from_secs(5);
/// How long the end may wait for the thread.
const STEP: Duration = Duration::from_millis(100);

/// Says something of the start: `systemctl status` shows it.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The daemon serves.
pub fn ready(text: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(text)]);
}

/// The daemon takes no more requests and drains.
pub fn stopping(text: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(text)]);
}

/// Changes the settings with `reload`; the manager knows of its beginning and its end.
pub fn reloading<T>(reload: impl FnOnce() -> T) -> T {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
    let done = reload();
    tell(&[NotifyState::Ready]);
    done
}

/// A manager that does not listen costs nothing but its knowledge.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

/// The thread that feeds the watchdog and says how things are.
pub struct Heart {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Heart {
    /// Starts it, if there is a service manager. `status` is asked for a line now and then.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(
        links: Arc<[Link]>,
        status: impl Fn() -> String + Send + 'static,
    ) -> std::io::Result<Option<Heart>> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(None);
        }
        let watchdog = sd_notify::watchdog_enabled();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let beat = move || beat(&links, watchdog, &stopped, status);
        let thread = std::thread::Builder::new().name("holdfast-heart".to_owned()).spawn(beat)?;
        Ok(Some(Heart { stop, thread }))
    }

    /// Ends it: the reactors are about to stop.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.thread.join();
    }
}

fn beat(links: &[Link], watchdog: Option<Duration>, stop: &AtomicBool, status: impl Fn() -> String) {
    let interval = watchdog.map_or(TELL, |limit| limit / FEEDINGS);
    let mut pulse = Pulse::new(links.len());
    let mut told = String::new();
    while !stop.load(Ordering::Acquire) {
        links.iter().for_each(|link| link.inbox.ring());
        if !rest(interval, stop) {
            return;
        }
        let still = pulse.feel(links.iter().map(|link| link.board.reactor().at_ns));
        match (still, watchdog) {
            (None, Some(_)) => tell(&[NotifyState::Watchdog]),
            (None, None) => {}
            (Some(reactor), _) => {
                tracing::error!(
                    reactor,
                    "a reactor has not turned for {} ms: its core is stuck",
                    interval.as_millis()
                );
            }
        }
        let text = still.map_or_else(&status, |reactor| format!("reactor {reactor} does not turn"));
        if text != told {
            self::status(&text);
            told = text;
        }
    }
}

/// Sleeps, in small steps; false if it is over.
fn rest(interval: Duration, stop: &AtomicBool) -> bool {
    let until = std::time::Instant::now() + interval;
    while let Some(left) =
        until.checked_duration_since(std::time::Instant::now()).filter(|left| !left.is_zero())
    {
        if stop.load(Ordering::Acquire) {
            return false;
        }
        std::thread::sleep(left.min(STEP));
    }
    true
}

/// When each reactor was seen to turn last, on the daemon's clock.
struct Pulse(Vec<u64>);

impl Pulse {
    fn new(reactors: usize) -> Pulse {
        Pulse(vec![0; reactors])
    }

    /// The first reactor that has not turned since the last call; none if all have.
    fn feel(&mut self, turned_ns: impl Iterator<Item = u64>) -> Option<usize> {
        let mut still = None;
        for (reactor, (last, turned)) in self.0.iter_mut().zip(turned_ns).enumerate() {
            if *last == turned && still.is_none() {
                still = Some(reactor);
            }
            *last = turned;
        }
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reactor_that_stands_still_is_enough() {
        let mut pulse = Pulse::new(3);
        assert_eq!(pulse.feel([1, 1, 1].into_iter()), None);
        assert_eq!(pulse.feel([2, 1, 1].into_iter()), Some(1));
        assert_eq!(pulse.feel([3, 2, 1].into_iter()), Some(2));
        assert_eq!(pulse.feel([4, 3, 2].into_iter()), None);
    }
}
