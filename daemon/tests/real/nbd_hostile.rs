//! NBD peers that say what no client says, or nothing at all: they harm their own connection.

use crate::pattern::{Random, check_same, pattern};
use crate::place::{MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const GO: u32 = 7;
const EXTENDED_HEADERS: u32 = 11;

fn place() -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm1", &place.file("vm1"), 16 * MIB);
    place.add(&[volume]);
    place.open_nbd("connections_max = 4");
    place
}

/// A connection, with the server's greeting read and answered.
fn greeted(place: &Place) -> UnixStream {
    let mut socket = UnixStream::connect(place.nbd()).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut greeting = [0; 18];
    socket.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
    socket.write_all(&3_u32.to_be_bytes()).expect("flags");
    socket
}

fn say(socket: &mut UnixStream, option: u32, data: &[u8]) {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).expect("short").to_be_bytes());
    bytes.extend(data);
    socket.write_all(&bytes).expect("an option");
}

/// Reads answers up to the acknowledgement.
fn acknowledged(socket: &mut UnixStream) {
    loop {
        let mut header = [0; 20];
        socket.read_exact(&mut header).expect("an answer");
        let kind = u32::from_be_bytes(header[12..16].try_into().expect("four"));
        let length = u32::from_be_bytes(header[16..20].try_into().expect("four"));
        let mut data = vec![0; length as usize];
        socket.read_exact(&mut data).expect("its data");
        assert_eq!(kind >> 31, 0, "{}", String::from_utf8_lossy(&data));
        if kind == 1 {
            return;
        }
    }
}

/// A connection to the volume, with extended headers or without.
fn connected(place: &Place, extended: bool) -> UnixStream {
    let mut socket = greeted(place);
    if extended {
        say(&mut socket, EXTENDED_HEADERS, &[]);
        acknowledged(&mut socket);
    }
    say(&mut socket, GO, b"\0\0\0\x03vm1\0\0");
    acknowledged(&mut socket);
    socket
}

fn request(flags: u16, kind: u16, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = header(0x2560_9513, flags, kind, offset);
    bytes.extend(length.to_be_bytes());
    bytes
}

fn extended_request(flags: u16, kind: u16, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = header(0x21e4_1c71, flags, kind, offset);
    bytes.extend(length.to_be_bytes());
    bytes
}

/// What both forms have before the length.
fn header(magic: u32, flags: u16, kind: u16, offset: u64) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend([7; 8]);
    bytes.extend(offset.to_be_bytes());
    bytes
}

/// The error of a simple reply.
fn simple_error(socket: &mut UnixStream) -> u32 {
    let mut reply = [0; 16];
    socket.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply[..4], &0x6744_6698_u32.to_be_bytes());
    assert_eq!(&reply[8..], [7; 8]);
    u32::from_be_bytes(reply[4..8].try_into().expect("four"))
}

/// An extended chunk: flags, kind, offset, data.
fn extended_chunk(socket: &mut UnixStream) -> (u16, u16, u64, Vec<u8>) {
    let mut header = [0; 32];
    socket.read_exact(&mut header).expect("a chunk");
    assert_eq!(&header[..4], &0x6e8a_278c_u32.to_be_bytes());
    assert_eq!(&header[8..16], [7; 8]);
    let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight"));
    let half = |at: usize| u16::from_be_bytes(header[at..at + 2].try_into().expect("two"));
    let mut data = vec![0; usize::try_from(number(24)).expect("short")];
    socket.read_exact(&mut data).expect("its data");
    (half(4), half(6), number(16), data)
}

#[test]
fn extended_headers_carry_reads_writes_and_errors() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut socket = connected(&place, true);
    let mut write = extended_request(1 << 5, 1, 8192, 4096);
    write.extend([0xab; 4096]);
    socket.write_all(&write).expect("a write");
    assert_eq!(extended_chunk(&mut socket), (1, 0, 8192, vec![]));
    socket.write_all(&extended_request(0, 0, 8192, 4096)).expect("a read");
    let (flags, kind, offset, data) = extended_chunk(&mut socket);
    assert_eq!((flags, kind, offset), (0, 1, 8192), "the data; the end comes by itself");
    assert_eq!(data[..8], 8192_u64.to_be_bytes());
    assert!(data[8..] == [0xab; 4096]);
    assert_eq!(extended_chunk(&mut socket), (1, 0, 8192, vec![]));
    // Zeroes over more than 32 bits of length fit into this form, and no volume has them here.
    socket.write_all(&extended_request(0, 6, 0, 1 << 40)).expect("write-zeroes");
    let (flags, kind, _, data) = extended_chunk(&mut socket);
    assert_eq!((flags, kind), (1, 1 << 15 | 1));
    assert_eq!(data[..4], 22_u32.to_be_bytes(), "{}", String::from_utf8_lossy(&data[6..]));
    // A write that does not say that its payload follows is meant as QEMU means it.
    let mut unsaid = extended_request(0, 1, 0, 4096);
    unsaid.extend([0xcd; 4096]);
    socket.write_all(&unsaid).expect("a write");
    assert_eq!(extended_chunk(&mut socket), (1, 0, 0, vec![]));
    // What has no payload may not bring one; it is taken off the wire.
    let mut laden = extended_request(1 << 5, 7, 0, 16);
    laden.extend([0; 16]);
    socket.write_all(&laden).expect("a block status with a payload");
    assert_eq!(extended_chunk(&mut socket).1, 1 << 15 | 1);
    socket.write_all(&extended_request(0, 3, 0, 0)).expect("a flush");
    assert_eq!(extended_chunk(&mut socket), (1, 0, 0, vec![]), "and it is still understood");
    drop(socket);
    daemon.stop_clean();
}

#[test]
fn nonsense_gets_an_error_or_a_closed_connection_and_nobody_else_notices() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    client.write_at(&[1; 4096], 0).expect("a write");
    for (flags, kind, offset, length) in [
        (0, 9, 0, 0),
        (0, 0, 16 * MIB, 4096),
        (0, 0, u64::MAX, 4096),
        (0, 0, 0, 33 << 20),
        (0, 0, 1, 4096),
        (1 << 9, 0, 0, 4096),
        (0, 7, 0, 4096),
        (0, 4, 16 * MIB - 4096, 8192),
    ] {
        let mut socket = connected(&place, false);
        socket.write_all(&request(flags, kind, offset, length)).expect("a request");
        assert_ne!(simple_error(&mut socket), 0, "{kind} at {offset}, {length}, {flags:#x}");
        socket.write_all(&request(0, 3, 0, 0)).expect("a flush");
        assert_eq!(simple_error(&mut socket), 0, "the connection goes on");
    }
    for bytes in [request(0, 1, 0, u32::MAX), vec![0xff; 28]] {
        let mut socket = connected(&place, false);
        socket.write_all(&bytes).expect("a request");
        assert_eq!(socket.read(&mut [0; 16]).expect("an end"), 0, "the connection is closed");
    }
    // A payload past the end is taken off the wire, so that what follows is understood.
    let mut socket = connected(&place, false);
    let mut past = request(0, 1, 16 * MIB, 65536);
    past.extend(vec![9; 65536]);
    past.extend(request(0, 3, 0, 0));
    socket.write_all(&past).expect("a write past the end, and a flush");
    assert_eq!((simple_error(&mut socket), simple_error(&mut socket)), (28, 0));
    drop(socket);
    // One that leaves in the middle of its payload.
    let mut socket = connected(&place, false);
    let mut half = request(0, 1, 0, 1 << 20);
    half.extend(vec![9; 300_000]);
    socket.write_all(&half).expect("half of a write");
    drop(socket);
    let mut data = [0; 4096];
    client.read_at(&mut data, 8 * MIB).expect("others are served");
    eventually("only our own session is left", || (daemon.sessions() == 1).then_some(()));
    daemon.stop_clean();
}

/// Peers that say nothing keep their places for the time of a handshake, or as long as they like once they have a volume;
/// those that come when all are taken are told so.
#[test]
fn silent_peers_keep_their_places_and_nothing_else() {
    let place = place();
    let daemon = Daemon::start(&place);
    let silent: Vec<UnixStream> = (0..4).map(|_| connected(&place, false)).collect();
    let mut fifth = greeted(&place);
    say(&mut fifth, GO, b"\0\0\0\x03vm1\0\0");
    let mut answer = [0; 20];
    fifth.read_exact(&mut answer).expect("a refusal");
    assert_eq!(answer[12..16], (1_u32 << 31 | 7).to_be_bytes(), "the server has no room");
    let client = daemon.client("vm1");
    client.write_at(&[1; 4096], 0).expect("others are served");
    client.flush().expect("flushed");
    for socket in &silent {
        socket.shutdown(Shutdown::Both).expect("they leave");
    }
    eventually("their sessions are gone", || (daemon.sessions() == 1).then_some(()));
    drop(connected(&place, false));
    daemon.stop_clean();
}

/// Someone who asks for much and takes nothing: its own replies wait, and the daemon ends all the same.
#[test]
fn a_peer_that_does_not_read_holds_up_nobody() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut greedy = connected(&place, false);
    greedy.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let read = request(0, 0, 0, 4 << 20);
    while greedy.write_all(&read).is_ok() {}
    let client = daemon.client("vm1");
    client.write_at(&[2; 4096], 0).expect("others are served");
    client.flush().expect("flushed");
    let mut other = connected(&place, false);
    other.write_all(&request(0, 3, 0, 0)).expect("a flush");
    assert_eq!(simple_error(&mut other), 0);
    daemon.stop_clean();
}

/// Streams in CI. More: `HOLDFAST_TEST_STREAMS=10000 cargo test -p holdfast-daemon --test real -- random_streams`.
const STREAMS: u64 = 200;
/// Where things change: volumes here have 16 MiB, pieces 128 KiB, payloads 32 MiB.
const OFFSETS: [u64; 8] = [0, 512, 4095, 8 * MIB - 4096, 16 * MIB - 512, 16 * MIB, u64::MAX - 511, 1 << 63];
const LENGTHS: [u32; 10] = [0, 1, 512, 4096, 131_072, 131_584, 1 << 20, 16 << 20, (32 << 20) + 512, u32::MAX];

/// A stream of requests, some of them sound; with seeds, so that the same one can be had again.
fn stream(random: &mut Random, extended: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(12) {
        // Mostly none, and those that exist; else any.
        let flags = [0, 0, 1, 1 << 2, 1 << 3, 1 << 5, random.below(1 << 16) as u16][random.below(7) as usize];
        let kind = random.below(10) as u16;
        let offset = OFFSETS[random.below(8) as usize] & if random.below(2) == 0 { !511 } else { u64::MAX };
        let length = LENGTHS[random.below(10) as usize];
        let begun = bytes.len();
        if extended {
            let high = if random.below(8) == 0 { 1 << 40 } else { 0 };
            bytes.extend(extended_request(flags, kind, offset, high | u64::from(length)));
        } else {
            bytes.extend(request(flags, kind, offset, length));
        }
        if kind == 1 {
            // As long as it says, or not.
            let payload = if random.below(8) == 0 { random.below(70_000) as usize } else { length as usize };
            bytes.extend(vec![0x5a; payload.min(1 << 20)]);
        }
        if random.below(6) == 0 {
            let at = begun + random.below((bytes.len() - begun) as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
    }
    bytes
}

/// Requests that come near sound ones, thousands of them: the daemon lives, nobody reads or writes another volume, and each
/// session ends with its connection.
#[test]
fn random_streams_of_requests_harm_nobody() {
    let streams = std::env::var("HOLDFAST_TEST_STREAMS");
    let streams = streams.map_or(STREAMS, |count| count.parse().expect("a number"));
    let mut place = Place::new();
    let volumes = ["vm1", "vm2"].map(|name| Volume::file(name, &place.file(name), 16 * MIB));
    place.add(&volumes);
    place.open_nbd("volumes = [\"vm1\"]");
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm2");
    client.write_at(&pattern(1, 0, MIB), 0).expect("acknowledged");
    for seed in 0..streams {
        let mut random = Random::new(seed + 1);
        let extended = random.below(2) == 0;
        let mut socket = connected(&place, extended);
        let mut reading = socket.try_clone().expect("a socket");
        let reader = std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
        // The server may have closed the connection before it has read everything.
        let _ = socket.write_all(&stream(&mut random, extended));
        let how = if random.below(4) == 0 { Shutdown::Both } else { Shutdown::Write };
        let _ = socket.shutdown(how);
        let ended = reader.join().expect("it does not panic");
        let in_time = !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(in_time, "seed {seed}: the connection does not end");
    }
    eventually("only our own session is left", || (daemon.sessions() == 1).then_some(()));
    let mut data = vec![0; MIB as usize];
    client.read_at(&mut data, 0).expect("read");
    check_same(&data, &pattern(1, 0, MIB), "another volume's");
    daemon.stop_clean();
}
