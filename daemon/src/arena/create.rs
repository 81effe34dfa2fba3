//! Making an arena and handing out its parts.

use super::existing::{self, Existing, SUPERBLOCK, SUPERBLOCK_VOID};
use super::layout::{Plan, headers_name, slots_name};
use super::memory::Mapping;
use super::place::{Place, failed};
use super::slots::{SegmentMemory, SlotAddresses, Slots};
use super::superblock::Superblock;
use super::{ArenaError, ArenaLayout, ArenaWarning, HeldData, SEGMENT_BYTES_MAX};
use crate::device::Patience;
use holdfast_engine::Header;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::{self, Read};

/// Memory is taken in pieces of this size, so that progress can be told.
const CHUNK_BYTES: u64 = 64 << 20;

/// One reactor's part of the arena.
#[derive(Debug)]
pub struct Shard {
    /// The reactor's number.
    pub reactor: u32,
    /// One for each slot, all of them free.
    pub headers: &'static [Header],
    /// The memory.
    pub slots: Slots,
}

/// All slots of a daemon. Its directory is this process's for as long as this value lives; its memory stays mapped
/// until the process ends.
pub struct Arena {
    place: Place,
    superblock: Superblock,
    shards: Vec<Shard>,
    warnings: Vec<ArenaWarning>,
}

impl Arena {
    /// Makes an arena, all of its memory allocated and zero. `progress` is told (bytes done, bytes in all).
    ///
    /// What an earlier daemon left in the directory is replaced if all of it is on stable media, or was never
    /// acknowledged. If not, it is refused, or given up if `discard_existing` says so. A directory that is damaged, of
    /// a later format, or not an arena's is refused whatever the layout says. For up to 2 seconds a lock or memory that
    /// a killed daemon still has is waited for.
    ///
    /// # Errors
    /// [`ArenaError`]; then nothing that was there has been changed, except that an arena without data may be gone.
    pub fn create(layout: &ArenaLayout, progress: &mut dyn FnMut(u64, u64)) -> Result<Arena, ArenaError> {
        let place = Place::enter(layout)?;
        Arena::create_in(&place, layout, progress)
            .inspect_err(|_| place.remove_if_ours())
            .map(|(superblock, shards, warnings)| Arena { place, superblock, shards, warnings })
    }

    fn create_in(
        place: &Place,
        layout: &ArenaLayout,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Superblock, Vec<Shard>, Vec<ArenaWarning>), ArenaError> {
        let plan = Plan::new(layout, place.page_bytes())?;
        place.claim()?;
        let mut warnings = Vec::new();
        if !place.is_huge() {
            warnings.push(ArenaWarning::OnTmpfs);
        }
        make_way(place, layout, &mut warnings)?;
        wait_for_room(place, &plan)?;
        let made = make(place, layout, plan, progress, &mut warnings);
        if made.is_err() {
            // Nothing has served from it: what is left of it is only in the way. The first error is the one to tell.
            let _ = existing::remove(place);
        }
        let (superblock, shards) = made?;
        Ok((superblock, shards, warnings))
    }

    /// The parts, reactor 0 first. Once: later calls return nothing.
    pub fn take_shards(&mut self) -> Vec<Shard> {
        std::mem::take(&mut self.shards)
    }

    /// What the operator should be told.
    pub fn warnings(&self) -> &[ArenaWarning] {
        &self.warnings
    }

    /// A number that no other arena has, new each time one is made.
    pub fn id(&self) -> u64 {
        self.superblock.arena_id
    }

    /// The kernel's name for this boot of the host.
    pub fn boot_id(&self) -> [u8; 16] {
        self.superblock.boot_id
    }

    /// Slots of each reactor.
    pub fn slots_a_shard(&self) -> u32 {
        self.superblock.plan.slots
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.superblock.plan.total_bytes()
    }

    /// Whether it is on huge pages.
    pub fn is_huge(&self) -> bool {
        self.place.is_huge()
    }

    /// Bytes of one of its pages.
    pub fn page_bytes(&self) -> u64 {
        self.place.page_bytes()
    }

    /// The end of an arena all of whose data is on stable media: removes its files, and the directory if
    /// [`Arena::create`] made it. Without this they stay, for the next daemon to find. What is mapped stays mapped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(self) -> Result<(), ArenaError> {
        existing::remove(&self.place)?;
        self.place.remove_if_ours();
        Ok(())
    }
}

/// Removes what is there, if it may go.
fn make_way(place: &Place, layout: &ArenaLayout, warnings: &mut Vec<ArenaWarning>) -> Result<(), ArenaError> {
    match existing::examine(place)? {
        Existing::Nothing => {}
        Existing::Left(held) if held == HeldData::default() => warnings.push(ArenaWarning::Replaced),
        Existing::Left(held) if layout.discard_existing => warnings.push(ArenaWarning::Discarded(held)),
        Existing::Left(held) => return Err(ArenaError::HoldsData { path: place.path.clone(), held }),
    }
    existing::remove(place)
}

/// Memory of the arena that was just removed may be pinned by the last I/O of its daemon.
fn wait_for_room(place: &Place, plan: &Plan) -> Result<(), ArenaError> {
    let patience = Patience::start();
    loop {
        let room = place.check_room(plan);
        if room.is_ok() || !patience.wait() {
            return room;
        }
    }
}

/// Superblock first, in the state of creation; then everything else; then the state that counts.
fn make(
    place: &Place,
    layout: &ArenaLayout,
    plan: Plan,
    progress: &mut dyn FnMut(u64, u64),
    warnings: &mut Vec<ArenaWarning>,
) -> Result<(Superblock, Vec<Shard>), ArenaError> {
    let superblock = Superblock { plan, arena_id: random_id()?, boot_id: boot_id()?, serving: true };
    let mapping = write_superblock(place, &superblock)?;
    let mut maker =
        Maker { place, layout, progress, warnings, done: 0, total: superblock.plan.total_bytes() };
    let shards = (0..superblock.plan.reactors).map(|reactor| maker.shard(&superblock.plan, reactor));
    let shards = shards.collect::<Result<Vec<Shard>, ArenaError>>()?;
    Superblock::mark_serving(&mapping);
    Ok((superblock, shards))
}

fn write_superblock(place: &Place, superblock: &Superblock) -> Result<Mapping, ArenaError> {
    let (void, path) = (place.file(SUPERBLOCK_VOID), place.file(SUPERBLOCK));
    let bytes = superblock.plan.page_bytes;
    let file = place.create_file(SUPERBLOCK_VOID, bytes)?;
    allocate(&file, 0, bytes).map_err(failed("take memory for", &void))?;
    let mut mapping = Mapping::of(&file, bytes).map_err(failed("map", &void))?;
    superblock.write(&mut mapping);
    std::fs::rename(&void, &path).map_err(failed("rename to", &path))?;
    Ok(mapping)
}

/// Takes memory for a part of a file. On tmpfs and hugetlbfs a signal, or the kernel's own work for this thread, interrupts
/// it half-way: what was taken stays taken, and the rest is asked for again.
fn allocate(file: &File, at: u64, length: u64) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), at, length))
}

/// Makes files and tells how far it is.
struct Maker<'a> {
    place: &'a Place,
    layout: &'a ArenaLayout,
    progress: &'a mut dyn FnMut(u64, u64),
    warnings: &'a mut Vec<ArenaWarning>,
    done: u64,
    total: u64,
}

impl Maker<'_> {
    fn shard(&mut self, plan: &Plan, reactor: u32) -> Result<Shard, ArenaError> {
        let headers = self.mapped(&headers_name(reactor), plan.header_bytes)?.headers(plan.slots as usize);
        let mut segments = Vec::new();
        for (number, bytes) in plan.segments().enumerate() {
            let mapping = self.mapped(&slots_name(reactor, number), bytes)?;
            segments.push(SegmentMemory { base: mapping.base(), bytes: mapping.len() });
        }
        let addresses = SlotAddresses::new(segments.into(), plan.slots, plan.line_bytes, SEGMENT_BYTES_MAX);
        Ok(Shard { reactor, headers, slots: Slots::new(addresses) })
    }

    /// A file whose memory is all there, mapped for good.
    fn mapped(&mut self, name: &str, bytes: u64) -> Result<&'static Mapping, ArenaError> {
        let file = self.place.create_file(name, bytes)?;
        self.allocate(name, &file, bytes)?;
        let path = self.place.file(name);
        let mapping = Mapping::of(&file, bytes).map_err(failed("map", &path))?;
        if self.layout.prefault {
            mapping.populate().map_err(failed("fill the page tables of", &path))?;
        }
        if self.layout.lock_memory && !self.place.is_huge() {
            self.lock(&mapping);
        }
        Ok(mapping.leak())
    }

    /// A page that could not be had at its first touch would kill the daemon with SIGBUS: all are taken now.
    fn allocate(&mut self, name: &str, file: &File, bytes: u64) -> Result<(), ArenaError> {
        let step = CHUNK_BYTES.next_multiple_of(self.place.page_bytes());
        let mut at = 0;
        while at < bytes {
            let length = step.min(bytes - at);
            allocate(file, at, length).map_err(failed("take memory for", &self.place.file(name)))?;
            at += length;
            self.done += length;
            (self.progress)(self.done, self.total);
        }
        Ok(())
    }

    fn lock(&mut self, mapping: &Mapping) {
        let told = self.warnings.iter().any(|warning| matches!(warning, ArenaWarning::NotLocked { .. }));
        if let (Err(error), false) = (mapping.lock(), told) {
            let errno = error.raw_os_error().unwrap_or(0);
            let limit_bytes = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
            self.warnings.push(ArenaWarning::NotLocked { errno, limit_bytes });
        }
    }
}

fn random_id() -> Result<u64, ArenaError> {
    let path = std::path::Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(failed("read", path))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The kernel's name for this boot.
pub(super) fn boot_id() -> Result<[u8; 16], ArenaError> {
    let path = std::path::Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).map_err(io::Error::other).map_err(failed("read", path))?;
    Ok(number.to_be_bytes())
}
