//! A guest's queue as bytes that anybody may have written: the chains in it are refused, or followed to what lies in the
//! guest's memory; each request is taken once, and nothing panics.

use super::flight::Flights;
use super::guest::{GuestMemory, Region};
use super::inflight::{Book, Inflight, Life};
use super::queue::{QueueSetup, Virtqueue};
use super::request::Cut;
use super::seat::{Found, Letter, Shared, VhostSeat};
use holdfast_engine::{Instant, Operation, Request, SessionId, VolumeId};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use vm_memory::{Bytes, GuestAddress};

/// Entries of the largest queue.
const ENTRIES: u16 = 16;
/// In the guest's memory, from 0 on: descriptors, available ring, used ring; the rest is the input's to use.
const AVAILABLE: u64 = 256;
const USED: u64 = 512;
/// What of an in-flight region an input writes: its header, its descriptors, and the words of our own.
const INFLIGHT_BYTES: usize = 320;
/// Settings in front of everything else.
const HEADER_BYTES: usize = 8;
/// Where the guest sees pieces of the file, and their lengths: two that touch each other, a hole, and a page behind it.
const REGIONS: [(u64, u64); 3] = [(0, 0x8000), (0x8000, 0x4000), (0x1_0000, 0x1000)];
const FILE_BYTES: u64 = 0x1_1000;
const CUT: Cut = Cut { stripe_bytes: 1 << 16, reactors: 2, part_bytes: 1 << 14 };
/// Bytes of a block: the smallest that there is.
const BLOCK: u32 = 512;
/// Requests that one input may make: a ring's index runs over 65536 of them.
const REQUESTS_MAX: usize = 64;

/// Memory that is mapped once a thread: mapping it anew would be all that a fuzzer does.
struct Machine {
    file: Arc<File>,
    guest: Arc<GuestMemory>,
    inflight: Arc<Inflight>,
    inflight_file: File,
    bell: Arc<OwnedFd>,
}

thread_local! {
    static MACHINE: Machine = Machine::new();
}

impl Machine {
    fn new() -> Machine {
        let file = memfd_create("fuzzed-guest", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&file, FILE_BYTES).expect("memory");
        let file = Arc::new(File::from(file));
        let region =
            |(guest, bytes)| Region { guest, bytes, user: guest, offset: guest, file: Arc::clone(&file) };
        let guest = Arc::new(GuestMemory::map(&REGIONS.map(region)).expect("mapped"));
        let (inflight, inflight_file) = Inflight::create(1, ENTRIES).expect("memory");
        let bell = Arc::new(OwnedFd::from(file.try_clone().expect("a descriptor")));
        Machine { file, guest, inflight: Arc::new(inflight), inflight_file, bell }
    }

    /// As nothing but `inflight` and `memory` have left it.
    fn fill(&self, inflight: &[u8], memory: &[u8]) {
        write_over(&self.inflight_file, inflight, Inflight::bytes(1, ENTRIES));
        write_over(&self.file, memory, FILE_BYTES);
    }
}

fn write_over(file: &File, bytes: &[u8], length: u64) {
    let mut whole = bytes.to_vec();
    whole.resize(usize::try_from(length).expect("small"), 0);
    file.write_all_at(&whole, 0).expect("written");
}

/// Settings (a byte of switches, the size, the index to begin at, an errno), an in-flight region if they say so, memory.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((header, rest)) = data.split_first_chunk::<HEADER_BYTES>() else { return };
    let resumed = header[0] & 8 != 0;
    let (inflight, memory) = rest.split_at(if resumed { INFLIGHT_BYTES.min(rest.len()) } else { 0 });
    MACHINE.with(|machine| {
        machine.fill(inflight, memory);
        if let Some(seat) = sit_down(machine, header) {
            serve(machine, seat, header);
        }
    });
}

/// As a device begins when a front end has told of a queue.
fn sit_down(machine: &Machine, header: &[u8; HEADER_BYTES]) -> Option<VhostSeat> {
    let size = ENTRIES >> (header[1] % 4);
    let book = Book::new(&machine.inflight, 0);
    let map = machine.guest.map_ref();
    let used_idx: u16 = map.read_obj(GuestAddress(USED + 2)).expect("in memory");
    let life = Life { arena: 1, incarnation: 1, part_bytes: CUT.part_bytes };
    let found = book.begin(size, used_idx, life);
    let unanswered = u16::try_from(found.unanswered.len()).expect("at most a queue's size");
    let base = u16::from_le_bytes([header[2], header[3]]);
    let setup = QueueSetup {
        number: 0,
        size,
        table: GuestAddress(0),
        available: GuestAddress(AVAILABLE),
        used: GuestAddress(USED),
        event_idx: header[0] & 4 != 0,
        next_available: if found.resumed { used_idx.wrapping_add(unanswered) } else { base },
        used_idx,
        unanswered: found.unanswered,
        kick: Arc::clone(&machine.bell),
        call: Some(Arc::clone(&machine.bell)),
    };
    let queue = Virtqueue::new(setup, book.clone(), map).ok()?;
    let shared = Shared {
        guest: Arc::clone(&machine.guest),
        flights: Flights::new(&[size]),
        inflight: Arc::clone(&machine.inflight),
        books: vec![Some(book)],
        volume: VolumeId(0),
        bytes: Arc::new(AtomicU64::new(u64::MAX)),
        block_bytes: BLOCK,
        cut: CUT,
        read_only: header[0] & 1 != 0,
        durable: Arc::new(AtomicBool::new(header[0] & 2 != 0)),
        quiet: AtomicBool::new(false),
        memory_died: AtomicBool::new(found.memory_died),
        name: *b"fuzzed..............",
    };
    let mut seat = VhostSeat::new(0, SessionId(1), &Arc::new(shared), vec![queue]);
    seat.open();
    Some(seat)
}

/// Takes what there is and answers it, late or at once, until the guest is found out or has said enough.
fn serve(machine: &Machine, mut seat: VhostSeat, header: &[u8; HEADER_BYTES]) {
    let errno = u16::from_le_bytes([header[4], header[5]]);
    let at_once = header[0] & 16 != 0;
    let mut waiting = Vec::new();
    let mut tags = HashSet::new();
    for turn in 0..REQUESTS_MAX as u64 {
        let taken = seat.take(Instant(turn));
        let own = match taken {
            Err(_) => return,
            Ok(Some(Found::Request(request))) => Some((0, request)),
            Ok(Some(Found::Done) | None) => None,
        };
        let asked = |(reactor, letter)| match letter {
            Letter::Ask(request) => (reactor, request),
            Letter::Answer { .. } => panic!("an answer for a queue that is of no other reactor"),
        };
        let letters: Vec<_> = std::iter::from_fn(|| seat.take_letter()).map(asked).collect();
        for (reactor, request) in own.into_iter().chain(letters) {
            assert!(tags.insert(request.tag), "tag {:#x} twice at a time", request.tag);
            check(machine, &seat, reactor, &request);
            seat.note_begun(request.tag, turn + 1);
            waiting.push(request.tag);
        }
        if matches!(taken, Ok(None)) || at_once {
            for tag in waiting.drain(..).rev() {
                tags.remove(&tag);
                if seat.answer(tag, errno).is_err() {
                    return;
                }
            }
            if seat.publish(|_| ()).is_err() || seat.prepare_sleep() == Ok(true) {
                return;
            }
            seat.awake();
        }
    }
}

/// What goes to an engine is what one may be asked, and its data lies in the guest's memory.
fn check(machine: &Machine, seat: &VhostSeat, reactor: u32, request: &Request) {
    assert!(request.offset.checked_add(request.length).is_some(), "{request:?}");
    assert_eq!((request.offset | request.length) % u64::from(BLOCK), 0, "{request:?}: no whole blocks");
    if !matches!(request.operation, Operation::Read | Operation::Write { .. }) {
        return;
    }
    let (first, last) = (request.offset, request.offset + request.length - 1);
    assert_eq!(first / CUT.stripe_bytes, last / CUT.stripe_bytes, "{request:?}: more than a stripe");
    assert_eq!(first / CUT.stripe_bytes % 2, u64::from(reactor), "{request:?}: another reactor's");
    assert!(request.length <= CUT.part_bytes, "{request:?}");
    let (_, flights) = seat.memory();
    let mut copied = 0;
    let copy = |address, at, bytes| {
        assert_eq!(at, copied, "{request:?}: a gap in the data");
        copied += bytes;
        machine.guest.map_ref().read_slice(&mut vec![0; bytes], GuestAddress(address)).expect("in memory");
        machine.guest.touch(address, bytes)
    };
    flights.pieces(request.buffer, request.length, copy).expect("all of it was looked at");
    assert_eq!(copied as u64, request.length, "{request:?}");
    machine.guest.check().expect("every page is there");
}
