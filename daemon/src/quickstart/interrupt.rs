//! Ctrl-C: ends the daemon, and with it whatever waits for it, so that everything is cleaned up on the way out.

use super::error::Error;
use rustix::process::{Signal, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Whether somebody wants this to end, and what to kill then.
#[derive(Debug, Default)]
pub(super) struct Interrupt {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    /// A descriptor and not a number: nobody else can have it.
    daemon: Option<OwnedFd>,
}

impl Interrupt {
    /// Listens from now on, in a thread of its own.
    ///
    /// # Errors
    /// If the signals cannot be had.
    pub(super) fn listen() -> Result<Arc<Interrupt>, Error> {
        let interrupt = Arc::new(Interrupt::default());
        let heard = Arc::clone(&interrupt);
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(Error::Signals)?;
        let listener = move || signals.forever().for_each(|_| heard.interrupt());
        std::thread::Builder::new().name("signals".to_owned()).spawn(listener).map_err(Error::Signals)?;
        Ok(interrupt)
    }

    /// From now on an interrupt kills this daemon: calls that wait for it return.
    pub(super) fn kills(&self, daemon: OwnedFd) {
        self.lock().daemon = Some(daemon);
    }

    /// From now on an interrupt kills nothing.
    pub(super) fn spares(&self) {
        self.lock().daemon = None;
    }

    /// Whether somebody wanted this to end.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted
    }

    /// Waits until somebody does.
    pub(super) fn wait(&self) {
        let state = self.changed.wait_while(self.lock(), |state| !state.wanted);
        drop(state.expect("no thread panics while it holds the lock"));
    }

    fn interrupt(&self) {
        let mut state = self.lock();
        state.wanted = true;
        if let Some(daemon) = &state.daemon {
            // What has ended already is as good as killed.
            _ = pidfd_send_signal(daemon, Signal::KILL);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the lock")
    }
}
