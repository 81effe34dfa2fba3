//! The daemon as a process of its own: this program again, told to serve.
#![allow(
    unsafe_code,
    reason = "asking for a signal when the parent dies has to happen between fork and exec"
)]

use super::error::Error;
use holdfast_ringbuf::client::{Client, Options};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, set_parent_process_death_signal};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to serve, and to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// How much of its log is shown when something went wrong.
const LAST_LINES: usize = 20;

/// A daemon that dies with this.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts one.
    ///
    /// # Errors
    /// If this program cannot be started again.
    pub(super) fn start(config: &Path, log: PathBuf) -> Result<Daemon, Error> {
        let output = File::create(&log).map_err(Error::file(&log, "create"))?;
        let errors = output.try_clone().map_err(Error::file(&log, "share"))?;
        let program = std::env::current_exe().map_err(Error::Spawn)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // A group of its own: Ctrl-C is for this process, which then ends the daemon in good order.
        command.process_group(0);
        // SAFETY: the closure runs in the child between fork and exec, where only what is async-signal-safe is
        // allowed: it makes one system call, prctl, and neither allocates nor takes a lock; it captures nothing.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
        }
        let child = command.spawn().map_err(Error::Spawn)?;
        Ok(Daemon { child, log })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A descriptor to kill it by.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, Error> {
        let opened = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        opened.map_err(|error| Error::Spawn(error.into()))
    }

    /// Connects as a client as soon as it serves.
    ///
    /// # Errors
    /// If it ends, refuses, or takes too long.
    pub(super) fn first_session(&mut self, socket: &Path, volume: &str) -> Result<Client, Error> {
        let begun = Instant::now();
        loop {
            let source = match Client::connect(socket, volume, options()) {
                Ok(client) => return Ok(client),
                Err(source) => source,
            };
            if let Some(status) = self.child.try_wait().map_err(Error::Spawn)? {
                return Err(Error::DaemonEnded { status: status.to_string(), words: self.last_words() });
            }
            if begun.elapsed() > PATIENCE {
                return Err(Error::Connect { volume: volume.to_owned(), source });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells it to write back what there is and to end, and waits until it has.
    ///
    /// # Errors
    /// If it does not end in time.
    pub(super) fn stop(&mut self) -> Result<ExitStatus, Error> {
        // It was not waited for, so its number is still its own; what is dead already needs no signal.
        _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(Error::Spawn)? {
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(Error::DaemonSlow { what: "end", seconds, words: self.last_words() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it said last.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        if last.is_empty() { "  (none)".to_owned() } else { format!("  {}", last.join("\n  ")) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Either it has ended, or there is nobody left to whom an error would matter.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A session of moderate size: locked memory is scarce for ordinary users.
pub(super) fn options() -> Options {
    Options { queue_depth: 16, request_bytes: 64 << 10, ..Options::default() }
}
