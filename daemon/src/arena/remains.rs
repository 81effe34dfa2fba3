//! An arena whose daemon has ended, for reading only: nothing is mapped, nothing is written, any file system will do.
//!
//! What [`Arena::create`](super::Arena::create) refuses as damaged is read here as far as it goes: one header that
//! cannot be believed costs its own line, one file that is missing costs what was in it.

use super::create::boot_id;
use super::layout::{HEADER_BYTES, Plan, headers_name, slots_name};
use super::place::{failed, length_of};
use super::superblock::{SUPERBLOCK_BYTES, Superblock};
use super::volumes::{NOTES, VOLUME_BYTES};
use super::{ArenaError, ArenaLayout, SEGMENT_BYTES_MAX, existing, volumes};
use crate::device::{Patience, lock_holder};
use holdfast_engine::{Header, HeaderDamage, Identity, Notes, Status};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

/// Headers that are read at a time.
const HEADERS_AT_A_TIME: u32 = 4096;

/// What is left of an arena. As long as this lives, no daemon starts in it.
pub struct Remains {
    path: PathBuf,
    plan: Plan,
    /// None if it is damaged, and the plan is the configuration's.
    superblock: Option<Superblock>,
    _lock: File,
}

impl Remains {
    /// Opens it. Waits up to 2 seconds for the lock of a daemon that was just killed. If the superblock does not say what
    /// it is, and all files have the sizes that `configured` would give them, it is taken to be that.
    ///
    /// # Errors
    /// [`ArenaError`]: there is none, a daemon has it, it is of a later format, or nobody says what it is.
    pub fn open(path: &Path, configured: Option<&ArenaLayout>) -> Result<Remains, ArenaError> {
        let path = std::path::absolute(path).map_err(failed("find", path))?;
        let lock = File::open(&path).map_err(failed("open", &path))?;
        if !Patience::start().lock(&lock).map_err(failed("lock", &path))? {
            return Err(ArenaError::InUse { holder: lock_holder(&lock), path });
        }
        match read_superblock(&path) {
            Ok(superblock) => {
                let plan = superblock.plan.clone();
                Ok(Remains { path, plan, superblock: Some(superblock), _lock: lock })
            }
            Err(error @ (ArenaError::Newer { .. } | ArenaError::FileSystem { .. })) => Err(error),
            Err(error) => {
                let plan = configured.and_then(|layout| plan_of_files(&path, layout)).ok_or(error)?;
                Ok(Remains { path, plan, superblock: None, _lock: lock })
            }
        }
    }

    /// Whether its superblock is damaged or gone, so that number, boot and life are not known.
    pub fn is_headless(&self) -> bool {
        self.superblock.is_none()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a daemon served from it, as far as it is known; else it holds nothing.
    pub fn has_served(&self) -> bool {
        self.superblock.as_ref().is_none_or(|superblock| superblock.serving)
    }

    /// Its number, which no other arena has.
    pub fn id(&self) -> Option<u64> {
        self.superblock.as_ref().map(|superblock| superblock.arena_id)
    }

    /// Whether the host has been up since it was made; no if nobody says.
    pub fn is_of_this_boot(&self) -> bool {
        let made = self.superblock.as_ref().map(|superblock| superblock.boot_id);
        made.is_some() && boot_id().ok() == made
    }

    /// How many reactors shared it.
    pub fn reactors(&self) -> u32 {
        self.plan.reactors
    }

    /// Bytes of a line.
    pub fn line_bytes(&self) -> u32 {
        self.plan.line_bytes
    }

    /// Bytes of a stripe.
    pub fn stripe_bytes(&self) -> u64 {
        self.plan.stripe_bytes
    }

    /// Slots of one reactor.
    pub fn slots(&self) -> u32 {
        self.plan.slots
    }

    /// The name of the volume that headers know by a number; `None` if the arena is of format 1, which had no names, or the
    /// name cannot be read.
    pub fn volume_name(&self, number: u16) -> Option<String> {
        let mut bytes = [0; VOLUME_BYTES];
        let named = self.superblock.as_ref().is_none_or(|superblock| number_of_names(superblock) > number);
        let file = named.then(|| open_plain(&self.path.join(NOTES)).ok()).flatten()?;
        file.read_exact_at(&mut bytes, u64::from(number) * VOLUME_BYTES as u64).ok()?;
        volumes::parse(bytes).map(|volume| volume.name)
    }

    /// How many ranges of zeroes or discards no device flush has covered yet, as far as that can be read.
    pub fn zeroed_ranges(&self) -> u64 {
        let Some(superblock) = self.superblock.as_ref().filter(|superblock| !superblock.older) else {
            return 0;
        };
        let plan = &superblock.plan;
        let Ok(file) = open_plain(&self.path.join(NOTES)) else { return 0 };
        let table = u64::from(plan.volumes) * VOLUME_BYTES as u64;
        let mut bytes = vec![0; plan.note_words() * 8];
        let mut ranges = 0;
        for reactor in 0..u64::from(plan.reactors) {
            let at = table + reactor * bytes.len() as u64;
            if file.read_exact_at(&mut bytes, at).is_ok() {
                let words: Vec<AtomicU64> = bytes.chunks_exact(8).map(word_of).collect();
                ranges += Notes::over(&words).zeroed_ranges();
            }
        }
        ranges
    }

    /// Shows every header of a reactor in the order of slots; the ones behind the end of a file that was cut are not
    /// shown.
    ///
    /// # Errors
    /// The kernel's, or that the file is too short; what was shown before is as good as it is.
    pub fn headers(
        &self,
        reactor: u32,
        mut show: impl FnMut(u32, Result<(Identity, Status), HeaderDamage>),
    ) -> Result<(), ArenaError> {
        let path = self.path.join(headers_name(reactor));
        let file = open_plain(&path).map_err(failed("open", &path))?;
        let mut bytes = vec![0; HEADERS_AT_A_TIME as usize * size_of::<Header>()];
        let mut slot = 0;
        while slot < self.slots() {
            let count = HEADERS_AT_A_TIME.min(self.slots() - slot);
            let wanted = &mut bytes[..count as usize * size_of::<Header>()];
            let got =
                read_up_to(&file, wanted, u64::from(slot) * HEADER_BYTES).map_err(failed("read", &path))?;
            for header in wanted[..got].chunks_exact(size_of::<Header>()) {
                show(slot, header_of(header).recover());
                slot += 1;
            }
            if got < wanted.len() {
                return Err(failed("read", &path)(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("it ends after {slot} of {} headers", self.slots()),
                )));
            }
        }
        Ok(())
    }

    /// Reads bytes of a slot.
    ///
    /// # Errors
    /// The kernel's, or that the file is missing or too short.
    ///
    /// # Panics
    /// If there is no such slot, or it is not that long.
    pub fn read_slot(&self, reactor: u32, slot: u32, at: u32, bytes: &mut [u8]) -> Result<(), ArenaError> {
        let line = u64::from(self.line_bytes());
        assert!(slot < self.slots() && u64::from(at) + bytes.len() as u64 <= line, "{at} of slot {slot}");
        // A segment holds whole lines: its length is a multiple of every line's.
        let offset = u64::from(slot) * line;
        let segment = usize::try_from(offset / SEGMENT_BYTES_MAX).expect("few segments");
        let path = self.path.join(slots_name(reactor, segment));
        let file = open_plain(&path).map_err(failed("open", &path))?;
        let place = offset % SEGMENT_BYTES_MAX + u64::from(at);
        file.read_exact_at(bytes, place).map_err(failed("read", &path))
    }
}

fn number_of_names(superblock: &Superblock) -> u16 {
    let volumes = if superblock.older { 0 } else { superblock.plan.volumes };
    u16::try_from(volumes).unwrap_or(u16::MAX)
}

fn read_superblock(path: &Path) -> Result<Superblock, ArenaError> {
    let file = path.join(existing::SUPERBLOCK);
    let mut bytes = [0; SUPERBLOCK_BYTES];
    let read = open_plain(&file).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(failed("read", &file))?;
    Superblock::parse(path, &bytes)
}

/// The plan of a layout on pages of some size, if every file is as long as it says.
fn plan_of_files(path: &Path, layout: &ArenaLayout) -> Option<Plan> {
    let plans = [4 << 10, 2 << 20, 1 << 30].into_iter().filter_map(|page| Plan::new(layout, page).ok());
    let fits = |plan: &Plan| {
        let is = |(name, bytes): (String, u64)| {
            length_of(&path.join(name)).is_ok_and(|found| found == Some(bytes))
        };
        // How many volumes the notes were made for is not the configuration's to say.
        plan.files().filter(|(name, _)| name != NOTES).all(is)
    };
    plans.into_iter().find(fits)
}

/// Opens a regular file: a FIFO in its place would wait for a writer, a link would lead elsewhere.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("flags of open(2) are an int");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Reads as much as there is.
fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn header_of(bytes: &[u8]) -> Header {
    Header::from_words([0, 1, 2, 3].map(|n| word_of(&bytes[n * 8..n * 8 + 8])))
}

fn word_of(bytes: &[u8]) -> AtomicU64 {
    AtomicU64::new(u64::from_ne_bytes(bytes.try_into().expect("a word has eight bytes")))
}
