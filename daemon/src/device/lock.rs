//! Locks that die with their holder, and the patience to wait until they do.
//!
//! `flock`, because it belongs to the open file description: an operation that the kernel still carries out for a
//! killed daemon keeps the description, and with it the lock. POSIX locks go when the process does, which is too
//! early.

use holdfast_mutants::mutant;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a lock or memory of a daemon that was killed may take to come back. About 40 ms were seen; an operator
/// notices 2 s, and does not mind.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);

/// Waits in small steps, up to a deadline.
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    /// Begins now.
    pub(crate) fn start() -> Patience {
        Patience::of(PATIENCE)
    }

    /// The same with less of it.
    pub(crate) fn of(span: Duration) -> Patience {
        Patience { until: Instant::now() + span }
    }

    /// None at all.
    pub(crate) fn none() -> Patience {
        Patience::of(Duration::ZERO)
    }

    /// Sleeps a little; false if there is no patience left.
    pub(crate) fn wait(&self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        std::thread::sleep(STEP);
        true
    }

    /// Takes an exclusive lock on this very description; false if somebody else keeps it.
    pub(crate) fn lock(&self, fd: impl AsFd) -> io::Result<bool> {
        if mutant!(LockIsBelieved) {
            return Ok(true);
        }
        loop {
            match rustix::fs::flock(fd.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if !self.wait() => return Ok(false),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Takes an exclusive lock, and waits for one whose holder is dead as long as that takes: a killed daemon whose operations
/// are stuck in a thread of the kernel keeps all it had until they end. False if a living process has it.
pub(crate) fn lock_unless_alive(fd: impl AsFd) -> io::Result<bool> {
    loop {
        if Patience::start().lock(&fd)? {
            return Ok(true);
        }
        let Some(pid) = holder(&fd).filter(|&pid| is_dead(pid)) else { return Ok(false) };
        tracing::warn!(
            pid,
            "the daemon before is dead, and its last operations are still in flight: waiting"
        );
    }
}

/// Whether a process is a zombie: its threads may yet have something in flight, and it will never do anything again.
fn is_dead(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// The process that holds a `flock` on the file, as `/proc/locks` has it: a help for people, no more.
pub(crate) fn holder(fd: impl AsFd) -> Option<i32> {
    let stat = rustix::fs::fstat(fd).ok()?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let place = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let holds = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&place.as_str());
        holds.then(|| words.get(4)?.parse().ok()).flatten()
    })
}
