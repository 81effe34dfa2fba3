//! Making an arena and handing out its parts.

use super::existing::{self, Existing, Left, SUPERBLOCK, SUPERBLOCK_VOID};
use super::layout::{Plan, headers_name, slots_name};
use super::memory::Mapping;
use super::place::{Place, failed};
use super::slots::{SegmentMemory, SlotAddresses, Slots};
use super::superblock::Superblock;
use super::volumes::{self, KnownVolume, NOTES, VolumeTable};
use super::{ArenaError, ArenaLayout, ArenaVolume, ArenaWarning, HeldData, SEGMENT_BYTES_MAX};
use crate::device::Patience;
use holdfast_engine::Header;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Memory is taken in pieces of this size, so that progress can be told.
const CHUNK_BYTES: u64 = 64 << 20;

/// An arena that was taken over is warmed up in steps of this size, or of a page that is larger, ...
const WARM_BYTES: usize = 4 << 20;
/// ... with this pause after each.
const WARM_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

/// How an arena came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There was none.
    New,
    /// It is the one that an earlier daemon left, with what it holds.
    TakenOver(HeldData),
    /// In the place of one, of this id, that held nothing which is not on stable media.
    Replaced(u64),
    /// In the place of one, of this id, whose data was given up.
    Discarded(u64),
}

/// One reactor's part of the arena.
#[derive(Debug)]
pub struct Shard {
    /// The reactor's number.
    pub reactor: u32,
    /// One for each slot; they say what an earlier daemon left, if the arena was taken over.
    pub headers: &'static [Header],
    /// What the reactor notes for a later daemon.
    pub notes: &'static [AtomicU64],
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
    origin: Origin,
    /// What was mapped and not touched yet.
    cold: Vec<&'static Mapping>,
    table: VolumeTable,
}

impl Arena {
    /// Makes an arena, all of its memory allocated and zero, or takes one over. `progress` is told (bytes done, bytes in
    /// all).
    ///
    /// What an earlier daemon left in the directory is taken over if it has this layout and these volumes. If not, it is
    /// replaced if all of it is on stable media, or was never acknowledged; else it is refused, or given up if
    /// `discard_existing` says so. A directory that is damaged, of
    /// a later format, or not an arena's is refused whatever the layout says. For up to 2 seconds a lock or memory that
    /// a killed daemon still has is waited for.
    ///
    /// # Errors
    /// [`ArenaError`]; then nothing that was there has been changed, except that an arena without data may be gone.
    pub fn create(layout: &ArenaLayout, progress: &mut dyn FnMut(u64, u64)) -> Result<Arena, ArenaError> {
        let place = Place::enter(layout)?;
        Arena::create_in(&place, layout, progress)
            .inspect_err(|_| place.remove_if_ours())
            .map(|parts| parts.in_place(place))
    }

    fn create_in(
        place: &Place,
        layout: &ArenaLayout,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Parts, ArenaError> {
        let plan = Plan::new(layout, place.page_bytes())?;
        place.claim()?;
        let mut warnings = Vec::new();
        if !place.is_huge() {
            warnings.push(ArenaWarning::OnTmpfs);
        }
        let origin = match make_way(place, layout, &plan, &mut warnings)? {
            Way::Free(origin) => origin,
            Way::Left(left) => return take_over(place, layout, *left, warnings),
        };
        wait_for_room(place, &plan)?;
        let made = make(place, layout, plan, progress, &mut warnings);
        if made.is_err() {
            // Nothing has served from it: what is left of it is only in the way. The first error is the one to tell.
            let _ = existing::remove(place);
        }
        let (superblock, shards, table) = made?;
        Ok(Parts { superblock, shards, warnings, origin, cold: Vec::new(), table })
    }

    /// The parts, reactor 0 first. Once: later calls return nothing.
    pub fn take_shards(&mut self) -> Vec<Shard> {
        std::mem::take(&mut self.shards)
    }

    /// Whose the numbers of volumes are.
    pub fn volume_table(&self) -> VolumeTable {
        self.table
    }

    /// How it came to be.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Fills the page tables of an arena that was taken over, and locks its memory: what [`Arena::create`] does with a new
    /// one. On a thread of its own and in small steps, since clients wait: the kernel lets nobody else map memory meanwhile.
    /// At the end `then` is called; at once if there is nothing to do.
    pub fn warm_up(&mut self, lock: bool, then: impl FnOnce() + Send + 'static) {
        let (cold, huge) = (std::mem::take(&mut self.cold), self.place.is_huge());
        let page = usize::try_from(self.place.page_bytes()).expect("a page is addressable");
        let step = WARM_BYTES.next_multiple_of(page);
        let warm = move || {
            for mapping in cold {
                for offset in (0..mapping.len()).step_by(step) {
                    let length = step.min(mapping.len() - offset);
                    // What cannot be had now is had at its first touch, and what cannot be locked may be swapped out.
                    let _ = mapping.populate_part(offset, length);
                    if lock && !huge {
                        let _ = mapping.lock_part(offset, length);
                    }
                    std::thread::sleep(WARM_PAUSE);
                }
            }
            then();
        };
        // Without a thread everything is only slower.
        let _ = std::thread::Builder::new().name("holdfast-warm".to_owned()).spawn(warm);
    }

    /// What the operator should be told.
    pub fn warnings(&self) -> &[ArenaWarning] {
        &self.warnings
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.place.path
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

/// What an arena is made of, before it knows its place.
struct Parts {
    superblock: Superblock,
    shards: Vec<Shard>,
    warnings: Vec<ArenaWarning>,
    origin: Origin,
    cold: Vec<&'static Mapping>,
    table: VolumeTable,
}

impl Parts {
    fn in_place(self, place: Place) -> Arena {
        let Parts { superblock, shards, warnings, origin, cold, table } = self;
        Arena { place, superblock, shards, warnings, origin, cold, table }
    }
}

/// What becomes of what is there.
enum Way {
    Free(Origin),
    Left(Box<Left>),
}

/// Removes what is there, if it may go; what is to be taken over is returned.
fn make_way(
    place: &Place,
    layout: &ArenaLayout,
    plan: &Plan,
    warnings: &mut Vec<ArenaWarning>,
) -> Result<Way, ArenaError> {
    let origin = match existing::examine(place)? {
        Existing::Nothing => Origin::New,
        Existing::Left(left) if layout.discard_existing => {
            warnings.push(ArenaWarning::Discarded(left.held));
            Origin::Discarded(left.superblock.arena_id)
        }
        Existing::Left(left) => {
            let Some((why, remedy)) = misfit(&left, plan, &layout.volumes)? else {
                return Ok(Way::Left(left));
            };
            if left.held != HeldData::default() {
                return Err(ArenaError::HoldsData { path: place.path.clone(), held: left.held, why, remedy });
            }
            warnings.push(ArenaWarning::Replaced);
            Origin::Replaced(left.superblock.arena_id)
        }
    };
    existing::remove(place)?;
    Ok(Way::Free(origin))
}

/// Why an arena cannot be taken over, and what would do; `None` if it can.
fn misfit(
    left: &Left,
    plan: &Plan,
    volumes: &[Option<ArenaVolume>],
) -> Result<Option<(String, &'static str)>, ArenaError> {
    const DRAIN: &str = "Start once more as it was, and stop it with SIGTERM when all is written";
    let old = &left.superblock.plan;
    if left.superblock.older {
        let why = "of format 1, from which nothing can be taken over".to_owned();
        return Ok(Some((
            why,
            "Start the release that wrote it, and stop it with SIGTERM when all is written",
        )));
    }
    if left.superblock.boot_id != boot_id()? {
        let why = "which was made in another boot of the host: its memory is a copy".to_owned();
        return Ok(Some((why, "Remove the directory")));
    }
    if !plan.fits(old) {
        let why = format!(
            "made for {} reactors with {} slots of {} bytes each, stripes of {} bytes; the configuration wants {}, {}, {}, \
             {}",
            old.reactors,
            old.slots,
            old.line_bytes,
            old.stripe_bytes,
            plan.reactors,
            plan.slots,
            plan.line_bytes,
            plan.stripe_bytes
        );
        return Ok(Some((why, DRAIN)));
    }
    if volumes.len() > old.volumes as usize {
        return Ok(Some((format!("which has room for {} volumes only", old.volumes), DRAIN)));
    }
    for (number, known) in (0_u16..).zip(&left.volumes) {
        let Some(known) = known else { continue };
        let named = volumes.get(usize::from(number)).and_then(Option::as_ref);
        let differs = match named.filter(|volume| volume.name == known.name) {
            // A daemon that was killed between the last header and the table's entry.
            None if !left.used[usize::from(number)] && left.held.zeroed == 0 && left.held.somewhere == 0 => {
                None
            }
            None => Some("is not in the configuration".to_owned()),
            Some(volume) => known.differs(volume, old.line_bytes),
        };
        if let Some(differs) = differs {
            return Ok(Some((format!("whose volume '{}' {differs}", known.name), DRAIN)));
        }
    }
    Ok(None)
}

/// Maps what is there. Nothing is touched but the entries of new volumes.
fn take_over(
    place: &Place,
    layout: &ArenaLayout,
    left: Left,
    mut warnings: Vec<ArenaWarning>,
) -> Result<Parts, ArenaError> {
    let plan = &left.superblock.plan;
    let mut notes = existing::map(&place.file(NOTES), plan.note_bytes())?;
    volumes::enter(&mut notes, plan, &layout.volumes, &left.volumes);
    let notes = notes.leak();
    let mut cold = Vec::new();
    let mut shards = Vec::new();
    for (reactor, headers) in (0..plan.reactors).zip(left.headers) {
        let headers = headers.leak();
        let mut segments = Vec::new();
        for (number, bytes) in plan.segments().enumerate() {
            let mapping = existing::map(&place.file(&slots_name(reactor, number)), bytes)?.leak();
            segments.push(SegmentMemory { base: mapping.base(), bytes: mapping.len() });
            cold.push(mapping);
        }
        shards.push(shard_of(plan, reactor, headers.headers(plan.slots as usize), segments, notes));
    }
    warnings.push(ArenaWarning::TakenOver(left.held));
    let origin = Origin::TakenOver(left.held);
    let table = VolumeTable::new(notes, plan);
    Ok(Parts { superblock: left.superblock, shards, warnings, origin, cold, table })
}

fn shard_of(
    plan: &Plan,
    reactor: u32,
    headers: &'static [Header],
    segments: Vec<SegmentMemory>,
    notes: &'static Mapping,
) -> Shard {
    let addresses = SlotAddresses::new(segments.into(), plan.slots, plan.line_bytes, SEGMENT_BYTES_MAX);
    let notes = existing::notes_of(notes, plan, reactor, |words| words);
    Shard { reactor, headers, notes, slots: Slots::new(addresses) }
}

/// The volumes of an arena that is there, in the order of their numbers: whoever takes it over numbers them alike. `None` is
/// a vacant place. Empty if there is none, or none that could be taken over.
pub fn known_volumes(path: &Path) -> Vec<Option<KnownVolume>> {
    let known = |place| existing::volumes_there(&place, boot_id()?);
    Place::enter_existing(path).and_then(known).unwrap_or_default()
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
) -> Result<(Superblock, Vec<Shard>, VolumeTable), ArenaError> {
    let superblock =
        Superblock { plan, arena_id: random_id()?, boot_id: boot_id()?, serving: true, older: false };
    let mapping = write_superblock(place, &superblock)?;
    let mut maker =
        Maker { place, layout, progress, warnings, done: 0, total: superblock.plan.total_bytes() };
    let notes = maker.notes(&superblock.plan)?;
    let shards = (0..superblock.plan.reactors).map(|reactor| maker.shard(&superblock.plan, reactor, notes));
    let shards = shards.collect::<Result<Vec<Shard>, ArenaError>>()?;
    Superblock::mark_serving(&mapping);
    let table = VolumeTable::new(notes, &superblock.plan);
    Ok((superblock, shards, table))
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
    fn notes(&mut self, plan: &Plan) -> Result<&'static Mapping, ArenaError> {
        let path = self.place.file(NOTES);
        let file = self.place.create_file(NOTES, plan.note_bytes())?;
        self.allocate(NOTES, &file, plan.note_bytes())?;
        let mut mapping = Mapping::of(&file, plan.note_bytes()).map_err(failed("map", &path))?;
        volumes::enter(&mut mapping, plan, &self.layout.volumes, &[]);
        Ok(mapping.leak())
    }

    fn shard(&mut self, plan: &Plan, reactor: u32, notes: &'static Mapping) -> Result<Shard, ArenaError> {
        let headers = self.mapped(&headers_name(reactor), plan.header_bytes)?.headers(plan.slots as usize);
        let mut segments = Vec::new();
        for (number, bytes) in plan.segments().enumerate() {
            let mapping = self.mapped(&slots_name(reactor, number), bytes)?;
            segments.push(SegmentMemory { base: mapping.base(), bytes: mapping.len() });
        }
        Ok(shard_of(plan, reactor, headers, segments, notes))
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
