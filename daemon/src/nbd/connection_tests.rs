//! Who answers: here there is no writer, so what the peer hears comes from the reader.

use super::super::blocks::BackingNow;
use super::*;
use crate::reactor::connect;
use holdfast_engine::ListState;
use holdfast_ringbuf::daemon_side::{DaemonRing, Door};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longer than anything takes that will come.
const PATIENCE: Duration = Duration::from_secs(20);

struct NoStates;

impl States for NoStates {
    fn list(
        &self,
        _state: ListState,
        _from: u64,
        _limit: usize,
    ) -> Result<(Vec<ByteRange>, Option<u64>), Refusal> {
        unreachable!("nobody asks for a block status here")
    }
}

fn request(kind: u16, cookie: u64) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend([0; 12]);
    bytes
}

const FLUSH: u16 = 3;
const DISCONNECT: u16 = 2;

/// Answers whatever is asked, until `over`.
fn answer_all(mut ring: DaemonRing, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        while let Some(request) = ring.pop().expect("a client of our own") {
            ring.push_completion(request.tag, request.sequence, 0, None).expect("asked for");
        }
        ring.flush_publish();
        std::thread::yield_now();
    }
}

/// What a connection without a writer says to these requests, one burst after the other; each burst is `answered` before the
/// next one.
fn without_a_writer(bursts: &[Vec<u8>], answered: bool) -> io::Result<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("socket");
    let door = Door::bind(&path, 0o600).expect("a socket");
    let (queue, mut session) = connect(&door, &path, 1);
    let ring = session.rings.remove(0);
    let (ours, mut peer) = UnixStream::pair().expect("sockets");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut stream = Stream::Unix(ours);
    let form = ReplyForm::Simple;
    let flights = Flights::new(queue, form);
    let shared = Shared {
        state: Mutex::new(State { flights, waited_for: false, ending: false, over: false }),
        changed: Condvar::new(),
        out: Mutex::new(stream.try_clone().expect("a socket")),
        form,
    };
    let name = "vm1".to_owned();
    let export = Export { name, bytes: 1 << 20, block_bytes: 512, line_bytes: 4096, read_only: false };
    let holes = Holes::of(&BackingNow::new(|| None));
    let service = Service { export: &export, form, contexts: &[], states: &NoStates, holes: &holes };
    let over = AtomicBool::new(false);
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| answer_all(ring, &over));
        let reader = scope.spawn(|| {
            let mut reader = Reader::new(&mut stream, &shared, &service);
            reader.glances = Glances::of(PATIENCE);
            let _ = reader.run();
            over.store(true, Ordering::Release);
            stream.shut();
        });
        let heard = talk(&mut peer, bursts, answered);
        // What this finds when it is too late was not to be heard, either.
        let said = peer.write_all(&request(DISCONNECT, 0));
        reader.join().expect("it does not panic");
        said.and(heard)
    });
    let mut heard = heard?;
    peer.read_to_end(&mut heard)?;
    Ok(heard)
}

fn talk(peer: &mut UnixStream, bursts: &[Vec<u8>], answered: bool) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    for burst in bursts {
        peer.write_all(burst)?;
        if answered {
            let mut reply = [0; 16];
            peer.read_exact(&mut reply)?;
            heard.extend(reply);
        }
    }
    Ok(heard)
}

#[test]
fn a_lone_request_is_answered_by_who_has_read_it() {
    let cookies = 1..=20_u64;
    let bursts: Vec<_> = cookies.clone().map(|cookie| request(FLUSH, cookie)).collect();
    let heard = without_a_writer(&bursts, true).expect("the reader answers");
    let mut expected = Vec::new();
    cookies.for_each(|cookie| ReplyForm::put_simple(&mut expected, cookie, 0));
    assert_eq!(heard, expected);
}

/// More than one at a time are the writer's, who answers them together: the reader has the next one to read.
#[test]
fn requests_in_company_are_left_to_the_writer() {
    let two = [request(FLUSH, 1), request(FLUSH, 2)].concat();
    let heard = without_a_writer(&[two], false).expect("a connection");
    assert!(heard.is_empty(), "the reader has answered: {heard:?}");
}
