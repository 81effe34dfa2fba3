//! The requests of one connection that are under way, and the pieces in which they go through the rings.

use super::protocol::{Kind, Refusal, ReplyForm, Request, chunk, flag};
use holdfast_ringbuf::client::{Done, Error, Failure, Queue};
use std::collections::BTreeMap;

/// Bytes of reads in simple replies, which must come in one piece, that are collected at a time.
const COLLECTED_BYTES_MAX: u64 = 64 << 20;

/// A part of a request, in flight under a tag of the queue.
#[derive(Clone, Copy, Debug)]
struct Piece {
    flight: u64,
    /// Bytes from the beginning of the volume.
    offset: u64,
    length: usize,
}

/// A request that is not answered.
#[derive(Debug)]
struct Flight {
    request: Request,
    pieces_left: u64,
    refusal: Option<Refusal>,
    /// Of a read that is answered in one piece: what came so far.
    data: Option<Vec<u8>>,
    /// A flush is still to be sent: a trim with FUA.
    then_flush: bool,
}

/// The queue, and what is in flight on it.
#[derive(Debug)]
pub(super) struct Flights {
    queue: Queue,
    form: ReplyForm,
    free: Vec<u32>,
    pieces: Vec<Option<Piece>>,
    flights: BTreeMap<u64, Flight>,
    next: u64,
    /// Bytes of memory of those that are collected.
    collected: u64,
}

impl Flights {
    pub(super) fn new(queue: Queue, form: ReplyForm) -> Flights {
        let depth = queue.depth();
        Flights {
            free: (0..depth).rev().collect(),
            pieces: vec![None; depth as usize],
            flights: BTreeMap::new(),
            next: 0,
            collected: 0,
            queue,
            form,
        }
    }

    /// Bytes of the longest piece.
    pub(super) fn piece_bytes(&self) -> u32 {
        self.queue.window_bytes()
    }

    /// Whether a piece can be sent.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Pieces in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.queue.in_flight()
    }

    /// Whether every request is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether the answer of a read has to wait for all its pieces.
    fn collects(&self, request: &Request, pieces: u64) -> bool {
        let in_one = self.form == ReplyForm::Simple || request.has(flag::DONT_FRAGMENT);
        request.kind == Kind::Read && in_one && pieces > 1
    }

    /// Whether there is memory for a request's answer.
    pub(super) fn may_begin(&self, request: &Request, pieces: u64) -> bool {
        !self.collects(request, pieces) || self.collected + request.length <= COLLECTED_BYTES_MAX
    }

    /// Begins a request that will come in `pieces`; its name.
    pub(super) fn begin(&mut self, request: Request, pieces: u64) -> u64 {
        let collects = self.collects(&request, pieces);
        let bytes = if collects { request.length } else { 0 };
        self.collected += bytes;
        let bytes = usize::try_from(bytes).expect("bounded by the longest read");
        self.next += 1;
        self.flights.insert(
            self.next,
            Flight {
                request,
                pieces_left: pieces,
                refusal: None,
                data: collects.then(|| vec![0; bytes]),
                then_flush: request.kind == Kind::Trim && request.has(flag::FUA),
            },
        );
        self.next
    }

    /// Sends one piece of a request. There must be room. `payload` is a write's data.
    ///
    /// # Errors
    /// The session is over.
    pub(super) fn send(
        &mut self,
        flight: u64,
        offset: u64,
        length: u64,
        payload: &[u8],
    ) -> Result<(), Error> {
        let request = self.flights[&flight].request;
        let tag = self.free.pop().expect("the caller has waited for room");
        let fua = request.has(flag::FUA);
        let short = u32::try_from(length).unwrap_or(u32::MAX);
        match request.kind {
            Kind::Read => self.queue.submit_read(tag, offset, short)?,
            Kind::Write => {
                self.queue.fill(tag, payload)?;
                self.queue.submit_filled(tag, offset, short, fua)?;
            }
            Kind::Trim => self.queue.submit_discard(tag, offset, length)?,
            Kind::WriteZeroes => self.queue.submit_write_zeroes(tag, offset, length, fua)?,
            Kind::Flush => self.queue.submit_flush(tag)?,
            Kind::Disconnect | Kind::BlockStatus | Kind::Unknown(_) => unreachable!("answered elsewhere"),
        }
        let length = if request.kind == Kind::Read { short as usize } else { 0 };
        self.pieces[tag as usize] = Some(Piece { flight, offset, length });
        self.queue.publish();
        Ok(())
    }

    /// Takes what the daemon has answered since, and appends the replies that follow from it to `out`.
    ///
    /// # Errors
    /// The session is over.
    pub(super) fn collect(&mut self, done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.queue.poll(done)?;
        for Done { tag, result } in done.drain(..) {
            let piece = self.pieces[tag as usize].take().expect("only pieces are sent");
            self.land(tag, piece, result, out)?;
        }
        Ok(())
    }

    fn land(
        &mut self,
        tag: u32,
        piece: Piece,
        result: Result<(), Failure>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let flight = self.flights.get_mut(&piece.flight).expect("a flight lives as long as its pieces");
        flight.pieces_left -= 1;
        match result {
            Ok(()) if piece.length > 0 => put_data(&self.queue, self.form, flight, tag, piece, out)?,
            Ok(()) => {}
            Err(failure) => {
                flight.refusal.get_or_insert_with(|| refusal(&flight.request, failure));
            }
        }
        self.free.push(tag);
        if flight.pieces_left > 0 {
            return Ok(());
        }
        if flight.then_flush && flight.refusal.is_none() {
            return self.flush_after(piece.flight);
        }
        let flight = self.flights.remove(&piece.flight).expect("it was there");
        self.collected -= flight.data.as_ref().map_or(0, |data| data.len() as u64);
        self.finish(flight, out);
        Ok(())
    }

    /// A trim that must be durable: the ring's discard knows no FUA, a flush says the same.
    fn flush_after(&mut self, name: u64) -> Result<(), Error> {
        let flight = self.flights.get_mut(&name).expect("the caller has it");
        flight.then_flush = false;
        flight.pieces_left = 1;
        let tag = self.free.pop().expect("a tag has just come free");
        self.queue.submit_flush(tag)?;
        self.pieces[tag as usize] = Some(Piece { flight: name, offset: 0, length: 0 });
        self.queue.publish();
        Ok(())
    }

    fn finish(&self, flight: Flight, out: &mut Vec<u8>) {
        let Flight { request, refusal, data, .. } = flight;
        match (refusal, data) {
            (Some(refusal), _) => self.form.put_outcome(out, &request, Err(&refusal)),
            (None, Some(data)) if self.form == ReplyForm::Simple => {
                ReplyForm::put_simple(out, request.cookie, 0);
                out.extend(data);
            }
            (None, Some(data)) => {
                self.form.put_chunk(out, &request, (chunk::OFFSET_DATA, chunk::DONE), 8 + data.len());
                out.extend(request.offset.to_be_bytes());
                out.extend(data);
            }
            // The data of a simple read in one piece has been sent, with its reply before it.
            (None, None) if self.form == ReplyForm::Simple && request.kind == Kind::Read => {}
            (None, None) => self.form.put_outcome(out, &request, Ok(())),
        }
    }
}

/// A piece of a read has come.
fn put_data(
    queue: &Queue,
    form: ReplyForm,
    flight: &mut Flight,
    tag: u32,
    piece: Piece,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    if let Some(data) = &mut flight.data {
        let at = usize::try_from(piece.offset - flight.request.offset).expect("inside the request");
        return queue.take(tag, &mut data[at..at + piece.length]);
    }
    if form == ReplyForm::Simple {
        ReplyForm::put_simple(out, flight.request.cookie, 0);
    } else {
        form.put_chunk(out, &flight.request, (chunk::OFFSET_DATA, 0), 8 + piece.length);
        out.extend(piece.offset.to_be_bytes());
    }
    let at = out.len();
    out.resize(at + piece.length, 0);
    queue.take(tag, &mut out[at..])
}

/// What the client is told, with the failure's id where there is one.
fn refusal(request: &Request, failure: Failure) -> Refusal {
    let what = match request.kind {
        Kind::Flush => "flush",
        Kind::Read => "read",
        Kind::Trim => "trim",
        Kind::WriteZeroes => "write-zeroes",
        _ => "write",
    };
    let errno = u16::try_from(failure.errno).unwrap_or(0);
    let name = holdfast_policy::errno::name(errno).unwrap_or("an error");
    let explain = failure.failure.map_or(String::new(), |id| format!("; see 'holdfastctl explain {id}'"));
    Refusal::of_errno(failure.errno, format!("{what} failed with {name}{explain}"))
}
