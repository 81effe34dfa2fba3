//! A peer cannot make the server large, slow or absent.

use crate::world::World;
use holdfast_ctl::Exit;
use holdfast_daemon::admin::Options;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn a_body_that_is_too_large_is_refused() {
    let world = World::new();
    let body = " ".repeat(100_000);
    let request =
        format!("POST /v1/volumes/vm1/retry HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{body}");
    let answer = world.raw(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("larger than 65536 bytes"), "{answer}");
    assert!(world.state().commands.is_empty());
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let world = World::new();
    let head = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for garbage in [&b"\0\0\0\0"[..], b"hello\r\n\r\n", b"GET", head.as_bytes()] {
        let answer = world.raw(&[garbage, b"\r\n\r\n"].concat());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(world.ctl("status").exit, Exit::Ok);
}

/// One that connects and says nothing is cut; the test ends when that happens.
#[test]
fn a_silent_peer_is_cut() {
    let world = World::with(Options { head_timeout: Duration::from_millis(50), ..Options::default() });
    let mut silent = UnixStream::connect(world.socket()).expect("the server listens");
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).expect("the server closes");
}

/// One that promises a body and does not send it is told so, and cut.
#[test]
fn a_peer_that_never_finishes_its_request_is_cut() {
    let world = World::with(Options { connection_timeout: Duration::from_millis(200), ..Options::default() });
    let answer = world.raw(b"POST /v1/volumes/vm1/retry HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("was not done within 150ms"), "{answer}");
}

/// Connections have a bound, and a place that becomes free is taken again.
#[test]
fn one_connection_too_many_is_closed() {
    let world = World::with(Options { owners_max: 2, readers_max: 2, ..Options::default() });
    let idle: Vec<UnixStream> =
        (0..2).map(|_| UnixStream::connect(world.socket()).expect("there is a place")).collect();
    assert_eq!(world.ctl("status").exit, Exit::Unreachable);
    drop(idle);
    while world.ctl("status").exit != Exit::Ok {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stopping does not wait for peers.
#[test]
fn a_server_stops_under_open_connections() {
    let world = World::new();
    let mut open = UnixStream::connect(world.socket()).expect("the server listens");
    let socket = world.socket();
    drop(world);
    let mut rest = Vec::new();
    let _closed = open.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(UnixStream::connect(socket).is_err());
}
