//! What a client says when that which listens is not its daemon.
#![allow(missing_docs)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use holdfast_ringbuf::client::{ConnectError, Options, Queue};
use holdfast_ringbuf::wire::ReplyMessage;
use zerocopy::IntoBytes;

/// Connects to a listener that reads the hello, writes `answer` and closes, or keeps still if there is no answer.
fn connect_to(answer: Option<Vec<u8>>) -> ConnectError {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).expect("bound");
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.read_exact(&mut [0; 128]).expect("a hello");
        match answer {
            Some(answer) => stream.write_all(&answer).expect("sent"),
            // Until the client gives up.
            None => assert_eq!(stream.read(&mut [0; 1]).expect("closed"), 0),
        }
    });
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    let error = Queue::connect(&path, "ram", options).expect_err("no daemon");
    daemon.join().expect("no panic");
    error
}

fn offer() -> ReplyMessage {
    ReplyMessage {
        volume_bytes: 1 << 20,
        stripe_bytes: 1 << 20,
        payload_bytes: 4096,
        memory_bytes: 4096 + 8192 + 4096,
        block_bytes: 512,
        line_bytes: 4096,
        reactors: 1,
        ring_entries: 8,
        request_bytes_max: 4096,
        ..ReplyMessage::new_zeroed_reply()
    }
}

#[test]
fn a_refusal_is_read_whatever_its_version_and_length() {
    let refusal = ReplyMessage { version: 9, ..ReplyMessage::refusal(93, "speak 9") };
    match connect_to(Some(refusal.as_bytes()[..280].to_vec())) {
        ConnectError::Refused { errno: 93, reason } => assert_eq!(reason, "speak 9"),
        other => panic!("{other}"),
    }
}

#[test]
fn another_version_and_another_protocol_are_recognised() {
    let newer = ReplyMessage { version: 9, ..offer() };
    let error = connect_to(Some(newer.as_bytes()[..280].to_vec()));
    assert!(matches!(error, ConnectError::Version { theirs: 9 }), "{error}");
    let error = connect_to(Some(b"HTTP/1.1 400 Bad Request\r\n".repeat(20)));
    assert!(matches!(error, ConnectError::Malformed(_)), "{error}");
}

#[test]
fn offers_that_cannot_be_are_refused() {
    let offers = [
        ("no descriptors", offer()),
        ("sizes", ReplyMessage { memory_bytes: 4096, ..offer() }),
        ("reactors", ReplyMessage { reactors: 65, ..offer() }),
        ("entries", ReplyMessage { ring_entries: 7, ..offer() }),
        ("block", ReplyMessage { block_bytes: 0, ..offer() }),
        ("line", ReplyMessage { line_bytes: 3, ..offer() }),
        ("stripe", ReplyMessage { stripe_bytes: 0, ..offer() }),
        ("volume", ReplyMessage { volume_bytes: 0, ..offer() }),
    ];
    for (what, offer) in offers {
        let error = connect_to(Some(offer.as_bytes().to_vec()));
        assert!(matches!(error, ConnectError::Malformed(_)), "{what}: {error}");
    }
}

#[test]
fn silence_and_a_broken_answer_end_the_handshake() {
    for answer in [None, Some(Vec::new()), Some(offer().as_bytes()[..300].to_vec())] {
        let error = connect_to(answer);
        assert!(matches!(error, ConnectError::Handshake(_)), "{error}");
    }
}
