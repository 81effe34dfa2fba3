//! The blocking client, shared by any number of threads.
//!
//! One session, its queue behind a mutex. Of the threads that wait for an answer one is the *leader*: it spins or
//! sleeps on the completion rings without the lock, then distributes what came; the others sleep on a condition
//! variable. Threads that wait for a free tag never lead: a tag may come free without a completion.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};

use super::connection::Connection;
use super::submit::Ask;
use super::{ConnectError, Done, Error, Failure, Options, Queue};
use crate::request::Opcode;
use crate::volume::VolumeInfo;

/// Pieces of one call that are in flight together, so that one long transfer does not take every tag.
const PIECES_MAX: usize = 16;

/// A volume, to be read and written by any thread.
///
/// Clones share the session; it ends with the last of them, or with [`Client::close`]. A call longer than the session's
/// request limit is sent in pieces, of which each succeeds or fails by itself; the call returns the first error after
/// all pieces that were sent are answered.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A tag came free, an answer came, or the leader stepped down.
    changed: Condvar,
    /// As the queue has it: another one when the daemon was started again.
    connection: RwLock<Arc<Connection>>,
    socket_path: PathBuf,
    volume: String,
    options: Options,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    free: Vec<u32>,
    /// Answers that their callers have not seen yet, by tag.
    answers: Vec<Option<Result<(), Failure>>>,
    batch: Vec<Done>,
    led: bool,
    over: Option<Error>,
}

/// A part of a call, in flight under a tag; `at` bytes from the call's start.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    tag: u32,
    at: usize,
    length: usize,
}

/// Where a transfer's bytes come from or go to.
trait Bytes {
    fn before(&mut self, connection: &Connection, piece: Piece);
    fn after(&mut self, connection: &Connection, piece: Piece);
}

struct Outgoing<'a>(&'a [u8]);
struct Incoming<'a>(&'a mut [u8]);

impl Bytes for Outgoing<'_> {
    fn before(&mut self, connection: &Connection, piece: Piece) {
        connection.fill(piece.tag, &self.0[piece.at..piece.at + piece.length]);
    }

    fn after(&mut self, _: &Connection, _: Piece) {}
}

impl Bytes for Incoming<'_> {
    fn before(&mut self, _: &Connection, _: Piece) {}

    fn after(&mut self, connection: &Connection, piece: Piece) {
        connection.take(piece.tag, &mut self.0[piece.at..piece.at + piece.length]);
    }
}

impl Client {
    /// Opens a session for `volume` with the daemon that listens at `socket_path`.
    ///
    /// # Errors
    /// If nobody listens, or the daemon refuses, or the handshake is not finished in time.
    pub fn connect(
        socket_path: impl AsRef<Path>,
        volume: &str,
        options: Options,
    ) -> Result<Self, ConnectError> {
        let queue = Queue::connect(&socket_path, volume, options.clone())?;
        let (connection, depth) = (Arc::clone(queue.connection()), queue.depth());
        let state = State {
            queue,
            free: (0..depth).collect(),
            answers: vec![None; depth as usize],
            batch: Vec::with_capacity(depth as usize),
            led: false,
            over: None,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            connection: RwLock::new(connection),
            socket_path: socket_path.as_ref().to_owned(),
            volume: volume.to_owned(),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A queue of `depth` on the same volume: a session of its own, with this client's other options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn queue(&self, depth: u32) -> Result<Queue, ConnectError> {
        let options = Options { queue_depth: depth, ..self.shared.options.clone() };
        Queue::connect(&self.shared.socket_path, &self.shared.volume, options)
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> VolumeInfo {
        self.shared.connection().volume
    }

    /// The session's id in the daemon.
    #[must_use]
    pub fn session_id(&self) -> u64 {
        self.shared.connection().session
    }

    /// Changes when the daemon's cache died with unflushed data.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.shared.connection().incarnation
    }

    /// Fills `data` from `offset` on. An empty read succeeds.
    ///
    /// # Errors
    /// If the range is wrong, the daemon reports a failure (`data` is then undefined), or the session is over.
    pub fn read_at(&self, data: &mut [u8], offset: u64) -> Result<(), Error> {
        let ask = Ask { opcode: Opcode::Read, fua: false, offset, length: data.len() as u64 };
        self.shared.transfer(ask, Incoming(data))
    }

    /// Writes `data` at `offset`; acknowledged, not yet durable. An empty write succeeds.
    ///
    /// # Errors
    /// If the range is wrong, the daemon reports a failure (some of the pieces may be written), or the session is over.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<(), Error> {
        let ask = Ask { opcode: Opcode::Write, fua: false, offset, length: data.len() as u64 };
        self.shared.transfer(ask, Outgoing(data))
    }

    /// As [`Client::write_at`], and returns only when the data is on stable media.
    ///
    /// # Errors
    /// As [`Client::write_at`].
    pub fn write_at_fua(&self, data: &[u8], offset: u64) -> Result<(), Error> {
        let ask = Ask { opcode: Opcode::Write, fua: true, offset, length: data.len() as u64 };
        self.shared.transfer(ask, Outgoing(data))
    }

    /// Makes durable all that was acknowledged on this volume before the call, to whatever session.
    ///
    /// # Errors
    /// With errno and failure id if data is not stable: ENOSPC if all of it is held and waits for room, EIO otherwise.
    /// The same error comes again as long as it is true. Or if the session is over.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared.single(Ask { opcode: Opcode::Flush, fua: false, offset: 0, length: 0 })
    }

    /// Says that a range's content is not needed any more. An empty range succeeds.
    ///
    /// # Errors
    /// If the range is wrong, the daemon reports a failure, or the session is over.
    pub fn discard(&self, offset: u64, length: u64) -> Result<(), Error> {
        self.shared.single(Ask { opcode: Opcode::Discard, fua: false, offset, length })
    }

    /// Makes a range read as zeroes. An empty range succeeds.
    ///
    /// # Errors
    /// As [`Client::discard`].
    pub fn write_zeroes(&self, offset: u64, length: u64) -> Result<(), Error> {
        self.shared.single(Ask { opcode: Opcode::WriteZeroes, fua: false, offset, length })
    }

    /// As [`Client::write_zeroes`], and returns only when that is on stable media.
    ///
    /// # Errors
    /// As [`Client::discard`].
    pub fn write_zeroes_fua(&self, offset: u64, length: u64) -> Result<(), Error> {
        self.shared.single(Ask { opcode: Opcode::WriteZeroes, fua: true, offset, length })
    }

    /// Ends the session for this client and all its clones; calls in progress return [`Error::Disconnected`].
    pub fn close(self) {
        self.shared.lock().over = Some(Error::Disconnected);
        self.shared.connection().shut();
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the lock")
    }

    fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection.read().expect("no thread panics while it holds the lock"))
    }

    fn transfer(&self, ask: Ask, mut bytes: impl Bytes) -> Result<(), Error> {
        if ask.length == 0 {
            return Ok(());
        }
        self.connection().check_range(ask)?;
        let length = usize::try_from(ask.length).expect("the length of a slice");
        let window = self.connection().windows.bytes as usize;
        let mut pieces = [Piece::default(); PIECES_MAX];
        let (mut count, mut at) = (0, 0);
        let mut outcome = Ok(());
        while count > 0 || (at < length && outcome.is_ok()) {
            while at < length && outcome.is_ok() && count < PIECES_MAX {
                // Holding tags it must not wait for more: two such callers would wait for each other.
                let Some(tag) = self.claim(count == 0)? else { break };
                let piece = Piece { tag, at, length: window.min(length - at) };
                loop {
                    let connection = self.connection();
                    bytes.before(&connection, piece);
                    if self.send(tag, ask.piece(piece), &connection)? {
                        break;
                    }
                }
                pieces[count] = piece;
                count += 1;
                at += piece.length;
            }
            let (index, answer) = self.wait_any(&pieces[..count])?;
            let piece = pieces[index];
            count -= 1;
            pieces[index] = pieces[count];
            match answer {
                Ok(()) => bytes.after(&self.connection(), piece),
                Err(failure) => outcome = outcome.and(Err(ask.piece(piece).error(failure))),
            }
            self.give_back(piece.tag);
        }
        outcome
    }

    fn single(&self, ask: Ask) -> Result<(), Error> {
        if ask.length == 0 && ask.opcode != Opcode::Flush {
            return Ok(());
        }
        self.connection().check_range(ask)?;
        let tag = self.claim(true)?.expect("claim waits");
        while !self.send(tag, ask, &self.connection())? {}
        let (_, answer) = self.wait_any(&[Piece { tag, at: 0, length: 0 }])?;
        self.give_back(tag);
        answer.map_err(|failure| ask.error(failure))
    }

    /// A free tag; `None` only if there is none and the caller does not want to wait.
    fn claim(&self, wait: bool) -> Result<Option<u32>, Error> {
        let mut state = self.lock();
        loop {
            if let Some(over) = &state.over {
                return Err(over.clone());
            }
            if let Some(tag) = state.free.pop() {
                return Ok(Some(tag));
            }
            if !wait {
                return Ok(None);
            }
            state = self.changed.wait(state).expect("no thread panics while it holds the lock");
        }
    }

    fn give_back(&self, tag: u32) {
        self.lock().free.push(tag);
        self.changed.notify_all();
    }

    /// Sends a request whose data is in the windows of `filled`; `false` if those are not the windows any more.
    fn send(&self, tag: u32, ask: Ask, filled: &Arc<Connection>) -> Result<bool, Error> {
        let mut state = self.lock();
        if !Arc::ptr_eq(state.queue.connection(), filled) {
            return Ok(false);
        }
        let sent = state.queue.submit(tag, ask);
        state.queue.publish();
        if let Err(error) = &sent {
            // The caller has checked the range: what is left is a daemon that broke the protocol.
            state.over = Some(error.clone());
            self.changed.notify_all();
        }
        sent.map(|()| true)
    }

    /// Waits until one of the pieces is answered: its index, and the answer.
    fn wait_any(&self, pieces: &[Piece]) -> Result<(usize, Result<(), Failure>), Error> {
        let mut state = self.lock();
        loop {
            for (index, piece) in pieces.iter().enumerate() {
                if let Some(answer) = state.answers[piece.tag as usize].take() {
                    return Ok((index, answer));
                }
            }
            if let Some(over) = &state.over {
                return Err(over.clone());
            }
            state = if state.led {
                self.changed.wait(state).expect("no thread panics while it holds the lock")
            } else {
                self.lead(state)
            };
        }
    }

    /// Waits for completions on behalf of all, without the lock, and distributes them.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.led = true;
        let lost = state.queue.lives.is_lost();
        let pause = state.queue.lives.pause_left();
        drop(state);
        let waited = if lost {
            std::thread::sleep(pause);
            Ok(())
        } else {
            self.connection().wait()
        };
        let mut state = self.lock();
        state.led = false;
        state.distribute(waited);
        let current = Arc::clone(state.queue.connection());
        *self.connection.write().expect("no thread panics while it holds the lock") = current;
        self.changed.notify_all();
        state
    }
}

impl State {
    fn distribute(&mut self, waited: Result<(), Error>) {
        let polled = match waited {
            Err(Error::Disconnected) if !self.queue.lives.is_lost() => self.queue.lose(&mut self.batch),
            Err(error) => Err(error),
            Ok(()) => self.queue.poll(&mut self.batch),
        };
        for done in self.batch.drain(..) {
            self.answers[done.tag as usize] = Some(done.result);
        }
        if let Err(error) = polled {
            self.over.get_or_insert(error);
        }
    }
}

impl Ask {
    fn piece(self, piece: Piece) -> Self {
        Self { offset: self.offset + piece.at as u64, length: piece.length as u64, ..self }
    }

    fn error(self, failure: Failure) -> Error {
        Error::answered(self.opcode, self.offset, self.length, failure)
    }
}
