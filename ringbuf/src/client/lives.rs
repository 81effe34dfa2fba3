//! Outliving the daemon: the session is opened anew, and what was not answered is sent again, to be carried out once.
//!
//! What a dead daemon has answered is in the old completion rings, and is taken first. Of a write that it had taken in, the
//! old record says under which generation; the successor that has the same arena knows what of it was published, and does
//! the rest. Reads and flushes are simply asked again; zeroes and discards are done again.

use holdfast_mutants::mutant;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::connection::Connection;
use super::queue::Done;
use super::submit::Ask;
use super::{ConnectError, Error, Failure, Options, Queue};
use crate::index::{Consumer, Producer};
use crate::request::Opcode;

/// The first pause between two attempts to find a daemon; each is twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A request as it was asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    ask: Ask,
    /// When, if it has a deadline.
    since: Option<Instant>,
    /// For a flush: changes acknowledged before it.
    mark: u64,
}

/// The daemon is gone.
#[derive(Debug, Clone, Copy)]
struct Lost {
    since: Instant,
    next: Instant,
    pause: Duration,
}

/// What a queue knows beyond the life of a daemon.
#[derive(Debug)]
pub(super) struct Lives {
    path: PathBuf,
    volume: String,
    options: Options,
    asked: Box<[Option<Asked>]>,
    lost: Option<Lost>,
    /// Changes that were acknowledged, and how many of them a flush has covered.
    changes: u64,
    flushed: u64,
    /// The cache died with changes that no flush had covered: the next flush says so.
    died: bool,
}

impl Lives {
    pub(super) fn new(path: &Path, volume: &str, options: &Options, depth: u32) -> Self {
        Self {
            path: path.to_owned(),
            volume: volume.to_owned(),
            options: options.clone(),
            asked: vec![None; depth as usize].into(),
            lost: None,
            changes: 0,
            flushed: 0,
            died: false,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) fn asked(&mut self, tag: u32, ask: Ask) {
        let since = self.options.request_timeout.map(|_| Instant::now());
        self.asked[tag as usize] = Some(Asked { ask, since, mark: self.changes });
    }

    /// Takes note of an answer, and makes a flush fail that covers less than its caller believes.
    pub(super) fn answered(&mut self, tag: u32, result: Result<(), Failure>) -> Result<(), Failure> {
        let Some(asked) = self.asked[tag as usize].take() else { return result };
        result?;
        match asked.ask.opcode {
            Opcode::Read => {}
            Opcode::Write | Opcode::Discard | Opcode::WriteZeroes => self.changes += 1,
            Opcode::Flush if self.died => {
                self.died = false;
                self.flushed = self.changes;
                return Err(Failure { errno: Errno::IO.raw_os_error(), failure: None });
            }
            Opcode::Flush => self.flushed = self.flushed.max(asked.mark),
        }
        result
    }

    /// The session is open again, over the same cache or another one, which lacks what no flush had covered.
    fn reopened(&mut self, other_cache: bool) {
        self.died |= other_cache && self.changes > self.flushed && !mutant!(IncarnationIsIgnored);
    }

    /// Sleeps until the next attempt.
    pub(super) fn pause(&self) {
        std::thread::sleep(self.pause_left());
    }

    /// How long it is until the next attempt.
    pub(super) fn pause_left(&self) -> Duration {
        self.lost.map_or(Duration::ZERO, |lost| lost.next.saturating_duration_since(Instant::now()))
    }
}

impl Queue {
    /// The daemon has closed the connection. Takes the last answers; how many.
    pub(super) fn lose(&mut self, done: &mut Vec<Done>) -> Result<usize, Error> {
        let before = done.len();
        for reactor in 0..self.completions.len() {
            self.take_completions(reactor, done)?;
        }
        if self.lives.options.reconnect.is_none() {
            return if done.len() > before { Ok(done.len() - before) } else { Err(Error::Disconnected) };
        }
        let now = Instant::now();
        self.lives.lost = Some(Lost { since: now, next: now, pause: PAUSE_FIRST });
        Ok(done.len() - before)
    }

    /// One attempt to find a daemon, if it is time for one. What cannot happen any more and is over its time is done.
    pub(super) fn revive(&mut self, done: &mut Vec<Done>) -> Result<usize, Error> {
        let Some(lost) = self.lives.lost else { return Ok(0) };
        let now = Instant::now();
        if now < lost.next {
            return Ok(0);
        }
        let patience = self.lives.options.reconnect.unwrap_or_default();
        match Connection::open(&self.lives.path, &self.lives.volume, &self.lives.options) {
            Ok(connection) => {
                self.lives.lost = None;
                self.carry_over(connection)?;
                return Ok(0);
            }
            Err(ConnectError::Refused { errno, reason }) if !is_passing(errno) => {
                return Err(Error::TurnedAway { errno, reason });
            }
            Err(error) if !is_transient(&error) || lost.since.elapsed() >= patience => {
                return Err(Error::Disconnected);
            }
            Err(_) => {}
        }
        let pause = (2 * lost.pause).min(PAUSE_MAX);
        self.lives.lost = Some(Lost { next: now + lost.pause, pause, ..lost });
        Ok(self.expire(done))
    }

    /// Requests that are over their time and that no daemon had taken in: they cannot happen any more.
    fn expire(&mut self, done: &mut Vec<Done>) -> usize {
        let Some(timeout) = self.lives.options.request_timeout else { return 0 };
        let before = done.len();
        for tag in 0..self.depth() {
            let slot = &mut self.slots[tag as usize];
            let asked = self.lives.asked[tag as usize];
            let late = asked.and_then(|asked| asked.since).is_some_and(|since| since.elapsed() >= timeout);
            let sequence = slot.sequence();
            let begun = || self.connection.rings.iter().any(|ring| ring.read_record(tag, sequence) != 0);
            let harmless = asked.is_some_and(|asked| match asked.ask.opcode {
                Opcode::Read | Opcode::Flush => true,
                Opcode::Write => !begun(),
                Opcode::Discard | Opcode::WriteZeroes => false,
            });
            if late && harmless && !slot.idle() {
                slot.withdraw();
                self.lives.asked[tag as usize] = None;
                self.in_flight -= 1;
                let errno = Errno::TIMEDOUT.raw_os_error();
                done.push(Done { tag, result: Err(Failure { errno, failure: None }) });
            }
        }
        done.len() - before
    }

    /// Goes on with a new session: what is in flight is sent again, oldest first.
    fn carry_over(&mut self, connection: Connection) -> Result<(), Error> {
        // It may have grown meanwhile.
        let smaller = connection.volume.bytes < self.connection.volume.bytes;
        if smaller || connection.windows != self.connection.windows {
            return Err(Error::Protocol("the daemon came back with other limits or a smaller volume"));
        }
        connection.take_windows(&self.connection);
        self.lives.reopened(connection.incarnation != self.connection.incarnation);
        let (entries, reactors) = (connection.entries, connection.rings.len());
        self.submissions = (0..reactors).map(|_| Producer::new(entries)).collect();
        self.completions = (0..reactors).map(|_| Consumer::new(entries)).collect();
        self.flying = vec![0; reactors].into();
        self.unrung = 0;
        let old = std::mem::replace(&mut self.connection, Arc::new(connection));
        let mut tags: Vec<u32> = (0..self.depth()).filter(|&tag| !self.slots[tag as usize].idle()).collect();
        tags.sort_by_key(|&tag| self.slots[tag as usize].sequence());
        for tag in tags {
            self.send_again(tag, &old)?;
        }
        self.publish();
        Ok(())
    }

    fn send_again(&mut self, tag: u32, old: &Connection) -> Result<(), Error> {
        let Some(Asked { ask, .. }) = self.lives.asked[tag as usize] else {
            return Err(Error::Protocol("a request in flight that was never asked"));
        };
        self.sequence += 1;
        let sequence = self.slots[tag as usize].sequence();
        let alike = old.rings.len() == self.connection.rings.len()
            && old.volume.stripe_bytes == self.connection.volume.stripe_bytes;
        if alike {
            self.slots[tag as usize].renew(self.sequence);
        } else {
            self.slots[tag as usize].begin(self.sequence);
        }
        let slot = self.slots[tag as usize];
        let wanted = |reactor: usize| !alike || slot.awaits(reactor);
        if !matches!(ask.opcode, Opcode::Read | Opcode::Write) {
            for reactor in (0..self.submissions.len()).filter(|&reactor| wanted(reactor)) {
                self.send_part(tag, ask, reactor, 0, 0)?;
            }
            return Ok(());
        }
        let records = alike && ask.opcode == Opcode::Write && old.arena == self.connection.arena;
        let payload = self.connection.window_start(tag);
        let stripes = self.connection.stripes;
        for part in stripes.parts(ask.offset, ask.length, u64::from(self.window_bytes())) {
            let reactor = part.reactor as usize;
            if wanted(reactor) {
                let replay = if records { old.rings[reactor].read_record(tag, sequence) } else { 0 };
                let part_ask = Ask { offset: part.offset, length: part.length, ..ask };
                self.send_part(tag, part_ask, reactor, payload + (part.offset - ask.offset), replay)?;
            }
        }
        Ok(())
    }
}

/// Whether a daemon may yet come: nobody listens now, or it is not ready, or it is just going.
fn is_transient(error: &ConnectError) -> bool {
    match error {
        ConnectError::Socket { .. } | ConnectError::Handshake(_) => true,
        ConnectError::Refused { errno, .. } => is_passing(*errno),
        _ => false,
    }
}

/// Whether a daemon that refuses with this errno may let its client in later.
fn is_passing(errno: i32) -> bool {
    [Errno::AGAIN, Errno::BUSY, Errno::NOMEM].iter().any(|again| again.raw_os_error() == errno)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn ask(lives: &mut Lives, opcode: Opcode) -> Result<(), Failure> {
        let ask = Ask { opcode, fua: false, offset: 0, length: 4096 };
        lives.asked(0, ask);
        lives.answered(0, Ok(()))
    }

    /// C11, M13: a client with writes that no flush had covered fails its next flush after their cache died, once; one without
    /// hears of nothing.
    #[test]
    fn a_flush_fails_after_the_cache_died_with_what_it_should_cover() {
        let mut lives = Lives::new(Path::new("socket"), "ram", &Options::default(), 1);
        lives.reopened(true);
        assert_eq!(ask(&mut lives, Opcode::Flush), Ok(()), "nothing was written");
        assert_eq!(ask(&mut lives, Opcode::Write), Ok(()));
        lives.reopened(false);
        assert_eq!(ask(&mut lives, Opcode::Flush), Ok(()), "the same cache");
        assert_eq!(ask(&mut lives, Opcode::Write), Ok(()));
        lives.reopened(true);
        lives.reopened(false);
        let failure = ask(&mut lives, Opcode::Flush).expect_err("the write is gone");
        assert_eq!(failure.errno, Errno::IO.raw_os_error());
        assert_eq!(ask(&mut lives, Opcode::Flush), Ok(()), "it has been said");
    }
}
