//! One connection after its handshake: a reader that turns the peer's requests into the rings', and a writer that turns
//! the rings' answers into replies; that of a lone request, which comes at once, the reader sends itself (`glance.rs`). Each may wait for the peer as long as the peer likes: nobody else does.

use super::blocks::{Context, Holes, States, describe};
use super::flights::Flights;
use super::glance::Glances;
use super::negotiate::Export;
use super::protocol::{Kind, PAYLOAD_BYTES_MAX, Refusal, ReplyForm, Request, chunk, error, flag};
use super::stream::Stream;
use holdfast_engine::ByteRange;
use holdfast_ringbuf::client::{Done, Queue, Waiter};
use std::io::{self, BufReader, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a peer that says goodbye is waited for, with requests it has not been answered.
const GOODBYE: Duration = Duration::from_secs(30);
/// Bytes that are read ahead: a dozen small writes.
const AHEAD: usize = 64 << 10;
/// Runs of one block status answer.
const RUNS_MAX: usize = 2048;

/// What both threads of a connection share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something changed that the other thread waits for.
    changed: Condvar,
    /// Replies go out whole, whoever sends them.
    out: Mutex<Stream>,
    form: ReplyForm,
}

#[derive(Debug)]
struct State {
    flights: Flights,
    /// The writer waits for something to be in flight, or the reader for room or an end.
    waited_for: bool,
    /// No request will come any more.
    ending: bool,
    /// The session or the peer is gone.
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something changes.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waited_for = true;
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called with the lock held, after a change.
    fn tell(&self, state: &mut State) {
        if std::mem::take(&mut state.waited_for) {
            self.changed.notify_all();
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    fn end(&self, over: bool) {
        let mut state = self.lock();
        state.ending = true;
        state.over |= over;
        self.changed.notify_all();
    }
}

/// What a connection serves.
pub(super) struct Service<'a, S> {
    pub(super) export: &'a Export,
    pub(super) form: ReplyForm,
    pub(super) contexts: &'a [Context],
    pub(super) states: &'a S,
    pub(super) holes: &'a Holes,
}

/// Serves a connection until its peer leaves or the session ends.
///
/// # Errors
/// The socket failed, or there is no thread for the replies.
pub(super) fn serve(mut stream: Stream, queue: Queue, service: &Service<'_, impl States>) -> io::Result<()> {
    stream.set_timeout(None)?;
    let waiter = queue.waiter();
    let state =
        State { flights: Flights::new(queue, service.form), waited_for: false, ending: false, over: false };
    let shared = Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        out: Mutex::new(stream.try_clone()?),
        form: service.form,
    };
    let end = stream.try_clone()?;
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("holdfast-nbd-out".to_owned());
        let writing = writer.spawn_scoped(scope, || {
            write_replies(&shared, &waiter);
            shared.end(true);
            end.shut();
        });
        let read = writing.and_then(|_| Reader::new(&mut stream, &shared, service).run());
        if read.is_ok() {
            say_goodbye(&shared);
        }
        shared.end(true);
        waiter.close();
        stream.shut();
        read
    })
}

/// The peer has said that it leaves: what it asked for before is carried out, for as long as it can be waited for.
fn say_goodbye(shared: &Shared) {
    let deadline = Instant::now() + GOODBYE;
    let mut state = shared.lock();
    state.ending = true;
    shared.tell(&mut state);
    while !state.over && !state.flights.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        state.waited_for = true;
        let waited = shared.changed.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Sends replies until the session is over, or nothing is in flight and nothing will come.
fn write_replies(shared: &Shared, waiter: &Waiter) {
    let mut done = Vec::new();
    let mut out = Vec::new();
    loop {
        let mut state = shared.lock();
        while state.flights.in_flight() == 0 && !state.ending && !state.over {
            state = shared.wait(state);
        }
        if state.over || state.flights.in_flight() == 0 {
            return;
        }
        drop(state);
        if waiter.wait().is_err() {
            return;
        }
        out.clear();
        let mut state = shared.lock();
        let collected = state.flights.collect(&mut done, &mut out);
        shared.tell(&mut state);
        drop(state);
        if shared.send(&out).is_err() || collected.is_err() {
            return;
        }
        // A reply of many megabytes is rare, and its memory should not stay.
        out.shrink_to(1 << 20);
    }
}

/// The half that reads.
struct Reader<'a, S> {
    stream: BufReader<&'a mut Stream>,
    shared: &'a Shared,
    service: &'a Service<'a, S>,
    glances: Glances,
    /// What it answers by itself.
    done: Vec<Done>,
    out: Vec<u8>,
}

impl<'a, S: States> Reader<'a, S> {
    fn new(stream: &'a mut Stream, shared: &'a Shared, service: &'a Service<'a, S>) -> Reader<'a, S> {
        let stream = BufReader::with_capacity(AHEAD, stream);
        Reader { stream, shared, service, glances: Glances::default(), done: Vec::new(), out: Vec::new() }
    }

    /// Takes requests until the peer says goodbye.
    fn run(&mut self) -> io::Result<()> {
        let extended = self.service.form == ReplyForm::Extended;
        let mut header = [0; 32];
        let header = &mut header[..Request::header_bytes(extended)];
        let piece_bytes = self.shared.lock().flights.piece_bytes() as usize;
        let mut payload = vec![0; piece_bytes];
        loop {
            self.stream.read_exact(header)?;
            let Some(request) = Request::parse(header, extended) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a request without its magic"));
            };
            if request.kind == Kind::Disconnect {
                return Ok(());
            }
            let follows = request.payload_bytes(extended);
            if follows > u64::from(PAYLOAD_BYTES_MAX) {
                let words = format!("a payload of {follows} bytes is longer than {PAYLOAD_BYTES_MAX}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            match self.check(&request) {
                Err(refusal) => {
                    io::copy(&mut self.stream.by_ref().take(follows), &mut io::sink())?;
                    self.reply(&request, Err(&refusal))?;
                }
                // The protocol leaves the meaning to the server: there is nothing to do.
                Ok(()) if request.length == 0 && request.kind != Kind::Flush => {
                    self.reply(&request, Ok(()))?;
                }
                Ok(()) if request.kind == Kind::BlockStatus => self.block_status(&request)?,
                Ok(()) => self.carry_out(request, &mut payload)?,
            }
        }
    }

    /// Whether a request can be asked for at all.
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let Service { export, form, contexts, .. } = self.service;
        let known = match request.kind {
            Kind::Read => flag::DONT_FRAGMENT | flag::FUA,
            Kind::WriteZeroes => flag::FUA | flag::NO_HOLE,
            Kind::Write if *form == ReplyForm::Extended => flag::FUA | flag::PAYLOAD_LENGTH,
            Kind::Write | Kind::Trim | Kind::Flush => flag::FUA,
            Kind::BlockStatus => flag::REQUEST_ONE,
            Kind::Disconnect | Kind::Unknown(_) => u16::MAX,
        };
        if let Kind::Unknown(number) = request.kind {
            return Err(Refusal::new(error::EINVAL, format!("this server does not know command {number}")));
        }
        if request.flags & !known != 0 {
            let words = format!("flags {:#x} do not belong to this command", request.flags & !known);
            return Err(Refusal::new(error::EINVAL, words));
        }
        let changes = matches!(request.kind, Kind::Write | Kind::Trim | Kind::WriteZeroes);
        if changes && export.read_only {
            return Err(Refusal::new(error::EPERM, "the volume is served read-only"));
        }
        if request.kind == Kind::Flush {
            return Ok(());
        }
        let end = request.offset.checked_add(request.length).filter(|&end| end <= export.bytes);
        if end.is_none() {
            let words = format!("the range passes the end of a volume of {} bytes", export.bytes);
            let error = if request.kind == Kind::Write { error::ENOSPC } else { error::EINVAL };
            return Err(Refusal::new(error, words));
        }
        let block = u64::from(export.block_bytes);
        if !request.offset.is_multiple_of(block) || !request.length.is_multiple_of(block) {
            return Err(Refusal::new(
                error::EINVAL,
                format!("the range is not of whole blocks of {block} bytes"),
            ));
        }
        match request.kind {
            Kind::Read if request.length > u64::from(PAYLOAD_BYTES_MAX) => {
                let words = format!("a read of more than {PAYLOAD_BYTES_MAX} bytes");
                Err(Refusal::new(error::EOVERFLOW, words))
            }
            Kind::BlockStatus if contexts.is_empty() => {
                Err(Refusal::new(error::EINVAL, "no metadata context was agreed on for this export"))
            }
            _ => Ok(()),
        }
    }

    fn reply(&self, request: &Request, outcome: Result<(), &Refusal>) -> io::Result<()> {
        let mut out = Vec::new();
        if request.kind == Kind::Read && self.shared.form == ReplyForm::Simple && outcome.is_ok() {
            ReplyForm::put_simple(&mut out, request.cookie, 0);
        } else {
            self.shared.form.put_outcome(&mut out, request, outcome);
        }
        self.shared.send(&out)
    }

    /// Sends a request on its way, in pieces that the rings take.
    fn carry_out(&mut self, request: Request, payload: &mut [u8]) -> io::Result<()> {
        let whole = matches!(request.kind, Kind::Flush | Kind::Trim | Kind::WriteZeroes);
        let most = if whole { request.length.max(1) } else { payload.len() as u64 };
        let pieces = request.length.div_ceil(most).max(1);
        let mut state = self.shared.lock();
        while !state.flights.may_begin(&request, pieces) && !state.over {
            state = self.shared.wait(state);
        }
        let name = state.flights.begin(request, pieces);
        drop(state);
        for piece in 0..pieces {
            let (offset, left) = (request.offset + piece * most, request.length - piece * most);
            let length = left.min(most);
            let data: &[u8] = if request.kind == Kind::Write {
                let data = &mut payload[..usize::try_from(length).expect("a window's length")];
                self.stream.read_exact(data)?;
                data
            } else {
                &[]
            };
            let mut state = self.shared.lock();
            while !state.flights.has_room() && !state.over {
                state = self.shared.wait(state);
            }
            let sent = !state.over && state.flights.send(name, offset, length, data).is_ok();
            let alone = pieces == 1 && state.flights.in_flight() == 1 && self.stream.buffer().is_empty();
            let look = sent && alone && self.glances.next();
            if !look {
                self.shared.tell(&mut state);
            }
            drop(state);
            if !sent {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if look {
                self.look_for_the_answer()?;
            }
        }
        Ok(())
    }

    /// There is one request in flight: it is answered from here if that is soon, else by the writer.
    fn look_for_the_answer(&mut self) -> io::Result<()> {
        let (shared, done, out) = (self.shared, &mut self.done, &mut self.out);
        let looked = self.glances.look(|| {
            let mut state = shared.lock();
            state.flights.collect(done, out).map(|()| state.flights.in_flight() == 0)
        });
        let found = looked.unwrap_or(false);
        if !found {
            // The writer finds out, too, if the session is over.
            let mut state = shared.lock();
            shared.tell(&mut state);
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = shared.send(&self.out);
        self.out.clear();
        self.out.shrink_to(1 << 20);
        sent
    }

    fn block_status(&self, request: &Request) -> io::Result<()> {
        let mut out = Vec::new();
        let range = ByteRange { offset: request.offset, length: request.length };
        let Service { contexts, states, holes, .. } = self.service;
        for (at, &context) in contexts.iter().enumerate() {
            let mut runs = match describe(context, *states, holes, range) {
                Ok(runs) => runs,
                Err(refusal) => return self.reply(request, Err(&refusal)),
            };
            runs.truncate(if request.has(flag::REQUEST_ONE) { 1 } else { RUNS_MAX });
            let last = at + 1 == contexts.len();
            put_status(&mut out, self.shared.form, request, context, &runs, last);
        }
        self.shared.send(&out)
    }
}

/// One context's chunk of a block status reply.
fn put_status(
    out: &mut Vec<u8>,
    form: ReplyForm,
    request: &Request,
    context: Context,
    runs: &[(u64, u32)],
    last: bool,
) {
    let flags = if last { chunk::DONE } else { 0 };
    if form == ReplyForm::Extended {
        form.put_chunk(out, request, (chunk::BLOCK_STATUS_EXTENDED, flags), 8 + 16 * runs.len());
        out.extend(context.id().to_be_bytes());
        out.extend(u32::try_from(runs.len()).expect("bounded").to_be_bytes());
        for &(bytes, flags) in runs {
            out.extend(bytes.to_be_bytes());
            out.extend(u64::from(flags).to_be_bytes());
        }
        return;
    }
    form.put_chunk(out, request, (chunk::BLOCK_STATUS, flags), 4 + 8 * runs.len());
    out.extend(context.id().to_be_bytes());
    for &(bytes, flags) in runs {
        // A request's length has 32 bits in this form, and runs lie within it.
        out.extend(u32::try_from(bytes).expect("within the request").to_be_bytes());
        out.extend(flags.to_be_bytes());
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
