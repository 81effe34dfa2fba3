//! A volume that goes while the daemon runs: its clients first, then its data, then its device.
//!
//! ```text
//! nobody is let in -> sessions end -> drain (-> give up) -> closed on all reactors | detached -> ledger -> arena -> lock
//! ```
//! Up to the bar everything can be taken back, and is if anything stands in the way; behind it nothing can.

use super::attach::{TURNS, refused};
use super::hub::Hub;
use super::origins;
use super::table::{Served, Table};
use crate::admin::{BackendError, state_bytes};
use crate::reactor::Mail;
use holdfast_engine::{Answer, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a removal waits in all for its device: operators' connections last 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a volume that is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Farewell {
    pub(super) sessions: u64,
    pub(super) given_up_bytes: u64,
}

impl Hub {
    /// Whether a volume holds what its device refuses, or that does not answer: then it is not removed without being told
    /// that its data may go.
    pub(super) fn refuse_if_held(&self, served: &Served) -> Result<(), BackendError> {
        let stats = self.stats(served.id);
        let (name, line) = (served.name(), self.settings.arena.line_bytes);
        if served.backing().is_none() {
            let what = format!(
                "Volume '{name}' cannot go: its device is let go of, and cannot be told that all is there."
            );
            let remedy = format!("Type 'holdfastctl volume reopen {name}' first. {}", way_out(name));
            return Err(refused(what, &remedy));
        }
        let bytes = state_bytes(&stats, line);
        // A device that refuses where nothing is held may go: no data is to be told of.
        let refuses = stats.gate_class != 0 && bytes.not_clean_bytes > 0;
        let held = match (stats.failed, refuses, stats.overdue) {
            (0, false, 0) => return Ok(()),
            (0, false, overdue) => format!("{overdue} operations of its device are overdue"),
            (0, true, _) => {
                format!("its device refuses, with {} bytes not on stable media", bytes.not_clean_bytes)
            }
            _ => format!("it holds {} bytes that its device refused", bytes.failed_bytes),
        };
        let what = format!("Volume '{name}' cannot go: {held}.");
        Err(refused(what, &way_out(name)))
    }

    /// Ends the sessions of volumes and closes them. If one cannot be closed, all of them serve again.
    pub(super) fn close(&self, going: &[Arc<Served>], abandon: bool) -> Result<Vec<Farewell>, BackendError> {
        let deadline = Instant::now() + PATIENCE;
        // Before they are told to go.
        let sessions: Vec<usize> = going.iter().map(|served| self.sessions.count_of(served.id)).collect();
        going.iter().for_each(|served| served.set_leaving(true));
        self.words.ring();
        let closed = going.iter().zip(sessions);
        let closed = closed
            .map(|(served, sessions)| {
                let farewell = self.close_one(served, abandon, deadline)?;
                Ok(Farewell { sessions: u64::try_from(sessions).expect("few seats"), ..farewell })
            })
            .collect();
        if let Err(error) = &closed {
            tracing::warn!(%error, "a volume is not removed: it serves again");
            for served in going {
                // Nobody waits for the answers: the letters are in the boxes.
                let _answers = self.ask(served.id, &Command::Reopen);
                served.set_leaving(false);
            }
        }
        closed
    }

    fn close_one(&self, served: &Served, abandon: bool, deadline: Instant) -> Result<Farewell, BackendError> {
        let (id, name) = (served.id, served.name());
        while self.sessions.count_of(id) > 0 {
            if Instant::now() >= deadline {
                let what = format!("Sessions of volume '{name}' do not end.");
                return Err(refused(what, "See 'holdfastctl status' for a reactor that does not turn."));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut given_up_bytes = 0;
        let mut left = self.drained(served, deadline)?;
        if left > 0 && abandon {
            let answers = self.ask(id, &Command::Abandon)?;
            let answers = self.collect(answers, deadline).ok_or_else(|| in_flight(name))?;
            let bytes =
                answers.iter().map(|answer| if let Answer::Dropped { bytes } = answer { *bytes } else { 0 });
            given_up_bytes = bytes.sum();
            left = self.drained(served, deadline)?;
        }
        if left > 0 {
            let bytes = left.saturating_mul(self.settings.arena.line_bytes.into());
            let what = format!(
                "Volume '{name}' holds {bytes} bytes that could not be written; its sessions were ended."
            );
            return Err(refused(what, &way_out(name)));
        }
        let answers = self.ask(id, &Command::Close { give_up: abandon })?;
        let closed = self.collect(answers, deadline.max(Instant::now() + TURNS));
        let closed = closed.is_some_and(|answers| answers.iter().all(|answer| *answer == Answer::Done));
        if closed { Ok(Farewell { given_up_bytes, sessions: 0 }) } else { Err(in_flight(name)) }
    }

    /// Lines that a drain leaves.
    fn drained(&self, served: &Served, deadline: Instant) -> Result<u64, BackendError> {
        let answers = self.ask(served.id, &Command::Drain)?;
        let answers = self.collect(answers, deadline).ok_or_else(|| in_flight(served.name()))?;
        let left = |answer: &Answer| if let Answer::Drained { left } = answer { *left } else { 1 };
        Ok(answers.iter().map(left).sum())
    }

    /// Takes a closed volume out of everything, and lets its device go.
    pub(super) fn take_out(&self, served: &Arc<Served>, table: &mut Table) -> Result<(), BackendError> {
        let (id, name) = (served.id, served.name());
        let stuck = || {
            let what = format!("A reactor does not let volume '{name}' go: it stays closed.");
            BackendError::Refused {
                what,
                remedy: "Start the daemon again: everything is on stable media.".to_owned(),
            }
        };
        for mail in [Going::Detach, Going::Unplug] {
            let answers = match mail {
                Going::Detach => self.ask(id, &Command::Detach)?,
                Going::Unplug => self.ask_each(id, |token, _| Mail::Unplug { token, volume: id }),
            };
            let answers = self.collect(answers, Instant::now() + TURNS).ok_or_else(stuck)?;
            if answers.iter().any(|answer| *answer != Answer::Done) {
                return Err(stuck());
            }
        }
        self.strike_off(id);
        // The ledger knows that nothing of it is here, and its lock is still ours: its next user finds no mark.
        origins::clear(served);
        served.put_backing(None);
        table.take(id);
        served.sheets.iter().for_each(super::map::Sheet::give_back);
        tracing::info!(volume = name, "a volume was removed");
        Ok(())
    }
}

/// The two steps of a departure.
#[derive(Clone, Copy)]
enum Going {
    Detach,
    Unplug,
}

fn in_flight(name: &str) -> BackendError {
    BackendError::Busy {
        what: format!("Volume '{name}' was not drained in time, or operations of its device do not end."),
        remedy: format!(
            "It serves again, and nothing was lost. Type 'holdfastctl drain {name}' and look at 'holdfastctl health detail'; \
             then remove it."
        ),
    }
}

fn way_out(name: &str) -> String {
    format!(
        "Mend the device and type 'holdfastctl retry {name}'; or save what is held with 'holdfastctl export {name} --dirty --to \
         FILE' and give it up with 'holdfastctl volume remove {name} --abandon --yes-lose-data'."
    )
}
