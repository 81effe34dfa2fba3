//! Sessions whose memory is gone: the daemon's end reports it, and the session beside it lives on.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::DaemonRing;
use crate::fault::PeerFault;
use crate::layout::Layout;
use crate::memfd;
use crate::memory::{RingMemory, SessionMemory};
use crate::request::{Descriptor, SessionLimits};
use crate::stripes::Stripes;
use crate::sync::Ordering;

#[path = "../../tests/needs/mod.rs"]
mod needs;

const PAYLOAD_BYTES: u64 = 65536;

fn layout() -> Layout {
    Layout::new(1, 8, PAYLOAD_BYTES).expect("within limits")
}

/// A daemon's ring over a file that can still be truncated, and the client's view of it.
struct Pair {
    ring: DaemonRing,
    client: RingMemory,
    memory: Arc<SessionMemory>,
    _wake: OwnedFd,
}

fn pair(file: BorrowedFd<'_>) -> Pair {
    let memory = Arc::new(SessionMemory::map_guarded(file, layout()).expect("mapped"));
    let limits = SessionLimits {
        entries: 8,
        payload_bytes: PAYLOAD_BYTES,
        request_bytes_max: 4096,
        stripes: Stripes::new(1 << 20, 1),
    };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("sockets");
    let client = RingMemory::new(&memory, 0);
    Pair { ring: DaemonRing::new(&memory, 0, limits, ours), client, memory, _wake: theirs }
}

impl Pair {
    /// One honest write request, popped.
    fn pop_write(&mut self) -> u64 {
        self.submit_write();
        self.ring.pop().expect("an honest client").expect("a request").payload
    }

    fn submit_write(&self) {
        let descriptor = Descriptor {
            opcode: 2,
            flags: 0,
            reserved_0: 0,
            tag: 1,
            sequence: 1,
            offset: 0,
            length: 4096,
            payload: 4096,
            timeout_ms: 0,
            reserved_1: 0,
            replay: 0,
            reserved_2: [0; 2],
        };
        self.client.copy_to_payload(4096, &[7; 4096]).expect("not poisoned");
        self.client.write_descriptor(0, descriptor);
        self.client.sq_tail().store(1, Ordering::Release);
    }

    fn check_alive(&mut self) {
        let payload = self.pop_write();
        let mut data = [0; 4096];
        self.ring.copy_from_payload(payload, &mut data).expect("not poisoned");
        assert!(data == [7; 4096] && !self.memory.poisoned());
    }
}

/// The request was popped and its data is gone when it is to be copied: zeroes must not pass for the client's write.
#[test]
fn a_payload_that_is_gone_fails_its_copy_and_ends_that_session_only() {
    let (file, bystander) =
        (memfd::unsealed(layout().total_bytes()), memfd::unsealed(layout().total_bytes()));
    let file = file.expect("a file");
    let (mut lost, mut other) = (pair(file.as_fd()), pair(bystander.expect("a file").as_fd()));
    let payload = lost.pop_write();
    ftruncate(&file, layout().payload()).expect("the payload area is gone");
    assert!(!lost.memory.poisoned(), "not before it is touched");
    assert_eq!(lost.ring.copy_from_payload(payload, &mut [0; 4096]), Err(PeerFault::MemoryLost));
    assert_eq!(lost.ring.copy_to_payload(payload, &[1; 4096]), Err(PeerFault::MemoryLost));
    assert_eq!(lost.ring.pop(), Err(PeerFault::MemoryLost));
    assert_eq!(lost.ring.prepare_sleep(), Err(PeerFault::MemoryLost));
    other.check_alive();
}

/// Whoever acted on it would put zeroes in the place of what was there before.
#[test]
fn a_write_whose_payload_is_gone_is_not_given_out() {
    let file = memfd::unsealed(layout().total_bytes()).expect("a file");
    let mut lost = pair(file.as_fd());
    lost.submit_write();
    ftruncate(&file, layout().payload()).expect("the payload area is gone");
    assert_eq!(lost.ring.pop(), Err(PeerFault::MemoryLost));
}

#[test]
fn a_ring_that_is_gone_is_reported_at_the_next_turn() {
    let file = memfd::unsealed(layout().total_bytes()).expect("a file");
    let mut lost = pair(file.as_fd());
    lost.pop_write();
    ftruncate(&file, 0).expect("all is gone");
    lost.ring.push_completion(1, 1, 0, None).expect("the index was not looked at");
    lost.ring.flush_publish();
    assert!(lost.memory.poisoned());
    assert_eq!(lost.ring.pop(), Err(PeerFault::MemoryLost));
}

/// A guard's place in the table serves its next owner, clean.
#[test]
fn a_poisoned_session_leaves_nothing_behind() {
    for _ in 0..2 {
        let file = memfd::unsealed(layout().total_bytes()).expect("a file");
        let mut pair = pair(file.as_fd());
        pair.check_alive();
        ftruncate(&file, 0).expect("all is gone");
        assert_eq!(pair.ring.copy_from_payload(0, &mut [0; 8]), Err(PeerFault::MemoryLost));
    }
}

/// A small tmpfs of our own, unmounted in the end.
struct SmallTmpfs(tempfile::TempDir);

impl SmallTmpfs {
    /// None, loudly, if this is not root.
    fn mount(bytes: u64) -> Option<Self> {
        if !needs::can_use(&["mount"]) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let options = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(directory.path());
        assert!(mount.status().expect("mount").success());
        Some(Self(directory))
    }

    fn file(&self, name: &str, bytes: u64) -> File {
        let path = self.0.path().join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .expect("a file on the tmpfs");
        file.set_len(bytes).expect("sparse");
        file
    }
}

impl Drop for SmallTmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// The real thing: a hole is punched into a session's memory, and when the daemon touches it no memory is left.
#[test]
fn a_hole_with_no_memory_to_fill_it_ends_that_session_only() {
    let bytes = layout().total_bytes();
    let Some(tmpfs) = SmallTmpfs::mount(bytes) else { return };
    let file = tmpfs.file("session", bytes);
    let (mut lost, bystander) = (pair(file.as_fd()), memfd::unsealed(bytes).expect("a file"));
    let mut other = pair(bystander.as_fd());
    lost.memory.populate().expect("it fits just so");
    let payload = lost.pop_write();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, layout().payload(), PAYLOAD_BYTES).expect("a hole");
    fallocate(tmpfs.file("filler", PAYLOAD_BYTES), FallocateFlags::empty(), 0, PAYLOAD_BYTES)
        .expect("filled");
    assert!(lost.memory.populate().is_err(), "on the control thread it is an error, no signal");
    assert!(!lost.memory.poisoned());
    assert_eq!(lost.ring.copy_from_payload(payload, &mut [0; 4096]), Err(PeerFault::MemoryLost));
    assert_eq!(lost.ring.pop(), Err(PeerFault::MemoryLost));
    other.check_alive();
}
