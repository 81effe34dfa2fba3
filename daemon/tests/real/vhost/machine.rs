//! A front end and its guest in one, small enough that a test says what lies in every byte of the queue.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};
use vhost::VhostBackend;
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserInflight, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::desc::split::Descriptor;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub(crate) const SIZE: u16 = 64;
const BYTES: u64 = 8 << 20;
pub(crate) const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x3000;
const USED: u64 = 0x5000;
const HEADERS: u64 = 0x1_0000;
const STATUSES: u64 = 0x2_0000;
const DATA: u64 = 0x10_0000;
/// Bytes of data that a slot has room for.
pub(crate) const SLOT_BYTES: u64 = 0x1_0000;

pub(crate) const READ: u32 = 0;
pub(crate) const WRITE: u32 = 1;
pub(crate) const FLUSH: u32 = 4;
pub(crate) const GET_ID: u32 = 8;

pub(crate) const NEXT: u16 = 1;
pub(crate) const DEVICE_WRITES: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// How long an answer may take that will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine. Its memory and in-flight region outlive connections, as QEMU's do.
pub(crate) struct Machine {
    pub(crate) file: File,
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) frontend: Option<Frontend>,
    pub(crate) inflight: Option<(VhostUserInflight, File)>,
    kick: EventFd,
    call: EventFd,
    features: u64,
    offered: u16,
    seen: u16,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
        rustix::fs::ftruncate(&file, BYTES).expect("memory");
        let file = File::from(file);
        let map =
            MmapRegion::from_file(FileOffset::new(file.try_clone().expect("a copy"), 0), BYTES as usize);
        let region = GuestRegionMmap::new(map.expect("mapped"), GuestAddress(0)).expect("a region");
        Machine {
            file,
            memory: GuestMemoryMmap::from_regions(vec![region]).expect("memory"),
            frontend: None,
            inflight: None,
            kick: EventFd::new(EFD_NONBLOCK).expect("an eventfd"),
            call: EventFd::new(EFD_NONBLOCK).expect("an eventfd"),
            // VERSION_1, FLUSH, CONFIG_WCE, INDIRECT_DESC.
            features: 1 << 32 | 1 << 9 | 1 << 11 | 1 << 28,
            offered: 0,
            seen: 0,
        }
    }

    /// Makes use of these, too, from the next connection on.
    pub(crate) fn with_features(&mut self, more: u64) {
        self.features |= more;
    }

    /// Connected, with its queue set up.
    pub(crate) fn started(socket: &Path) -> Machine {
        let mut machine = Machine::new();
        machine.connect(socket);
        machine
    }

    /// Connects as QEMU does, and hands over what an earlier connection left.
    pub(crate) fn connect(&mut self, socket: &Path) {
        let mut frontend = self.negotiate(socket);
        if self.inflight.is_none() {
            let wanted = VhostUserInflight::new(0, 0, 1, SIZE);
            self.inflight = Some(frontend.get_inflight_fd(&wanted).expect("a region"));
        }
        let (region, file) = self.inflight.as_ref().expect("a region");
        frontend.set_inflight_fd(region, file.as_raw_fd()).expect("taken");
        self.set_up(&mut frontend);
        self.frontend = Some(frontend);
    }

    pub(crate) fn negotiate(&self, socket: &Path) -> Frontend {
        use VhostUserProtocolFeatures as Protocol;
        let mut frontend = Frontend::connect(socket, 1).expect("the daemon listens");
        frontend.set_owner().expect("taken");
        let offered = frontend.get_features().expect("features");
        let own = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let wanted = self.features | own;
        assert_eq!(offered & wanted, wanted, "{offered:#x}");
        let protocol = frontend.get_protocol_features().expect("features");
        let all = Protocol::CONFIG | Protocol::INFLIGHT_SHMFD | Protocol::MQ | Protocol::REPLY_ACK;
        assert!(protocol.contains(all));
        frontend.set_protocol_features(all).expect("taken");
        frontend.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        frontend.set_features(wanted).expect("taken");
        frontend
    }

    fn set_up(&self, frontend: &mut Frontend) {
        let user = self.memory.get_host_address(GuestAddress(0)).expect("mapped").addr() as u64;
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: BYTES,
            userspace_addr: user,
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        };
        frontend.set_mem_table(&[region]).expect("taken");
        frontend.set_vring_num(0, SIZE).expect("taken");
        frontend.set_vring_base(0, self.seen).expect("taken");
        let ring = VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: user + TABLE,
            used_ring_addr: user + USED,
            avail_ring_addr: user + AVAILABLE,
            log_addr: None,
        };
        frontend.set_vring_addr(0, &ring).expect("taken");
        frontend.set_vring_call(0, &self.call).expect("taken");
        frontend.set_vring_kick(0, &self.kick).expect("taken");
        frontend.set_vring_enable(0, true).expect("taken");
    }

    /// Turns the write cache on or off.
    pub(crate) fn set_write_cache(&mut self, on: bool) {
        let frontend = self.frontend.as_mut().expect("connected");
        frontend.set_config(32, VhostUserConfigFlags::WRITABLE, &[u8::from(on)]).expect("taken");
    }

    pub(crate) fn put<T: vm_memory::ByteValued>(&self, at: u64, value: T) {
        self.memory.write_obj(value, GuestAddress(at)).expect("within memory");
    }

    pub(crate) fn describe(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        self.put(TABLE + 16 * u64::from(index), Descriptor::new(address, length, flags, next));
    }

    pub(crate) fn header(slot: u16) -> u64 {
        HEADERS + 16 * u64::from(slot)
    }

    pub(crate) fn status_at(slot: u16) -> u64 {
        STATUSES + u64::from(slot)
    }

    pub(crate) fn data_at(slot: u16) -> u64 {
        DATA + SLOT_BYTES * u64::from(slot)
    }

    /// Lays a request out in its slot: header, data if there is any, status.
    pub(crate) fn lay_out(&self, slot: u16, kind: u32, offset: u64, length: u32) {
        let first = slot * 3;
        self.put(Machine::header(slot), u64::from(kind));
        self.put(Machine::header(slot) + 8, offset / 512);
        self.put(Machine::status_at(slot), 0xffu8);
        let data_flags = NEXT | if kind == WRITE { 0 } else { DEVICE_WRITES };
        let second = if length == 0 { first + 2 } else { first + 1 };
        self.describe(first, Machine::header(slot), 16, NEXT, second);
        self.describe(first + 1, Machine::data_at(slot), length, data_flags, first + 2);
        self.describe(first + 2, Machine::status_at(slot), 1, DEVICE_WRITES, 0);
    }

    /// Offers a chain, and kicks.
    pub(crate) fn offer(&mut self, head: u16) {
        let place = AVAILABLE + 4 + 2 * u64::from(self.offered % SIZE);
        self.put(place, head);
        self.offered = self.offered.wrapping_add(1);
        self.set_available(self.offered);
    }

    pub(crate) fn set_available(&self, index: u16) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.put(AVAILABLE + 2, index);
        self.kick.write(1).expect("a kick");
    }

    /// Kicks, and touches no memory.
    pub(crate) fn kick_alone(&self) {
        self.kick.write(1).expect("a kick");
    }

    pub(crate) fn offered(&self) -> u16 {
        self.offered
    }

    pub(crate) fn submit(&mut self, slot: u16, kind: u32, offset: u64, length: u32) {
        self.lay_out(slot, kind, offset, length);
        self.offer(slot * 3);
    }

    pub(crate) fn write(&mut self, slot: u16, offset: u64, data: &[u8]) {
        self.memory.write_slice(data, GuestAddress(Machine::data_at(slot))).expect("within memory");
        self.submit(slot, WRITE, offset, data.len() as u32);
    }

    pub(crate) fn data(&self, slot: u16, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.memory.read_slice(&mut data, GuestAddress(Machine::data_at(slot))).expect("within memory");
        data
    }

    /// Where the used ring is.
    pub(crate) fn used(&self) -> u16 {
        self.memory.read_obj(GuestAddress(USED + 2)).expect("within memory")
    }

    /// Answers that have come: slots and their statuses.
    pub(crate) fn answers(&mut self) -> Vec<(u16, u8)> {
        let mut found = Vec::new();
        while self.seen != self.used() {
            found.push(self.wait_one());
        }
        found
    }

    /// Waits for so many answers.
    pub(crate) fn wait(&mut self, count: usize) -> Vec<(u16, u8)> {
        let (begun, mut found) = (Instant::now(), Vec::new());
        while found.len() < count {
            assert!(begun.elapsed() < PATIENCE, "{} of {count} answers", found.len());
            found.extend(self.answers());
            if found.len() < count {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(found.len(), count, "no more answers than requests");
        found
    }

    /// Waits for the answer of a slot, which must be 0; the answers that came before it.
    pub(crate) fn wait_for(&mut self, slot: u16) -> Vec<(u16, u8)> {
        let mut found = Vec::new();
        loop {
            let answer = self.wait_one();
            if answer == (slot, 0) {
                return found;
            }
            found.push(answer);
        }
    }

    fn wait_one(&mut self) -> (u16, u8) {
        let begun = Instant::now();
        while self.seen == self.used() {
            assert!(begun.elapsed() < PATIENCE, "no answer");
            std::thread::sleep(Duration::from_millis(1));
        }
        let place = USED + 4 + 8 * u64::from(self.seen % SIZE);
        let head: u32 = self.memory.read_obj(GuestAddress(place)).expect("within memory");
        let slot = head as u16 / 3;
        let status = self.memory.read_obj(GuestAddress(Machine::status_at(slot))).expect("within memory");
        self.seen = self.seen.wrapping_add(1);
        (slot, status)
    }

    /// One request: its status.
    pub(crate) fn ask(&mut self, slot: u16, kind: u32, offset: u64, length: u32) -> u8 {
        self.submit(slot, kind, offset, length);
        self.wait(1)[0].1
    }

    /// One write that must succeed.
    pub(crate) fn must_write(&mut self, slot: u16, offset: u64, data: &[u8]) {
        self.write(slot, offset, data);
        assert_eq!(self.wait(1), [(slot, 0)]);
    }

    /// Whether the guest was called since the last look.
    pub(crate) fn was_called(&self) -> bool {
        self.calls() > 0
    }

    /// How often, since the last look.
    pub(crate) fn calls(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }

    /// With EVENT_IDX: at which place of the used ring the guest wants to be called.
    pub(crate) fn call_at(&self, place: u16) {
        self.put(AVAILABLE + 4 + 2 * u64::from(SIZE), place);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// With EVENT_IDX: at which place of the available ring the device wants to be kicked.
    pub(crate) fn kick_at(&self) -> u16 {
        self.memory.read_obj(GuestAddress(USED + 4 + 8 * u64::from(SIZE))).expect("within memory")
    }
}
