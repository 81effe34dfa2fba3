//! Waiting, always with an end: for programs, for system calls, for time. Ctrl-C ends every wait, so that whoever waits
//! returns, and what was set up is taken down on the way out.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a program or a system call may take before the table says that there was no answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);
/// How long something that is in use is tried again: after a kill, everything is busy for some 40 ms.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Whoever waits here; clones wait for the same end.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    over: Arc<AtomicBool>,
}

/// What a program said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    /// Its last complaint, or all that there is to say about its end.
    pub(super) fn complaint(&self) -> String {
        let last = self.err.lines().rev().find(|line| !line.trim().is_empty());
        last.unwrap_or("it failed without a word").trim().to_owned()
    }
}

impl Patience {
    /// One that ends with the signals that people and services send.
    ///
    /// # Errors
    /// If the signals cannot be had.
    pub(super) fn until_interrupted() -> io::Result<Self> {
        let patience = Self::default();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&patience.over))?;
        }
        Ok(patience)
    }

    /// # Errors
    /// If somebody wants this to end.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.over.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    /// # Errors
    /// If interrupted.
    pub(super) fn sleep(&self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.check()?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Calls until there is something; nothing after [`ANSWER_MAX`].
    ///
    /// # Errors
    /// If interrupted, or the call fails.
    pub(super) fn eventually<T>(
        &self,
        mut found: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let until = Instant::now() + ANSWER_MAX;
        while Instant::now() < until {
            self.check()?;
            if let Some(found) = found()? {
                return Ok(Some(found));
            }
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// Calls what may never return, in a thread that is left behind if it does not within [`ANSWER_MAX`]: `None`.
    ///
    /// # Errors
    /// If interrupted.
    ///
    /// # Panics
    /// If the call does.
    pub(super) fn within<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<Option<T>> {
        let (answer, answered) = channel();
        // Nobody listens any more if it comes too late.
        std::thread::spawn(move || _ = answer.send(call()));
        let until = Instant::now() + ANSWER_MAX;
        while Instant::now() < until {
            match answered.recv_timeout(LOOK) {
                Ok(answer) => return Ok(Some(answer)),
                Err(RecvTimeoutError::Disconnected) => panic!("a call of this table panicked"),
                Err(RecvTimeoutError::Timeout) => self.check()?,
            }
        }
        Ok(None)
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// If it cannot be started, does not end, or this is interrupted.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Said> {
        self.check()?;
        let mut child = Running(spawn(program, arguments)?);
        let status = self.eventually(|| Ok(child.0.try_wait()?));
        let status = status?.with_context(|| format!("{program} {arguments:?} does not end"))?;
        // It has ended, and said less than what a pipe takes.
        let (mut out, mut err) = (String::new(), String::new());
        child.0.stdout.take().context("its output")?.read_to_string(&mut out)?;
        child.0.stderr.take().context("its errors")?.read_to_string(&mut err)?;
        Ok(Said { success: status.success(), out, err })
    }

    /// The same for a program that must succeed; what it printed.
    ///
    /// # Errors
    /// As [`Patience::run`], and if the program fails.
    pub(super) fn must(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let said = self.run(program, arguments)?;
        ensure!(said.success, "{program} {}: {}", arguments.join(" "), said.complaint());
        Ok(said.out.trim().to_owned())
    }
}

/// Tries to undo something until it works, interrupted or not.
///
/// # Errors
/// If it never does: what it said last.
pub(super) fn undo(program: &str, arguments: &[&str]) -> Result<(), String> {
    let until = Instant::now() + BUSY_MAX;
    loop {
        // A fresh one: whoever was interrupted still cleans up.
        let last = match Patience::default().run(program, arguments) {
            Ok(said) if said.success => return Ok(()),
            Ok(said) => said.complaint(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > until {
            return Err(format!("{program} {}: {last}", arguments.join(" ")));
        }
        std::thread::sleep(4 * LOOK);
    }
}

fn spawn(program: &str, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: Ctrl-C is for this process, which ends the others in good order.
    command.process_group(0).env("LC_ALL", "C");
    command.spawn().with_context(|| format!("starting {program}"))
}

/// Killed when dropped: whoever gave up on it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // It is not waited for: what hangs in the kernel does not die.
            _ = self.0.kill();
        }
    }
}
