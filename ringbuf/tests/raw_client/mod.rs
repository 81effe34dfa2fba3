//! A client that speaks the protocol by hand, from the tables of PROTOCOL.md, so that it can break it.

use std::io::IoSliceMut;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_ringbuf::request::Descriptor;
use holdfast_ringbuf::wire::{
    HelloMessage, MAGIC, ReplyMessage, STEP_MAPPED, STEP_READY, StepMessage, VERSION,
};
use memmap2::{MmapOptions, MmapRaw};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const SQ_TAIL: u64 = 0;
pub(crate) const CQ_TAIL: u64 = 256;
pub(crate) const CQ_HEAD: u64 = 384;
pub(crate) const ENTRIES: u64 = 4096;

pub(crate) struct RawClient {
    pub(crate) stream: UnixStream,
    pub(crate) reply: ReplyMessage,
    pub(crate) memory_file: OwnedFd,
    pub(crate) wakes: Vec<OwnedFd>,
    pub(crate) memory: MmapRaw,
}

pub(crate) fn hello(volume: &str) -> HelloMessage {
    let mut hello = HelloMessage {
        magic: MAGIC,
        version: VERSION,
        message_bytes: 128,
        volume: [0; 64],
        queue_depth: 8,
        flags: 0,
        payload_bytes: 65536,
        capabilities: 0,
        resume_session: 0,
        reserved: [0; 2],
    };
    hello.volume[..volume.len()].copy_from_slice(volume.as_bytes());
    hello
}

pub(crate) fn dial(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the door is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

impl RawClient {
    /// Hello and mapping, and not yet a word about it.
    pub(crate) fn up_to_mapping(path: &Path) -> Self {
        let mut stream = dial(path);
        stream.write_all(hello("ram").as_bytes()).expect("sent");
        let mut reply = ReplyMessage::new_zeroed();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(65))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(
            &stream,
            &mut [IoSliceMut::new(reply.as_mut_bytes())],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
        );
        assert_eq!(message.expect("a reply").bytes, 392);
        assert_eq!((reply.status, reply.ring_entries, reply.payload_bytes), (0, 8, 65536));
        let rights = |message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        };
        let mut descriptors: Vec<OwnedFd> = control.drain().filter_map(rights).flatten().collect();
        let wakes = descriptors.split_off(1);
        let memory_file = descriptors.remove(0);
        let length = usize::try_from(reply.memory_bytes).expect("mappable");
        let memory = MmapOptions::new().len(length).map_raw(memory_file.as_raw_fd()).expect("mapped");
        Self { stream, reply, memory_file, wakes, memory }
    }

    pub(crate) fn connect(path: &Path) -> Self {
        let mut client = Self::up_to_mapping(path);
        client.settle();
        client
    }

    pub(crate) fn settle(&mut self) {
        self.stream.write_all(StepMessage::new(STEP_MAPPED).as_bytes()).expect("sent");
        let mut ready = StepMessage::new(0);
        self.stream.read_exact(ready.as_mut_bytes()).expect("the session is live");
        assert_eq!((ready.magic, ready.step), (MAGIC, STEP_READY));
    }

    pub(crate) fn ring(reactor: u64) -> u64 {
        // 8 entries: one page of words, 8 * (64 + 32) bytes of entries rounded up to a page.
        4096 + reactor * 8192
    }

    fn pointer(&self, offset: u64, length: usize) -> *mut u8 {
        let offset = usize::try_from(offset).expect("in memory");
        assert!(offset + length <= self.memory.len());
        // SAFETY: inside the mapping (assert above).
        unsafe { self.memory.as_mut_ptr().add(offset) }
    }

    pub(crate) fn word(&self, offset: u64) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: inside the mapping (`pointer`), aligned (assert above), and accessed as an atomic only.
        unsafe { AtomicU32::from_ptr(self.pointer(offset, 4).cast()) }
    }

    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) {
        // SAFETY: inside the mapping (`pointer`); the daemon's concurrent accesses are what this client is for.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.pointer(offset, bytes.len()), bytes.len())
        };
    }

    /// Submits `descriptors` to a reactor as entries 0, 1, ... and wakes it.
    pub(crate) fn submit(&self, reactor: u64, descriptors: &[Descriptor]) {
        let ring = Self::ring(reactor);
        for (place, descriptor) in (0..8).cycle().zip(descriptors) {
            self.put(ring + ENTRIES + place * 64, descriptor.as_bytes());
        }
        let count = u32::try_from(descriptors.len()).expect("few");
        self.word(ring + SQ_TAIL).store(count, Ordering::Release);
        self.wake(reactor);
    }

    pub(crate) fn wake(&self, reactor: u64) {
        let _ = rustix::net::send(
            self.wakes[usize::try_from(reactor).expect("few")].as_fd(),
            &[0],
            rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL,
        );
    }

    /// Whether the daemon ends the session; waits for it.
    pub(crate) fn is_thrown_out(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0))
    }
}

/// A write of 4 KiB to stripe 0 from the beginning of the payload area.
pub(crate) fn write(tag: u32, sequence: u64) -> Descriptor {
    Descriptor {
        opcode: 2,
        flags: 0,
        reserved_0: 0,
        tag,
        sequence,
        offset: 0,
        length: 4096,
        payload: 0,
        timeout_ms: 0,
        reserved_1: 0,
        replay: 0,
        reserved_2: [0; 2],
    }
}
