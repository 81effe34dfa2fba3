//! An arena whose daemon has ended, for reading only: nothing is mapped, nothing is written, any file system will do.
//!
//! What [`Arena::create`](super::Arena::create) refuses as damaged is read here as far as it goes: one header that
//! cannot be believed costs its own line, one file that is missing costs what was in it.

use super::create::boot_id;
use super::layout::{HEADER_BYTES, Plan, headers_name, slots_name};
use super::place::failed;
use super::superblock::{SUPERBLOCK_BYTES, Superblock};
use super::{ArenaError, SEGMENT_BYTES_MAX, existing};
use crate::device::{Patience, lock_holder};
use holdfast_engine::{Header, HeaderDamage, Identity, Status};
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
    superblock: Superblock,
    _lock: File,
}

impl Remains {
    /// Opens it. Waits up to 2 seconds for the lock of a daemon that was just killed.
    ///
    /// # Errors
    /// [`ArenaError`]: there is none, a daemon has it, or its superblock does not say what it is.
    pub fn open(path: &Path) -> Result<Remains, ArenaError> {
        let path = std::path::absolute(path).map_err(failed("find", path))?;
        let lock = File::open(&path).map_err(failed("open", &path))?;
        if !Patience::start().lock(&lock).map_err(failed("lock", &path))? {
            return Err(ArenaError::InUse { holder: lock_holder(&lock), path });
        }
        let file = path.join(existing::SUPERBLOCK);
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let read = open_plain(&file).and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(failed("read", &file))?;
        let superblock = Superblock::parse(&path, &bytes)?;
        Ok(Remains { path, superblock, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a daemon served from it; else it holds nothing.
    pub fn has_served(&self) -> bool {
        self.superblock.serving
    }

    /// Its number, which no other arena has.
    pub fn id(&self) -> u64 {
        self.superblock.arena_id
    }

    /// Whether the host has been up since it was made; no if the kernel does not say.
    pub fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|now| now == self.superblock.boot_id)
    }

    /// How many reactors shared it.
    pub fn reactors(&self) -> u32 {
        self.plan().reactors
    }

    /// Bytes of a line.
    pub fn line_bytes(&self) -> u32 {
        self.plan().line_bytes
    }

    /// Bytes of a stripe.
    pub fn stripe_bytes(&self) -> u64 {
        self.plan().stripe_bytes
    }

    /// Slots of one reactor.
    pub fn slots(&self) -> u32 {
        self.plan().slots
    }

    fn plan(&self) -> &Plan {
        &self.superblock.plan
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
    let word = |n: usize| {
        let bytes = bytes[n * 8..n * 8 + 8].try_into().expect("a header has four words of eight bytes");
        AtomicU64::new(u64::from_ne_bytes(bytes))
    };
    Header::from_words([word(0), word(1), word(2), word(3)])
}
