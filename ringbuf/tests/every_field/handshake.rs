//! The messages that a client sends before it has a ring.

use std::io::{Read, Write};

use holdfast_ringbuf::wire::{HelloMessage, ReplyMessage, STEP_MAPPED, STEP_READY, StepMessage};
use rustix::io::Errno;
use zerocopy::{FromZeros, IntoBytes};

use crate::Scene;
use crate::raw_client::{RawClient, dial, hello};

/// What becomes of a hello.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// A session of its own, and nothing that was not there.
    Offered,
    Refused(Errno),
    /// Closed without a word.
    Closed,
}

pub(crate) fn hellos() -> Vec<(HelloMessage, Outcome)> {
    use Outcome::{Closed, Offered, Refused};
    let honest = hello("ram");
    let named = |volume: &[u8]| {
        let mut odd = HelloMessage { volume: [0; 64], ..honest };
        odd.volume[..volume.len()].copy_from_slice(volume);
        odd
    };
    let mut behind_its_end = honest;
    behind_its_end.volume[63] = 1;
    vec![
        (HelloMessage { magic: 1, ..honest }, Closed),
        (HelloMessage { magic: honest.magic ^ 1 << 63, ..honest }, Closed),
        (HelloMessage { version: 0, ..honest }, Refused(Errno::PROTONOSUPPORT)),
        (HelloMessage { version: u32::MAX, ..honest }, Refused(Errno::PROTONOSUPPORT)),
        (HelloMessage { message_bytes: 0, ..honest }, Closed),
        (HelloMessage { message_bytes: 127, ..honest }, Closed),
        (HelloMessage { message_bytes: u32::MAX, ..honest }, Closed),
        (named(b"rom"), Refused(Errno::NOENT)),
        (named(b"ra\nm"), Closed),
        (named(b""), Closed),
        (named(&[0xff; 64]), Closed),
        (behind_its_end, Closed),
        (HelloMessage { queue_depth: 0, ..honest }, Offered),
        (HelloMessage { queue_depth: u32::MAX, ..honest }, Offered),
        (HelloMessage { flags: 1, ..honest }, Closed),
        (HelloMessage { flags: 1 << 31, ..honest }, Closed),
        (HelloMessage { payload_bytes: 0, ..honest }, Offered),
        (HelloMessage { payload_bytes: u64::MAX, ..honest }, Offered),
        (HelloMessage { capabilities: u64::MAX, ..honest }, Offered),
        (HelloMessage { resume_session: 1, ..honest }, Offered),
        (HelloMessage { resume_session: u64::MAX, ..honest }, Offered),
        (HelloMessage { reserved: [1, 0], ..honest }, Closed),
        (HelloMessage { reserved: [0, 1], ..honest }, Closed),
    ]
}

/// Steps that are not the one expected.
pub(crate) fn steps() -> Vec<StepMessage> {
    let mapped = StepMessage::new(STEP_MAPPED);
    vec![
        StepMessage { magic: 0, ..mapped },
        StepMessage { magic: mapped.magic.swap_bytes(), ..mapped },
        StepMessage::new(0),
        StepMessage::new(STEP_READY),
        StepMessage::new(u64::MAX),
    ]
}

#[test]
fn a_hello_that_is_odd_in_one_field_gets_what_the_protocol_says() {
    let scene = Scene::new();
    let mut closed = 0;
    for (odd, outcome) in hellos() {
        let mut stream = dial(&scene.daemon.path);
        stream.write_all(odd.as_bytes()).expect("sent");
        if matches!(outcome, Outcome::Closed) {
            closed += 1;
            // What the daemon did not read makes it a reset.
            assert!(!matches!(stream.read(&mut [0; 1]), Ok(1..)), "closed without a word: {odd:?}");
            continue;
        }
        let mut reply = ReplyMessage::new_zeroed();
        stream.read_exact(reply.as_mut_bytes()).expect("a reply");
        if let Outcome::Refused(errno) = outcome {
            assert_eq!(reply.status, errno.raw_os_error(), "{odd:?}: {}", reply.reason());
            continue;
        }
        assert_eq!((reply.status, reply.capabilities), (0, 0), "{odd:?}");
        assert_ne!(reply.session, odd.resume_session, "a session of its own");
        // Wishes are wishes: absurd ones are cut down.
        assert!((2..=64).contains(&reply.ring_entries), "{} entries", reply.ring_entries);
        assert!((4096..=64 << 20).contains(&reply.payload_bytes), "{} bytes", reply.payload_bytes);
    }
    // Those that were offered a session and left have failed, too, as have those that speak another version.
    scene.daemon.eventually("all failed", |disk| disk.handshakes_failed.lock().unwrap().len() >= closed);
    scene.check(&[]);
}

#[test]
fn a_step_that_is_not_the_one_expected_gets_no_session() {
    let scene = Scene::new();
    let wrong = steps();
    for step in &wrong {
        let mut client = RawClient::up_to_mapping(&scene.daemon.path);
        client.stream.write_all(step.as_bytes()).expect("sent");
        assert!(client.is_thrown_out());
    }
    let all = |disk: &crate::ram_disk::Disk| disk.handshakes_failed.lock().unwrap().len() == wrong.len();
    scene.daemon.eventually("all failed", all);
    scene.check(&[]);
}
