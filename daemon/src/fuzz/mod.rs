//! What strangers may hand to the daemon, as functions of bytes: each must end, without a panic, and keep what it promises.
//!
//! `cargo xtask fuzz` has libFuzzer call them (`daemon/fuzz`), with coverage and the address sanitizer; the tests below call
//! the same ones with the corpora and with mutations of them, on any toolchain.

mod arena_headers;
#[cfg(test)]
mod tests;

use crate::{admin, config, ledger, nbd, vhost};
use holdfast_ringbuf::Stripes;
use holdfast_ringbuf::daemon_side::Pending;
use holdfast_ringbuf::request::{Descriptor, Opcode, Request, SessionLimits};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Something that reads what strangers wrote.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 8] = [
    ("admin_bodies", admin_bodies),
    ("arena_headers", arena_headers::arena_headers),
    ("configuration", configuration),
    ("descriptors", descriptors),
    ("handshake", handshake),
    ("ledger_records", ledger::fuzz),
    ("nbd", nbd::fuzz),
    ("virtqueue", vhost::fuzz),
];

/// Bodies of operators' requests: a byte that chooses which, and JSON.
pub fn admin_bodies(data: &[u8]) {
    if let Some((&which, text)) = data.split_first() {
        admin::fuzz(which, text);
    }
}

/// A configuration: refused with problems that each say something, or settings that can be used.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::parse(text, "fuzzed.toml") {
        Ok(settings) => {
            let _ = settings.arena_layout();
            for reactor in 0..settings.daemon.reactors {
                let _ = settings.limits(reactor, 1);
            }
            let slots = settings.volumes.iter().map(|volume| settings.budget_slots(volume));
            assert!(slots.into_iter().all(|slots| slots > 0), "a volume without a budget");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal without a word"),
    }
}

/// Descriptors of a ring: what is taken lies within the volume's stripe, the payload area and the limits.
pub fn descriptors(data: &[u8]) {
    let limits = SessionLimits {
        entries: 64,
        payload_bytes: 1 << 20,
        request_bytes_max: 128 << 10,
        stripes: Stripes::new(1 << 20, 3),
    };
    for bytes in data.chunks_exact(64) {
        let raw: Descriptor = zerocopy::FromBytes::read_from_bytes(bytes).expect("64 bytes");
        let Ok(request) = Request::parse(&raw, 1, &limits) else { continue };
        assert!(request.tag < limits.entries);
        if matches!(request.opcode, Opcode::Read | Opcode::Write) {
            assert!(request.length <= u64::from(limits.request_bytes_max) && request.length > 0);
            assert!(request.payload + request.length <= limits.payload_bytes);
            let last = request.offset + request.length - 1;
            assert_eq!((request.offset >> 20) % 3, 1, "another reactor's");
            assert_eq!(request.offset >> 20, last >> 20, "more than a stripe");
        }
    }
}

/// What a client says first.
pub fn handshake(data: &[u8]) {
    let (mut client, daemon) = UnixStream::pair().expect("a pair of sockets");
    client.write_all(&data[..data.len().min(4096)]).expect("there is room for that");
    drop(client);
    let mut pending = Pending::of(daemon).expect("a socket");
    if let Ok(hello) = pending.read_hello(Duration::from_secs(5)) {
        assert!(!hello.volume.is_empty() && !hello.volume.chars().any(char::is_control));
    }
}
